package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// document is harvest.yaml as it is written: every key that it may hold.
type document struct {
	Job *string `yaml:"job"`
	Dir *string `yaml:"dir"`
	Out *string `yaml:"out"`
	S3  struct {
		Profile    string `yaml:"profile"`
		RoleARN    string `yaml:"role_arn"`
		ExternalID string `yaml:"external_id"`
		Region     string `yaml:"region"`
	} `yaml:"s3"`
	Format      *string           `yaml:"format"`
	Compression *string           `yaml:"compression"`
	Range       any               `yaml:"range"`
	Settle      *string           `yaml:"settle"`
	Period      *string           `yaml:"period"`
	Defaults    documentAccount   `yaml:"defaults"`
	Accounts    []documentAccount `yaml:"accounts"`
	Tolerate    []struct {
		Account string `yaml:"account"`
		Region  string `yaml:"region"`
		Until   string `yaml:"until"`
	} `yaml:"tolerate"`
	Instances struct {
		Sources    []string          `yaml:"sources"`
		File       string            `yaml:"file"`
		Tags       map[string]string `yaml:"tags"`
		States     []string          `yaml:"states"`
		Monitoring string            `yaml:"monitoring"`
	} `yaml:"instances"`
	Metrics []struct {
		Namespace  string   `yaml:"namespace"`
		Names      []string `yaml:"names"`
		Statistics []string `yaml:"statistics"`
		Dimensions []string `yaml:"dimensions"`
	} `yaml:"metrics"`
	Concurrency *int     `yaml:"concurrency"`
	MaxInFlight *int     `yaml:"max_in_flight"`
	QuotaShare  *float64 `yaml:"quota_share"`
	PartSize    *string  `yaml:"part_size"`
	SpoolLimit  *string  `yaml:"spool_limit"`

	MaxCost      *float64 `yaml:"max_cost"`
	MaxDuration  *string  `yaml:"max_duration"`
	GiveUpAfter  *string  `yaml:"give_up_after"`
	StrictPeriod *bool    `yaml:"strict_period"`
	OnFinish     any      `yaml:"on_finish"` // a command, a mapping, or a list of them
	API          *string  `yaml:"api"`
	Protocol     *string  `yaml:"protocol"`

	AllowUnknownMetric *bool `yaml:"allow_unknown_metric"`
	InsecureEndpoint   *bool `yaml:"insecure_endpoint"`

	Prices struct {
		GetMetricData       *float64 `yaml:"get_metric_data"`
		GetMetricStatistics *float64 `yaml:"get_metric_statistics"`
		ListMetrics         *float64 `yaml:"list_metrics"`
	} `yaml:"prices"`
}

type documentAccount struct {
	ID              string  `yaml:"id"`
	Profile         string  `yaml:"profile"`
	RoleARN         string  `yaml:"role_arn"`
	RoleName        string  `yaml:"role_name"`
	ExternalID      string  `yaml:"external_id"`
	SessionDuration *string `yaml:"session_duration"`
	Regions         any     `yaml:"regions"` // a list, or enabled
	File            string  `yaml:"file"`
	Organization    *struct {
		Profile string   `yaml:"profile"`
		OUs     []string `yaml:"ous"`
		Exclude []string `yaml:"exclude"`
	} `yaml:"organization"`

	Via *struct {
		RoleARN    string `yaml:"role_arn"`
		ExternalID string `yaml:"external_id"`
	} `yaml:"via"`
	Fallbacks []struct {
		Profile      string `yaml:"profile"`
		InstanceRole bool   `yaml:"instance_role"`
		RoleARN      string `yaml:"role_arn"`
		RoleName     string `yaml:"role_name"`
		ExternalID   string `yaml:"external_id"`
	} `yaml:"fallbacks"`
}

