package place

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"
)

const (
	patientFirstWait   = 250 * time.Millisecond // doubles with every failure in a row
	patientLongestWait = 5 * time.Second
)

// Patient returns a place that repeats each call after transient errors, and returns the
// last error when the call has taken as long as patience. It is for commands that look
// at a harvest; a run waits without a limit instead. Publish is not repeated.
func Patient(p Place, patience time.Duration) Place { return &patient{p, patience} }

type patient struct {
	Place
	patience time.Duration
}

// retry calls do until it succeeds, fails for good, or patience ends.
func (p *patient) retry(ctx context.Context, do func() error) error {
	began := time.Now()
	for wait := patientFirstWait; ; wait = min(2*wait, patientLongestWait) {
		err := do()
		if err == nil || !Transient(err) || ctx.Err() != nil || time.Since(began)+wait > p.patience {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (p *patient) Create(ctx context.Context, name string, data []byte) error {
	return p.retry(ctx, func() error { return p.Place.Create(ctx, name, data) })
}

func (p *patient) Remove(ctx context.Context, name string) error {
	return p.retry(ctx, func() error { return p.Place.Remove(ctx, name) })
}

func (p *patient) List(ctx context.Context, pattern string) (names []string, err error) {
	err = p.retry(ctx, func() error {
		names, err = p.Place.List(ctx, pattern)
		return err
	})
	return names, err
}

// Sum reads a whole object in pieces, of which each is repeated alone.
func (p *patient) Sum(ctx context.Context, name string, deep bool) (sum string, size int64, err error) {
	if !deep {
		err = p.retry(ctx, func() error {
			sum, size, err = p.Place.Sum(ctx, name, false)
			return err
		})
		return sum, size, err
	}
	object, err := p.Open(ctx, name)
	if err != nil {
		return "", 0, err
	}
	hash := sha256.New()
	size, err = io.Copy(hash, io.NewSectionReader(object, 0, object.Size()))
	if err = errors.Join(err, object.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(hash.Sum(nil)), size, nil
}

func (p *patient) Open(ctx context.Context, name string) (object Object, err error) {
	err = p.retry(ctx, func() error {
		object, err = p.Place.Open(ctx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &patientObject{object, p, ctx}, nil
}

// patientObject repeats reads of an object.
type patientObject struct {
	Object
	place *patient
	ctx   context.Context // of Open, as the reads of the object itself
}

func (o *patientObject) ReadAt(p []byte, off int64) (n int, err error) {
	err = o.place.retry(o.ctx, func() error {
		n, err = o.Object.ReadAt(p, off)
		return err
	})
	return n, err
}
