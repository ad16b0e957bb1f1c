package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"cwharvest/store/durable"
)

// status.json is the snapshot of its status that a run publishes, since nobody
// else can read the database while it works.

// snapshotEvery is how often a run publishes its status; a snapshot much
// older than that means that the run does not respond.
const (
	snapshotEvery     = time.Second
	unresponsiveAfter = 15 * time.Second
)

func statusPath(dir string) string { return filepath.Join(dir, "status.json") }

// publishStatus replaces status.json. It need not survive a power cut, since
// the database then tells: no fsync.
func (j *Job) publishStatus() error {
	s, err := j.Status()
	if err != nil {
		return err
	}
	s.Source = "snapshot"
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	path := statusPath(j.dir.path)
	temporary := durable.Temporary(path)
	// With room to grow in its place: trouble makes it longer.
	err = writeAnew(temporary, padded(data, (len(data)*3/2+4096)&^4095))
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		// What a full disk still has room for is what the last one takes.
		return errors.Join(os.Remove(temporary), overwrite(path, data))
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return os.Rename(temporary, path)
}

// writeAnew writes a file that nobody has made before: a link in its place would
// lead elsewhere.
func writeAnew(path string, text []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

// padded fills text up with blanks, and ends its line.
func padded(text []byte, size int) []byte {
	full := bytes.Repeat([]byte{' '}, size)
	copy(full, text)
	full[size-1] = '\n'
	return full
}

// overwrite changes a file in its place, in one step and never its size: what
// does not fit would leave neither the old text nor the new one.
func overwrite(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case int64(len(text)) >= info.Size():
		err = fmt.Errorf("%s has no room for a status of %d bytes", path, len(text))
	default:
		_, err = file.WriteAt(padded(text, int(info.Size())), 0)
	}
	return errors.Join(err, file.Close())
}

// statusTicker publishes snapshots until stopped.
type statusTicker struct {
	end  chan struct{} // closed by stop
	done sync.WaitGroup
}

func (t *statusTicker) start(j *Job) {
	t.end = make(chan struct{})
	t.done.Go(func() {
		tick := time.NewTicker(snapshotEvery)
		defer tick.Stop()
		for {
			// A snapshot that cannot be written must not end the night: its
			// age tells, and the last one, at Close, reports the error.
			_ = j.publishStatus()
			select {
			case <-tick.C:
			case <-t.end:
				return
			}
		}
	})
}

func (t *statusTicker) stop() {
	if t.end != nil {
		close(t.end)
		t.done.Wait()
		t.end = nil
	}
}

func readSnapshot(dir string) (*Status, error) {
	s, err := parseSnapshot(dir)
	for try := 0; err != nil && try < 5; try++ { // it may be half written
		time.Sleep(10 * time.Millisecond)
		s, err = parseSnapshot(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: a process has just taken it and has no job yet: %w", dir, ErrNoJob)
	}
	if err != nil {
		return nil, err
	}
	s.tell(time.Now())
	return s, nil
}

// tell says how the job of a snapshot is, by its age.
func (s *Status) tell(now time.Time) {
	age := now.Sub(s.Written)
	s.AgeSeconds = age.Seconds()
	switch {
	case s.State != string(Unfinished): // a next job is about to begin
	case age > unresponsiveAfter:
		s.State = "unresponsive"
	case s.Trouble != nil, s.Targets.Waiting > 0 && s.Targets.Active == 0:
		s.State = "waiting"
	default:
		s.State = "running"
	}
}

func parseSnapshot(dir string) (*Status, error) {
	data, err := os.ReadFile(statusPath(dir))
	if err != nil {
		return nil, err
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", statusPath(dir), err)
	}
	return &s, nil
}
