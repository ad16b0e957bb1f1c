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

// SetLive sets the source of the values in snapshots that are not committed.
func (j *Job) SetLive(live func() record.Live) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live = live
}

// Status returns the current status of the job.
func (j *Job) Status() (*record.Status, error) {
	j.mu.Lock()
	live := j.live
	j.mu.Unlock()
	var now record.Live
	if live != nil {
		now = live()
	}
	j.mu.Lock() // before the transaction, as in Commit
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

// Status returns the status of a job that no process works on.
func (d *Dir) Status(id string) (*record.Status, error) {
	return record.JobStatus(d.disk.Path, id)
}

// publishStatus replaces status.json, which other processes read while this one holds
// the database. It is not synced: after a power cut they read the database.
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
	// Blanks at the end leave room for a longer status on a full disk.
	err = writeNew(temporary, padded(data, (len(data)*3/2+4096)&^4095))
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		// A full disk has room only where the last status is.
		return errors.Join(os.Remove(temporary), overwrite(path, data))
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return os.Rename(temporary, path)
}

// writeNew replaces a file without following a symbolic link.
func writeNew(path string, text []byte) error {
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

// padded appends blanks up to the size, and a newline.
func padded(text []byte, size int) []byte {
	full := bytes.Repeat([]byte{' '}, size)
	copy(full, text)
	full[size-1] = '\n'
	return full
}

// overwrite replaces the content of a file in one write and keeps its size. A longer
// text would be cut off on a full disk.
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
