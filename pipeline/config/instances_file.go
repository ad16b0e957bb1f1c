package config

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cwharvest/store/record"
)

var instanceIDForm = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

const maxInstanceLine = 1 << 20

// ReadInstances reads a list of instances, one a line, in any of three forms:
//
//	i-0123456789abcdef0                           of the job's only target
//	111122223333,us-east-1,i-0123456789abcdef0
//
//	account,region,namespace,InstanceId,path      a CSV header of these columns and
//	111122223333,us-east-1,CWAgent,i-0123...,/    names of dimensions
//
//	{"account": "111122223333", "region": "us-east-1", "namespace": "AWS/RDS",
//	 "dimensions": {"DBInstanceIdentifier": "orders"}}        JSON Lines
//
// Where a namespace is left out, an instance is one in each namespace that asks
// for metrics by its dimensions. Empty lines and those that begin with # are
// passed over. Of a file for all shards only what this one holds is returned.
func (c *Config) ReadInstances(name string, r io.Reader, targets []record.Target) (map[record.Target][]record.Instance, error) {
	list := instanceList{config: c, targets: targets, listed: map[record.Target][]record.Instance{}, seen: map[string]bool{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxInstanceLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := list.read(line); err != nil {
			return nil, &Error{fmt.Sprintf("%s:%d: %v", name, n, err)}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, &Error{fmt.Sprintf("%s: %v", name, err)}
	}
	if list.lines == 0 {
		return nil, &Error{fmt.Sprintf("%s names no instance: what makes the list may be broken", name)}
	}
	return list.listed, nil
}

// instanceList is a list of instances being read.
type instanceList struct {
	config  *Config
	targets []record.Target
	header  []string // of a CSV file
	listed  map[record.Target][]record.Instance
	seen    map[string]bool
	lines   int // that name an instance
}

// row is one line: what is not given is empty.
type row struct {
	Account    string            `json:"account"`
	Region     string            `json:"region"`
	Namespace  string            `json:"namespace"`
	InstanceID string            `json:"instance_id"`
	Dimensions map[string]string `json:"dimensions"`
}

func (l *instanceList) read(line string) error {
	if strings.HasPrefix(line, "{") {
		return l.readJSON(line)
	}
	cells, err := csv.NewReader(strings.NewReader(line)).Read()
	if err != nil {
		return err
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	switch {
	case l.header == nil && l.lines == 0 && isHeader(cells):
		l.header = cells
		return nil
	case l.header != nil:
		return l.readCells(cells)
	case len(cells) == 1:
		return l.add(row{InstanceID: cells[0]})
	case len(cells) == 3:
		return l.add(row{Account: cells[0], Region: cells[1], InstanceID: cells[2]})
	}
	return fmt.Errorf("%q: write an id, account,region,id, a CSV header first, or JSON", line)
}

func isHeader(cells []string) bool {
	return slices.ContainsFunc(cells, func(c string) bool {
		return c == "account" || c == "region" || c == "instance_id" || c == "InstanceId"
	})
}

func (l *instanceList) readCells(cells []string) error {
	if len(cells) != len(l.header) {
		return fmt.Errorf("%d columns, and the header has %d", len(cells), len(l.header))
	}
	r := row{Dimensions: map[string]string{}}
	known := map[string]*string{"account": &r.Account, "region": &r.Region, "namespace": &r.Namespace, "instance_id": &r.InstanceID}
	for i, name := range l.header {
		if field := known[name]; field != nil {
			*field = cells[i]
		} else if cells[i] != "" {
			r.Dimensions[name] = cells[i]
		}
	}
	return l.add(r)
}

func (l *instanceList) readJSON(line string) error {
	var r row
	d := json.NewDecoder(bytes.NewReader([]byte(line)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one JSON object in a line")
	}
	return l.add(r)
}

func (l *instanceList) add(r row) error {
	if r.Dimensions == nil {
		r.Dimensions = map[string]string{}
	}
	if r.InstanceID != "" {
		r.Dimensions["InstanceId"] = r.InstanceID
	}
	in := record.Instance{Namespace: r.Namespace, Sources: []string{"file"}}
	for name, value := range r.Dimensions {
		switch {
		case name == "InstanceId" && !instanceIDForm.MatchString(value):
			return fmt.Errorf("%q is not an instance id: such as i-0123456789abcdef0", value)
		case value == "" || len(value) > 1024 || !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' }):
			return fmt.Errorf("dimension %s: value %q is not possible", name, value)
		}
		in.Dimensions = append(in.Dimensions, record.Dimension{Name: name, Value: value})
	}
	slices.SortFunc(in.Dimensions, func(a, b record.Dimension) int { return strings.Compare(a.Name, b.Name) })
	if err := l.wanted(&in); err != nil {
		return err
	}
	t, err := l.target(r)
	if err != nil {
		return err
	}
	l.lines++
	if key := t.String() + "/" + in.Key(); !l.seen[key] && l.config.Shard.Holds(t) {
		l.seen[key] = true
		l.listed[t] = append(l.listed[t], in)
	}
	return nil
}

// wanted refuses an instance that no metric is asked of.
func (l *instanceList) wanted(in *record.Instance) error {
	var names []string
	for _, d := range in.Dimensions {
		names = append(names, d.Name)
	}
	for i := range l.config.Metrics {
		m := &l.config.Metrics[i]
		if (in.Namespace == "" || in.Namespace == m.Namespace) && slices.Equal(m.DimensionNames(), names) {
			return nil
		}
	}
	what := "by " + strings.Join(names, ",")
	if in.Namespace != "" {
		what = "of " + in.Namespace + " " + what
	}
	return fmt.Errorf("no metric is asked %s: add one to metrics, or take the line out", what)
}

func (l *instanceList) target(r row) (record.Target, error) {
	t := record.Target{Account: r.Account, Region: r.Region}
	switch {
	case t == (record.Target{}) && len(l.targets) == 1 && !l.targets[0].IsPattern() && l.config.Shard == (record.Shard{}):
		return l.targets[0], nil
	case (r.Account == "" || r.Region == "") && l.config.Shard != (record.Shard{}):
		return t, errors.New("account and region are needed, since the job is divided into shards")
	case r.Account == "" || r.Region == "":
		return t, fmt.Errorf("account and region are needed, since the job has %d targets", len(l.targets))
	case !regionForm.MatchString(r.Region):
		return t, fmt.Errorf("region %q is malformed: such as us-east-1", r.Region)
	}
	if !l.config.Shard.Holds(t) {
		return t, nil // whose shard checks it
	}
	for _, known := range l.targets {
		if known.Account == t.Account && known.Covers(t.Region) {
			return t, nil
		}
	}
	return t, fmt.Errorf("%s is not a target of the job", t)
}
