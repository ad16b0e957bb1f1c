package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"

	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

// build writes an output file to its temporary file, synced, and fills in its
// size and checksum.
func build(at place.Place, files *durable.Files, part *record.Part, encode func(io.Writer) error) (err error) {
	path, err := at.Temporary(part.Name)
	if err != nil {
		return err
	}
	file, err := files.Create(path, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	size := &countingWriter{w: io.MultiWriter(file, sum)}
	if err := encode(size); err != nil {
		return err
	}
	part.Bytes, part.SHA256 = size.n, hex.EncodeToString(sum.Sum(nil))
	return files.Sync(file)
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
