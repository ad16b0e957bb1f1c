// Package place is where output lies: a local directory or a prefix of an S3
// bucket. Objects are immutable: one is published as a whole, under a name that
// nothing had, or not at all.
package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Place holds objects by slash-separated names, relative to it; a name may begin
// with "../instances/" for what lies beside it. Any other name that leaves it is
// refused: names are read from files, too. Errors name the object. Safe for
// concurrent use.
type Place interface {
	// Temporary is the local path at which an object is made before Publish;
	// its directory exists.
	Temporary(name string) (path string, err error)

	// Publish gives the synced temporary file of a name, with the given
	// SHA-256 in hexadecimal, its place, durably; the temporary file is gone
	// then. An object of that name with the same SHA-256 is a success, any
	// other one ErrExists.
	Publish(ctx context.Context, name, sum string) error

	// Create makes a small object of data, durably, if nothing has the name;
	// fs.ErrExist otherwise. Of several at the same time, one succeeds.
	Create(ctx context.Context, name string, data []byte) error

	// Sum returns the SHA-256 of an object, fs.ErrNotExist without one. With
	// deep it is computed from the bytes, otherwise what the place keeps of it
	// may be believed.
	Sum(ctx context.Context, name string, deep bool) (sum string, size int64, err error)

	// Open opens an object for reading; fs.ErrNotExist without one.
	Open(ctx context.Context, name string) (Object, error)

	// Remove removes an object, durably; that there is none is no error.
	Remove(ctx context.Context, name string) error

	// List returns the names of the objects that match a pattern of path.Match,
	// sorted. Temporary files are not objects.
	List(ctx context.Context, pattern string) ([]string, error)

	// Sweep removes what Publish left unfinished of objects whose base name
	// begins so: temporary files, uploads that were never completed.
	Sweep(ctx context.Context, base string) error

	// String is the place as people write it.
	String() string
}

// Object is an open object.
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// ErrExists says that another object has the name already: a foreign one, or
// one of ours that was altered.
var ErrExists = errors.New("an object of that name is there already, and it is another one; move it away")

// checkName refuses a name that is not of the place's.
func checkName(name string) error {
	inside := strings.TrimPrefix(name, beside)
	if inside == "." || !fs.ValidPath(inside) || strings.ContainsAny(inside, "\\\x00") {
		return fmt.Errorf("%q is no name of an object: it leaves the place of output", name)
	}
	return nil
}

// beside is where inventories lie, for a place that is called data.
const beside = "../instances/"
