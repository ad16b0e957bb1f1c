package place

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"cwharvest/store/durable"
)

// Local is a place in a directory.
type Local struct {
	dir   string // absolute
	files *durable.Files
}

// NewLocal returns the place in a directory, which need not exist.
func NewLocal(dir string, files *durable.Files) *Local { return &Local{dir: dir, files: files} }

func (l *Local) String() string { return l.dir }

func (l *Local) path(name string) string { return filepath.Join(l.dir, filepath.FromSlash(name)) }

// Temporary returns a path beside the object, so that a rename publishes it.
func (l *Local) Temporary(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	p := l.path(name)
	if err := l.files.MakeDir(filepath.Dir(p), 0o777); err != nil {
		return "", err
	}
	return durable.Temporary(p), nil
}

func (l *Local) Publish(_ context.Context, name, sum string) error {
	p := l.path(name)
	current, _, err := l.Sum(context.Background(), name, true)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l.files.Publish(durable.Temporary(p), p)
	case err != nil:
		return err
	case current != sum:
		return fmt.Errorf("%s: %w", p, ErrExists)
	}
	return errors.Join(l.files.SyncDir(filepath.Dir(p)), l.files.Remove(durable.Temporary(p)))
}

func (l *Local) Create(_ context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	p := l.path(name)
	if err := l.files.MakeDir(filepath.Dir(p), 0o777); err != nil {
		return err
	}
	return l.files.WriteNew(p, data, 0o666)
}

func (l *Local) Sum(_ context.Context, name string, _ bool) (string, int64, error) {
	if err := checkName(name); err != nil {
		return "", 0, err
	}
	file, err := os.Open(l.path(name))
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	return hex.EncodeToString(sum.Sum(nil)), size, errors.Join(err, file.Close())
}

type localObject struct {
	*os.File
	size int64
}

func (o localObject) Size() int64 { return o.size }

func (l *Local) Open(_ context.Context, name string) (Object, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	file, err := os.Open(l.path(name))
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return localObject{file, info.Size()}, nil
}

func (l *Local) Remove(_ context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return l.files.Remove(l.path(name))
}

func (l *Local) List(_ context.Context, pattern string) (names []string, err error) {
	paths, err := filepath.Glob(filepath.Join(escapeGlob(l.dir), filepath.FromSlash(pattern)))
	for _, p := range paths {
		rel, err := filepath.Rel(l.dir, p)
		if err != nil {
			return nil, err
		}
		if name := filepath.ToSlash(rel); !strings.HasPrefix(path.Base(name), "_") {
			names = append(names, name)
		}
	}
	return names, err
}

// escapeGlob escapes the characters of a directory's name that have a meaning in a
// pattern.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// Sweep searches the directories that may hold objects: up to two levels down, and
// the inventories beside.
func (l *Local) Sweep(_ context.Context, base string) error {
	for _, pattern := range []string{"*/_" + base + "*", "*/*/_" + base + "*", "../instances/*/_" + base + "*"} {
		paths, err := filepath.Glob(filepath.Join(escapeGlob(l.dir), filepath.FromSlash(pattern)))
		for _, p := range paths {
			err = errors.Join(err, l.files.Remove(p))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
