package awssim

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Datapoint returns the value of one statistic of one metric for the period that begins
// at a time. Dimensions have the form "Name=Value,...", sorted by name. ok is false if
// there is no datapoint.
func (c *Config) Datapoint(account, region, namespace, metric, dimensions, statistic string, at time.Time, period time.Duration) (value float64, ok bool) {
	s := c.newSource(account, region, namespace, metric, dimensions, statistic)
	return s.at(at.Unix(), int64(period/time.Second))
}

// source computes the datapoints of one statistic of one series. The series has one
// sample a minute, a pure function of the series and the minute, and a datapoint
// summarizes the samples of its period. So the statistics of a datapoint agree with
// each other, and with those of shorter and longer periods: the maximum of an hour is
// the largest maximum of its minutes. Datapoints of less than a minute have the sample
// of their minute. A source is not safe for concurrent use.
type source struct {
	series   uint64 // hash of the series
	coverage Coverage
	daily    bool   // one datapoint a day, at midnight
	newest   int64  // of daily datapoints; 0: all are there
	partial  bool   // the statistic lacks some of the series' datapoints
	distinct uint64 // hash of series and statistic; 0: values like real ones
	shape    shape
	summary  summary
	samples  []int64 // memory for one datapoint
}

// storageDelay is the time after which the storage metrics of S3 appear. AWS says only that they are daily (Amazon S3 User Guide,
// "Monitoring metrics with Amazon CloudWatch"); users report up to 48 hours (prometheus/cloudwatch_exporter#38).
const storageDelay = 48 * time.Hour

// newSource returns the source of a series and statistic.
func (c *Config) newSource(account, region, namespace, metric, dimensions, statistic string) source {
	id := dimensions
	for pair := range strings.SplitSeq(dimensions, ",") {
		if value, found := strings.CutPrefix(pair, "InstanceId="); found {
			id = value
		}
	}
	if strings.HasPrefix(metric, "Unpublished") {
		return source{coverage: Silent}
	}
	place := hash(hash(hash(offset, account), region), namespace)
	s := source{
		series:   hash(hash(place, metric), dimensions),
		coverage: CoverageOf(id),
		daily:    namespace == "AWS/S3" && (metric == "BucketSizeBytes" || metric == "NumberOfObjects"),
		partial:  metric == "CPUCreditBalance" && statistic != "Average",
	}
	if s.daily && c.Now != nil {
		s.newest = c.Now().Add(-storageDelay).Unix()
	}
	if c.Distinct {
		s.distinct = hash(s.series, statistic)
		return s
	}
	random := s.series
	if stem, size := strings.CutSuffix(metric, "Bytes"); size {
		random = hash(hash(place, stem+"Ops"), dimensions) // bytes follow the operations
	}
	s.shape = newShape(metric, random, mix(hash(offset, id)))
	s.summary = newSummary(statistic)
	return s
}

// at returns the datapoint of a period, in seconds.
func (s *source) at(unix, period int64) (float64, bool) {
	if s.daily {
		midnight := (unix + 86400 - 1) / 86400 * 86400
		if midnight >= unix+period || s.newest != 0 && midnight > s.newest {
			return 0, false
		}
		unix, period = midnight, 60
	}
	switch {
	case s.coverage == Stopped, s.coverage == Silent:
		return 0, false
	case s.partial && mix(s.series^uint64(unix))%8 == 0:
		return 0, false
	case s.distinct != 0:
		// Multiples of 1/8 below 131,072 are exact in text and binary.
		return float64(mix(s.distinct^uint64(unix))>>44) / 8, s.covers(unix / 3600)
	}
	s.collect(unix/60, unix/60+max(period/60, 1))
	if len(s.samples) == 0 {
		return 0, false
	}
	return s.summary.of(s.samples, s.shape.scale), true
}

// collect replaces the samples by those of the minutes from one to another, apart from
// the hours without any.
func (s *source) collect(from, to int64) {
	s.samples = s.samples[:0]
	for next := to; from < to; from = next {
		if s.coverage == Gaps {
			next = min(to, from/60*60+60)
		}
		if s.covers(from / 60) {
			s.samples = s.shape.appendSamples(s.samples, from, next)
		}
	}
}

// covers reports whether the series has samples in an hour.
func (s *source) covers(hour int64) bool {
	return s.coverage != Gaps || mix(s.series^uint64(hour))%4 != 0
}

// load is the way in which the work of a machine changes with time.
type load int

const (
	idle    load = iota
	office       // works from 7 to 19 h, but not on weekends
	busy         // always works, most at noon
	spiky        // works in one half hour of sixteen
	nightly      // works from 1 to 4 h
)

// loadOf returns the load of a machine.
func loadOf(machine uint64) load {
	return [...]load{idle, idle, idle, office, office, office, busy, spiky, nightly, busy}[machine%10]
}

// fullLoad is the load of a machine with a CPUUtilization of 100 %.
const fullLoad = 10_000

