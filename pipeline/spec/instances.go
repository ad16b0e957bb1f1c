package spec

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"

	"cwharvest/store"
)

var instanceIDForm = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

// ReadInstances reads a list of instance ids, one a line: an id, which is only
// clear when the job has one target, or account,region,id. Empty lines and
// those that begin with # are passed over.
func ReadInstances(name string, r io.Reader, targets []store.Target) (map[store.Target][]string, error) {
	listed := map[store.Target][]string{}
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		t, id, err := parseInstance(line, targets)
		if err != nil {
			return nil, &Error{fmt.Sprintf("%s:%d: %v", name, n, err)}
		}
		if key := t.String() + "/" + id; !seen[key] {
			seen[key] = true
			listed[t] = append(listed[t], id)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, &Error{fmt.Sprintf("%s: %v", name, err)}
	}
	return listed, nil
}

func parseInstance(line string, targets []store.Target) (t store.Target, id string, err error) {
	fields := strings.Split(line, ",")
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	id = fields[len(fields)-1]
	switch {
	case !instanceIDForm.MatchString(id):
		return t, id, fmt.Errorf("%q is not an instance id: such as i-0123456789abcdef0", id)
	case len(fields) == 1 && len(targets) == 1:
		return targets[0], id, nil
	case len(fields) == 1:
		return t, id, fmt.Errorf("the job has %d targets: write account,region,%s", len(targets), id)
	case len(fields) != 3:
		return t, id, fmt.Errorf("%q: write an id, or account,region,id", line)
	}
	t = store.Target{Account: fields[0], Region: fields[1]}
	for _, known := range targets {
		if known == t {
			return t, id, nil
		}
	}
	return t, id, fmt.Errorf("%s is not a target of the job", t)
}