// ReadFile reads a specification from a file; relative paths in it are
// relative to the file. It is not validated yet.
func ReadFile(path string) (Config, error) {
	data, err := readSome(path)
	if errors.Is(err, errLong) {
		return Config{}, &Error{fmt.Sprintf("read configuration: %s is longer than %d MiB: it is no specification", path, mostOfSpec>>20)}
	}
	if err != nil {
		text := fmt.Sprintf("read configuration: %v; name a file that this user can read", err)
		if errors.Is(err, fs.ErrNotExist) {
			text = fmt.Sprintf("read configuration: %v; `cwharvest init %s` writes one", err, path)
		}
		return Config{}, &Error{text}
	}
	c, err := Parse(path, data, os.LookupEnv)
	if err != nil {
		return c, err
	}
	dir := filepath.Dir(path)
	paths := []*string{&c.Dir, &c.Out, &c.Instances.File}
	for i := range c.Accounts {
		paths = append(paths, &c.Accounts[i].File)
	}
	for _, p := range paths {
		if *p != "" && *p != "-" && !filepath.IsAbs(*p) && !strings.Contains(*p, "://") {
			*p = filepath.Join(dir, *p)
		}
	}
	return c, nil
}

// How long files that people write may be: what is longer is another file.
const (
	mostOfSpec     = 4 << 20
	mostOfAccounts = 64 << 20
)

var errLong = errors.New("too long")

func readSome(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, mostOfSpec+1))
	if err == nil && len(data) > mostOfSpec {
		err = errLong
	}
	return data, errors.Join(err, file.Close())
}

// Parse reads a specification; name is for errors, env looks up ${NAME}.
func Parse(name string, data []byte, env func(string) (string, bool)) (Config, error) {
	c := Default()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return c, &Error{position(name, err)}
	}
	c.where = func(path string) string { return locate(name, file, path) }
	c.line = func(path string) string { return lineOf(name, file, path) }
	body, err := body(file)
	if err == nil && body != nil {
		err = checkAliases(body)
	}
	if err == nil && body != nil {
		if err = expand(body, env); err == nil {
			ast.Walk(verbatim{}, body)
		}
	}
	var doc document
	if err == nil && body != nil {
		err = yaml.NewDecoder(strings.NewReader(""), yaml.Strict()).DecodeFromNode(body, &doc)
	}
	if err != nil {
		return c, &Error{position(name, err)}
	}
	return c, c.fill(&doc)
}

// body returns the one document of a file; nil for an empty one. A second
// document would be ignored silently, so it is refused.
func body(file *ast.File) (ast.Node, error) {
	var first ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType:
		case first == nil:
			first = doc.Body
		default:
			return nil, refuse(doc.Body, "more than one YAML document: a specification is one; remove this one and the --- before it")
		}
	}
	return first, nil
}

// mostAliased bounds what aliases stand for: of anchors that hold aliases of
// anchors, and so on, a page of text is more than any memory has room for.
const mostAliased = 1 << 20

func checkAliases(body ast.Node) error {
	w := weigher{anchors: map[string]int{}}
	ast.Walk(&w, body)
	if w.aliased > mostAliased {
		return refuse(body, "its aliases stand for more than %d values", mostAliased)
	}
	return nil
}

// weigher counts nodes, those that an alias stands for as often as it does.
type weigher struct {
	nodes, aliased int
	anchors        map[string]int // nodes of those that are whole
}

func (w *weigher) Visit(node ast.Node) ast.Visitor {
	w.nodes++
	switch node := node.(type) {
	case *ast.AnchorNode:
		inner := weigher{anchors: w.anchors}
		ast.Walk(&inner, node.Value)
		w.anchors[node.Name.GetToken().Value] = min(inner.nodes, mostAliased+1)
		w.nodes += inner.nodes
		w.aliased += inner.aliased
		return nil
	case *ast.AliasNode:
		n := w.anchors[node.Value.GetToken().Value]
		w.nodes += n
		w.aliased += n
		return nil
	}
	return w
}

// refuse returns an error about a node, in the form of the YAML library's.
func refuse(node ast.Node, format string, args ...any) error {
	at := node.GetToken().Position
	return fmt.Errorf("[%d:%d] %s", at.Line, at.Column, fmt.Sprintf(format, args...))
}

