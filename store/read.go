package store

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"cwharvest/store/encode"
)

// The files beside a database are JSON, which anybody can write. What of them
// becomes a path, an index or a length is checked here, before anything is done.

// readPlanFile reads jobs/ID.json.
func readPlanFile(dir, id string) (s Plan, err error) {
	file := jobFile(dir, id, ".json")
	if err := readJSON(file, &s); err != nil {
		return s, err
	}
	if err := s.check(id); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

func (s *Plan) check(id string) error {
	if s.ID != id {
		return fmt.Errorf("it is the specification of job %q", s.ID)
	}
	if err := s.format().Validate(); err != nil {
		return err
	}
	for i := range s.Series {
		series := &s.Series[i]
		if len(series.Statistics) == 0 {
			return fmt.Errorf("metric %q has no statistics", series.Metric)
		}
		for _, w := range series.Windows {
			if !w.possible(len(series.Statistics)) {
				return fmt.Errorf("metric %q has an impossible window %+v", series.Metric, w)
			}
		}
	}
	return nil
}

// possible reports whether a spool value can hold the window.
func (w Window) possible(statistics int) bool {
	return w.Period > 0 && 0 <= w.Start && w.Start <= w.End && w.End <= encode.LastSecond && w.Points() <= maxSpoolPoints/statistics
}

// readManifest reads jobs/ID.manifest.json.
func readManifest(dir, id string) (m Manifest, err error) {
	file := jobFile(dir, id, ".manifest.json")
	if err := readJSON(file, &m); err != nil {
		return m, err
	}
	if err := m.check(id); err != nil {
		return m, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// check holds a manifest to names that the job gives: what it lists is read, and
// removed where it is not what the manifest says.
func (m *Manifest) check(id string) error {
	if m.Job != id {
		return fmt.Errorf("it is the manifest of job %q", m.Job)
	}
	for _, p := range m.Parts {
		if form := partForm.FindStringSubmatch(path.Base(p.Name)); form == nil || form[1] != id || !dateForm.MatchString(path.Dir(p.Name)) || p.Rows < 0 {
			return fmt.Errorf("it lists %q with %d rows, which is no part of the job", p.Name, p.Rows)
		}
	}
	if in := m.Inventory; in != nil {
		dir := strings.TrimPrefix(path.Dir(in.Name), "../")
		if date, ok := strings.CutPrefix(dir, "instances/"); !ok || !dateForm.MatchString(date) || !strings.HasPrefix(path.Base(in.Name), id+"-") {
			return fmt.Errorf("it lists %q, which is no inventory of the job", in.Name)
		}
	}
	for _, r := range m.Replans {
		if !r.Window.possible(1) || !r.Now.possible(1) {
			return errors.New("it lists an impossible window")
		}
	}
	return nil
}

var dateForm = regexp.MustCompile(`^date=\d{4}-\d{2}-\d{2}$`)
