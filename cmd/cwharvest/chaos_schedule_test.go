package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
)

// mishap is one fault, at once or for some time.
type mishap struct {
	kind  string
	at    time.Duration // since the start
	lasts time.Duration // 0: momentary
	fault awssim.Fault  // for kinds of the simulated AWS
	by    time.Duration // for clocks
	room  int64         // free bytes of a full disk
}

func (m *mishap) String() string {
	f := m.fault
	text := fmt.Sprintf("%7.3fs %s", m.at.Seconds(), m.kind)
	for _, part := range []struct {
		format string
		value  any
		said   bool
	}{
		{" for %v", m.lasts, m.lasts > 0}, {" by %v", m.by, m.by != 0}, {" but for %d bytes", m.room, m.room > 0},
		{" of %.0f %% of calls", 100 * f.Probability, f.Probability > 0}, {" of %s", f.Service + f.Operation, f.Service+f.Operation != ""},
		{" in %s", f.Account + "/" + f.Region, f.Account != ""}, {" %s", f.Instance, f.Instance != ""},
		{" spelled %q", f.Spelling, f.Kind == "expired"}, {" of %d ms", f.Millis, f.Millis > 0}, {" of %.2f/s", f.Requests, f.Requests > 0},
	} {
		if part.said {
			text += fmt.Sprintf(part.format, part.value)
		}
	}
	return text
}

// chaosKind is a kind of mishap, with its relative frequency and its longest
// duration.
type chaosKind struct {
	name    string
	often   int
	longest time.Duration
	make    func(*rand.Rand, *mishap)
	ends    bool // it may end a process or leave a job incomplete
}

// chaosKinds lists every kind of mishap. Faults of the simulated AWS have its
// names.
var chaosKinds = []chaosKind{
	{name: "kill", often: 8, ends: true},
	{name: "interrupt", often: 1, ends: true},
	{name: "suspend", often: 2, longest: 3 * time.Second},
	{name: "clock", often: 1, ends: true, make: func(r *rand.Rand, t *mishap) { t.by = either(r, 20*time.Hour) }},
	{name: "server_clock", often: 1, make: func(r *rand.Rand, t *mishap) { t.by = either(r, 2*time.Hour) }},
	{name: "disk_full", often: 2, longest: 2 * time.Second, make: func(r *rand.Rand, t *mishap) { t.room = 1 + r.Int64N(256<<10) }},
	{name: "s3_down", often: 1, longest: 3 * time.Second},
	{name: "s3_lost", often: 1, longest: 3 * time.Second},

	{name: "sts_down", often: 1, longest: 2 * time.Second},
	{name: "revoke_all", often: 2},
	{name: "key_expired", often: 1, longest: 3 * time.Second},
	{name: "role_denied", often: 1, longest: 2 * time.Second, ends: true, make: inAccount},
	{name: "access_denied", often: 1, longest: 2 * time.Second, ends: true, make: inTarget},
	{name: "region_disabled", often: 1, longest: 2 * time.Second, ends: true, make: inTarget},
	{name: "forbidden", often: 1, longest: 2 * time.Second, ends: true, make: inTarget},
	{name: "poison", often: 1, longest: 4 * time.Second, ends: true, make: inInstance},

	{name: "quota", often: 2, longest: 4 * time.Second, make: func(r *rand.Rand, t *mishap) { t.fault.Requests = 1 + 5*r.Float64() }},
	{name: "throttle", often: 2, longest: 3 * time.Second, make: scattered},
	{name: "error500", often: 1, longest: 2 * time.Second, make: scattered},
	{name: "error503", often: 1, longest: 2 * time.Second, make: scattered},
	{name: "cut", often: 1, longest: 2 * time.Second, make: scattered},
	{name: "truncate", often: 2, longest: 2 * time.Second, make: scattered},
	{name: "hang", often: 1, longest: 2 * time.Second, make: scattered},
	{name: "latency", often: 1, longest: 3 * time.Second, make: slow},
	{name: "partial", often: 2, longest: 2 * time.Second, make: spoiled},
	{name: "internal_result", often: 2, longest: 2 * time.Second, make: spoiled},
	{name: "region_down", often: 1, longest: 2 * time.Second, make: inTarget},
	{name: "expired", often: 1, longest: 2 * time.Second, make: expiring},
}

var (
	chaosAccounts = []string{"111122223333", "444455556666"}
	chaosRegions  = []string{"us-east-1", "eu-west-1"}
)

func either(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(2*most)) - int64(most)).Round(time.Second)
}

func inAccount(r *rand.Rand, t *mishap) { t.fault.Account = chaosAccounts[r.IntN(len(chaosAccounts))] }

