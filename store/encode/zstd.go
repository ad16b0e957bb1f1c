package encode

import (
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow is how far back a Parquet page is compared with itself. A page is
// about as long; the encoder keeps twice its window in memory, and its own
// default is eight times as much.
const zstdWindow = 1 << 20

// parquetZstd replaces arrow's codec, whose encoders take 16 MB each.
type parquetZstd struct {
	compress.Codec // decodes
	encoder        *zstd.Encoder
}

func init() {
	encoder, err := zstd.NewWriter(nil, zstd.WithWindowSize(zstdWindow), zstd.WithEncoderConcurrency(1),
		zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("zstd options: " + err.Error()) // constants; cannot happen
	}
	codec, err := compress.GetCodec(compress.Codecs.Zstd)
	if err != nil {
		panic("parquet without zstd: " + err.Error())
	}
	compress.RegisterCodec(compress.Codecs.Zstd, parquetZstd{codec, encoder})
}

func (z parquetZstd) Encode(dst, src []byte) []byte { return z.encoder.EncodeAll(src, dst[:0]) }

func (z parquetZstd) EncodeLevel(dst, src []byte, _ int) []byte { return z.Encode(dst, src) }
