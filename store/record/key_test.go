package record

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// randomInstance has one to three dimensions, with values that may hold every
// separator.
func randomInstance(rng *rand.Rand) Instance {
	names := []string{"AutoScalingGroupName", "InstanceId", "LoadBalancer"}
	values := []string{"i-1", "i-10", "a,b", "a=b", `back\slash`, "", "ä", "x,LoadBalancer=y", "InstanceId"}
	in := Instance{Namespace: []string{"AWS/EC2", "AWS/RDS", "Custom"}[rng.IntN(3)]}
	for _, name := range names[:1+rng.IntN(3)] {
		in.Dimensions = append(in.Dimensions, Dimension{name, values[rng.IntN(len(values))]})
	}
	return in
}

// Spool keys sort as the rows of parts do, and can be taken apart again.
func TestSpoolKeysSortAsRows(t *testing.T) {
	type row struct {
		day      int64
		target   Target
		instance Instance
		series   int
		window   int
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var rows []row
	for range 2000 {
		rows = append(rows, row{
			day:      20_000 + rng.Int64N(3),
			target:   Target{[]string{"000000000001", "111122223333"}[rng.IntN(2)], []string{"eu-west-1", "us-east-1"}[rng.IntN(2)]},
			instance: randomInstance(rng), series: rng.IntN(300), window: rng.IntN(70_000),
		})
	}
	key := func(r row) []byte { return SpoolKey(r.day, r.target, r.instance.Key(), r.series, r.window) }
	byKey, byRow := slices.Clone(rows), slices.Clone(rows)
	slices.SortFunc(byKey, func(a, b row) int { return bytes.Compare(key(a), key(b)) })
	slices.SortFunc(byRow, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.day, b.day), a.target.Compare(b.target), strings.Compare(a.instance.Key(), b.instance.Key()),
			cmp.Compare(a.series, b.series), cmp.Compare(a.window, b.window))
	})
	for i := range rows {
		if !bytes.Equal(key(byKey[i]), key(byRow[i])) {
			t.Fatalf("%d: keys and rows sort differently: %+v, %+v", i, byKey[i], byRow[i])
		}
		n, err := ParseSpoolKey(key(rows[i]))
		want := SpoolName{rows[i].day, rows[i].target.Account, rows[i].target.Region, rows[i].instance.Namespace,
			FormatDimensions(rows[i].instance.Dimensions), rows[i].series, rows[i].window}
		if err != nil || n != want {
			t.Fatalf("%+v, %v, want %+v", n, err, want)
		}
	}
	for _, damaged := range [][]byte{nil, {1, 2, 3}, []byte("0000no fields at all"), append(key(rows[0])[:12:12], 0, 0, 0, 0, 0, 0, 0)} {
		if n, err := ParseSpoolKey(damaged); err == nil {
			t.Errorf("%x was taken for %+v", damaged, n)
		}
	}
}

// A dimension set can be written as text and read again by its names, whatever its
// values hold.
func TestDimensionsAreReadBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		in := randomInstance(rng)
		names := make([]string, len(in.Dimensions))
		for i, d := range in.Dimensions {
			names[i] = d.Name
		}
		text := FormatDimensions(in.Dimensions)
		reversed := slices.Clone(in.Dimensions)
		slices.Reverse(reversed)
		if again := FormatDimensions(reversed); again != text {
			t.Fatalf("%q and %q for one set", text, again)
		}
		if !hasNames(text, names) {
			t.Fatalf("%q has not the names %v", text, names)
		}
		if parsed := ParseDimensions(text, names); FormatDimensions(parsed) != text || len(parsed) != len(names) {
			t.Fatalf("%q is read as %v", text, parsed)
		}
		if hasNames(text, append(slices.Clone(names), "Zone")) || ParseDimensions(text, []string{"Other"}) != nil {
			t.Fatalf("%q has names it does not have", text)
		}
	}
}

func TestInstanceID(t *testing.T) {
	for dims, want := range map[string]string{
		"InstanceId=i-1":                        "i-1",
		"AutoScalingGroupName=a,InstanceId=i-1": "i-1",
		"DBInstanceIdentifier=db-1":             "db-1",
		"LoadBalancer=app/x/1,TargetGroup=tg/y": "app/x/1,tg/y",
		"":                                      "",
		"QueueName=a=b":                         "a=b",
	} {
		if got := InstanceID(dims); got != want {
			t.Errorf("%q: %q, want %q", dims, got, want)
		}
	}
}

