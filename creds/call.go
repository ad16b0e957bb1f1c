package creds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxRepeats bounds how often a call is repeated with a new session before it
// fails and its target pauses.
const maxRepeats = 3

// repeater repeats calls of one chain's clients after AWS refused their session.
type repeater struct {
	chain  *chain
	probes *probes
}

// attach puts the credentials of a chain into a configuration, with two steps for
// every operation: the outermost repeats it, the innermost records which key
// signed it. The credentials are set on the loaded configuration: as an option
// of loading, the SDK would wrap them in a cache of its own.
func (r *repeater) attach(cfg *aws.Config) {
	cfg.Credentials = r.chain
	// The configurations of a principal share the array of its options.
	cfg.APIOptions = append(slices.Clip(cfg.APIOptions), func(stack *middleware.Stack) error {
		return errors.Join(
			stack.Initialize.Add(middleware.InitializeMiddlewareFunc("cwharvest.Repeat", r.repeat), middleware.Before),
			stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("cwharvest.RecordKey", recordKey), middleware.After),
		)
	})
}

// usedKey is the context key of the access key id that signed a call.
type usedKey struct{}

// repeat runs the whole operation again after its session was refused, so that
// its input is serialized and signed again.
func (r *repeater) repeat(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	out middleware.InitializeOutput, metadata middleware.Metadata, err error,
) {
	renewed := false
	for try := 0; ; try++ {
		key := new(string)
		out, metadata, err = next.HandleInitialize(context.WithValue(ctx, usedKey{}, key), in)
		if err == nil {
			r.chain.succeeded()
		}
		if err == nil || ctx.Err() != nil || *key == "" || errors.As(err, new(*Error)) {
			return out, metadata, err
		}
		state, cause := r.judge(ctx, err, *key)
		switch {
		case state == keyValid && !renewed && isUnauthorized(err) && r.chain.renew(ctx, *key):
			renewed = true
		case state == keyValid:
			return out, metadata, err
		case state == keyExpired && try == maxRepeats:
			cause = r.outage(errors.New("AWS refuses new sessions as well"))
		case state == keyExpired:
			cause = r.chain.drop(ctx, *key, code(err))
		}
		if cause != nil {
			return out, metadata, errors.Join(err, cause)
		}
	}
}

// judge returns the state of the key that signed a failed call. If the state is
// unknown, judge also returns an Error that makes the target wait.
func (r *repeater) judge(ctx context.Context, err error, key string) (keyState, error) {
	switch {
	case isWrongTime(err): // although it was signed again: a clock jumps, or is far off
		e := r.outage(errors.New(oneLine(err)))
		e.remedy.do = "if this persists, set this machine's clock"
		return keyUnknown, e
	case isExpired(err):
		return keyExpired, nil
	case isAmbiguous(err):
		state, cause := r.probes.check(ctx, r.chain, key)
		if state == keyUnknown {
			cause = r.outage(fmt.Errorf("a service refused the call, and STS cannot confirm whether the session has expired: %v", cause))
		}
		return state, cause
	}
	return keyValid, nil
}

func (r *repeater) outage(cause error) *Error { return &Error{Source: r.chain.first(), Err: cause} }

// recordKey reads the access key id out of the signature.
func recordKey(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	key, wanted := ctx.Value(usedKey{}).(*string)
	if r, ok := in.Request.(*smithyhttp.Request); ok && wanted {
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		*key, _, _ = strings.Cut(scope, "/")
	}
	return next.HandleFinalize(ctx, in)
}
