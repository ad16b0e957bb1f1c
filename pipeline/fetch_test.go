package pipeline

import (
	"errors"
	"testing"

	"cwharvest/pipeline/flat"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// The error of a result sticks, whatever later pages say of the same query.
func TestErrorsOfResultsStick(t *testing.T) {
	const (
		complete  = types.StatusCodeComplete
		partial   = types.StatusCodePartialData
		internal  = types.StatusCodeInternalError
		forbidden = types.StatusCodeForbidden
	)
	for _, test := range []struct {
		pages           []types.StatusCode
		good, forbidden bool
	}{
		{pages: []types.StatusCode{complete}, good: true},
		{pages: []types.StatusCode{complete, complete}, good: true},
		{pages: []types.StatusCode{partial, complete}, good: true},
		{pages: []types.StatusCode{partial, partial}},
		{pages: []types.StatusCode{complete, partial}},
		{pages: []types.StatusCode{internal, complete}},
		{pages: []types.StatusCode{internal, partial, complete}},
		{pages: []types.StatusCode{partial, internal, complete}},
		{pages: []types.StatusCode{complete, internal}},
		{pages: []types.StatusCode{"New", complete}},
		{pages: []types.StatusCode{forbidden, complete}, forbidden: true},
		{pages: []types.StatusCode{}},
	} {
		var q queryState
		for _, status := range test.pages {
			q.merge(&flat.Result{Status: status})
		}
		if err := q.check(0); (err == nil) != test.good || errors.Is(err, errForbidden) != test.forbidden {
			t.Errorf("%q: %v", test.pages, err)
		}
	}
}
