package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ReadFile reads a specification from a file; relative paths in it are
// relative to the file. It is not validated yet.
func ReadFile(path string) (Config, error) {
	data, err := readLimited(path)
	if errors.Is(err, errTooLong) {
		return Config{}, &Error{fmt.Sprintf("read configuration: %s is longer than %d MiB: it is no specification", path, maxConfigSize>>20)}
	}
	if err != nil {
		text := fmt.Sprintf("read configuration: %v; name a file that this user can read", err)
		if errors.Is(err, fs.ErrNotExist) {
			text = fmt.Sprintf("read configuration: %v; `cwharvest init %s` writes one", err, path)
		}
		return Config{}, &Error{text}
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

// How long files that people write may be: what is longer is another file.
const (
	maxConfigSize   = 4 << 20
	maxAccountsSize = 64 << 20
)

var errTooLong = errors.New("too long")

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
