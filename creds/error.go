package creds

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// class is the kind of change that makes a source work again.
type class int

const (
	outage        class = iota // none: try again later
	refused                    // the account or the configuration must change
	person                     // a person must log in or replace keys; the run can wait for it
	configuration              // a value must be corrected, which needs neither a login nor the network
)

// Error reports that no usable credentials of a source are available. If it is
// neither Refused nor NeedsPerson it is an outage: try again later.
type Error struct {
	Source Source
	Err    error

	class   class
	state   string   // of the principal, such as "profile p has expired"; may be empty
	remedy  remedy   // may be empty
	shared  bool     // the cause is a principal's or STS's, which has logged it and limits the attempts
	sources []*Error // of a chain, one for each of its sources; Err joins them
}

// Error returns one line: the source, the state of its principal, and the cause.
func (e *Error) Error() string {
	if len(e.sources) > 0 {
		var texts []string
		for _, s := range e.sources {
			texts = append(texts, s.Error())
		}
		return strings.Join(texts, "; fallback: ")
	}
	text := e.Source.String() + ": "
	if e.state != "" {
		text += e.state + ": "
	}
	return strings.TrimSuffix(text+oneLine(e.Err), ".")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns an imperative for a person; empty if there is nothing to do.
func (e *Error) Hint() string { return e.nextStep().String() }

// Shared returns the fact that all sources on one principal have in common while
// that principal, or STS for it, does not work; empty if the error concerns its
// source alone.
func (e *Error) Shared() string {
	var cause *Error
	switch {
	case !e.shared:
		return ""
	case errors.As(e.Err, &cause):
		return cause.Error()
	case e.state != "":
		return e.state
	}
	return e.Error()
}

// nextStep returns the remedy of an Error. That of a chain is the choice of its
// sources' remedies; a source without one has that of its cause.
func (e *Error) nextStep() (r remedy) {
	for _, s := range e.sources {
		r = r.or(s.nextStep())
	}
	var cause *Error
	switch {
	case len(e.sources) > 0:
		return r
	case e.remedy.do != "":
		return e.remedy
	case errors.As(e.Err, &cause):
		return cause.nextStep()
	}
	return remedy{do: hintOf(e.Err)}
}

// hintOf returns the hint that belongs to the cause of an error, whatever the
// source.
func hintOf(err error) string {
	var cause interface{ Hint() string }
	switch {
	case errors.As(err, &cause):
		return cause.Hint()
	case isUnknownHost(err):
		return "check the name of the region and this machine's DNS"
	}
	return ""
}

// LogValue returns the fact and the hint, since a log has no other place for
// the hint.
func (e *Error) LogValue() slog.Value {
	text := e.Error()
	if hint := e.Hint(); hint != "" {
		text += "; " + hint
	}
	return slog.StringValue(text)
}

// Refused reports that the source will not work without a change of the account.
func (e *Error) Refused() bool { return e.class == refused }

// NeedsPerson reports that a person must log in, replace keys or correct a value.
func (e *Error) NeedsPerson() bool { return e.class == person || e.class == configuration }

// Misconfigured reports that a value of the environment or of the shared files must be
// corrected. To wait for it is pointless unless the files may be read again.
func (e *Error) Misconfigured() bool { return e.class == configuration }

// remedy is the hint of an Error.
type remedy struct {
	do      string // an imperative
	resumes bool   // the run continues afterwards without a restart
}

func (r remedy) String() string {
	if r.resumes {
		return r.do + "; the run continues by itself"
	}
	return r.do
}

// or returns the choice of two remedies.
func (r remedy) or(other remedy) remedy {
	switch {
	case r.do == "" || r.do == other.do:
		return other
	case other.do == "":
		return r
	}
	return remedy{r.do + ", or " + other.do, r.resumes || other.resumes}
}

// maxText bounds text of a server in messages.
const maxText = 300

// oneLine returns an error of the SDK without its layers, without line breaks
// and cut to maxText where a service wrote it.
func oneLine(err error) string {
	text := err.Error()
	var op *smithy.OperationError
	var api smithy.APIError
	var send *smithyhttp.RequestSendError
	switch {
	case !errors.As(err, &op):
	case errors.As(err, &send):
		text = fmt.Sprintf("%s %s: %v", op.Service(), op.Operation(), send.Err)
	case errors.As(err, &api):
		text = fmt.Sprintf("%s %s: %s: %s", op.Service(), op.Operation(), api.ErrorCode(), cut(api.ErrorMessage()))
	}
	return strings.ReplaceAll(text, "\n", " ")
}

func cut(text string) string {
	if runes := []rune(text); len(runes) > maxText {
		return string(runes[:maxText]) + "…"
	}
	return text
}

// plainError is an error of the SDK that prints without its layers.
type plainError struct{ error }

func (e plainError) Error() string { return oneLine(e.error) }
func (e plainError) Hint() string  { return hintOf(e.error) }
func (e plainError) Unwrap() error { return e.error }

// isUnknownHost reports that DNS does not know the host of a service, as happens
// for a region that does not exist.
func isUnknownHost(err error) bool {
	var send *smithyhttp.RequestSendError
	var dns *net.DNSError
	return errors.As(err, &send) && errors.As(err, &dns) && dns.IsNotFound
}