// at returns the load in a block of five minutes, from 0 to fullLoad. It is the same for
// all metrics of a machine, apart from the random bits.
func (l load) at(block int64, machine, random uint64) int64 {
	const hour, day = 12, 288 // in blocks
	now, own := block%day, int64(machine>>32%1000)
	level := 150 + own/4
	switch {
	case l == idle:
		return 0
	case l == office && now >= 7*hour && now < 19*hour && (block/day+3)%7 < 5: // 1970 began on a Thursday
		level += (now - 7*hour) * (19*hour - now) * (2000 + 3*own) / (6 * hour * 6 * hour)
	case l == busy:
		level = 3000 + 4*own + now*(day-now)/15
	case l == spiky && mix(machine^uint64(block/6))%16 == 0:
		level = 5500 + 4*own
	case l == nightly && now >= hour && now < 4*hour:
		level = 4000 + 5*own
	}
	return level + level*int64(random>>60)/64
}

// shape describes the samples of a series, and sample is offset + step * count, in
// units of 1/scale. The count is base + load * share / fullLoad + noise.
type shape struct {
	load            load
	machine, random uint64

	base, share, noise int64
	spread             int64  // count >> spread is noise, too; 0: none
	wave               int64  // subtracted at noon; less at other times
	quiet              uint64 // of 16 blocks of a machine without load, those with samples of zero
	step, offset       int64
	most               int64 // the largest sample
	scale              float64

	block        int64 // the last one; -1: none
	bits         uint64
	least, width int64 // counts in the block are least, and less than width more
}

// newShape returns the samples of a metric of a machine. The sizes follow real series
// (see TestValuesAreLikeMeasuredOnes). There, an idle CPU works for multiples of a
// third of a percent, a sample of any CPU has two decimals and an average three, and
// idle disks write nothing in most blocks, otherwise pages of 4096 bytes.
func newShape(metric string, random, machine uint64) shape {
	own := int64(random >> 40 % 1000)
	s := shape{load: loadOf(machine), machine: machine, random: random, step: 1, most: math.MaxInt64, scale: 1, block: -1}
	for _, m := range metricShapes {
		if strings.Contains(metric, m.part) {
			m.set(&s, own)
			return s
		}
	}
	s.base, s.share, s.noise, s.spread = own%40, 30_000, 8+own%40, 1 // a number of requests
	return s
}

// metricShapes are the shapes of the metrics whose names contain a part; the first one
// counts. own is from 0 to 999 and differs between series.
var metricShapes = []struct {
	part string
	set  func(s *shape, own int64)
}{
	{"StatusCheck", func(s *shape, _ int64) { s.load = idle }},
	{"used_percent", func(s *shape, own int64) { // of 4 KiB pages
		pages := 1_000_000 + own*977
		s.load, s.base, s.noise, s.wave, s.most, s.scale = idle, pages/10+pages*own/2000, 40, pages/50, pages, float64(pages)/100
	}},
	{"Utilization", func(s *shape, own int64) {
		if s.share, s.noise, s.most, s.scale = fullLoad, 12, fullLoad, 100; s.load == idle {
			s.noise, s.step = 2+own%2, 33
			return
		}
		s.spread = 3
	}},
	{"CreditBalance", func(s *shape, own int64) {
		if s.base, s.scale = 57600, 100; s.load != idle {
			s.wave = 8000 + 40*own
		}
		s.load = idle
	}},
	{"CreditUsage", func(s *shape, own int64) { s.share, s.noise, s.scale = 20_000, 60, 10_000 }},         // of two processors
	{"Balance", func(s *shape, own int64) { s.load, s.base, s.wave, s.scale = idle, 10_000, 4*own, 100 }}, // percent
	{"Space", (*shape).setFree},
	{"Memory", (*shape).setFree},
	{"Time", (*shape).setLatency},
	{"Latency", (*shape).setLatency},
	{"Duration", func(s *shape, own int64) { // hundredths of a millisecond
		s.base, s.share, s.noise, s.spread, s.scale = 900+10*own, 40_000, 300, 2, 100
	}},
	{"Errors", func(s *shape, _ int64) { s.load, s.noise, s.quiet = idle, 4, 15 }},
	{"HealthyHost", func(s *shape, own int64) { s.load, s.base = idle, 2+own%4 }},
	{"Network", func(s *shape, own int64) {
		s.share, s.noise, s.spread, s.step, s.offset = 2_000_000, 3+own%25, 2, 132, 42
	}},
	{"Bytes", func(s *shape, own int64) { s.setDisk(own); s.step = 4096 }},
	{"Ops", (*shape).setDisk},
}

// setFree sets free bytes, in pages of 4 KiB.
func (s *shape) setFree(own int64) {
	s.load, s.base, s.noise, s.wave, s.step = idle, (own+20)<<18, 60, (own+20)<<10, 4096
}

// setLatency sets seconds, in microseconds.
func (s *shape) setLatency(own int64) {
	s.base, s.share, s.noise, s.spread, s.scale = 2000+10*own, 90_000, 900, 2, 1e6
}

