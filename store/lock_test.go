package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"cwharvest/store/record"
)

// However many processes ask for the status at once, a run that starts gets the
// directory and its job, and no reader meets an error.
func TestReadersOfStatusNeverKeepARunOut(t *testing.T) {
	f := newFixture(t, 1)
	d, job := f.create()
	id := job.plan.ID
	if err := errors.Join(job.Begin(context.Background()), job.Close(0, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	end := make(chan struct{}) // closed when the last run has left; the readers wait for it
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if s, err := record.ReadStatus(f.path); err != nil || s.Job != id {
					t.Errorf("status: %v, %+v", err, s)
					return
				}
			}
		})
	}
	defer readers.Wait()
	defer close(end)
	for start := range 5 {
		d, err := f.open()
		if err != nil {
			t.Fatalf("start %d: %v", start, err)
		}
		job, err := d.OpenJob(id)
		if err != nil {
			t.Fatalf("start %d: %v", start, err)
		}
		if err := errors.Join(job.Close(0, ""), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// Readers write no name: the error must not blame the process that held the
// directory before.
func TestLockOfAReaderNamesNobody(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	reader, err := record.ShareLock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	_, err = Open(path, Config{})
	var locked *record.LockedError
	if !errors.As(err, &locked) || locked.Owner != (record.Owner{}) || strings.Contains(err.Error(), "process 0") {
		t.Errorf("open beside a reader: %v", err)
	}
}
