package record

import (
	"bytes"
	"slices"
	"sort"
	"strings"
	"time"
)

// Dimension is one name and value of a CloudWatch dimension set.
type Dimension struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Instance is one monitored resource, identified by its namespace and dimension
// set. Discovery fills the other fields as far as it knows them.
type Instance struct {
	Namespace  string      `json:"namespace"`
	Dimensions []Dimension `json:"dimensions"` // sorted by name

	Type     string            `json:"type,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Platform string            `json:"platform,omitempty"`
	State    string            `json:"state,omitempty"`
	Launched time.Time         `json:"launched,omitzero"`
	Tags     map[string]string `json:"tags,omitempty"`
	Sources  []string          `json:"sources,omitempty"` // ec2, cloudwatch, file

	// Metrics are those that CloudWatch has listed with these dimensions, if nothing
	// else is known of the instance. Empty stands for all metrics of the group.
	Metrics []string `json:"metrics,omitempty"`

	// Refused is the reason why nothing can be asked for the instance: AWS listed
	// dimensions that no metric can have. Their values here only describe them.
	Refused *Failure `json:"refused,omitempty"`
}

// Has reports whether a metric of the group is asked for the instance.
func (i *Instance) Has(metric string) bool {
	return len(i.Metrics) == 0 || slices.Contains(i.Metrics, metric)
}

// AddMetrics adds the metrics of the same instance from another source.
func (i *Instance) AddMetrics(o *Instance) {
	if len(i.Metrics) == 0 || len(o.Metrics) == 0 {
		i.Metrics = nil
		return
	}
	all := slices.Concat(i.Metrics, o.Metrics)
	slices.Sort(all)
	i.Metrics = slices.Compact(all)
}

// Key identifies the instance within its target: its group, a zero byte, its
// dimensions. Keys sort as rows do.
func (i Instance) Key() string {
	names := make([]string, len(i.Dimensions))
	for n, d := range i.Dimensions {
		names[n] = d.Name
	}
	return group(i.Namespace, names) + "\x00" + FormatDimensions(i.Dimensions)
}

// group returns the namespace, a zero byte and the sorted names of the dimensions.
// All instances of a group have the same series.
func group(namespace string, names []string) string {
	return namespace + "\x00" + strings.Join(names, ",")
}

// GroupOf returns the group of an instance's key.
func GroupOf(key []byte) string {
	return string(key[:max(bytes.LastIndexByte(key, 0), 0)])
}

// FormatDimensions returns the set as "Name=Value,Name=Value", sorted by name, as
// the dimensions column has it.
func FormatDimensions(dims []Dimension) string {
	if len(dims) == 1 {
		return dims[0].Name + "=" + dims[0].Value
	}
	sorted := append([]Dimension(nil), dims...)
	sort.Slice(sorted, func(a, b int) bool { return sorted[a].Name < sorted[b].Name })
	var s strings.Builder
	for i, d := range sorted {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(d.Name + "=" + d.Value)
	}
	return s.String()
}

// hasNames reports whether a formatted set has exactly these names: "A=x,B=y" has A
// and B.
func hasNames(dims string, names []string) bool {
	if len(names) == 0 {
		return dims == ""
	}
	parsed := ParseDimensions(dims, names)
	return parsed != nil && FormatDimensions(parsed) == dims
}

// ParseDimensions parses a formatted set; nil if its names differ from the sorted
// names. It needs the names because values may contain commas.
func ParseDimensions(dims string, names []string) (parsed []Dimension) {
	for i, name := range names {
		rest, ok := strings.CutPrefix(dims, name+"=")
		if !ok {
			return nil
		}
		value := rest
		if i+1 < len(names) {
			if value, dims, ok = strings.Cut(rest, ","+names[i+1]+"="); !ok {
				return nil
			}
			dims = names[i+1] + "=" + dims
		}
		parsed = append(parsed, Dimension{name, value})
	}
	return parsed
}

// InstanceID returns the value of the InstanceId dimension. Without one it returns
// all values, joined by commas.
func InstanceID(dims string) string {
	var values []string
	for pair := range strings.SplitSeq(dims, ",") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "InstanceId" {
			return value
		}
		values = append(values, value)
	}
	return strings.Join(values, ",")
}
