package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxConfigSize bounds harvest.yaml, in bytes. A longer file is most likely not
// a configuration.
const maxConfigSize = 4 << 20

var errTooLong = errors.New("too long")

// ReadFile reads a configuration file. Relative paths in the file are relative
// to its directory. The result is not validated yet.
func ReadFile(path string) (Config, error) {
	data, err := readLimited(path)
	if errors.Is(err, errTooLong) {
		return Config{}, invalid("cannot read configuration: %s is longer than %d MiB", path, maxConfigSize>>20).
			withHint("name a harvest.yaml")
	}
	if err != nil {
		e := invalid("cannot read configuration: %v", err)
		if errors.Is(err, fs.ErrNotExist) {
			e.Remedy, e.File = CreateFile, path
			return Config{}, e
		}
		return Config{}, e.withHint("name a file that this user can read")
	}
	c, err := Parse(path, data, os.LookupEnv)
	if err != nil {
		return c, err
	}
	dir := filepath.Dir(path)
	paths := []*string{&c.Dir, &c.Out, &c.Instances.File}
	for i := range c.Accounts {
		paths = append(paths, &c.Accounts[i].File)
	}
	for _, p := range paths {
		if *p != "" && *p != "-" && !filepath.IsAbs(*p) && !strings.Contains(*p, "://") {
			*p = filepath.Join(dir, *p)
		}
	}
	return c, nil
}

func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxConfigSize+1))
	if err == nil && len(data) > maxConfigSize {
		err = errTooLong
	}
	return data, errors.Join(err, file.Close())
}
