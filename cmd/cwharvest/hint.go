package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/claim"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

// hint returns the next step after an error: the one that the error carries, or one chosen by its type. Only this package names
// commands, so errors of other packages whose remedy is a command have types.
func hint(err error, by choice) string {
	if text := cmp.Or(carriedHint(err), configRemedy(err), storeRemedy(err, by), diskHint(err)); text != "" {
		return text
	}
	var file *fs.PathError
	onPath := errors.As(err, &file)
	switch {
	case errors.Is(err, record.ErrNoJob):
		return "name the harvest directory (dir in harvest.yaml), or start one with: " + by.run(by.dir)
	case errors.Is(err, syscall.ENOTDIR) && onPath:
		return "name a directory: " + file.Path + " passes through a file"
	case errors.Is(err, syscall.EISDIR) && onPath:
		return "name a file instead of a directory"
	case errors.Is(err, fs.ErrNotExist) && onPath:
		return "create it, or name another path"
	case exitCode(err) == exitFatal:
		return "run it again; if the error persists, check the directory: " + by.look("verify", by.dir)
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
		return "create it with: cwharvest init " + argument(configured.File)
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
func storeRemedy(err error, by choice) string {
	var (
		repairable interface{ RepairDir() string }
		locked     *record.LockedError
		divided    *record.ShardError
		unknown    *store.UnknownPartError
		absent     *claim.AbsentError
	)
	switch {
	case errors.As(err, &absent) && absent.Err != nil:
		return "bring the file system back and run the same command again"
	case errors.As(err, &absent):
		return "mount or restore it and run the same command again; only if it was moved or deleted on purpose: " + by.look("repair --output-is-gone", absent.Dir)
	case errors.As(err, &repairable):
		return "repair the directory: " + by.look("repair", repairable.RepairDir())
	case errors.As(err, &locked) && locked.Owner == (record.Owner{}):
		return "wait for it"
	case errors.As(err, &locked):
		return "wait for it, or see: " + by.look("status", locked.Dir)
	case errors.As(err, &divided) && divided.Has == (record.Shard{}):
		return "leave --shard out, or use another --dir"
	case errors.As(err, &divided):
		return fmt.Sprintf("use --shard %s, or another --dir", divided.Has)
	case errors.As(err, &unknown) && unknown.HasJobs:
		return fmt.Sprintf("try: %s, or move the part away", by.look("repair", unknown.Dir))
	case errors.As(err, &unknown):
		return "move the part away, or choose another out"
	}
	return ""
}

// choice is the harvest that a command line chose. Commands in messages repeat it, so that they work where they are pasted. The
// variables of the environment are not repeated, since the same shell has them.
type choice struct {
	config []string // -c FILE or --no-config
	dir    string   // as given; empty if the configuration names it
}

func choiceOf(c *cobra.Command) (by choice) {
	given := func(name string) string {
		if flag := c.Flags().Lookup(name); flag != nil && flag.Changed {
			return flag.Value.String()
		}
		return ""
	}
	if file := given("config"); file != "" {
		by.config = []string{"-c", quoteShell(file)}
	} else if given("no-config") == "true" {
		by.config = []string{"--no-config"}
	}
	by.dir = given("dir")
	at := slices.IndexFunc(strings.Fields(c.Use), func(word string) bool { return strings.HasPrefix(word, "[DIR") })
	if args := c.Flags().Args(); at > 0 && len(args) == at { // status takes several, and the error is of one of them
		by.dir = args[at-1]
	}
	return by
}

// look returns a command that looks into a harvest directory; an empty dir is that of the configuration.
func (h choice) look(command, dir string) string {
	words := append([]string{"cwharvest", command}, h.config...)
	if dir != "" {
		words = append(words, argument(dir))
	}
	return strings.Join(words, " ")
}

// run returns the command that harvests into a directory.
func (h choice) run(dir string) string {
	words := append([]string{"cwharvest", "run"}, h.config...)
	if dir != "" {
		words = append(words, "--dir", quoteShell(dir))
	}
	return strings.Join(words, " ")
}

// argument quotes a path for a shell, as an argument that is no flag.
func argument(path string) string {
	if strings.HasPrefix(path, "-") && path != "-" {
		path = "./" + path
	}
	return quoteShell(path)
}

// quoteShell quotes a word for a shell if it needs that.
func quoteShell(word string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
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
