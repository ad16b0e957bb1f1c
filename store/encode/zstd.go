package encode

import (
	"cwharvest/store/encode/zstdframe"

	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/zstd"
)

// parquetZstd replaces arrow's codec, whose encoders take 16 MB each and whose
// decoder allocates as much memory as a damaged page claims to need.
type parquetZstd struct {
	compress.Codec // bounds sizes
	encoder        *zstdframe.Encoder
	decoder        *zstd.Decoder
}

// parquetCodec is the codec of all Parquet files.
var parquetCodec = newParquetZstd()

func init() { compress.RegisterCodec(compress.Codecs.Zstd, parquetCodec) }

func newParquetZstd() parquetZstd {
	decoder, err := zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("zstd options: " + err.Error()) // constants; cannot happen
	}
	codec, err := compress.GetCodec(compress.Codecs.Zstd)
	if err != nil {
		panic("parquet without zstd: " + err.Error())
	}
	return parquetZstd{codec, zstdframe.NewEncoder(), decoder}
}

func (z parquetZstd) Encode(dst, src []byte) []byte { return z.encoder.Append(dst[:0], src) }

func (z parquetZstd) EncodeLevel(dst, src []byte, _ int) []byte { return z.Encode(dst, src) }

// DecodeWithError decodes into dst, which has the length that the page header
// gives.
func (z parquetZstd) DecodeWithError(dst, src []byte) ([]byte, error) {
	return z.decoder.DecodeAll(src, dst[:0:len(dst)])
}
