package main

import (
	"bytes"
	"cwharvest/cmd/cwharvest/demo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/encode"
)

// duckdbProgram builds DuckDB, a C++ library, in a module of its own under
// testdata, so that an independent engine reads the output of cwharvest.
var duckdbProgram = sync.OnceValues(func() (string, error) {
	c := exec.Command("go", "tool", "-n", "duckdb") // builds it, and the build cache keeps it
	c.Dir = filepath.Join("testdata", "duckdb")
	c.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=1")
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("build of testdata/duckdb: %w\n%s", err, &problems)
	}
	return strings.TrimSpace(string(out)), nil
})

// needsCompiler skips a test on a machine without a compiler to link DuckDB.
func needsCompiler(t *testing.T) {
	t.Helper()
	for _, name := range []string{"CC", "CXX"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatalf("go env %s: %v", name, err)
		}
		compiler := strings.Fields(string(out) + " ?")[0]
		if _, err := exec.LookPath(compiler); err != nil {
			t.Skipf("DuckDB needs a C and a C++ compiler, and %s=%s is not there", name, compiler)
		}
	}
}

// lake is a night's output as DuckDB sees it through the tables of `ddl duckdb`.
type lake struct {
	*night
	duckdb string
	tables string // the output of ddl
}

// strange is a directory name with characters that are special in SQL and in
// wildcards.
const strange = `it's [a-z] "b*c?" {d,e} f\g`

// TestDuckDBReadsWhatIsPublished proves that the tables of ddl read every format
// and hold the data of the simulated AWS: no row is missing, duplicated or wrong,
// and every instance without data has its reason.
func TestDuckDBReadsWhatIsPublished(t *testing.T) {
	needsProcesses(t)
	needsCompiler(t)
	program, err := duckdbProgram()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []encode.Format{{Name: "parquet"}, {Name: "csv", Compression: "gzip"}, {Name: "jsonl", Compression: "zstd"}} {
		t.Run(f.Suffix()[1:], func(t *testing.T) {
			t.Parallel()
			l := newLake(t, f, program)
			l.checkColumns()
			l.checkSeries()
			l.checkTimes()
			l.checkInstances()
			l.checkNoData()
			if f.Name == "parquet" {
				l.checkExports()
			}
		})
	}
}

// newLake harvests two days of a fleet in which one target is denied and one
// instance fails.
func newLake(t *testing.T, f encode.Format, program string) *lake {
	t.Helper()
	settings := fmt.Sprintf("format: %s\ncompression: %s\nout: %q\n", f.Name, f.Compression, strange+"/data")
	l := &lake{duckdb: program, night: newNight(t, awssim.Config{
		Accounts: []string{"111122223333", "444455556666"}, Regions: []string{"us-east-1", "eu-west-1"}, Instances: 20,
	}, 5*time.Minute, 2, []string{"CPUUtilization", "NetworkIn", "CPUCreditBalance"}, []string{"Average", "Maximum"}, settings)}
	for _, fault := range []awssim.Fault{
		{Kind: "access_denied", Operation: "GetMetricData", Account: "444455556666", Region: "eu-west-1"},
		{Kind: "poison", Instance: l.poisoned()},
	} {
		if err := l.sim.Inject(fault); err != nil {
			t.Fatal(err)
		}
	}
	c, output := l.command("run", "-c", "harvest.yaml")
	var exit *exec.ExitError
	if err := c.Run(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("run: %v, want exit code 3\n%s", err, output)
	}
	l.define()
	unfinished := filepath.Join(l.dir, strange, "data", "date="+l.truth.Start.Format(time.DateOnly), "_x"+f.Suffix())
	if err := os.WriteFile(unfinished, []byte("not yet a part"), 0o666); err != nil {
		t.Fatal(err)
	}
	return l
}

// define runs ddl and keeps its output.
func (l *lake) define() {
	l.Helper()
	c, output := l.command("ddl", "duckdb", "harvest")
	if err := c.Run(); err != nil {
		l.Fatalf("ddl: %v\n%s", err, output)
	}
	l.tables = output.String()
}

func (l *lake) poisoned() string { return l.config.Instance("111122223333", "us-east-1", 7).ID }

// want returns the expected outcome of an instance and its class.
func (l *lake) want(account, region string, in awssim.Instance) (outcome, class string) {
	switch coverage := awssim.CoverageOf(in.ID); {
	case account == "444455556666" && region == "eu-west-1":
		return "denied", "refused"
	case in.ID == l.poisoned():
		return "failed", "poison"
	case coverage == awssim.Stopped || coverage == awssim.Silent:
		return "empty", ""
	}
	return "done", ""
}

