package check

import (
	"context"
	"errors"
	"testing"

	"cwharvest/store/place"
	"cwharvest/store/record"
)

// awayPlace is a place that cannot be reached any more.
type awayPlace struct{ place.Place }

type awayError struct{}

func (awayError) Error() string     { return "connection refused" }
func (awayError) Unavailable() bool { return true }

func (awayPlace) String() string { return "s3://bucket" }

func (awayPlace) Open(context.Context, string) (place.Object, error) { return nil, awayError{} }

// An outage during the deep check is an error of it, and no problem of the directory.
func TestDeepDuringAnOutage(t *testing.T) {
	report := &Report{}
	d := newDeep(t.Context(), report)
	d.add(&record.Plan{}, awayPlace{}, []record.Part{{Name: "date=2026-11-20/a.csv", Date: "2026-11-20"}})
	if err := d.run(); !errors.Is(err, awayError{}) || len(report.Problems) > 0 {
		t.Errorf("%v, problems %v", err, report.Problems)
	}
}
