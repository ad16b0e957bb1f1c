package check_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/store/check"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// deepDamages are rows that were changed together with every checksum. Only the
// deep check finds them.
var deepDamages = map[string]struct {
	harm func(h *harvest)
	want []check.Problem // Fact is a part of the fact
}{
	"a row twice": {func(h *harvest) {
		h.replacePart(0, func(rows []string) []string { rows[1] = rows[0]; return rows })
	}, []check.Problem{{Fact: "row 2: timestamp 1795132800 does not ascend"},
		{Fact: "i-0000 of 111122223333/eu-west-1 has 49 rows, but 96 were committed", Remedy: check.RepairJob},
		{Fact: "i-0001 of 111122223333/eu-west-1 has 48 rows, but 96 were committed", Remedy: check.RepairJob}}},
	"a row in two parts": {func(h *harvest) {
		first := strings.SplitN(h.read(h.part(0)), "\n", 2)[0]
		h.replacePart(1, func(rows []string) []string { rows[0] = first; return rows })
	}, []check.Problem{
		{Fact: "111122223333/eu-west-1 InstanceId=i-0000 CPUUtilization at 2026-11-20T00:00:00Z is there twice"},
		{Fact: "i-0000 of 111122223333/eu-west-1 has 97 rows, but 96 were committed", Remedy: check.RepairJob},
		{Fact: "i-0000 of 444455556666/us-east-1 has 95 rows, but 96 were committed", Remedy: check.RepairJob},
	}},
	"unsorted": {func(h *harvest) {
		h.replacePart(0, func(rows []string) []string { return slices.Concat(rows[windowRows:], rows[:windowRows]) })
	}, []check.Problem{{Fact: "it is not sorted at 111122223333/eu-west-1 InstanceId=i-0000 CPUUtilization"},
		{Fact: "i-0000 of 111122223333/eu-west-1 has 72 rows, but 96 were committed", Remedy: check.RepairJob}}},
	"the date of another part": {func(h *harvest) { h.retime(0, "2026-11-20T23:", "2026-11-21T23:") },
		[]check.Problem{{Fact: "CPUUtilization at 2026-11-21T23:00:00Z does not belong there"}}},
	"before the range": {func(h *harvest) { h.retime(0, "2026-11-20T00:", "2026-11-19T23:") },
		[]check.Problem{{Fact: "CPUUtilization at 2026-11-19T23:00:00Z does not belong there"}}},
	"after the range": {func(h *harvest) { h.retime(2, "2026-11-21T23:", "2026-11-22T00:") },
		[]check.Problem{{Fact: "CPUUtilization at 2026-11-22T00:00:00Z does not belong there"}}},
	"another metric": {func(h *harvest) {
		h.replacePart(0, func(rows []string) []string {
			rows[len(rows)-1] = strings.Replace(rows[len(rows)-1], "NetworkIn", "NetworkOut", 1)
			return rows
		})
	}, []check.Problem{{Fact: "i-0001 NetworkOut at 2026-11-20T23:00:00Z is not in the job's plan"},
		{Fact: "i-0001 of 111122223333/eu-west-1 has 95 rows, but 96 were committed", Remedy: check.RepairJob}}},
	"fewer rows": {func(h *harvest) {
		h.replacePart(3, func(rows []string) []string { return rows[:len(rows)-2] })
	}, []check.Problem{{Fact: "has 118 rows, but 120 in the manifest"},
		{Fact: "i-0002 of 444455556666/us-east-1 has 70 rows, but 72 were committed", Remedy: check.RepairJob}}},
	"more rows": {func(h *harvest) {
		h.replacePart(3, func(rows []string) []string {
			return append(rows, strings.ReplaceAll(rows[len(rows)-1], "i-0002", "i-0003"))
		})
	}, []check.Problem{{Fact: "has 121 rows, but 120 in the manifest"}}},
	"not JSON": {func(h *harvest) {
		h.replacePart(2, func(rows []string) []string { rows[0] = "{"; return rows })
	}, []check.Problem{{Fact: "cannot read "},
		{Fact: "i-0000 of 111122223333/eu-west-1 has 48 rows, but 96 were committed", Remedy: check.RepairJob},
		{Fact: "i-0001 of 111122223333/eu-west-1 has 48 rows, but 96 were committed", Remedy: check.RepairJob}}},
	"a later start": {func(h *harvest) {
		changeJSON(h, record.BucketMeta, record.KeyPlan, func(p *record.Plan) { p.Start = p.Start.Add(time.Hour) })
	}, slices.Repeat([]check.Problem{{Fact: "at 2026-11-20T00:00:00Z does not belong there"}}, 10)},
	"an earlier end": {func(h *harvest) {
		changeJSON(h, record.BucketMeta, record.KeyPlan, func(p *record.Plan) { p.End = p.End.Add(-time.Hour) })
	}, slices.Repeat([]check.Problem{{Fact: "at 2026-11-21T23:00:00Z does not belong there"}}, 9)},
	"rows of progress": {func(h *harvest) { h.setProgress(0, func(p *record.Progress) { p.Rows = 95 }) },
		[]check.Problem{{Fact: "i-0000 of 111122223333/eu-west-1 has 96 rows, but 95 were committed", Remedy: check.RepairJob}}},
}

// retime replaces the beginning of a timestamp in the first row that has it.
func (h *harvest) retime(part int, old, at string) {
	h.Helper()
	h.replacePart(part, func(rows []string) []string {
		i := slices.IndexFunc(rows, func(row string) bool { return strings.Contains(row, `"`+old) })
		rows[i] = strings.Replace(rows[i], `"`+old, `"`+at, 1)
		return rows
	})
}

// setProgress edits the progress of an instance of the first target.
func (h *harvest) setProgress(in int, change func(*record.Progress)) {
	h.Helper()
	h.change(func(tx *bolt.Tx) error {
		b, key := tx.Bucket(record.BucketProgress).Bucket(target0), []byte(instances[in].Key())
		p, err := record.DecodeProgress(b.Get(key), 4)
		if err != nil {
			return err
		}
		change(&p)
		return b.Put(key, p.Encode())
	})
}

// Each change of rows has exactly its problems. Without the deep check the directory
// looks sound.
func TestDeepFindsEachChangeOfRows(t *testing.T) {
	for name, c := range deepDamages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarvest(t, "finished")
			c.harm(h)
			if report := h.verify(false); len(report.Problems) > 0 {
				t.Fatalf("found without reading the rows: %+v", report.Problems)
			}
			left := slices.Clone(c.want)
			for _, p := range h.verify(true).Problems {
				i := slices.IndexFunc(left, func(w check.Problem) bool { return strings.Contains(p.Fact, w.Fact) && p.Remedy == w.Remedy })
				if i < 0 {
					t.Errorf("unexpected: %+v", p)
					continue
				}
				left = slices.Delete(left, i, i+1)
			}
			if len(left) > 0 {
				t.Errorf("not found: %+v", left)
			}
		})
	}
}

// The deep check ends with its context.
func TestDeepEndsWithItsContext(t *testing.T) {
	h := newHarvest(t, "finished")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if report, err := check.Verify(ctx, h.dir, nil, true); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", report, err)
	}
}