func TestTargetCovers(t *testing.T) {
	for _, c := range []struct {
		pattern string
		is      bool
		covered string
		not     string
	}{
		{"us-east-1", false, "us-east-1", "us-east-2 us-east us-east-11"},
		{"enabled", true, "us-east-1 eu-west-1", ""},
		{"us-*", true, "us-east-1 us-west-2", "eu-west-1"},
		{"us-*,eu-west-?", true, "us-east-1 eu-west-3", "eu-central-1 eu-west-10"},
		{"us-east-1,eu-west-1", true, "us-east-1 eu-west-1", "us-east-2"},
		{"[", false, "", "us-east-1"},
	} {
		target := Target{"111122223333", c.pattern}
		if target.IsPattern() != c.is {
			t.Errorf("%s: pattern %v", c.pattern, target.IsPattern())
		}
		for _, region := range strings.Fields(c.covered) {
			if !target.Covers(region) {
				t.Errorf("%s does not cover %s", c.pattern, region)
			}
		}
		for _, region := range strings.Fields(c.not) {
			if target.Covers(region) {
				t.Errorf("%s covers %s", c.pattern, region)
			}
		}
		if c.is && !(Shard{2, 5}).Holds(target) {
			t.Errorf("%s is not in each shard", c.pattern)
		}
	}
}

