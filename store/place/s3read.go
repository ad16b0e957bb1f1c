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

// Open opens an object as it is now: once another has its key, reads fail. The
// context is that of every read until Close.
func (s *S3) Open(ctx context.Context, name string) (Object, error) {
	held, err := s.stat(ctx, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	return &reader{s3: s, name: name, stat: held, ctx: ctx, cancel: cancel}, nil
}

// reader reads ahead, so that small reads one after the other share a request.
type reader struct {
	s3   *S3
	name string
	stat
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	ahead []byte // what was read last; never written to once it is here
	at    int64  // where it lies in the object
}

func (r *reader) Size() int64 { return r.size }

// Close ends reads that are under way.
func (r *reader) Close() error {
	r.cancel()
	return nil
}

func (r *reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d", r.name, off)
	}
	for n < len(p) && off < r.size {
		ahead := r.held(off)
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

// held is what was read ahead from an offset.
func (r *reader) held(off int64) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off < r.at || off >= r.at+int64(len(r.ahead)) {
		return nil
	}
	return r.ahead[off-r.at:]
}

// begins refuses an answer that begins elsewhere than at the offset: a server or
// a proxy that takes no ranges sends the whole object.
func begins(contentRange string, off int64) error {
	if contentRange == "" && off == 0 || strings.HasPrefix(contentRange, fmt.Sprintf("bytes %d-", off)) {
		return nil
	}
	return fmt.Errorf("asked for bytes from %d on, and answered is %q", off, contentRange)
}

// fetch reads ahead from an offset, at least so far. Readers of two places at
// once cost each other requests, and nothing else.
func (r *reader) fetch(off, length int64) ([]byte, error) {
	ahead := make([]byte, min(max(length, r.s3.window), r.size-off))
	bytes := fmt.Sprintf("bytes=%d-%d", off, off+int64(len(ahead))-1)
	out, err := r.s3.get(r.ctx, r.name, bytes, &r.etag)
	if err != nil {
		return nil, err
	}
	if err = begins(aws.ToString(out.ContentRange), off); err == nil {
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
