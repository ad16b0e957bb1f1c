package config

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
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

// ReadInstances reads a list of instances, one per line, in one of these forms:
//
//	i-0123456789abcdef0                           only if the job has one target
//	111122223333,us-east-1,i-0123456789abcdef0
//
//	account,region,namespace,InstanceId,path      CSV with a header; other columns
//	111122223333,us-east-1,CWAgent,i-0123...,/    are names of dimensions
//
//	{"account": "111122223333", "region": "us-east-1", "namespace": "AWS/RDS",
//	 "dimensions": {"DBInstanceIdentifier": "orders"}}        JSON Lines
//
// An instance without a namespace belongs to every namespace that has metrics with
// its dimensions. Empty lines and lines that begin with # are ignored. One file can
// serve all shards: ReadInstances leaves out the instances of other shards.
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
			return nil, wrap(fmt.Sprintf("%s:%d", name, n), err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, invalid("cannot read %s: %v", name, err).withHint("write one instance per line")
	}
	if list.lines == 0 {
		return nil, invalid("%s contains no instance", name).withHint("check the program that writes the list")
	}
	return list.listed, nil
}

// instanceList is the state of ReadInstances.
type instanceList struct {
	config  *Config
	targets []record.Target
	header  []string // of CSV; nil without one
	listed  map[record.Target][]record.Instance
	seen    map[string]bool
	lines   int // lines that contain an instance
}

// row is one line. Missing columns are empty.
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
		return invalid("the CSV is not valid: %v", err).withHint("correct the line")
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
	return invalid("%q is not an instance", line).
		withHint("write an id, account,region,id, a CSV header in the first line, or JSON")
}

func isHeader(cells []string) bool {
	return slices.ContainsFunc(cells, func(c string) bool {
		return c == "account" || c == "region" || c == "instance_id" || c == "InstanceId"
	})
}

func (l *instanceList) readCells(cells []string) error {
	if len(cells) != len(l.header) {
		return invalid("the line has %d columns, but the header has %d", len(cells), len(l.header)).withHint("correct the line")
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
		return invalid("the JSON is not valid: %v", err).
			withHint("use the keys account, region, namespace, instance_id and dimensions")
	}
	if d.More() {
		return invalid("the line contains more than one JSON object").withHint("write one per line")
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
		case name == "InstanceId" && r.Namespace == ec2Namespace && !instanceIDForm.MatchString(value):
			return invalid("%q is not an instance id", value).withHint("write an id such as i-0123456789abcdef0")
		case value == "" || len(value) > 1024 || !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' }):
			return invalid("value %q of dimension %s is not valid", value, name).withHint("write 1 to 1024 printable characters")
		}
		in.Dimensions = append(in.Dimensions, record.Dimension{Name: name, Value: value})
	}
	slices.SortFunc(in.Dimensions, func(a, b record.Dimension) int { return strings.Compare(a.Name, b.Name) })
	namespaces, err := l.wanted(&in)
	if err != nil {
		return err
	}
	t, err := l.target(r)
	if err != nil {
		return err
	}
	l.lines++
	for _, in.Namespace = range namespaces {
		if key := t.String() + "/" + in.Key(); !l.seen[key] && l.config.Shard.Holds(t) {
			l.seen[key] = true
			l.listed[t] = append(l.listed[t], in)
		}
	}
	return nil
}

const ec2Namespace = "AWS/EC2"

// wanted returns the namespaces that have metrics with the dimensions of an instance:
// its own or, if it has none, all. AWS/EC2 has only instances of EC2, while agents also
// run on others, such as mi-0123456789abcdef0 of Systems Manager.
func (l *instanceList) wanted(in *record.Instance) (namespaces []string, _ error) {
	var names []string
	for _, d := range in.Dimensions {
		names = append(names, d.Name)
	}
	for i := range l.config.Metrics {
		m := &l.config.Metrics[i]
		other := len(names) == 1 && names[0] == "InstanceId" && m.Namespace == ec2Namespace && !instanceIDForm.MatchString(in.Dimensions[0].Value)
		if (in.Namespace == "" || in.Namespace == m.Namespace) && slices.Equal(m.DimensionNames(), names) && !other && !slices.Contains(namespaces, m.Namespace) {
			namespaces = append(namespaces, m.Namespace)
		}
	}
	if len(namespaces) > 0 {
		return namespaces, nil
	}
	if len(names) == 1 && names[0] == "InstanceId" && !instanceIDForm.MatchString(in.Dimensions[0].Value) {
		return nil, invalid("%q is not an instance id", in.Dimensions[0].Value).withHint("write an id such as i-0123456789abcdef0")
	}
	namespace := cmp.Or(in.Namespace, "any namespace")
	return nil, invalid("no metric of %s has the dimensions %s", namespace, strings.Join(names, ",")).
		withHint("add one to metrics, or remove the line")
}

// target returns the target of a row, which must be one of the job's.
func (l *instanceList) target(r row) (record.Target, error) {
	t := record.Target{Account: r.Account, Region: r.Region}
	switch {
	case t == (record.Target{}) && len(l.targets) == 1 && !l.targets[0].IsPattern() && l.config.Shard == (record.Shard{}):
		return l.targets[0], nil
	case (r.Account == "" || r.Region == "") && l.config.Shard != (record.Shard{}):
		return t, invalid("account or region is missing, and the job is divided into shards").withHint("add both to the line")
	case r.Account == "" || r.Region == "":
		return t, invalid("account or region is missing, and the job has %d targets", len(l.targets)).withHint("add both to the line")
	case !regionForm.MatchString(r.Region):
		return t, invalid("region %q is malformed", r.Region).withHint("write a name such as us-east-1")
	}
	if !l.config.Shard.Holds(t) {
		return t, nil // another shard, which checks the target
	}
	for _, known := range l.targets {
		if known.Account == t.Account && known.Covers(t.Region) {
			return t, nil
		}
	}
	return t, invalid("%s is not a target of the job", t).withHint("add it to accounts and regions, or remove the line")
}
