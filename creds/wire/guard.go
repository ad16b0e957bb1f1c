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
		err := errors.Join(stack.Deserialize.Add(boundResponse{}, middleware.After), stack.Deserialize.Add(reportBound{}, middleware.Before))
		if !insecure {
			// The operations that get credentials of a container or an instance register no
			// service id: their context may carry the id of the call that needs them.
			hosts := map[string][]string{"GetCredentials": containerHosts, "getToken": instanceHosts, "GetMetadata": instanceHosts}
			err = errors.Join(err, stack.Finalize.Add(refusePlainHTTP{hosts[stack.ID()]}, middleware.After))
		}
		return err
	}
}
