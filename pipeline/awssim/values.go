package awssim

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Datapoint returns the value of one statistic of one metric at a time, which does
// not depend on the period. Dimensions have the form "Name=Value,...", sorted by
// name. ok is false if there is no datapoint.
func (c *Config) Datapoint(account, region, namespace, metric, dimensions, statistic string, at time.Time) (value float64, ok bool) {
	s := c.newSource(account, region, namespace, metric, dimensions, statistic)
	return s.at(at.Unix())
}

// source computes the datapoints of one statistic of one series. Each datapoint
// summarizes five samples, so that minimum <= average <= maximum and the sum is five
// averages. A datapoint does not depend on the period: the maximum of an hour is not
// the maximum of its minutes.
type source struct {
	series   uint64 // hash of the series
	coverage Coverage
	partial  bool   // the statistic lacks some of the series' datapoints
	distinct uint64 // hash of series and statistic; 0: values like real ones
	samples  sampling
	summary  summary
}

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
	series := hash(hash(hash(hash(hash(offset, account), region), namespace), metric), dimensions)
	s := source{
		series:   series,
		coverage: CoverageOf(id),
		partial:  metric == "CPUCreditBalance" && statistic != "Average",
		samples:  newSampling(metric, series, mix(hash(offset, id))),
		summary:  newSummary(statistic),
	}
	if c.Distinct {
		s.distinct = hash(series, statistic)
	}
	return s
}

func (s *source) at(unix int64) (float64, bool) {
	switch {
	case s.coverage == Stopped, s.coverage == Silent:
		return 0, false
	case s.coverage == Gaps && mix(s.series^uint64(unix/3600))%4 == 0:
		return 0, false
	case s.partial && mix(s.series^uint64(unix))%8 == 0:
		return 0, false
	case s.distinct != 0:
		// Multiples of 1/8 below 131,072 are exact in text and binary.
		return float64(mix(s.distinct^uint64(unix))>>44) / 8, true
	}
	return s.summary.of(s.samples.at(unix, mix(s.series^uint64(unix))), s.samples.scale), true
}

// load is the way in which the work of a machine changes with the time of day.
type load int

const (
	idle      load = iota
	office         // busy from 6 to 20 h
	busy           // always, most at noon
	spiky          // busy in one half hour of sixteen
	nightly        // busy from 1 to 4 h
	unchanged      // a percentage of memory or disk
)

// loadOf returns the load of a machine: most are idle.
func loadOf(machine uint64) load {
	return [...]load{idle, idle, idle, idle, idle, office, office, busy, spiky, nightly}[machine%10]
}

// fullLoad is the load of a machine that does nothing but work.
const fullLoad = 10_000

// at returns the load at a time, from 0 to fullLoad. It is the same for all metrics of
// a machine.
func (l load) at(unix int64, machine uint64) int64 {
	second := unix % 86400
	rhythm := second * (86400 - second) * 1000 / (43200 * 43200) // 0 at midnight, 1000 at noon
	own := int64(machine >> 32 % 1000)
	switch hour := second / 3600; {
	case l == office && hour >= 6 && hour < 20:
		return rhythm * (2 + own%5)
	case l == busy:
		return 5500 + own + rhythm*3
	case l == spiky && mix(machine^uint64(unix/1800))%16 == 0:
		return 5000 + own*4
	case l == nightly && hour >= 1 && hour < 4:
		return 4000 + own*5
	case l == unchanged:
		return 2000 + own*7
	}
	return own / 8
}

// sampling makes the samples of a series, as whole numbers of a unit: sample = base +
// load * factor / fullLoad + noise.
type sampling struct {
	load         load
	machine      uint64
	base, factor int64
	noise        int64   // samples differ by less
	bursty       bool    // samples differ by an eighth of the load as well
	zeros        uint64  // of 16 datapoints of an idle machine
	most         int64   // 0: no bound
	scale        float64 // units in 1
}

// samplesPerDatapoint is the number of samples that a datapoint summarizes, as with
// detailed monitoring and a period of five minutes.
const samplesPerDatapoint = 5

