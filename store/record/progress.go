package record

import (
	"encoding/binary"
	"fmt"
)

// outcome says what came of an instance, and why where its target tells.
func Outcome(p *Progress, denied *Failure) (string, *Failure) {
	switch {
	case p.Complete && p.Failed != nil:
		return "failed", nil
	case p.Complete && p.Rows == 0:
		return "empty", nil
	case p.Complete:
		return "done", nil
	case denied != nil:
		return "denied", denied
	}
	return "pending", nil
}

// shape maps the series-windows of one group to bits of an instance's
// progress: ascending by series, then window. It is frozen with the job.
type Shape struct {
	Bits   []SeriesWindow       // by bit
	Index  map[SeriesWindow]int // the inverse
	Points int64                // estimated datapoints of one instance

	Cost, Worst float64 // USD of one instance
}

// newShapes returns the shape of every group of the plan.
func NewShapes(series []Series) map[string]*Shape {
	shapes := map[string]*Shape{}
	for s := range series {
		group := series[s].Group()
		sh := shapes[group]
		if sh == nil {
			sh = &Shape{Index: map[SeriesWindow]int{}}
			shapes[group] = sh
		}
		sh.Cost += series[s].CostUSD
		sh.Worst += series[s].WorstUSD
		for w := range series[s].Windows {
			sw := SeriesWindow{Series: s, Window: w}
			sh.Index[sw] = len(sh.Bits)
			sh.Bits = append(sh.Bits, sw)
			sh.Points += series[s].Points(w)
		}
	}
	return shapes
}

// progress is how far one instance is: a bitmap of series-windows done, one of
// those failed, and the rows they gave. Once all are done the bitmaps are
// dropped.
type Progress struct {
	Complete bool
	Rows     uint64
	Done     []byte
	Failed   []byte // nil when nothing failed
}

const (
	flagComplete = 1 << iota
	flagFailed
)

func (p *Progress) Encode() []byte {
	var flags byte
	if p.Complete {
		flags |= flagComplete
	}
	if p.Failed != nil {
		flags |= flagFailed
	}
	b := binary.AppendUvarint([]byte{flags}, p.Rows)
	if p.Complete && p.Failed == nil {
		return b
	}
	return append(append(b, p.Done...), p.Failed...)
}

// progressComplete reports of an encoded progress whether nothing is missing.
func IsComplete(b []byte) bool { return len(b) > 0 && b[0]&flagComplete != 0 }

// progressFailed reports of an encoded progress whether anything failed.
func HasFailed(b []byte) bool { return len(b) > 0 && b[0]&flagFailed != 0 }

// progressRows returns the rows of an encoded progress.
func ProgressRows(b []byte) (uint64, error) {
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
func DecodeProgress(b []byte, bits int) (Progress, error) {
	size := (bits + 7) / 8
	p := Progress{Done: make([]byte, size)}
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
	p.Complete, p.Rows = b[0]&flagComplete != 0, rows
	maps := b[1+n:]
	want := 0
	switch {
	case b[0]&flagFailed != 0:
		want = 2 * size
		p.Failed = make([]byte, size)
	case !p.Complete:
		want = size
	}
	if len(maps) != want {
		return p, fmt.Errorf("progress %x: %d bytes of bitmaps, want %d", b, len(maps), want)
	}
	if want > 0 {
		copy(p.Done, maps)
		copy(p.Failed, maps[size:])
	}
	return p, nil
}

func BitSet(m []byte, i int) bool { return m != nil && m[i/8]&(1<<(i%8)) != 0 }

func SetBit(m []byte, i int) { m[i/8] |= 1 << (i % 8) }

// settled reports whether a series-window is done or failed.
func (p *Progress) Marked(i int) bool {
	return p.Complete && p.Failed == nil || BitSet(p.Done, i) || BitSet(p.Failed, i)
}

// settle marks one series-window; bits is their number. It reports whether
// that completed the instance.
func (p *Progress) Mark(i, bits int, failed bool) bool {
	if failed {
		if p.Failed == nil {
			p.Failed = make([]byte, len(p.Done))
		}
		SetBit(p.Failed, i)
	} else {
		SetBit(p.Done, i)
	}
	for b := range bits {
		if !p.Marked(b) {
			return false
		}
	}
	p.Complete = true
	return true
}

func (r *TargetRecord) CountInstance(p *Progress) {
	switch {
	case p.Failed != nil:
		r.Failed++
	case p.Rows == 0:
		r.Empty++
	default:
		r.Done++
	}
}
