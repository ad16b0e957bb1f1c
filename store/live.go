package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// SetLive sets the source of the values in snapshots that are not committed.
func (j *Job) SetLive(live func() record.Live) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live = live
}

// Status returns the current status of the job.
func (j *Job) Status() (*record.Status, error) {
	j.mu.Lock()
	live := j.live
	j.mu.Unlock()
	var now record.Live
	if live != nil {
		now = live()
	}
	j.mu.Lock() // before the transaction, as in Commit
	defer j.mu.Unlock()
	var s *record.Status
	err := j.db.View(func(tx *bolt.Tx) (err error) {
		s, err = record.NewStatus(tx, &j.plan, &j.record, j.targets, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.Trouble = j.trouble
	s.Estimate(j.pace.left)
	return s, nil
}

// nights holds the open jobs of a directory and publishes their status. The latest
// night that has begun is the current one, until the directory is closed.
type nights struct {
	turn   sync.Mutex   // held to start and to stop the ticker
	write  sync.Mutex   // held to replace status.json
	ticker statusTicker // runs while a job that has begun is open

	mu     sync.Mutex                  // guards the fields below; taken before Job.mu
	open   []*Job                      // in the order in which they were opened
	begun  map[*Job]bool               // of the open ones
	closed *record.Status              // of the latest closed job that had begun; nil: none
	idle   map[string]record.OpenNight // unfinished jobs that are not open, by id
}

func (n *nights) add(j *Job) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = append(n.open, j)
	delete(n.idle, j.plan.ID)
}

// begin makes a job part of the published status.
func (n *nights) begin(j *Job, publish func() error) {
	n.turn.Lock()
	defer n.turn.Unlock()
	n.mu.Lock()
	if n.begun == nil {
		n.begun = map[*Job]bool{}
	}
	n.begun[j] = true
	first := len(n.begun) == 1
	n.mu.Unlock()
	if first {
		n.ticker.start(publish)
	}
}

// remove takes out a job before it is closed, and keeps its status.
func (n *nights) remove(j *Job) error {
	n.turn.Lock()
	defer n.turn.Unlock()
	last, err := n.take(j)
	if last {
		n.ticker.stop()
	}
	return err
}

func (n *nights) take(j *Job) (last bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = slices.DeleteFunc(n.open, func(o *Job) bool { return o == j })
	begun := n.begun[j]
	delete(n.begun, j)
	s, err := j.Status()
	if err != nil {
		return begun && len(n.begun) == 0, err
	}
	if s.State == string(record.Unfinished) {
		s.State = "stopped"
		n.keep(s)
	}
	if begun && (n.closed == nil || n.closed.Job == s.Job || later(s, n.closed)) {
		n.closed = s
	}
	return begun && len(n.begun) == 0, nil
}

// keep remembers an unfinished job. The caller holds mu.
func (n *nights) keep(s *record.Status) {
	if n.idle == nil {
		n.idle = map[string]record.OpenNight{}
	}
	n.idle[s.Job] = s.AsOpen()
}

// find returns the open job with an id, or nil.
func (n *nights) find(id string) *Job {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.IndexFunc(n.open, func(j *Job) bool { return j.plan.ID == id }); i >= 0 {
		return n.open[i]
	}
	return nil
}

// infos describes the open jobs, which no reader can open.
func (n *nights) infos() (all []record.JobInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, j := range n.open {
		all = append(all, j.info())
	}
	return all
}

// note remembers the unfinished jobs among those of a directory.
func (n *nights) note(dir string, jobs []record.JobInfo) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range jobs {
		id := jobs[i].Plan.ID
		_, known := n.idle[id]
		if jobs[i].State != record.Unfinished || known || slices.ContainsFunc(n.open, func(j *Job) bool { return j.plan.ID == id }) {
			continue
		}
		s, err := record.JobStatus(dir, id)
		if err != nil {
			return err
		}
		n.keep(s)
	}
	return nil
}

// current returns the status of the latest night that has begun, with the other open ones.
func (n *nights) current() (*record.Status, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var s *record.Status
	if n.closed != nil {
		latest := *n.closed
		latest.Written = time.Now().UTC()
		s = &latest
	}
	open := maps.Clone(n.idle)
	if open == nil {
		open = map[string]record.OpenNight{}
	}
	for j := range n.begun {
		other, err := j.Status()
		if err != nil {
			return nil, err
		}
		open[other.Job] = other.AsOpen()
		if s == nil || s.Job == other.Job || later(other, s) {
			s = other
		}
	}
	if s == nil {
		return nil, record.ErrNoJob
	}
	s.SetOpenNights(open)
	return s, nil
}

// later reports whether the range of a begins after that of b.
func later(a, b *record.Status) bool { return a.Range.Start.After(b.Range.Start) }

// info describes an open job.
func (j *Job) info() record.JobInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	info := record.JobInfo{Plan: j.plan, Denied: map[record.Target]string{}}
	info.SetState(&j.record)
	for t, r := range j.targets {
		info.Targets = append(info.Targets, t)
		info.MostPoints = max(info.MostPoints, r.PointsPlanned)
		if r.Denied != nil {
			info.Denied[t] = r.DeniedBy
		}
	}
	return info
}

// Current returns the status of the latest night that this process has begun, also after
// its job was closed, with the other open nights; record.ErrNoJob if none has begun.
func (d *Dir) Current() (*record.Status, error) { return d.nights.current() }

// publishStatus replaces status.json, which other processes read while this one holds
// the databases. It is not synced: after a power cut they read the databases.
func (d *Dir) publishStatus() error {
	d.nights.write.Lock()
	defer d.nights.write.Unlock()
	s, err := d.Current()
	if errors.Is(err, record.ErrNoJob) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Source = "snapshot"
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	path := record.StatusPath(d.disk.Path)
	temporary := durable.Temporary(path)
	// Blanks at the end leave room for a longer status on a full disk.
	err = writeNew(temporary, padded(data, (len(data)*3/2+4096)&^4095))
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		// A full disk has room only where the last status is.
		return errors.Join(os.Remove(temporary), overwrite(path, data))
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return os.Rename(temporary, path)
}

// writeNew replaces a file without following a symbolic link.
func writeNew(path string, text []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}

// padded appends blanks up to the size, and a newline.
func padded(text []byte, size int) []byte {
	full := bytes.Repeat([]byte{' '}, size)
	copy(full, text)
	full[size-1] = '\n'
	return full
}

// overwrite replaces the content of a file in one write and keeps its size. A longer
// text would be cut off on a full disk.
func overwrite(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case int64(len(text)) >= info.Size():
		err = fmt.Errorf("%s has no room for a status of %d bytes", path, len(text))
	default:
		_, err = file.WriteAt(padded(text, int(info.Size())), 0)
	}
	return errors.Join(err, file.Close())
}