// fleet yields every instance of the simulated AWS.
func (l *lake) fleet(yield func(account, region string, in awssim.Instance)) {
	for _, account := range l.config.Accounts {
		for _, region := range l.config.Regions {
			for i := range l.config.Instances {
				yield(account, region, l.config.Instance(account, region, i))
			}
		}
	}
}

// ask returns the rows of a query on the tables, from a process with another
// working directory and time zone.
func ask[T any](l *lake, query string) (rows []T) {
	l.Helper()
	c := exec.Command(l.duckdb)
	c.Dir = l.TempDir()
	c.Stdin = strings.NewReader("SET TimeZone = 'America/New_York';\n" + l.tables + query)
	var problems bytes.Buffer
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		l.Fatalf("%v: %s\n%s%s", err, &problems, l.tables, query)
	}
	lines := json.NewDecoder(bytes.NewReader(out))
	lines.DisallowUnknownFields()
	for {
		var row T
		err := lines.Decode(&row)
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			l.Fatalf("%v of %s", err, query)
		}
		rows = append(rows, row)
	}
}

// count returns the one number, named n, of a query.
func (l *lake) count(query string) int {
	l.Helper()
	return ask[struct{ N int }](l, query)[0].N
}

// checkColumns checks that both tables have the same columns and types in every format.
func (l *lake) checkColumns() {
	l.Helper()
	for table, want := range map[string]string{
		"metrics": "account VARCHAR, region VARCHAR, namespace VARCHAR, metric VARCHAR, instance_id VARCHAR, dimensions VARCHAR, " +
			"timestamp TIMESTAMP WITH TIME ZONE, period_s INTEGER, average DOUBLE, maximum DOUBLE, date DATE",
		"instances": "account VARCHAR, region VARCHAR, namespace VARCHAR, instance_id VARCHAR, dimensions VARCHAR, type VARCHAR, " +
			"zone VARCHAR, platform VARCHAR, state VARCHAR, launch_time TIMESTAMP WITH TIME ZONE, tags VARCHAR, sources VARCHAR, " +
			"outcome VARCHAR, rows BIGINT, class VARCHAR, reason VARCHAR, date DATE",
	} {
		rows := ask[struct{ Columns string }](l, "SELECT string_agg(column_name || ' ' || column_type, ', ') AS columns FROM (DESCRIBE "+table+")")
		if got := rows[0].Columns; got != want {
			l.Errorf("%s has the columns\n%s, want\n%s", table, got, want)
		}
	}
}

// tally summarizes the values of one statistic of one series.
type tally struct {
	Account, Region, Dimensions, Metric, Statistic string

	N             int
	Sum, Min, Max float64
	Times         int64 // the sum of the Unix times
}

// checkSeries compares every statistic of every series with the simulated AWS,
// and looks for duplicate rows.
func (l *lake) checkSeries() {
	l.Helper()
	got := ask[tally](l, `SELECT account, region, dimensions, metric, statistic, count(value) AS n, sum(value) AS sum, min(value) AS min,
		max(value) AS max, sum(epoch(timestamp))::BIGINT AS times
		FROM (UNPIVOT metrics ON average, maximum INTO NAME statistic VALUE value) GROUP BY ALL ORDER BY ALL`)
	want, rows := l.tallies()
	if len(want) == 0 || !slices.Equal(got, want) {
		l.Errorf("%d series with other sums than %d of the simulated AWS", len(got), len(want))
	}
	n, status := l.count("SELECT count(*) AS n FROM metrics"), l.status()
	if n != rows || int64(n) != status.Rows {
		l.Errorf("%d rows, want %d, status says %d", n, rows, status.Rows)
	}
	if n := l.count(`SELECT count(*) AS n FROM (SELECT 1 FROM metrics
		GROUP BY account, region, namespace, metric, instance_id, dimensions, timestamp, period_s, date HAVING count(*) > 1)`); n != 0 {
		l.Errorf("%d keys come more than once", n)
	}
	l.Logf("%d rows, %d statistics of series", n, len(got))
}

