package main

import (
	"errors"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"cwharvest/store"
	"cwharvest/store/place"
)

// hint is what to do about an error that does not say it itself: errors of the
// system, and what should never be. Errors of this program end with what to do
// next, behind a semicolon.
func hint(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		return hinted.Hint()
	}
	var file *fs.PathError
	onPath := errors.As(err, &file)
	switch text := place.Remedy(err); {
	case text != "":
		return text
	case errors.Is(err, store.ErrNoJob):
		return "name the harvest directory, which is dir in harvest.yaml, or begin with: cwharvest run"
	case errors.Is(err, syscall.ENOTDIR) && onPath:
		return "a file is in the way at " + file.Path + ": name the harvest directory, which is dir in harvest.yaml, or another one"
	case errors.Is(err, syscall.EISDIR) && onPath:
		return "that is a directory: name a file"
	case errors.Is(err, fs.ErrNotExist) && onPath:
		return "make what is missing of " + file.Path + ", or name another path"
	case errors.As(err, new(*net.OpError)):
		return "name a free address of this machine, such as 127.0.0.1:9464"
	case exitCode(err) == exitFatal && !strings.ContainsAny(err.Error(), ";`"):
		return "run it again; if it stays: cwharvest verify tells what is not whole"
	}
	return ""
}