var positioned = regexp.MustCompile(`^\[(\d+):(\d+)\] (.*)`)

var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

var wrongType = regexp.MustCompile(`cannot unmarshal .* of type (\S+)$`)

// typeNames are what people call the types of settings.
var typeNames = map[string]string{"bool": "true or false", "int": "a whole number", "float64": "a number", "string": "one value"}

// position puts an error of the YAML library into one line with its place.
func position(name string, err error) string {
	text, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
	m := positioned.FindStringSubmatch(text)
	if m == nil {
		return name + ": " + text
	}
	text = m[3]
	u, w := unknownField.FindStringSubmatch(text), wrongType.FindStringSubmatch(text)
	switch {
	case strings.Contains(text, "cannot start any token"):
		text = "no YAML begins with this, such as a tab: indent with blanks"
	case u != nil && slices.Contains(keys(), u[1]):
		text = fmt.Sprintf("key %q belongs elsewhere; `cwharvest init -` shows where", u[1])
	case u != nil:
		text = fmt.Sprintf("unknown key %q%s", u[1], cmp.Or(didYouMean(u[1], keys()), "; `cwharvest init -` shows those there are"))
	case w != nil:
		text = "write " + cmp.Or(typeNames[w[1]], "a list or keys") + " here"
	case errors.As(err, new(yaml.Error)):
		text += "; `cwharvest init -` shows how it is written"
	}
	return fmt.Sprintf("%s:%s:%s: %s", name, m[1], m[2], text)
}

// keys are all keys of a specification.
func keys() []string {
	var all []string
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for f := range t.Fields() {
			all = append(all, f.Tag.Get("yaml"))
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[document]())
	return all
}

// locate returns NAME:LINE:COLUMN of a path like $.metrics[0].names.
func locate(name string, file *ast.File, path string) string {
	for path != "" && path != "$" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(file); err == nil && node.GetToken() != nil {
				at := node.GetToken().Position
				return fmt.Sprintf("%s:%d:%d", name, at.Line, at.Column)
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return name
}

// lineOf returns NAME:LINE of a path that the file itself has, else "".
func lineOf(name string, file *ast.File, path string) string {
	p, err := yaml.PathString(path)
	if err != nil {
		return ""
	}
	node, err := p.FilterFile(file)
	if err != nil || node == nil || node.GetToken() == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d", name, node.GetToken().Position.Line)
}

// verbatim makes numbers the text that they are written as: YAML would read an
// external id 0123 as 83, and 1.50 as 1.5.
type verbatim struct{}

func (v verbatim) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.MappingValueNode:
		node.Value = asWritten(node.Value)
	case *ast.SequenceNode:
		for i := range node.Values {
			node.Values[i] = asWritten(node.Values[i])
		}
	case *ast.AnchorNode:
		node.Value = asWritten(node.Value)
	}
	return v
}

func asWritten(node ast.Node) ast.Node {
	switch node := node.(type) {
	case *ast.IntegerNode:
		if fmt.Sprint(node.Value) == node.Token.Value {
			return node
		}
	case *ast.FloatNode:
	default:
		return node
	}
	text := ast.String(node.GetToken())
	text.Value = node.GetToken().Value
	return text
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ${NAME} in every string value below a node.
func expand(node ast.Node, env func(string) (string, bool)) error {
	e := &expander{env: env}
	ast.Walk(e, node)
	return e.err
}

type expander struct {
	env func(string) (string, bool)
	err error // of the first variable that is not set
}

func (e *expander) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.MappingValueNode: // keys are left as they are
		ast.Walk(e, node.Value)
		return nil
	case *ast.StringNode:
		node.Value = variable.ReplaceAllStringFunc(node.Value, func(ref string) string {
			value, set := e.env(ref[2 : len(ref)-1])
			if !set && e.err == nil {
				e.err = refuse(node, "%s is not set in the environment: export it, or write the value", ref)
			}
			return value
		})
	}
	return e
}
