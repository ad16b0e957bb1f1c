// Package durable performs the file operations that must survive a power cut. The
// order is always the same: write a temporary file, fsync it, rename or link it to
// its name, fsync the directory. Tests fail each step through Files.Fault, and
// simulate a power cut by discarding everything that was not synced.
package durable

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Files performs durable steps. The zero value is ready to use.
type Files struct {
	// Fault is called before and after each step, and the step returns its error.
	// It is nil outside tests.
	Fault func(s Step, after bool) error

	found sync.Map // paths of existing directories whose names were made durable
}

// Step is one durable operation on a path.
type Step struct {
	Name string // create, sync, rename, link, syncdir, mkdir, remove
	Path string
	To   string // the new name, of a rename or link
}

func (f *Files) step(s Step, do func() error) error {
	if f.Fault == nil {
		return do()
	}
	if err := f.Fault(s, false); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return f.Fault(s, true)
}

// Temporary returns the name of a file until it is complete. It begins with an
// underscore because query engines skip such files when they read a directory.
func Temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "_"+filepath.Base(path))
}

// Create opens a new temporary file and truncates the file that an earlier attempt
// left. It does not follow a symbolic link, which may point anywhere.
func (f *Files) Create(path string, mode fs.FileMode) (file *os.File, err error) {
	err = f.step(Step{Name: "create", Path: path}, func() error {
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
		return err
	})
	if err != nil && file != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, err
}

// Sync makes the content of a file durable.
func (f *Files) Sync(file *os.File) error {
	return f.step(Step{Name: "sync", Path: file.Name()}, file.Sync)
}

// Publish renames a synced temporary file and makes its name durable.
func (f *Files) Publish(temporary, name string) error {
	err := f.step(Step{Name: "rename", Path: temporary, To: name}, func() error { return os.Rename(temporary, name) })
	if err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(name))
}

// Remove removes a file durably. It succeeds if the file does not exist.
func (f *Files) Remove(path string) error {
	err := f.step(Step{Name: "remove", Path: path}, func() error { return os.Remove(path) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Sync even if the file was gone: the process that removed it may have died
	// before the sync.
	if err := f.SyncDir(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func (f *Files) SyncDir(path string) error {
	return f.step(Step{Name: "syncdir", Path: path}, func() error {
		dir, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(dir.Sync(), dir.Close())
	})
}

// MakeDir creates a directory and its missing parents, and makes their names
// durable.
func (f *Files) MakeDir(path string, mode fs.FileMode) error {
	parent := filepath.Dir(path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return f.syncOnce(path, parent)
	}
	if parent != path {
		if err := f.MakeDir(parent, mode); err != nil {
			return err
		}
	}
	err := f.step(Step{Name: "mkdir", Path: path}, func() error { return os.Mkdir(path, mode) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.SyncDir(parent)
}

// syncOnce makes the name of an existing directory durable, once for each path: the
// process that created it may have died before the sync. A parent without read
// permission was not created by this program, so it needs no sync.
func (f *Files) syncOnce(path, parent string) error {
	if _, found := f.found.Load(path); found || parent == path {
		return nil
	}
	if err := f.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	f.found.Store(path, nil)
	return nil
}

// Write creates or replaces a file durably. After a power cut the file has either
// its old or its new content.
func (f *Files) Write(path string, data []byte, mode fs.FileMode) error {
	return f.WriteBy(path, mode, all(data))
}

// WriteBy is Write for content that is produced by a function.
func (f *Files) WriteBy(path string, mode fs.FileMode, content func(io.Writer) error) error {
	temporary := Temporary(path)
	if err := f.write(temporary, content, mode); err != nil {
		return err
	}
	return f.Publish(temporary, path)
}

func all(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// WriteNew creates a small file durably, or returns fs.ErrExist if it exists. Of
// several processes that create it at the same time, one succeeds.
func (f *Files) WriteNew(path string, data []byte, mode fs.FileMode) error {
	temporary := Temporary(path) + "-" + rand.Text()[:8]
	if err := f.write(temporary, all(data), mode); err != nil {
		return errors.Join(err, f.Remove(temporary))
	}
	err := f.step(Step{Name: "link", Path: temporary, To: path}, func() error { return os.Link(temporary, path) })
	if errors.Is(err, fs.ErrExist) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM) {
		err = f.writeInPlace(path, data, mode)
	}
	if err == nil {
		err = f.SyncDir(filepath.Dir(path))
	}
	return errors.Join(err, f.Remove(temporary))
}

// ErrUnfinished reports a file that another process is creating.
var ErrUnfinished = errors.New("another process is creating the file")

// unfinishedAfter is the age of an empty file from which on its creator counts as
// dead. A live one writes the content within milliseconds.
const unfinishedAfter = 10 * time.Second

// writeInPlace creates a file on a file system without hard links, where the file
// exists before it has its content. The file is locked while it is empty. If its
// creator has died, the next caller fills it.
func (f *Files) writeInPlace(path string, data []byte, mode fs.FileMode) error {
	var file *os.File
	err := f.step(Step{Name: "create", Path: path}, func() (err error) {
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		return err
	})
	created := err == nil
	if errors.Is(err, fs.ErrExist) {
		file, err = os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW, 0)
	}
	if err != nil {
		return err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
	if err == nil {
		err = checkUnfinished(file, created)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	return f.fill(file, all(data))
}

// checkUnfinished returns nil if the caller may fill a locked file. After a power
// cut, a file may hold zeros instead of its content.
func checkUnfinished(file *os.File, created bool) error {
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<16))
	if err != nil {
		return err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case len(bytes.Trim(data, "\x00")) > 0:
		return fs.ErrExist
	case !created && time.Since(info.ModTime()) < unfinishedAfter:
		return ErrUnfinished
	}
	return file.Truncate(0)
}

func (f *Files) write(temporary string, content func(io.Writer) error, mode fs.FileMode) error {
	file, err := f.Create(temporary, mode)
	if err != nil {
		return err
	}
	return f.fill(file, content)
}

// fill writes the content of a new file, syncs it and closes it.
func (f *Files) fill(file *os.File, content func(io.Writer) error) error {
	buffered := bufio.NewWriter(file)
	err := content(buffered)
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Sync(file)
	}
	return errors.Join(err, file.Close())
}
