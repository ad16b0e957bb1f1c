package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
)

// legal makes metrics that CloudWatch allows (API reference of PutMetricData): names of
// printable ASCII up to the longest lengths, 1 to 30 dimensions.
type legal struct{ *rand.Rand }

// text returns printable ASCII without $, which a configuration expands.
func (l legal) text(most int) string {
	const likely = `,=\":; '/#{}[]%`
	b := make([]byte, 1+l.IntN(most))
	for i := range b {
		b[i] = byte(' ' + l.IntN('~'-' '+1))
		if l.IntN(4) == 0 {
			b[i] = likely[l.IntN(len(likely))]
		}
		if b[i] == '$' {
			b[i] = 'x'
		}
	}
	b[0], b[len(b)-1] = byte('a'+l.IntN(26)), byte('a'+l.IntN(26)) // neither blank nor a colon
	return string(b)
}

// metric returns a metric and some of its dimension sets. The sizes of the first ones
// are the largest.
func (l legal) metric(n, sets int) (all []awssim.Metric) {
	dimensions, name, value := 1+l.IntN(30), 40, 500
	switch n {
	case 0:
		dimensions, name, value = 30, 12, 1024
	case 1:
		dimensions, name, value = 10, 255, 1024
	}
	m := awssim.Metric{Namespace: l.text(255), Name: l.text(255)}
	for d := range dimensions {
		m.Dimensions = append(m.Dimensions, [2]string{fmt.Sprintf("%c%s", 'A'+d, l.text(name-1)), ""})
	}
	for range sets {
		set := m
		set.Dimensions = slices.Clone(m.Dimensions)
		for d := range set.Dimensions {
			set.Dimensions[d][1] = l.text(value)
			if n < 2 {
				set.Dimensions[d][1] += strings.Repeat("v", value-len(set.Dimensions[d][1]))
			}
		}
		all = append(all, set)
	}
	return all
}

// TestLegalMetrics proves that every row of any legal metric comes once, in each format.
func TestLegalMetrics(t *testing.T) {
	const period, sets = time.Hour, 3
	l := legal{rand.New(rand.NewPCG(7, 16))}
	n := newNight(t, awssim.Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 1}, period, 1, []string{"CPUUtilization"}, []string{"Average"}, "")
	var spec strings.Builder
	fmt.Fprintf(&spec, "period: 1h\nrange: {from: %s, to: %s}\ninstances: {sources: [cloudwatch]}\n", n.truth.Start.Format(time.RFC3339), n.truth.End.Format(time.RFC3339))
	fmt.Fprint(&spec, "accounts: [{id: \"111122223333\", role_name: metrics-reader, external_id: x1, regions: [us-east-1]}]\nmetrics:\n")
	rows := int64(0)
	metrics := sized(8, 30)
	for i := range metrics {
		all := l.metric(i, sets)
		var names []string
		for _, d := range all[0].Dimensions {
			names = append(names, fmt.Sprintf("%q", d[0]))
		}
		fmt.Fprintf(&spec, "  - {namespace: %q, names: [%q], statistics: [Sum], dimensions: [%s]}\n", all[0].Namespace, all[0].Name, strings.Join(names, ", "))
		for _, m := range all {
			n.sim.Publish(m)
			rows += rowsOf(n.config, m, n.truth.Start, n.truth.End, period)
		}
	}
	if err := os.WriteFile(filepath.Join(n.dir, "harvest.yaml"), []byte(spec.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"parquet", "csv", "jsonl"} {
		n.run("--format", format, "--dir", format)
		c, output := n.command("verify", format, "--deep")
		if err := c.Run(); err != nil || !strings.Contains(output.String(), fmt.Sprintf("instances  %d = ", metrics*sets)) {
			t.Errorf("verify %s: %v\n%s", format, err, output)
		}
		c, output = n.command("status", format, "--json")
		if err := c.Run(); err != nil || !strings.Contains(output.String(), fmt.Sprintf("\"rows\": %d,", rows)) {
			t.Errorf("%s has not %d rows: %v\n%.600s", format, rows, err, output)
		}
	}
}

// rowsOf returns how many datapoints a metric has.
func rowsOf(c awssim.Config, m awssim.Metric, from, to time.Time, period time.Duration) (rows int64) {
	var pairs []string
	for _, d := range m.Dimensions {
		pairs = append(pairs, d[0]+"="+d[1])
	}
	slices.Sort(pairs)
	for at := from; at.Before(to); at = at.Add(period) {
		if _, ok := c.Datapoint("111122223333", "us-east-1", m.Namespace, m.Name, strings.Join(pairs, ","), "Sum", at, period); ok {
			rows++
		}
	}
	return rows
}
