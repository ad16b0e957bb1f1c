package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockWait is how long Open waits for the directory, and a reader for a database.
const lockWait = 2 * time.Second

// drainWait is how long the holder of the directory waits for readers that opened
// a database before it took the directory. New readers find the directory held.
const drainWait = 15 * time.Second

// Owner is the process that holds a harvest directory; zero if unknown.
type Owner struct {
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Started time.Time `json:"started"`
}

// LockedError reports a directory that another process uses.
type LockedError struct {
	Dir   string
	Owner Owner
}

func (e *LockedError) Error() string {
	if e.Owner == (Owner{}) {
		return fmt.Sprintf("%s is in use by another process, which reads it", e.Dir)
	}
	return fmt.Sprintf("%s is in use by process %d on %s since %s",
		e.Dir, e.Owner.PID, e.Owner.Host, e.Owner.Started.Local().Format(time.DateTime))
}

// LockDir takes the directory's lock. The kernel releases it when the process ends,
// even if it is killed. The owner written to the file only names the process in messages.
func LockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o666)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(&LockedError{Dir: dir, Owner: holder(dir, file)}, file.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), file.Close())
	}
	if err := writeOwner(file); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), file.Close())
	}
	return file, nil
}

// holder returns the process that keeps file from an exclusive lock. Readers
// share the lock and write no name: the file then names an earlier owner.
func holder(dir string, file *os.File) Owner {
	if syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return Owner{}
	}
	return ReadOwner(dir)
}

// otherOwner returns the owner of a directory unless it is this process. A
// database that is locked although this process holds the directory is used by a
// reader, or by a process whose lock file was removed.
func otherOwner(dir string) Owner {
	o := ReadOwner(dir)
	if host, err := os.Hostname(); o.PID == os.Getpid() && (err != nil || o.Host == host) {
		return Owner{}
	}
	return o
}

// isHeld reports whether a process holds the directory, without keeping one from
// taking it: a reader that kept the lock could starve a run that starts.
func isHeld(dir string) (bool, error) {
	lock, err := ShareLock(dir)
	if err != nil || lock == nil {
		return err == nil, err
	}
	return false, lock.Close()
}

// ShareLock takes the lock for reading; nil without an error if a process holds the
// directory. It creates a missing lock file. If it cannot, no process can hold the
// directory either.
func ShareLock(dir string) (*os.File, error) {
	file, err := os.OpenFile(lockPath(dir), os.O_RDONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o666)
	if err != nil {
		return os.Open(os.DevNull)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, file.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), file.Close())
	}
	return file, nil
}

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

func writeOwner(file *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	data, err := json.Marshal(Owner{PID: os.Getpid(), Host: host, Started: time.Now().UTC()})
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteAt(append(data, '\n'), 0)
	return err
}

// ReadOwner returns the owner that the lock file names; zero if it names none yet.
func ReadOwner(dir string) (o Owner) {
	file, err := os.Open(lockPath(dir))
	if err != nil {
		return o
	}
	defer file.Close()
	if err := json.NewDecoder(io.LimitReader(file, 4096)).Decode(&o); err != nil {
		return Owner{}
	}
	return o
}
