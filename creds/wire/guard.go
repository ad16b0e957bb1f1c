package wire

import (
	"errors"

	"github.com/aws/smithy-go/middleware"
)

// Guard returns an API option that adds the guards to every operation, those of
// the SDK's own credential providers included. The first step after the network
// bounds the response; the last step before it refuses plain HTTP to other
// machines, unless insecure is set.
func Guard(insecure bool) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		err := stack.Deserialize.Add(boundResponse{}, middleware.After)
		if !insecure {
			// The operation that gets container credentials has no service id of its
			// own: its context still carries the id of the call that needs them.
			container := stack.ID() == "GetCredentials"
			err = errors.Join(err, stack.Finalize.Add(refusePlainHTTP{container}, middleware.After))
		}
		return err
	}
}
