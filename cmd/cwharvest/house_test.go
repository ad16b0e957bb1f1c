package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestHouse measures the structure of the product's packages and holds each of them to houseLimits. Print the table with
//
//	go test ./cmd/cwharvest -run 'TestHouse$' -v
//
// CWHARVEST_HOUSE=DIR measures the checkout in DIR instead, an older commit for example, and asserts nothing.
//
// An arrow leads from a file to another file of its package in which an identifier that it uses is declared. Files are ordered so
// that few arrows lead back; layers are the longest path along the others.
func TestHouse(t *testing.T) {
	dir, limits := "../..", true
	if other := os.Getenv("CWHARVEST_HOUSE"); other != "" {
		dir, limits = other, false
	}
	packages, exports := listPackages(t, dir)
	t.Logf("%-34s %5s %8s %6s %6s %5s  %s", "package", "files", "exported", "layers", "arrows", "back", "function lines median/p95/max")
	var all houseMeasure
	for _, p := range packages {
		m := measurePackage(t, p, exports)
		all.add(&m)
		t.Logf("%-34s %5d %8d %6d %6d %5d  %s", p.ImportPath, m.files, m.exported, m.layers, m.arrows, m.back, m.functions())
		if limits {
			checkHouse(t, p.ImportPath, &m)
		}
	}
	t.Logf("all: functions %s, over 60 lines %d; comment lines %.1f %%", all.functions(), all.long(), 100*float64(all.commentLines)/float64(all.lines))
	t.Logf("words per 10,000 of %d in comments: what %.0f, who+whose+nobody %.0f, tell+tells+told %.0f", all.words,
		all.perTenThousand("what"), all.perTenThousand("who", "whose", "nobody"), all.perTenThousand("tell", "tells", "told"))
}

// houseLimits caps a package; a new package gets the default. A cap is raised only with the reason beside it.
var houseLimits = map[string]houseLimit{
	"cwharvest/cmd/cwharvest":   {files: 40, back: 24},
	"cwharvest/creds":           {files: 20, exported: 60, back: 0},
	"cwharvest/pipeline":        {files: 20, exported: 60, back: 6},
	"cwharvest/pipeline/awssim": {files: 20, exported: 60, back: 12},
	"cwharvest/store":           {files: 20, exported: 25, back: 1},
	"cwharvest/store/check":     {files: 8, exported: 10, back: 1},
	// The writer and the check share the format on disk. The default spool limit is here, so that
	// the configuration does not import the writer.
	"cwharvest/store/record": {files: 20, exported: 125, back: 2},
}

type houseLimit struct{ files, exported, back int }

var defaultHouseLimit = houseLimit{files: 20, exported: 60, back: 8}

func checkHouse(t *testing.T, path string, m *houseMeasure) {
	limit, named := houseLimits[path]
	if !named {
		limit = defaultHouseLimit
	}
	if m.files > limit.files || m.exported > limit.exported || m.back > limit.back {
		t.Errorf("%s has %d files, %d exported names and %d arrows back; at most %d, %d and %d", path,
			m.files, m.exported, m.back, limit.files, limit.exported, limit.back)
	}
}

type listedPackage struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	Module                  *struct{ Main bool }
}

// listPackages returns the packages of the module in dir and the export data of all that they import.
func listPackages(t *testing.T, dir string) (own []listedPackage, exports map[string]string) {
	list := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Module", "./...")
	list.Dir = dir
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	exports = map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return own, exports
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Main {
			own = append(own, p)
		}
	}
}

type houseMeasure struct {
	files, exported, layers, arrows, back int
	lengths                               []int // of functions
	lines, commentLines, words            int
	counts                                map[string]int
}

func (m *houseMeasure) add(o *houseMeasure) {
	m.lengths = append(m.lengths, o.lengths...)
	m.lines, m.commentLines, m.words = m.lines+o.lines, m.commentLines+o.commentLines, m.words+o.words
	if m.counts == nil {
		m.counts = map[string]int{}
	}
	for word, n := range o.counts {
		m.counts[word] += n
	}
}