// newSampling returns the samples of a series of a machine. Sizes and decimals are
// those of real series: percentages of EC2 have samples with two decimals, and their
// averages three; most reads and writes of an idle machine are zero.
func newSampling(metric string, series, machine uint64) sampling {
	s := sampling{load: loadOf(machine), machine: machine, scale: 1}
	own := int64(series >> 40 % 1000)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(metric, word) })
	}
	switch {
	case has("used_percent"):
		s.load, s.factor, s.noise, s.most, s.scale = unchanged, fullLoad, 3, fullLoad, 100
	case has("Utilization", "percent", "Percent"):
		s.base, s.factor, s.noise, s.most, s.scale = 6, fullLoad, 1+own%4, fullLoad, 100
		if s.load != idle {
			s.noise = 200
		}
	case has("CreditBalance"):
		s.base, s.factor, s.scale = 14400+own, -fullLoad, 100
	case has("StatusCheck"):
	case has("Space"):
		s.base, s.noise = (own+1)<<30, 1<<20
	case has("Duration", "Latency", "Time"):
		s.base, s.factor, s.noise, s.scale = 2000+own*10, 400_000, 900, 1000
	case has("EBS", "Volume", "Errors"):
		s.factor, s.noise, s.zeros, s.bursty = 60_000, 40, 13, true
		if has("Bytes") {
			s.factor, s.noise = 400<<20, 64<<10
		}
	case has("Network", "Bytes"):
		s.base, s.factor, s.noise, s.bursty = 40+own/3, 1<<28, 30+own/8, true
	default: // counts
		s.base, s.factor, s.noise, s.bursty = own%50, 40_000, 60, true
	}
	return s
}

// at returns the samples of a datapoint; random are bits for it alone.
func (s *sampling) at(unix int64, random uint64) (samples [samplesPerDatapoint]int64) {
	if s.load == idle && random>>60 < s.zeros {
		return samples
	}
	level, noise := s.load.at(unix, s.machine)*s.factor/fullLoad, s.noise
	if s.bursty {
		noise += level / 8
	}
	for i := range samples {
		v := max(s.base+level+int64(random>>(12*i)&0xfff)*noise>>12, 0)
		if s.most > 0 {
			v = min(v, s.most)
		}
		samples[i] = v
	}
	return samples
}

// summary is a statistic.
type summary struct {
	kind string // of the basic statistics, or the letters of an extended one
	rank int    // of a percentile, from 0
}

// newSummary returns the summary for the name of a statistic.
func newSummary(statistic string) summary {
	letters := strings.TrimRight(strings.ToLower(statistic), "0123456789.:%()")
	s := summary{kind: letters}
	if percent, err := strconv.ParseFloat(statistic[len(letters):], 64); letters == "p" && err == nil {
		s.rank = min(int(percent*samplesPerDatapoint/100), samplesPerDatapoint-1)
	}
	return s
}

// of returns the statistic of samples. Sums and averages have the rounding errors of
// binary fractions, as CloudWatch's have. Of the extended statistics, trimmed and
// winsorized ones use the samples between minimum and maximum, whatever their bounds.
func (s summary) of(samples [samplesPerDatapoint]int64, scale float64) float64 {
	switch s.kind {
	case "average":
		return averageOf(samples[:], scale)
	case "sum":
		return sumOf(samples[:], scale)
	case "samplecount":
		return samplesPerDatapoint
	}
	slices.Sort(samples[:])
	const last = samplesPerDatapoint - 1
	switch s.kind {
	case "minimum":
		return float64(samples[0]) / scale
	case "maximum":
		return float64(samples[last]) / scale
	case "p":
		return float64(samples[s.rank]) / scale
	case "tc":
		return last - 1
	case "ts":
		return sumOf(samples[1:last], scale)
	case "pr":
		return 100 * float64(s.rank+1) / samplesPerDatapoint
	}
	return averageOf(samples[1:last], scale)
}

// averageOf rounds to between the least and the largest sample.
func averageOf(samples []int64, scale float64) float64 {
	average := sumOf(samples, scale) / float64(len(samples))
	return min(max(average, float64(slices.Min(samples))/scale), float64(slices.Max(samples))/scale)
}

func sumOf(samples []int64, scale float64) (sum float64) {
	for _, v := range samples {
		sum += float64(v) / scale
	}
	return sum
}
