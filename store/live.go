package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"cwharvest/store/durable"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// SetLive sets where snapshots ask for what is not committed.
func (j *Job) SetLive(live func() record.Live) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live = live
}

// Status returns the job's status as a snapshot would tell it now.
func (j *Job) Status() (*record.Status, error) {
	j.mu.Lock()
	live := j.live
	j.mu.Unlock()
	var now record.Live
	if live != nil {
		now = live()
	}
	j.mu.Lock() // before the transaction: a commit holds it across its own
	defer j.mu.Unlock()
	var s *record.Status
	err := j.db.View(func(tx *bolt.Tx) (err error) {
		s, err = record.NewStatus(tx, &j.plan, &j.record, j.targets, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.Trouble = j.trouble
	s.Estimate(j.pace.left)
	return s, nil
}

// Status returns the status of a job that nobody works on.
func (d *Dir) Status(id string) (*record.Status, error) {
	return record.JobStatus(d.disk.Path, id)
}

// status.json is the snapshot of its status that a run publishes, since nobody
// else can read the database while it works.

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
	path := record.StatusPath(j.dir.disk.Path)
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