// setDisk sets the operations of a disk.
func (s *shape) setDisk(own int64) { s.share, s.noise, s.spread, s.quiet = 12_000, 2+own%20, 1, 14 }

// appendSamples appends the samples of the minutes from one to another.
func (s *shape) appendSamples(samples []int64, from, to int64) []int64 {
	for minute := from; minute < to; {
		block := minute / 5
		if block != s.block {
			s.enter(block)
		}
		bits, step, least, width, most := s.bits>>(12*uint(minute-block*5)), s.step, s.offset+s.step*s.least, s.width, s.most
		for end := min(to, block*5+5); minute < end; minute++ {
			samples = append(samples, min(least+step*(int64(bits&0xfff)*width>>12), most))
			bits >>= 12
		}
	}
	return samples
}

// enter prepares the samples of a block of five minutes. They share their random bits,
// because these take most of the time.
func (s *shape) enter(block int64) {
	s.block, s.bits = block, mix(s.random^uint64(block))
	level := s.load.at(block, s.machine, s.bits)
	if level < 500 && s.bits>>60 < s.quiet {
		s.least, s.width = 0, 0
		return
	}
	count, now := s.base+level*s.share/fullLoad, block%288
	s.least = count - s.wave*now*(288-now)/(144*144)
	s.width = s.noise
	if s.spread > 0 {
		s.width += count >> s.spread
	}
}

// summary is a statistic.
type summary struct {
	kind      string // a basic statistic, or the lower-case letters of an extended one
	low, high float64
	percent   bool // low and high are percentages of the samples, not values
}

// newSummary returns the summary for the name of a valid statistic.
func newSummary(statistic string) summary {
	switch statistic {
	case "Average", "Sum", "SampleCount", "Minimum", "Maximum":
		return summary{kind: statistic}
	case "IQM":
		return summary{kind: "tm", low: 25, high: 75, percent: true}
	}
	if m := boundsStatistic.FindStringSubmatch(statistic); m != nil {
		s := summary{kind: strings.ToLower(m[1]), percent: m[3]+m[5] != "", low: numberOr(m[2], math.Inf(-1)), high: numberOr(m[4], math.Inf(1))}
		if s.percent {
			s.low, s.high = max(s.low, 0), min(s.high, 100)
		}
		return s
	}
	kind := strings.TrimRight(statistic, "0123456789.")
	return summary{kind: kind, high: numberOr(statistic[len(kind):], 100), percent: true}
}

// of returns the statistic of samples, which it may sort. Sums have the rounding errors
// of binary fractions, as CloudWatch's have.
func (s *summary) of(samples []int64, scale float64) float64 {
	switch s.kind {
	case "Average":
		return averageOf(samples, scale)
	case "Sum":
		return sumOf(samples, scale)
	case "SampleCount":
		return float64(len(samples))
	case "Minimum":
		return float64(slices.Min(samples)) / scale
	case "Maximum":
		return float64(slices.Max(samples)) / scale
	}
	slices.Sort(samples)
	from, to := s.bounds(samples, scale)
	switch s.kind {
	case "p":
		return float64(samples[to-1]) / scale
	case "pr":
		return 100 * float64(to-from) / float64(len(samples))
	case "tc":
		return float64(to - from)
	case "ts":
		return sumOf(samples[from:to], scale)
	case "wm":
		for i := range samples {
			samples[i] = samples[min(max(i, from), to-1)]
		}
		return averageOf(samples, scale)
	}
	return averageOf(samples[from:to], scale)
}

// bounds returns the range of sorted samples that a trimmed statistic uses: at least
// one of them, because a datapoint without a value is none.
func (s *summary) bounds(samples []int64, scale float64) (from, to int) {
	n := len(samples)
	if s.percent {
		from, to = int(s.low*float64(n)/100), int(math.Ceil(s.high*float64(n)/100))
	} else {
		from = sortedBelow(samples, s.low*scale)
		to = sortedBelow(samples, s.high*scale)
	}
	from = min(from, n-1)
	return from, min(max(to, from+1), n)
}

// sortedBelow returns the number of sorted samples up to a bound.
func sortedBelow(samples []int64, bound float64) int {
	n, _ := slices.BinarySearchFunc(samples, bound, func(v int64, bound float64) int {
		if float64(v) <= bound {
			return -1
		}
		return 1
	})
	return n
}

// averageOf returns the average. That of equal samples is the sample, because rounding
// must not move an average beyond the minimum and maximum.
func averageOf(samples []int64, scale float64) float64 {
	if first := samples[0]; !slices.ContainsFunc(samples, func(v int64) bool { return v != first }) {
		return float64(first) / scale
	}
	return sumOf(samples, scale) / float64(len(samples))
}

// numberOr returns the number in a text, or another one if the text has none.
func numberOr(text string, otherwise float64) float64 {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n
	}
	return otherwise
}

func sumOf(samples []int64, scale float64) (sum float64) {
	if scale == 1 {
		total := int64(0)
		for _, v := range samples {
			total += v
		}
		return float64(total)
	}
	for _, v := range samples {
		sum += float64(v) / scale
	}
	return sum
}