// tallies returns the expected tallies, sorted by their texts, and the number of
// rows.
func (l *lake) tallies() (all []tally, rows int) {
	l.fleet(func(account, region string, in awssim.Instance) {
		if outcome, _ := l.want(account, region, in); outcome != "done" {
			return
		}
		for _, metric := range l.truth.Metrics {
			key := demo.SeriesKey{Account: account, Region: region, Dimensions: "InstanceId=" + in.ID, Metric: metric}
			for at := l.truth.Start; at.Before(l.truth.End); at = at.Add(l.truth.Period) {
				if l.truth.Has(key, at) {
					rows++
				}
			}
			for _, column := range slices.Sorted(maps.Keys(l.truth.Statistics)) {
				all = append(all, l.tally(key, column))
			}
		}
	})
	slices.SortFunc(all, func(a, b tally) int {
		return slices.Compare([]string{a.Account, a.Region, a.Dimensions, a.Metric, a.Statistic}, []string{b.Account, b.Region, b.Dimensions, b.Metric, b.Statistic})
	})
	return all, rows
}

func (l *lake) tally(key demo.SeriesKey, column string) tally {
	is := tally{Account: key.Account, Region: key.Region, Dimensions: key.Dimensions, Metric: key.Metric, Statistic: column}
	for at := l.truth.Start; at.Before(l.truth.End); at = at.Add(l.truth.Period) {
		value, ok := l.truth.Datapoint(key, l.truth.Statistics[column], at)
		if !ok {
			continue
		}
		if is.N++; is.N == 1 {
			is.Min, is.Max = value, value
		}
		is.Sum, is.Min, is.Max, is.Times = is.Sum+value, min(is.Min, value), max(is.Max, value), is.Times+at.Unix()
	}
	return is
}

// checkTimes compares dates and the ends of the range, which must not depend on
// the reader's time zone.
func (l *lake) checkTimes() {
	l.Helper()
	type ends struct {
		Date        string
		First, Last int64
		Period      int64
	}
	got := ask[ends](l, `SELECT date::VARCHAR AS date, min(epoch_ms(timestamp)) AS first, max(epoch_ms(timestamp)) AS last, max(period_s) AS period
		FROM metrics GROUP BY 1 ORDER BY 1`)
	var want []ends
	for day := l.truth.Start; day.Before(l.truth.End); day = day.AddDate(0, 0, 1) {
		want = append(want, ends{day.Format(time.DateOnly), day.UnixMilli(), day.AddDate(0, 0, 1).Add(-l.truth.Period).UnixMilli(), 300})
	}
	if !slices.Equal(got, want) {
		l.Errorf("dates are %v, want %v", got, want)
	}
	if n := l.count("SELECT count(*) AS n FROM metrics WHERE date != (timestamp AT TIME ZONE 'UTC')::DATE OR period_s != 300"); n != 0 {
		l.Errorf("%d rows of another date or period", n)
	}
}

// found is an instance of the inventory.
type found struct {
	Account, Region, ID         string
	Type, Zone, Platform, State string
	Launched                    int64
	Name                        string
	Outcome, Class              string
	Matches                     bool // it counts as many rows as metrics has
}

// checkInstances compares the inventory with the fleet, the metrics and status.
func (l *lake) checkInstances() {
	l.Helper()
	got := ask[found](l, `SELECT account, region, instance_id AS id, type, zone, platform, state, epoch(launch_time)::BIGINT AS launched,
		tags->>'$.Name' AS name, outcome, coalesce(class, '') AS class, rows = coalesce(n, 0) AS matches
		FROM instances LEFT JOIN (SELECT account, region, dimensions, count(*) AS n FROM metrics GROUP BY ALL) USING (account, region, dimensions)`)
	outcomes := map[string]int64{}
	var want []found
	l.fleet(func(account, region string, in awssim.Instance) {
		outcome, class := l.want(account, region, in)
		outcomes[outcome]++
		want = append(want, found{account, region, in.ID, in.Type, in.Zone, in.Platform, in.State, in.Launched.Unix(), in.Tags["Name"], outcome, class, true})
	})
	byID := func(a, b found) int {
		return slices.Compare([]string{a.Account, a.Region, a.ID}, []string{b.Account, b.Region, b.ID})
	}
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if !slices.Equal(got, want) {
		l.Errorf("%d instances, want %d; they differ", len(got), len(want))
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				l.Fatalf("instance is\n%v, want\n%v", got[i], want[i])
			}
		}
	}
	counted := map[string]int64{}
	for _, row := range ask[struct {
		Outcome string
		N       int64
	}](l, "SELECT outcome, count(*) AS n FROM instances GROUP BY 1") {
		counted[row.Outcome] = row.N
	}
	s := l.status().Instances
	told := map[string]int64{"done": s.Done, "empty": s.Empty, "failed": s.Failed, "denied": s.Denied}
	if !maps.Equal(counted, outcomes) || !maps.Equal(counted, told) {
		l.Errorf("outcomes are %v, want %v, status says %v", counted, outcomes, told)
	}
	l.Logf("outcomes %v", counted)
}

