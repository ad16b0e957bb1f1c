package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/cmd/cwharvest/harvest"
	"cwharvest/creds"
	"cwharvest/creds/wire"
	"cwharvest/pipeline"
	"cwharvest/pipeline/config"
	"cwharvest/store/claim"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

// Exit codes. Scripts and schedulers rely on them; exitTable has their meaning.
const (
	exitComplete    = 0
	exitFatal       = 1
	exitUsage       = 2
	exitIncomplete  = 3
	exitCredentials = 4
	exitBudget      = 5
	exitUnavailable = 6
	exitNoJob       = 10
	exitLocked      = 11
	exitPlanDiffers = 12
	exitSignal      = 128 // and the number of the signal
)

// exitTable describes the exit codes, for the help, the man pages, the manual and the recipes for schedulers in it.
var exitTable = []struct {
	code    int
	meaning string
	retry   bool // whether a scheduler should start the same command again soon
}{
	{exitComplete, "complete, or nothing was due", false},
	{exitFatal, "fatal error", true},
	{exitUsage, "wrong command line or configuration; nothing was fetched", false},
	{exitIncomplete, "finished, with failed or denied instances or targets", false},
	{exitCredentials, "credentials need a person; resumable", true},
	{exitBudget, "stopped by max_cost or max_duration; resumable", false},
	{exitUnavailable, "the place of output is absent or cannot be reached; nothing was judged or changed", true},
	{exitNoJob, "no job in the harvest directory", false},
	{exitLocked, "another process works in the harvest directory", true},
	{exitPlanDiffers, "the configuration differs from the plan of the open job", false},
	{exitSignal + int(syscall.SIGINT), "interrupted; resumable", true},
	{exitSignal + int(syscall.SIGTERM), "interrupted; resumable", true},
}

// retryText says in a table whether to retry after an exit code.
func retryText(code int, retry bool) string {
	switch {
	case code == exitComplete:
		return "-"
	case retry:
		return "yes"
	default:
		return "no"
	}
}

// exitCode maps an error to the exit code, for the whole program. Of joined errors the gravest counts.
func exitCode(err error) int {
	if several, joined := err.(interface{ Unwrap() []error }); joined && !slices.Contains(several.Unwrap(), pipeline.ErrCredentials) {
		gravest := exitComplete
		for _, e := range several.Unwrap() {
			if code := exitCode(e); gravity(code) > gravity(gravest) {
				gravest = code
			}
		}
		return gravest
	}
	return exitCodeOfOne(err)
}

// gravity orders exit codes: fatal, interrupted, unavailable, credentials, budget, incomplete, no job. The others never occur together.
func gravity(code int) int {
	order := []int{exitComplete, exitNoJob, exitIncomplete, exitBudget, exitCredentials, exitUnavailable}
	switch at := slices.Index(order, code); {
	case at >= 0:
		return at
	case code == exitFatal:
		return len(order) + 1
	default:
		return len(order)
	}
}

func exitCodeOfOne(err error) int {
	var (
		credentials *creds.Error
		usage       usageError
		configured  *config.Error
		plainHTTP   *wire.PlainHTTPError
		locked      *record.LockedError
		claimed     *claim.ClaimedError
		divided     *record.ShardError
		input       *accounts.InputError
		differs     *harvest.PlanDiffersError
		interrupted interruptedError
		outcome     *outcomeError
	)
	switch {
	case err == nil:
		return exitComplete
	case errors.As(err, &interrupted):
		return exitSignal + int(interrupted.signal)
	case errors.Is(err, pipeline.ErrCredentials):
		return exitCredentials
	case errors.Is(err, pipeline.ErrBudget):
		return exitBudget
	case errors.As(err, &credentials) && credentials.Misconfigured():
		return exitUsage
	case errors.As(err, &credentials) && credentials.NeedsPerson():
		return exitCredentials
	case place.IsUnavailable(err):
		return exitUnavailable
	case errors.As(err, &credentials) && credentials.Refused():
		return exitIncomplete
	case errors.As(err, &outcome):
		return outcome.code
	case errors.Is(err, harvest.ErrIncomplete):
		return exitIncomplete
	case errors.As(err, &usage), errors.As(err, &input), errors.As(err, &configured), errors.As(err, &claimed), errors.As(err, &divided), errors.As(err, &plainHTTP):
		return exitUsage
	case errors.As(err, &locked):
		return exitLocked
	case errors.As(err, &differs):
		return exitPlanDiffers
	case errors.Is(err, record.ErrNoJob):
		return exitNoJob
	default:
		return exitFatal
	}
}

// usageError is a mistake in the command line or in what it names. Nothing was created.
type usageError struct {
	error
	hint string // the next step; may be empty
}

func (e usageError) Unwrap() error { return e.error }

func (e usageError) Hint() string { return cmp.Or(e.hint, carriedHint(e.error)) }

// interruptedError names the signal that ended the run.
type interruptedError struct{ signal syscall.Signal }

func (e interruptedError) Error() string { return fmt.Sprintf("interrupted (%v)", e.signal) }

func (interruptedError) Hint() string { return "the same command resumes" }

// outcomeError carries an exit code whose reason has been printed already.
type outcomeError struct{ code int }

func (e *outcomeError) Error() string { return fmt.Sprintf("exit %d", e.code) }
