package accounts

import (
	"errors"
	"fmt"

	"cwharvest/store/record"
)

// InputError reports a mistake in the configuration, in a file that it names, or in the environment. It is found
// before anything is created, and the same command fails until the input is corrected.
type InputError struct {
	Err    error
	Advice string // an imperative; may be empty
}

func (e *InputError) Error() string { return e.Err.Error() }

func (e *InputError) Unwrap() error { return e.Err }

// Hint returns the next step.
func (e *InputError) Hint() string {
	var inner interface{ Hint() string }
	if e.Advice == "" && errors.As(e.Err, &inner) {
		return inner.Hint()
	}
	return e.Advice
}

// removedError reports a target of an open job that the configuration no longer names. The pipeline denies the target.
type removedError struct{ target record.Target }

func (e *removedError) Error() string {
	return fmt.Sprintf("%s is no longer in the configuration", e.target)
}

// Hint returns the next step.
func (*removedError) Hint() string { return "put it back to harvest it" }

// Refused reports that a retry fails again.
func (*removedError) Refused() bool { return true }

// NeedsPerson reports that new credentials would not help.
func (*removedError) NeedsPerson() bool { return false }

// Class returns the class of the failure in the status.
func (*removedError) Class() string { return "not_configured" }
