package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// files performs every durable file operation of the store. Its order is
// always the same: write a temporary file, fsync it, rename it to its name,
// fsync the directory. Tests replace fault to break each step both ways.
type files struct {
	// fault is asked before and after every step; an error it returns is the
	// step's. Nil outside tests.
	fault func(step string, after bool) error
}

func (f *files) step(name string, do func() error) error {
	if f.fault == nil {
		return do()
	}
	if err := f.fault(name, false); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return f.fault(name, true)
}

// create opens a new temporary file, replacing what an earlier attempt left.
func (f *files) create(path string, mode fs.FileMode) (file *os.File, err error) {
	err = f.step("create", func() error {
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, mode)
		return err
	})
	if err != nil && file != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, err
}

func (f *files) sync(file *os.File) error {
	return f.step("sync", file.Sync)
}

// publish renames a synced file to its name and makes the name durable.
func (f *files) publish(temporary, name string) error {
	if err := f.step("rename", func() error { return os.Rename(temporary, name) }); err != nil {
		return err
	}
	return f.syncDir(filepath.Dir(name))
}

func (f *files) syncDir(path string) error {
	return f.step("syncdir", func() error {
		dir, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(dir.Sync(), dir.Close())
	})
}

// makeDir makes a directory and its parents, and makes their names durable.
func (f *files) makeDir(path string, mode fs.FileMode) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := f.makeDir(parent, mode); err != nil {
			return err
		}
	}
	err := f.step("mkdir", func() error { return os.Mkdir(path, mode) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.syncDir(parent)
}

// write replaces a small file as a whole, durably.
func (f *files) write(path string, data []byte, mode fs.FileMode) error {
	temporary := filepath.Join(filepath.Dir(path), "_"+filepath.Base(path))
	file, err := f.create(temporary, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = f.sync(file)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return f.publish(temporary, path)
}