func TestTargetsSortByAccountThenRegion(t *testing.T) {
	sorted := []Target{{"1", "a"}, {"1", "b"}, {"2", "a"}, {"2", "c"}}
	for i, a := range sorted {
		for k, b := range sorted {
			if got, want := a.Compare(b), cmp.Compare(i, k); got != want {
				t.Errorf("%v, %v: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestShardErrorNamesBoth(t *testing.T) {
	first, second := Shard{1, 4}, Shard{2, 4}
	jobs := func(s Shard) []JobInfo { return []JobInfo{{Plan: Plan{Shard: s}}, {Plan: Plan{Shard: s}}} }
	for _, s := range []Shard{{}, first, second} {
		if err := s.CheckJobs("dir", jobs(s)); err != nil {
			t.Errorf("its own jobs: %v", err)
		}
		if err := s.CheckJobs("dir", nil); err != nil {
			t.Errorf("no jobs: %v", err)
		}
	}
	for _, c := range []struct{ has, not Shard }{{Shard{}, first}, {first, Shard{}}, {first, second}, {first, Shard{1, 3}}} {
		err := c.not.CheckJobs("dir", append(jobs(c.not), jobs(c.has)...))
		if err == nil || !strings.Contains(err.Error(), "dir") {
			t.Errorf("shard %q in a directory of %q: %v", c.not, c.has, err)
		}
		for _, s := range []Shard{c.has, c.not} {
			if err != nil && s != (Shard{}) && s.Of == 4 && c.not != (Shard{}) && !strings.Contains(err.Error(), s.String()) {
				t.Errorf("%v does not name %s", err, s)
			}
		}
	}
}

// A job's id is a safe file name, unique, and says its name and range, whatever a
// person calls it.
func TestJobIDs(t *testing.T) {
	form := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9T:Z-]+(-to-[0-9TZ-]+)?-[0-9a-f]{6}$`)
	start := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	seen := map[string]bool{}
	for _, name := range []string{"nightly-ec2", "", "..", "../../etc/passwd", "_hidden", "-flag", "a b", "ä", strings.Repeat("long", 100), "with/slash", "x\x00y", "job.db"} {
		for _, c := range []struct {
			hours int
			want  string
		}{{24, "-2026-11-20-"}, {72, "-2026-11-20-to-2026-11-23-"}, {6, "-2026-11-20T0000Z-to-2026-11-20T0600Z-"}} {
			plan := Plan{Name: name, Start: start, End: start.Add(time.Duration(c.hours) * time.Hour)}
			id, err := NewJobID(plan)
			if err != nil || !form.MatchString(id) || !strings.Contains(id, c.want) || filepath.Base(id) != id {
				t.Errorf("%q over %d h: %q, %v", name, c.hours, id, err)
			}
			if seen[id] {
				t.Errorf("%q twice", id)
			}
			seen[id] = true
			plan.ID, plan.Format = id, "csv"
			if part := PartName(plan, start.Unix()/SecondsPerDay, 1); part != "date=2026-11-20/"+id+"-000001.csv" || !PartForm.MatchString(path.Base(part)) {
				t.Errorf("part %s", part)
			}
		}
	}
}

// An output inside the directory is kept relative to it, so that both can be
// moved; any other stays where it is.
func TestOutputsAreFoundAgain(t *testing.T) {
	for _, c := range []struct{ dir, out, kept, moved string }{
		{"/harvest", "/harvest/data", "data", "/elsewhere/data"},
		{"/harvest", "/harvest/a/b", "a/b", "/elsewhere/a/b"},
		{"/harvest", "/harvest", ".", "/elsewhere"},
		{"/harvest", "/harvested/data", "/harvested/data", "/harvested/data"},
		{"/harvest", "/data/../lake", "/data/../lake", "/lake"},
		{"/harvest", "s3://bucket/prefix", "s3://bucket/prefix", "s3://bucket/prefix"},
	} {
		kept := RelativeOut(c.dir, c.out)
		if kept != c.kept || ResolveOut("/elsewhere", kept) != c.moved {
			t.Errorf("%s in %s: kept as %s, found at %s", c.out, c.dir, kept, ResolveOut("/elsewhere", kept))
		}
	}
}

func TestInventoriesLieBesideData(t *testing.T) {
	for out, want := range map[string]string{
		"/h/data": "/h/instances", "/h/out": "/h/out/instances", "s3://b/p/data": "s3://b/p/instances",
		"s3://b/data": "s3://b/instances", "s3://b/p": "s3://b/p/instances", "s3://b": "s3://b/instances",
	} {
		if got := (&Plan{Out: out}).InventoryPlace(); got != want {
			t.Errorf("%s: %s, want %s", out, got, want)
		}
	}
}

// Files of jobs that a directory does not know are found among those of its own
// and of its sibling shards.
func TestUnknownParts(t *testing.T) {
	own, other := "night-2026-11-20-abcdef", "night-2026-11-20-012345"
	sibling, stranger := "night-shard-1-of-2-2026-11-20-abcdef", "night-shard-1-of-3-2026-11-20-abcdef"
	names := func(jobs ...string) (all []string) {
		for _, job := range jobs {
			all = append(all, "date=2026-11-20/"+job+"-000001.parquet", "date=2026-11-20/"+job+"-000001-r000002.csv.gz")
		}
		return all
	}
	all := append(names(own, other, sibling, stranger), "date=2026-11-20/notes.txt", "date=2026-11-20/x.csv")
	if got, want := UnknownParts(all, []string{own}, Shard{2, 2}), names(other, stranger); !slices.Equal(got, want) {
		t.Errorf("a shard: %q, want %q", got, want)
	}
	if got, want := UnknownParts(all, []string{own, other}, Shard{}), names(sibling, stranger); !slices.Equal(got, want) {
		t.Errorf("no shard: %q, want %q", got, want)
	}
}

// A plan that cannot be is refused before anything is done by it.
func TestImpossiblePlans(t *testing.T) {
	good := func() Plan {
		return Plan{ID: "x", Format: "csv", Series: []Series{{Metric: "m", Statistics: []string{"Average"}, Windows: []Window{{0, 3600, 60}}}}}
	}
	if p := good(); p.check("x") != nil {
		t.Fatal(p.check("x"))
	}
	for name, spoil := range map[string]func(*Plan){
		"another job":     func(p *Plan) { p.ID = "y" },
		"a format":        func(p *Plan) { p.Format = "xml" },
		"a compression":   func(p *Plan) { p.Compression = "lzma" },
		"no statistics":   func(p *Plan) { p.Series[0].Statistics = nil },
		"no period":       func(p *Plan) { p.Series[0].Windows[0].Period = 0 },
		"negative period": func(p *Plan) { p.Series[0].Windows[0].Period = -60 },
		"before time":     func(p *Plan) { p.Series[0].Windows[0].Start = -1 },
		"backwards":       func(p *Plan) { p.Series[0].Windows[0] = Window{3600, 0, 60} },
		"after time":      func(p *Plan) { p.Series[0].Windows[0] = Window{1 << 40, 1<<40 + 60, 60} },
		"too long":        func(p *Plan) { p.Series[0].Windows[0] = Window{0, 2 << 20, 1} },
	} {
		p := good()
		if spoil(&p); p.check("x") == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// Replans replace a window in each series that has it, one after the other.
func TestReplansFollowOneAnother(t *testing.T) {
	fine, coarse, gone := Window{0, 3600, 60}, Window{0, 3600, 300}, Window{0, 0, 300}
	p := Plan{Series: []Series{{Windows: []Window{fine, {3600, 7200, 60}}}, {Windows: []Window{fine}}}}
	p.ApplyReplans([]Replan{{Window: fine, Now: coarse}, {Window: Window{9, 9, 9}, Now: gone}})
	if p.Series[0].Windows[0] != coarse || p.Series[1].Windows[0] != coarse || p.Series[0].Windows[1].Period != 60 {
		t.Errorf("%+v", p.Series)
	}
	p.ApplyReplans([]Replan{{Window: coarse, Now: gone}})
	if w := p.Series[1].Windows[0]; !w.Gone() || w.Points() != 0 {
		t.Errorf("%+v", w)
	}
	if fine.Gone() || fine.Points() != 60 || coarse.Points() != 12 {
		t.Error(fine.Points(), coarse.Points())
	}
}

// Progress is complete when each series-window is done or failed, in any order,
// and is the same after it was stored.
func TestProgressOfAnInstance(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for bits := 1; bits < 40; bits++ {
		p, err := DecodeProgress(nil, bits)
		if err != nil {
			t.Fatal(err)
		}
		failed := map[int]bool{}
		for n, bit := range rng.Perm(bits) {
			if p.Marked(bit) {
				t.Fatalf("%d of %d is marked before it was", bit, bits)
			}
			failed[bit] = rng.IntN(4) == 0
			rows := uint64(rng.IntN(1000))
			p.Rows += rows
			if complete := p.Mark(bit, bits, failed[bit]); complete != (n == bits-1) {
				t.Fatalf("after %d of %d complete is %v", n+1, bits, complete)
			}
			encoded := p.Encode()
			if IsComplete(encoded) != p.Complete || HasFailed(encoded) != (p.Failed != nil) {
				t.Fatalf("%x of %+v", encoded, p)
			}
			if got, err := ProgressRows(encoded); err != nil || got != p.Rows {
				t.Fatalf("%d rows, %v, want %d", got, err, p.Rows)
			}
			if p, err = DecodeProgress(encoded, bits); err != nil || !p.Marked(bit) {
				t.Fatalf("%v, %+v", err, p)
			}
		}
		some := slices.Contains(mapsValues(failed), true)
		what, _ := p.Outcome(nil)
		want := "done"
		switch {
		case some:
			want = "failed"
		case p.Rows == 0:
			want = "empty"
		}
		if what != want {
			t.Errorf("%d bits: %s, want %s", bits, what, want)
		}
	}
}

func mapsValues(m map[int]bool) (values []bool) {
	for _, v := range m {
		values = append(values, v)
	}
	return values
}

func TestOutcomeOfWhatIsPending(t *testing.T) {
	no := &Failure{Class: "refused", Message: "no"}
	half := &Progress{Rows: 3, Done: []byte{1}}
	if what, why := half.Outcome(no); what != "denied" || why != no {
		t.Error(what, why)
	}
	if what, why := half.Outcome(nil); what != "pending" || why != nil {
		t.Error(what, why)
	}
	if what, _ := (&Progress{Complete: true, Rows: 3}).Outcome(no); what != "done" {
		t.Error("what is done is denied afterwards:", what)
	}
}

func TestDamagedProgress(t *testing.T) {
	for _, b := range [][]byte{{}, {0}, {4, 0}, {0, 0}, {1, 0, 1}, {0, 0, 1, 2}, {2, 0, 1}, {0, 255}, {3, 0, 1, 1, 1}} {
		if p, err := DecodeProgress(b, 8); err == nil {
			t.Errorf("%x was taken for %+v", b, p)
		}
	}
}

// A part's description counts rows and their earliest and latest time over runs in
// any order.
func TestPartsCountRuns(t *testing.T) {
	start := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	none := math.NaN()
	var p Part
	p.CountRun([][]float64{{1, none, 3}}, start.Add(time.Hour).Unix(), 60, 3)
	p.CountRun([][]float64{{none, none}}, start.Add(-time.Hour).Unix(), 60, 2)
	p.CountRun([][]float64{{none, 2}, {none, none}}, start.Unix(), 300, 2)
	if p.Rows != 3 || !p.First.Equal(start.Add(5*time.Minute)) || !p.Last.Equal(start.Add(time.Hour+2*time.Minute)) {
		t.Errorf("%+v", p)
	}
	if p.Reset(); p != (Part{}) {
		t.Errorf("%+v after a reset", p)
	}
}

// The state of a snapshot's job follows from its content and its age.
func TestStateOfASnapshot(t *testing.T) {
	for _, c := range []struct {
		s    Status
		age  time.Duration
		want string
	}{
		{Status{State: "open"}, time.Second, "running"},
		{Status{State: "open"}, 14 * time.Second, "running"},
		{Status{State: "open"}, 16 * time.Second, "unresponsive"},
		{Status{State: "open", Trouble: &Trouble{}}, time.Second, "waiting"},
		{Status{State: "open", Trouble: &Trouble{}}, time.Hour, "unresponsive"},
		{Status{State: "open", Targets: TargetCounts{Waiting: 2}}, time.Second, "waiting"},
		{Status{State: "open", Targets: TargetCounts{Waiting: 2, Active: 1}}, time.Second, "running"},
		{Status{State: "finished"}, time.Hour, "finished"},
		{Status{State: "finished_with_failures"}, time.Second, "finished_with_failures"},
	} {
		s, now := c.s, time.Now()
		s.Written = now.Add(-c.age)
		if s.judge(now); s.State != c.want || s.AgeSeconds != c.age.Seconds() {
			t.Errorf("%s, %v old: %s, %v s", c.s.State, c.age, s.State, s.AgeSeconds)
		}
	}
}

func TestCountersAdd(t *testing.T) {
	a := Counters{1, 2, 3, 4, 5, 6, 7, 8.5, 9.5}
	a.Add(Counters{10, 20, 30, 40, 50, 60, 70, 80, 90})
	if want := (Counters{11, 22, 33, 44, 55, 66, 77, 88.5, 99.5}); a != want {
		t.Errorf("%+v", a)
	}
	in := InstanceCounts{1, 2, 3, 4, 5, 6}
	in.Add(InstanceCounts{10, 20, 30, 40, 50, 60})
	if want := (InstanceCounts{11, 22, 33, 44, 55, 66}); in != want {
		t.Errorf("%+v", in)
	}
}

// TestShapes proves that shapes give each series-window of a group one bit,
// ascending, and add up the cost of an instance.
func TestShapes(t *testing.T) {
	windows := []Window{{0, 3600, 60}, {3600, 7200, 300}}
	series := []Series{
		{Namespace: "AWS/EC2", Dimensions: []string{"InstanceId"}, Metric: "A", Statistics: []string{"Average", "Maximum"}, Windows: windows, CostUSD: 1, WorstUSD: 2},
		{Namespace: "AWS/RDS", Dimensions: []string{"DB"}, Metric: "B", Statistics: []string{"Sum"}, Windows: windows[:1], CostUSD: 4, WorstUSD: 4},
		{Namespace: "AWS/EC2", Dimensions: []string{"InstanceId"}, Metric: "C", Statistics: []string{"Sum"}, Windows: windows, CostUSD: 8, WorstUSD: 16},
	}
	shapes := NewShapes(series)
	if len(shapes) != 2 {
		t.Fatal(shapes)
	}
	ec2 := shapes[series[0].Group()]
	want := []SeriesWindow{{0, 0}, {0, 1}, {2, 0}, {2, 1}}
	if !slices.Equal(ec2.Bits, want) || ec2.Cost != 9 || ec2.Worst != 18 || ec2.Points != 60*2+12*2+60+12 {
		t.Errorf("%+v", ec2)
	}
	for bit, sw := range ec2.Bits {
		if ec2.Index[sw] != bit {
			t.Errorf("%+v is bit %d and %d", sw, bit, ec2.Index[sw])
		}
	}
	in := Instance{Namespace: "AWS/RDS", Dimensions: []Dimension{{"DB", "x"}}}
	if GroupOf([]byte(in.Key())) != series[1].Group() || GroupOf([]byte("no separator")) != "" {
		t.Errorf("group %q", GroupOf([]byte(in.Key())))
	}
	if got := fmt.Sprint((&Plan{Series: series}).Statistics()); got != "[Average Maximum Sum]" {
		t.Error(got)
	}
}
