// Package place stores output in a local directory or under a prefix of an S3
// bucket. Objects are immutable: an object is published as a whole, under a name
// that is free, or not at all.
package place

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Place holds objects by slash-separated names relative to it. A name may begin
// with "../instances/", which is the directory beside it. Every other name that
// leads out of the place is an error, because names are also read from files.
// Errors name the object. A Place is safe for concurrent use.
type Place interface {
	// Temporary returns the local path at which to create an object before
	// Publish. It creates the directory.
	Temporary(name string) (path string, err error)

	// Publish makes the synced temporary file of a name the object of that
	// name, durably, and removes the temporary file. Sum is the SHA-256 of the
	// file in hexadecimal. If an object of that name exists, Publish succeeds
	// when it has the same SHA-256, and returns ErrExists otherwise.
	Publish(ctx context.Context, name, sum string) error

	// Create creates a small object durably, or returns fs.ErrExist if the name is
	// taken. Of several callers that create it at the same time, one succeeds.
	Create(ctx context.Context, name string, data []byte) error

	// Sum returns the SHA-256 and the size of an object, or fs.ErrNotExist.
	// With deep it reads the object; otherwise it may return a SHA-256 that was
	// stored with the object.
	Sum(ctx context.Context, name string, deep bool) (sum string, size int64, err error)

	// Open opens an object for reading, or returns fs.ErrNotExist.
	Open(ctx context.Context, name string) (Object, error)

	// Remove removes an object durably. It succeeds if the object does not
	// exist.
	Remove(ctx context.Context, name string) error

	// List returns the sorted names of the objects that match a pattern of
	// path.Match. Temporary files are not objects.
	List(ctx context.Context, pattern string) ([]string, error)

	// Sweep removes the remains of interrupted calls of Publish: temporary files
	// and incomplete uploads of objects whose base name begins with base.
	Sweep(ctx context.Context, base string) error

	// String returns the location as it is written in the configuration.
	String() string
}

// Object is an open object.
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// ErrExists reports that the name is taken by an object with other content: an
// object of another program, or an object of this program that was changed.
var ErrExists error = existsError{}

// existsError is the type of ErrExists.
type existsError struct{}

func (existsError) Error() string { return "object already exists with different content" }

// Hint returns the next step for the user.
func (existsError) Hint() string { return "move it away, or choose another output location" }

// checkName returns an error for a name that leads out of the place.
func checkName(name string) error {
	inside := strings.TrimPrefix(name, beside)
	if inside == "." || !fs.ValidPath(inside) || strings.ContainsAny(inside, "\\\x00") {
		return fmt.Errorf("object name %q leads out of the output location", name)
	}
	return nil
}

// beside is the directory of inventories, which is beside the directory data.
const beside = "../instances/"