func inTarget(r *rand.Rand, t *mishap) {
	inAccount(r, t)
	t.fault.Region = chaosRegions[r.IntN(len(chaosRegions))]
}

func inInstance(r *rand.Rand, t *mishap) {
	inTarget(r, t)
	t.fault.Instance = awssim.Config{}.Instance(t.fault.Account, t.fault.Region, r.IntN(chaosFleet)).ID
}

// scattered applies a fault to some or all calls, everywhere or in one target.
func scattered(r *rand.Rand, t *mishap) {
	if r.IntN(3) > 0 {
		t.fault.Probability = 0.1 + 0.8*r.Float64()
	}
	if r.IntN(2) == 0 {
		inTarget(r, t)
	}
	if r.IntN(2) == 0 {
		t.fault.Operation = "GetMetricData"
	}
}

// spoiled damages some or all responses, entirely or for one instance only.
func spoiled(r *rand.Rand, t *mishap) {
	if r.IntN(2) == 0 {
		inInstance(r, t)
		return
	}
	scattered(r, t)
}

func slow(r *rand.Rand, t *mishap) {
	scattered(r, t)
	t.fault.Millis = r.IntN(3000)
}

func expiring(r *rand.Rand, t *mishap) {
	t.fault.Service = "monitoring"
	t.fault.Spelling = []string{"", "xml", "empty", "RequestExpired"}[r.IntN(4)]
	t.fault.Probability = 0.1 + 0.8*r.Float64()
}

// schedule returns the mishaps of a seed, the same for the same arguments.
// Kinds are dealt like cards, so that half a minute contains all of them. Mishaps
// of one kind do not overlap. The next mishap is dealt at most apart later.
func schedule(seed uint64, length, apart time.Duration, kinds []chaosKind) (all []mishap) {
	rng := rand.New(rand.NewPCG(seed, 9))
	until := map[string]time.Duration{}
	var deck []*chaosKind
	for at := time.Second; at < length; at += time.Duration(rng.Int64N(int64(apart))) {
		if len(deck) == 0 {
			deck = shuffled(rng, kinds)
		}
		t := newMishap(rng, deck[0], max(at, until[deck[0].name]))
		until[t.kind] = t.at + t.lasts
		all, deck = append(all, t), deck[1:]
	}
	return all
}

func shuffled(rng *rand.Rand, kinds []chaosKind) (deck []*chaosKind) {
	for i := range kinds {
		for range kinds[i].often {
			deck = append(deck, &kinds[i])
		}
	}
	rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

func newMishap(rng *rand.Rand, k *chaosKind, at time.Duration) mishap {
	t := mishap{kind: k.name, at: at.Round(time.Millisecond)}
	if k.longest > 0 {
		t.lasts = (100*time.Millisecond + time.Duration(rng.Int64N(int64(k.longest)))).Round(time.Millisecond)
	}
	if k.make != nil {
		k.make(rng, &t)
	}
	t.fault.Kind = k.name
	return t
}

// step is the beginning or the end of a mishap.
type step struct {
	at time.Duration
	do func(*chaos)
}

// steps returns the steps of a schedule, in order.
func steps(all []mishap) (list []step) {
	for i := range all {
		m := &all[i]
		list = append(list, step{m.at, func(c *chaos) { c.begin(m) }})
		if m.lasts > 0 {
			list = append(list, step{m.at + m.lasts, func(c *chaos) { c.end(m) }})
		}
	}
	slices.SortStableFunc(list, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return list
}

// TestSchedule proves that each seed has one schedule of its own, and that the
// schedules of CI contain every kind.
func TestSchedule(t *testing.T) {
	const length = 30 * time.Second
	told := map[string]uint64{}
	for seed := range uint64(20) {
		var text strings.Builder
		kinds := map[string]bool{}
		for _, m := range schedule(seed, length, chaosApart, chaosKinds) {
			fmt.Fprintln(&text, &m)
			kinds[m.kind] = true
		}
		for _, m := range schedule(seed, length, chaosApart, chaosKinds) {
			if line := m.String() + "\n"; !strings.Contains(text.String(), line) {
				t.Fatalf("seed %d has this only the second time: %s", seed, line)
			}
		}
		if other, same := told[text.String()]; same {
			t.Errorf("seeds %d and %d have the same schedule", other, seed)
		}
		told[text.String()] = seed
		if (seed == 1 || seed == 2) && len(kinds) < len(chaosKinds) {
			t.Errorf("seed %d has only %d of %d kinds", seed, len(kinds), len(chaosKinds))
		}
	}
}
