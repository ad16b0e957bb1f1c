package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/record"
)

// hint returns the next step after an error: the one that the error carries, or one chosen by its type. Only this package names
// commands, so errors of other packages whose remedy is a command have types.
func hint(err error) string {
	if text := cmp.Or(carriedHint(err), configRemedy(err), storeRemedy(err), diskHint(err)); text != "" {
		return text
	}
	var file *fs.PathError
	onPath := errors.As(err, &file)
	switch {
	case errors.Is(err, record.ErrNoJob):
		return "name the harvest directory (dir in harvest.yaml), or start one with: cwharvest run"
	case errors.Is(err, syscall.ENOTDIR) && onPath:
		return "name a directory: " + file.Path + " passes through a file"
	case errors.Is(err, syscall.EISDIR) && onPath:
		return "name a file instead of a directory"
	case errors.Is(err, fs.ErrNotExist) && onPath:
		return "create it, or name another path"
	case exitCode(err) == exitFatal:
		return "run it again; if the error persists, check the directory: cwharvest verify"
	}
	return ""
}

// configRemedy returns the hint for an error of the configuration whose remedy is a command.
func configRemedy(err error) string {
	var configured *config.Error
	if !errors.As(err, &configured) {
		return ""
	}
	switch configured.Remedy {
	case config.CreateFile:
		return "create it with: cwharvest init " + configured.File
	case config.ShowExample:
		return "see every key in its place with: cwharvest init -"
	}
	return ""
}

// diskHint returns the hint for a disk that cannot be written, or "".
func diskHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the disk"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return "let this user write there"
	}
	return ""
}

// storeRemedy returns the hint for an error of a harvest directory whose remedy is a command or a flag.
func storeRemedy(err error) string {
	var (
		repairable interface{ RepairDir() string }
		locked     *record.LockedError
		divided    *record.ShardError
		unknown    *store.UnknownPartError
	)
	switch {
	case errors.As(err, &repairable):
		return "repair the directory: cwharvest repair " + repairable.RepairDir()
	case errors.As(err, &locked) && locked.Owner == (record.Owner{}):
		return "wait for it"
	case errors.As(err, &locked):
		return "wait for it, or see: cwharvest status " + locked.Dir
	case errors.As(err, &divided) && divided.Has == (record.Shard{}):
		return "leave --shard out, or use another --dir"
	case errors.As(err, &divided):
		return fmt.Sprintf("use --shard %s, or another --dir", divided.Has)
	case errors.As(err, &unknown) && unknown.HasJobs:
		return fmt.Sprintf("try: cwharvest repair %s, or move the part away", unknown.Dir)
	case errors.As(err, &unknown):
		return "move the part away, or choose another out"
	}
	return ""
}

// carriedHint returns the hint that the first error in the chain with the method Hint has.
func carriedHint(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// hintedError is an error with the next step.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

func (e hintedError) Hint() string { return e.hint }