func (m *houseMeasure) functions() string {
	if len(m.lengths) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(m.lengths))
	return fmt.Sprintf("%d/%d/%d", sorted[len(sorted)/2], sorted[len(sorted)*95/100], sorted[len(sorted)-1])
}

func (m *houseMeasure) long() (n int) {
	for _, l := range m.lengths {
		if l > 60 {
			n++
		}
	}
	return n
}

func (m *houseMeasure) perTenThousand(words ...string) float64 {
	n := 0
	for _, w := range words {
		n += m.counts[w]
	}
	return 10000 * float64(n) / float64(max(m.words, 1))
}

func measurePackage(t *testing.T, p listedPackage, exports map[string]string) houseMeasure {
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	checked, err := (&types.Config{Importer: importer.ForCompiler(set, "gc", lookup)}).Check(p.ImportPath, set, files, info)
	if err != nil {
		t.Fatalf("%s: %v", p.ImportPath, err)
	}
	m := houseMeasure{files: len(files), counts: map[string]int{}}
	for _, name := range checked.Scope().Names() {
		if checked.Name() != "main" && ast.IsExported(name) {
			m.exported++
		}
	}
	for _, f := range files {
		m.measureText(set, f)
	}
	m.measureArrows(arrowsBetweenFiles(set, checked, info))
	return m
}

var wordOfComment = regexp.MustCompile(`[A-Za-z']+`)

func (m *houseMeasure) measureText(set *token.FileSet, f *ast.File) {
	m.lines += set.File(f.Pos()).LineCount()
	for _, group := range f.Comments {
		m.commentLines += set.Position(group.End()).Line - set.Position(group.Pos()).Line + 1
		for _, word := range wordOfComment.FindAllString(group.Text(), -1) {
			m.words++
			m.counts[strings.ToLower(word)]++
		}
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			m.lengths = append(m.lengths, set.Position(fn.End()).Line-set.Position(fn.Pos()).Line+1)
		}
	}
}

type fileArrow struct{ from, to string }

func arrowsBetweenFiles(set *token.FileSet, p *types.Package, info *types.Info) map[fileArrow]bool {
	arrows := map[fileArrow]bool{}
	for id, object := range info.Uses {
		if object.Pkg() != p || !object.Pos().IsValid() {
			continue
		}
		a := fileArrow{set.File(id.Pos()).Name(), set.File(object.Pos()).Name()}
		if a.from != a.to {
			arrows[a] = true
		}
	}
	return arrows
}

func (m *houseMeasure) measureArrows(arrows map[fileArrow]bool) {
	m.arrows = len(arrows)
	order := orderFiles(arrows)
	layer := map[string]int{}
	for _, f := range order { // used files come first
		for a := range arrows {
			if a.from == f && slices.Index(order, a.to) < slices.Index(order, f) {
				layer[f] = max(layer[f], layer[a.to]+1)
			}
		}
		m.layers = max(m.layers, layer[f]+1)
	}
	m.back = arrowsBack(order, arrows)
}

// orderFiles moves single files for as long as that leaves fewer arrows back, so its result is a local optimum.
func orderFiles(arrows map[fileArrow]bool) []string {
	names := map[string]bool{}
	for a := range arrows {
		names[a.from], names[a.to] = true, true
	}
	uses := map[string]int{} // outgoing less incoming
	for a := range arrows {
		uses[a.from]++
		uses[a.to]--
	}
	order := slices.SortedStableFunc(slices.Values(slices.Sorted(maps.Keys(names))), func(a, b string) int { return uses[a] - uses[b] })
	best := arrowsBack(order, arrows)
	for improved := true; improved; {
		improved = false
		for _, f := range slices.Clone(order) {
			for to := range order {
				at := slices.Index(order, f)
				moved := slices.Insert(slices.Delete(slices.Clone(order), at, at+1), to, f)
				if n := arrowsBack(moved, arrows); n < best {
					best, order, improved = n, moved, true
				}
			}
		}
	}
	return order
}

func arrowsBack(order []string, arrows map[fileArrow]bool) (n int) {
	at := map[string]int{}
	for i, f := range order {
		at[f] = i
	}
	for a := range arrows {
		if at[a.to] > at[a.from] {
			n++
		}
	}
	return n
}
