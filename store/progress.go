package store

import (
	"encoding/binary"
	"fmt"
)

// shape maps the series-windows of one group to bits of an instance's
// progress: ascending by series, then window. It is frozen with the job.
type shape struct {
	bits   []SeriesWindow       // by bit
	index  map[SeriesWindow]int // the inverse
	points int64                // estimated datapoints of one instance

	cost, worst float64 // USD of one instance
}

// newShapes returns the shape of every group of the plan.
func newShapes(series []Series) map[string]*shape {
	shapes := map[string]*shape{}
	for s := range series {
		group := series[s].group()
		sh := shapes[group]
		if sh == nil {
			sh = &shape{index: map[SeriesWindow]int{}}
			shapes[group] = sh
		}
		sh.cost += series[s].CostUSD
		sh.worst += series[s].WorstUSD
		for w := range series[s].Windows {
			sw := SeriesWindow{Series: s, Window: w}
			sh.index[sw] = len(sh.bits)
			sh.bits = append(sh.bits, sw)
			sh.points += series[s].points(w)
		}
	}
	return shapes
}

// points is the estimated number of datapoints of one series-window.
func (s *Series) points(window int) int64 {
	return int64(s.Windows[window].Points()) * int64(len(s.Statistics))
}

// progress is how far one instance is: a bitmap of series-windows done, one of
// those failed, and the rows they gave. Once all are done the bitmaps are
// dropped.
type progress struct {
	complete bool
	rows     uint64
	done     []byte
	failed   []byte // nil when nothing failed
}

const (
	flagComplete = 1 << iota
	flagFailed
)

func (p *progress) encode() []byte {
	var flags byte
	if p.complete {
		flags |= flagComplete
	}
	if p.failed != nil {
		flags |= flagFailed
	}
	b := binary.AppendUvarint([]byte{flags}, p.rows)
	if p.complete && p.failed == nil {
		return b
	}
	return append(append(b, p.done...), p.failed...)
}

// progressRows returns the rows of an encoded progress.
func progressRows(b []byte) (uint64, error) {
	if len(b) < 2 {
		return 0, fmt.Errorf("progress %x is too short", b)
	}
	rows, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return 0, fmt.Errorf("progress %x: bad row count", b)
	}
	return rows, nil
}

// decodeProgress reads an instance's progress; nil is an instance without any.
func decodeProgress(b []byte, bits int) (progress, error) {
	size := (bits + 7) / 8
	p := progress{done: make([]byte, size)}
	if b == nil {
		return p, nil
	}
	if len(b) < 2 {
		return p, fmt.Errorf("progress %x is too short", b)
	}
	rows, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return p, fmt.Errorf("progress %x: bad row count", b)
	}
	if b[0] > flagComplete|flagFailed {
		return p, fmt.Errorf("progress %x: unknown flags", b)
	}
	p.complete, p.rows = b[0]&flagComplete != 0, rows
	maps := b[1+n:]
	want := 0
	switch {
	case b[0]&flagFailed != 0:
		want = 2 * size
		p.failed = make([]byte, size)
	case !p.complete:
		want = size
	}
	if len(maps) != want {
		return p, fmt.Errorf("progress %x: %d bytes of bitmaps, want %d", b, len(maps), want)
	}
	if want > 0 {
		copy(p.done, maps)
		copy(p.failed, maps[size:])
	}
	return p, nil
}

func bitSet(m []byte, i int) bool { return m != nil && m[i/8]&(1<<(i%8)) != 0 }

func setBit(m []byte, i int) { m[i/8] |= 1 << (i % 8) }

// settled reports whether a series-window is done or failed.
func (p *progress) settled(i int) bool {
	return p.complete && p.failed == nil || bitSet(p.done, i) || bitSet(p.failed, i)
}

// settle marks one series-window; bits is their number. It reports whether
// that completed the instance.
func (p *progress) settle(i, bits int, failed bool) bool {
	if failed {
		if p.failed == nil {
			p.failed = make([]byte, len(p.done))
		}
		setBit(p.failed, i)
	} else {
		setBit(p.done, i)
	}
	for b := range bits {
		if !p.settled(b) {
			return false
		}
	}
	p.complete = true
	return true
}
