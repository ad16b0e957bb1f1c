package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayImport is the layout: the packages of this module that each package may
// import, and the reason. A package that is not listed may not exist.
var mayImport = map[string]struct {
	imports []string
	reason  string
}{
	"cwharvest/cmd/awssim": {[]string{"cwharvest/pipeline/awssim"}, "serves the simulated AWS, nothing else"},
	"cwharvest/cmd/cwharvest": {[]string{"cwharvest/cmd/cwharvest/accounts", "cwharvest/cmd/cwharvest/demo", "cwharvest/cmd/cwharvest/docs", "cwharvest/cmd/cwharvest/harvest", "cwharvest/cmd/cwharvest/human", "cwharvest/creds", "cwharvest/creds/partition", "cwharvest/creds/wire", "cwharvest/pipeline",
		"cwharvest/pipeline/cloudwatch", "cwharvest/pipeline/config", "cwharvest/store", "cwharvest/store/check", "cwharvest/store/claim", "cwharvest/store/durable", "cwharvest/store/encode",
		"cwharvest/store/place", "cwharvest/store/record"}, "wires everything; knows AWS, not the simulated one"},
	"cwharvest/cmd/cwharvest/accounts": {[]string{"cwharvest/creds", "cwharvest/creds/partition", "cwharvest/creds/wire", "cwharvest/pipeline", "cwharvest/pipeline/cloudwatch", "cwharvest/pipeline/config", "cwharvest/store/record"},
		"resolves accounts; knows no flags, no jobs and no output"},
	"cwharvest/cmd/cwharvest/harvest": {[]string{"cwharvest/cmd/cwharvest/accounts", "cwharvest/pipeline", "cwharvest/pipeline/config", "cwharvest/store", "cwharvest/store/record"},
		"works the jobs of a directory; gets its accounts resolved, never sees credentials, prints nothing"},
	"cwharvest/cmd/cwharvest/demo": {[]string{"cwharvest/cmd/cwharvest/human", "cwharvest/pipeline/awssim", "cwharvest/pipeline/cloudwatch", "cwharvest/pipeline/config", "cwharvest/store/record"},
		"the only part of the product that knows the simulated AWS"},
	"cwharvest/cmd/cwharvest/docs":    {nil, "the manual: texts and their rendering"},
	"cwharvest/cmd/cwharvest/human":   {nil, "formats values for people"},
	"cwharvest/pipeline":              {[]string{"cwharvest/pipeline/cloudwatch", "cwharvest/pipeline/flat", "cwharvest/store", "cwharvest/store/record"}, "gets clients whose configuration carries the credentials; never sees the manager"},
	"cwharvest/pipeline/config":       {[]string{"cwharvest/creds/partition", "cwharvest/pipeline/cloudwatch", "cwharvest/store/encode", "cwharvest/store/place", "cwharvest/store/record"}, "freezes settings into a plan; never writes a harvest directory"},
	"cwharvest/pipeline/awssim":       {nil, "a leaf, like net/http/httptest"},
	"cwharvest/pipeline/awssim/front": {[]string{"cwharvest/pipeline/awssim"}, "puts the real host names before the simulated AWS, for tests"},
	"cwharvest/pipeline/flat":         {[]string{"cwharvest/pipeline/cloudwatch"}, "decodes one kind of response"},
	"cwharvest/creds/process":         {nil, "runs a credential_process; knows no targets"},
	"cwharvest/creds":                 {[]string{"cwharvest/creds/origin", "cwharvest/creds/partition", "cwharvest/creds/process", "cwharvest/creds/wire"}, "knows AWS credentials and nothing of harvesting"},
	"cwharvest/creds/origin":          {[]string{"cwharvest/creds/wire"}, "finds where keys come from and mistakes in settings; calls no service"},
	"cwharvest/creds/partition":       {nil, "facts about AWS's partitions and regions; a leaf"},
	"cwharvest/creds/wire":            {nil, "guards the HTTP of AWS clients; knows no credentials"},
	"cwharvest/store": {[]string{"cwharvest/store/check", "cwharvest/store/claim", "cwharvest/store/lost", "cwharvest/store/durable", "cwharvest/store/encode", "cwharvest/store/place", "cwharvest/store/record"},
		"the one writer of a harvest directory; knows nothing of CloudWatch"},
	"cwharvest/store/check": {[]string{"cwharvest/store/claim", "cwharvest/store/lost", "cwharvest/store/durable", "cwharvest/store/encode", "cwharvest/store/place", "cwharvest/store/record"},
		"verifies and repairs beside the writer, and must not depend on it"},
	"cwharvest/store/lost":  {[]string{"cwharvest/store/encode", "cwharvest/store/place", "cwharvest/store/record"}, "decides about files of lost parts, for the writer and for repair"},
	"cwharvest/store/claim": {[]string{"cwharvest/store/place", "cwharvest/store/record"}, "whose a place of output is, and whether it is there, for the writer and the check"},
	"cwharvest/store/btree": {nil, "checks the pages of a bbolt file; knows nothing of jobs"},
	"cwharvest/store/record": {[]string{"cwharvest/store/btree", "cwharvest/store/durable", "cwharvest/store/encode", "cwharvest/store/place"},
		"the format on disk and its readers; knows no writer"},
	"cwharvest/store/durable": {nil, "the steps that outlast a power cut, behind one seam"},
	"cwharvest/store/encode":  {[]string{"cwharvest/store/encode/zstdframe"}, "file formats; knows runs of datapoints and nothing of jobs"},
	"cwharvest/store/place":   {[]string{"cwharvest/store/durable"}, "where output lies; knows objects and nothing of jobs"},

	"cwharvest/pipeline/cloudwatch": {nil, "facts about CloudWatch, each written once; a leaf"},

	"cwharvest/store/encode/zstdframe": {nil, "compresses pages; knows nothing of files"},

	"cwharvest/pipeline/config/golden": {nil, "compares texts with files, for tests"},

	"cwharvest/store/place/s3test": {nil, "serves S3 to tests"},
}

// TestCloudWatchHasOneMaker proves that one file makes every CloudWatch client. A
// client made elsewhere would not use the configured protocol.
func TestCloudWatchHasOneMaker(t *testing.T) {
	var makers []string
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "cloudwatch.New") {
			makers = append(makers, path)
		}
		return err
	})
	if err != nil || len(makers) != 1 || filepath.ToSlash(makers[0]) != "../../pipeline/protocol.go" {
		t.Errorf("clients of CloudWatch are made in %q: %v", makers, err)
	}
}

// TestImportsFollowTheLayout proves that every package imports only the packages in mayImport.
func TestImportsFollowTheLayout(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "cwharvest/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		rule, known := mayImport[fields[0]]
		if !known {
			t.Errorf("package %s is not in the layout", fields[0])
		}
		for _, imported := range fields[1:] {
			if strings.HasPrefix(imported, "cwharvest/") && !slices.Contains(rule.imports, imported) {
				t.Errorf("%s imports %s: %s", fields[0], imported, rule.reason)
			}
		}
	}
}

// TestLinkerDropsUnusedMethods proves that no file executes templates. A program that does
// keeps every exported method of every type, which doubles its size.
func TestLinkerDropsUnusedMethods(t *testing.T) {
	executed := regexp.MustCompile(`"(text|html)/template"|\.Set(Version|Help|Usage)Template\(`)
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if executed.Match(text) {
			t.Errorf("%s executes a template", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