// checkNoData checks that one query lists the instances without data and their reasons.
func (l *lake) checkNoData() {
	l.Helper()
	type answer struct{ ID, Why string }
	got := ask[answer](l, "SELECT instance_id AS id, coalesce(reason, state) AS why FROM instances WHERE rows = 0 ORDER BY account, region, id")
	missing := 0
	l.fleet(func(account, region string, in awssim.Instance) {
		outcome, _ := l.want(account, region, in)
		if outcome == "done" {
			return
		}
		missing++
		if !slices.ContainsFunc(got, func(a answer) bool {
			return a.ID == in.ID && a.Why != "" && (a.Why == in.State) == (outcome == "empty")
		}) {
			l.Errorf("%s is not among those without data, or not for that reason: %v", in.ID, got)
		}
	})
	if len(got) != missing {
		l.Errorf("%d instances have no data, want %d", len(got), missing)
	}
}

// checkExports compares every exported row with the published one. It reads the
// export without the tables of ddl.
func (l *lake) checkExports() {
	l.Helper()
	for _, e := range []struct{ format, compression, read string }{
		{"csv", "gzip", "read_csv('%s/date=*/*.csv.gz', types = {'account': 'VARCHAR', 'timestamp': 'TIMESTAMPTZ'})"},
		{"csv", "zstd", "read_csv('%s/date=*/*.csv.zst', types = {'account': 'VARCHAR', 'timestamp': 'TIMESTAMPTZ'})"},
		{"jsonl", "zstd", "(SELECT * REPLACE (timestamp::TIMESTAMPTZ AS timestamp) FROM read_json('%s/date=*/*.jsonl.zst'))"},
		{"jsonl", "none", "(SELECT * REPLACE (timestamp::TIMESTAMPTZ AS timestamp) FROM read_json('%s/date=*/*.jsonl'))"},
	} {
		to := filepath.Join(l.TempDir(), "export")
		c, output := l.command("export", "harvest", "--format", e.format, "--compression", e.compression, "--to", to)
		if err := c.Run(); err != nil {
			l.Fatalf("export: %v\n%s", err, output)
		}
		exported := fmt.Sprintf(e.read, to)
		n := l.count(fmt.Sprintf(`SET TimeZone = 'UTC'; SELECT count(*) AS n FROM
			((FROM metrics EXCEPT ALL FROM %[1]s) UNION ALL (FROM %[1]s EXCEPT ALL FROM metrics))`, exported))
		if rows := l.count("SELECT count(*) AS n FROM " + exported); n != 0 || rows == 0 {
			l.Errorf("%d rows of %d differ in the export to %s, %s", n, rows, e.format, e.compression)
		}
	}
}

// TestStatements runs the statements of README.md, the manual and ddl in every format and compression: after a first night without a
// part, after one with data and the statements of the night before, and after a statistic was added.
func TestStatements(t *testing.T) {
	needsProcesses(t)
	needsCompiler(t)
	program, err := duckdbProgram()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []encode.Format{
		{Name: "parquet"}, {Name: "csv"}, {Name: "csv", Compression: "gzip"}, {Name: "csv", Compression: "zstd"},
		{Name: "jsonl"}, {Name: "jsonl", Compression: "gzip"}, {Name: "jsonl", Compression: "zstd"},
	} {
		t.Run(f.Suffix()[1:], func(t *testing.T) {
			t.Parallel()
			l := &lake{duckdb: program, night: newNight(t, awssim.Config{
				Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 5,
			}, 5*time.Minute, 3, []string{"CPUUtilization"}, []string{"Average"}, fmt.Sprintf("format: %s\ncompression: %s\n", f.Name, f.Compression))}
			l.runNight(0, "UnpublishedThing", "Average,Maximum")
			l.define()
			l.checkStatements(f.Name)
			l.checkNights(l.counts(0, 0, 0))

			l.runNight(1, "CPUUtilization", "Average,Maximum")
			l.checkNights(l.counts(1, 1440, 0))
			l.define()
			if strings.Contains(l.tables, "getvariable") {
				t.Errorf("tables last for one session although there are files:\n%s", l.tables)
			}

			l.runNight(2, "CPUUtilization", "p99,TM(10%:90%),Average,Maximum")
			l.define()
			l.checkStatements(f.Name)
			l.checkNights(append(l.counts(1, 1440, 0), l.counts(2, 1440, 1440)...))
			l.checkEmptyForm()
		})
	}
}

