package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Open opens the current object of a key. Reads fail once another object has the key.
// They use ctx.
func (s *S3) Open(ctx context.Context, name string) (Object, error) {
	current, err := s.stat(ctx, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	return &reader{s3: s, name: name, stat: current, ctx: ctx, cancel: cancel}, nil
}

// reader reads ahead, so that consecutive small reads share a request.
type reader struct {
	s3   *S3
	name string
	stat
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	ahead []byte // the bytes that were read last; not modified afterwards
	at    int64  // the offset of ahead in the object
}

func (r *reader) Size() int64 { return r.size }

// Close cancels reads in progress.
func (r *reader) Close() error {
	r.cancel()
	return nil
}

func (r *reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d", r.name, off)
	}
	for n < len(p) && off < r.size {
		ahead := r.buffered(off)
		if len(ahead) == 0 {
			if ahead, err = r.fetch(off, int64(len(p)-n)); err != nil {
				return n, err
			}
		}
		got := copy(p[n:], ahead)
		n, off = n+got, off+int64(got)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// buffered returns the bytes from an offset on that were read ahead.
func (r *reader) buffered(off int64) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off < r.at || off >= r.at+int64(len(r.ahead)) {
		return nil
	}
	return r.ahead[off-r.at:]
}

// checkOffset returns an error for a response that begins at another offset. A server
// or proxy that ignores ranges sends the whole object.
func checkOffset(contentRange string, off int64) error {
	if contentRange == "" && off == 0 || strings.HasPrefix(contentRange, fmt.Sprintf("bytes %d-", off)) {
		return nil
	}
	return fmt.Errorf("requested the bytes from %d on, but the response holds %q", off, cut(contentRange))
}

// fetch reads at least length bytes from an offset on, and buffers them. Two readers
// at different offsets of one object overwrite each other's buffer, which costs
// requests and nothing else.
func (r *reader) fetch(off, length int64) ([]byte, error) {
	ahead := make([]byte, min(max(length, r.s3.window), r.size-off))
	bytes := fmt.Sprintf("bytes=%d-%d", off, off+int64(len(ahead))-1)
	out, err := r.s3.get(r.ctx, r.name, bytes, &r.etag)
	if err != nil {
		return nil, err
	}
	if err = checkOffset(aws.ToString(out.ContentRange), off); err == nil {
		_, err = io.ReadFull(out.Body, ahead)
	}
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return nil, r.s3.fail("read", r.name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead, r.at = ahead, off
	return ahead, nil
}
