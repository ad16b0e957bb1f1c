package encode

import (
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow is how far back a Parquet page is compared with itself. A page is
// about as long; the encoder keeps twice its window in memory, and its own
// default is eight times as much.
const zstdWindow = 1 << 20

// parquetZstd replaces arrow's codec, whose encoders take 16 MB each, and whose
// decoder allocates as much as a damaged page expands to.
type parquetZstd struct {
	compress.Codec // bounds sizes
	encoder        *zstd.Encoder
	decoder        *zstd.Decoder
}

// parquetCodec is the codec of all Parquet files.
var parquetCodec = newParquetZstd()

func init() { compress.RegisterCodec(compress.Codecs.Zstd, parquetCodec) }

func newParquetZstd() parquetZstd {
	encoder, err := zstd.NewWriter(nil, zstd.WithWindowSize(zstdWindow), zstd.WithEncoderConcurrency(1),
		zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic("zstd options: " + err.Error()) // constants; cannot happen
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("zstd options: " + err.Error())
	}
	codec, err := compress.GetCodec(compress.Codecs.Zstd)
	if err != nil {
		panic("parquet without zstd: " + err.Error())
	}
	return parquetZstd{codec, encoder, decoder}
}

func (z parquetZstd) Encode(dst, src []byte) []byte { return z.encoder.EncodeAll(src, dst[:0]) }

// encodeValues encodes doubles behind a head: by the bytes that they share, unless
// the general matcher makes much less of a sample.
func (z parquetZstd) encodeValues(dst, src []byte, head int) []byte {
	const sample = 8 * sharedChunk
	from := head + (len(src)-head)/2/8*8
	some := src[from:min(from+sample, len(src))]
	if general, shared := z.Encode(dst, some), appendShared(nil, some, 0); len(some) == 0 || len(general)*9/8 < len(shared) {
		return z.Encode(dst, src)
	}
	return appendShared(dst[:0], src, head)
}

func (z parquetZstd) EncodeLevel(dst, src []byte, _ int) []byte { return z.Encode(dst, src) }

// DecodeWithError decodes into dst, which is as long as the page says it is.
func (z parquetZstd) DecodeWithError(dst, src []byte) ([]byte, error) {
	return z.decoder.DecodeAll(src, dst[:0:len(dst)])
}