// runNight harvests one of the days.
func (l *lake) runNight(day int, metric, statistics string) {
	l.Helper()
	c, output := l.command("run", "-c", "harvest.yaml", "--night", l.truth.Start.AddDate(0, 0, day).Format(time.DateOnly),
		"--metric", metric, "--stat", statistics, "--allow-unknown-metric")
	if err := c.Run(); err != nil {
		l.Fatalf("run: %v\n%s", err, output)
	}
}

// checkStatements runs every SQL block of the documents. Those that name Parquet files need some.
func (l *lake) checkStatements(format string) {
	l.Helper()
	found := 0
	for _, path := range documents(l.T) {
		for _, query := range blocks(readDocument(l.T, path), "sql") {
			tables := l.tables
			if strings.Contains(query, "read_parquet") {
				if tables = ""; format != "parquet" || strings.Contains(l.tables, "getvariable") {
					continue
				}
			}
			found++
			c := exec.Command(l.duckdb)
			c.Dir, c.Stdin = l.dir, strings.NewReader(tables+query)
			if out, err := c.CombinedOutput(); err != nil {
				l.Errorf("%s: %v %s\n%s%s", path, err, out, tables, query)
			}
		}
	}
	if found < 4 {
		l.Errorf("%d queries", found)
	}
}

// nightCounts counts the values of a date, and its rows in the inventory.
type nightCounts struct {
	Date             string
	Rows, P99, TM, I int
}

func (l *lake) counts(day, rows, extended int) []nightCounts {
	if rows == 0 {
		return nil
	}
	return []nightCounts{{l.truth.Start.AddDate(0, 0, day).Format(time.DateOnly), rows, extended, extended, 5}}
}

// checkNights counts the rows of the tables. Statistics that ddl does not know are not counted.
func (l *lake) checkNights(want []nightCounts) {
	l.Helper()
	extended := "0 AS p99, 0 AS tm"
	if slices.ContainsFunc(want, func(c nightCounts) bool { return c.P99 > 0 }) {
		extended = "count(p99) AS p99, count(tm_10_90) AS tm"
	}
	got := ask[nightCounts](l, `SELECT date::VARCHAR AS date, count(average) AS rows, `+extended+`,
		(SELECT count(*) FROM instances WHERE instances.date = metrics.date) AS i FROM metrics GROUP BY date ORDER BY date`)
	if !slices.Equal(got, want) {
		l.Errorf("got %v, want %v", got, want)
	}
}

// checkEmptyForm checks that the statements printed before the first file give tables with the same columns and rows, and without
// any file, tables with these columns and no row.
func (l *lake) checkEmptyForm() {
	l.Helper()
	describe := `SELECT (SELECT string_agg(column_name || ' ' || column_type, ', ' ORDER BY column_name) FROM (DESCRIBE metrics)) AS metrics,
		(SELECT string_agg(column_name || ' ' || column_type, ', ' ORDER BY column_name) FROM (DESCRIBE instances)) AS instances,
		(SELECT count(*) FROM metrics) AS m, (SELECT count(*) FROM instances) AS i`
	type form struct {
		Metrics, Instances string
		M, I               int
	}
	want := ask[form](l, describe)[0]
	for _, move := range []string{"", "/nowhere"} {
		tables, err := tablesOf(filepath.Join(l.dir, "harvest"))
		if err != nil {
			l.Fatal(err)
		}
		l.tables = ""
		for i := range tables {
			tables[i].empty, tables[i].Place = true, tables[i].Place+move
			sql, err := duckdb(&tables[i])
			if err != nil {
				l.Fatal(err)
			}
			l.tables += sql + "\n"
		}
		if move != "" {
			want.M, want.I = 0, 0
		}
		if got := ask[form](l, describe)[0]; got != want {
			l.Errorf("before the first file, in %q, the tables are\n%+v, want\n%+v", move, got, want)
		}
	}
}
