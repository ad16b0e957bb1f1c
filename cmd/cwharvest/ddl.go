package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"cwharvest/store/encode"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

func newDDL() *cobra.Command {
	var asJSON *bool
	find := &finder{}
	c := &cobra.Command{
		Use:   "ddl athena|duckdb [DIR]",
		Short: "Print SQL that defines tables over the output",
		Long: `Prints SQL that defines two tables over the output of a harvest directory: metrics, with one
row a datapoint, and instances, with one row an instance and job and its outcome. Athena finds
new dates by partition projection, so nothing has to be added or crawled after a night. Athena
runs one statement at a time.`,
		Example: "  cwharvest ddl duckdb ./harvest > tables.sql && duckdb -init tables.sql",
		Args:    usage(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			define := map[string]func(*table) (string, error){"athena": athena, "duckdb": duckdb}[args[0]]
			if define == nil {
				return usageError{error: fmt.Errorf("ddl %q: choose athena or duckdb", args[0])}
			}
			dir, err := find.dir(c, args[1:])
			if err != nil {
				return err
			}
			tables, err := tablesOf(dir)
			if err != nil {
				return err
			}
			r := &definition{Version: 1, Dir: dir, Engine: args[0]}
			for i := range tables {
				sql, err := define(&tables[i])
				if err != nil {
					return err
				}
				r.Tables = append(r.Tables, definedTable{&tables[i], tables[i].format.Name, tables[i].format.Compression, sql})
			}
			return show(c, r, *asJSON)
		},
	}
	find.register(c)
	asJSON = jsonFlag(c)
	return c
}

// definition is the output of `ddl --json`.
type definition struct {
	Version int            `json:"version"`
	Dir     string         `json:"dir"`
	Engine  string         `json:"engine"`
	Tables  []definedTable `json:"tables"`
}

type definedTable struct {
	*table
	Format      string `json:"format"`
	Compression string `json:"compression,omitempty"`
	SQL         string `json:"sql"`
}

func (*definition) exitCode() int { return exitComplete }

func (d *definition) print(w io.Writer) {
	for i := range d.Tables {
		fmt.Fprintf(w, "%s\n\n", d.Tables[i].SQL)
	}
}

// table describes one table.
type table struct {
	Name    string   `json:"name"`
	Columns []column `json:"columns"`
	Place   string   `json:"location"`   // of the date=... directories
	First   string   `json:"first_date"` // with data
	format  encode.Format
	mixed   bool // some files have other columns
	empty   bool // no finished job has published a file
}

// column has a type name that both engines know.
type column struct {
	Name string `json:"name"`
	Kind string `json:"type"`
}

// tablesOf describes the output of the latest job, with the statistics of all jobs in the same place and format.
func tablesOf(dir string) ([]table, error) {
	dir, err := filepath.Abs(dir) // a view is used from other directories too
	if err != nil {
		return nil, err
	}
	jobs, err := record.ReadJobs(dir)
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, record.ErrNoJob)
	}
	last := &jobs[len(jobs)-1].Plan
	place := strings.TrimSuffix(last.Out, "/")
	format := encode.Format{Name: last.Format, Compression: last.Compression}
	statistics := map[string]bool{}
	first, mixed := last.Start, false
	var files record.Manifest // of all these jobs
	for i := range jobs {
		s := &jobs[i].Plan
		if strings.TrimSuffix(s.Out, "/") != place || (encode.Format{Name: s.Format, Compression: s.Compression}).Suffix() != format.Suffix() {
			continue
		}
		if s.Start.Before(first) {
			first = s.Start
		}
		mixed = mixed || !slices.Equal(s.Statistics(), last.Statistics())
		for _, statistic := range s.Statistics() {
			statistics[statistic] = true
		}
		m, err := record.ReadManifest(dir, s.ID)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // an unfinished job has none
			return nil, err
		}
		files.Parts, files.Inventory = append(files.Parts, m.Parts...), cmp.Or(files.Inventory, m.Inventory)
	}
	metrics := []column{{"account", "varchar"}, {"region", "varchar"}, {"namespace", "varchar"}, {"metric", "varchar"},
		{"instance_id", "varchar"}, {"dimensions", "varchar"}, {"timestamp", "timestamp"}, {"period_s", "int"}}
	for _, s := range encode.SortStatistics(maps.Keys(statistics)) {
		metrics = append(metrics, column{encode.Column(s), "double"})
	}
	instances := []column{{"account", "varchar"}, {"region", "varchar"}, {"namespace", "varchar"}, {"instance_id", "varchar"},
		{"dimensions", "varchar"}, {"type", "varchar"}, {"zone", "varchar"}, {"platform", "varchar"}, {"state", "varchar"},
		{"launch_time", "timestamp"}, {"tags", "varchar"}, {"sources", "varchar"}, {"outcome", "varchar"}, {"rows", "bigint"},
		{"class", "varchar"}, {"reason", "varchar"}}
	date := first.UTC().Format("2006-01-02")
	return []table{
		{"metrics", metrics, place, date, format, mixed, len(files.Parts) == 0},
		{"instances", instances, last.InventoryPlace(), date, format, false, files.Inventory == nil},
	}, nil
}

func duckdb(t *table) (string, error) {
	if err := t.hidden(); err != nil {
		return "", err
	}
	pattern := quote(globEscaper.Replace(t.Place) + "/date=*/[!_]*" + t.format.Suffix())
	const partitions = "hive_partitioning = true, union_by_name = true"
	compression := quote(strings.Replace(cmp.Or(t.format.Compression, "none"), "none", "uncompressed", 1)) // explicit, since a question mark in the path hides the extension from DuckDB
	var source string
	switch t.format.Name {
	case "parquet":
		source = fmt.Sprintf("read_parquet(%s, %s)", pattern, partitions)
	case "csv":
		source = fmt.Sprintf("read_csv(%s, %s, compression = %s, header = true, delim = ',', quote = '\"', escape = '\"', types = {%s})",
			pattern, partitions, compression, t.types("TIMESTAMPTZ"))
	default:
		source = fmt.Sprintf("read_json(%s, %s, compression = %s, format = 'newline_delimited', columns = {%s})",
			pattern, partitions, compression, t.types("TIMESTAMPTZ"))
	}
	if t.empty {
		return t.duckdbEmpty(pattern, "SELECT * FROM "+source), nil
	}
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s AS\nSELECT * FROM %s;", t.Name, source), nil
}

// duckdbEmpty defines a view before its first file exists. DuckDB refuses a pattern that matches no file, so the view selects from the
// files only if there are some when the statements run. It uses a variable, which lasts for one session of DuckDB.
func (t *table) duckdbEmpty(pattern, query string) string {
	var columns strings.Builder
	for _, c := range append(slices.Clone(t.Columns), column{"date", "date"}) {
		kind := strings.Replace(strings.ToUpper(c.Kind), "TIMESTAMP", "TIMESTAMPTZ", 1)
		fmt.Fprintf(&columns, `NULL::%s AS "%s", `, kind, c.Name)
	}
	none := "SELECT " + strings.TrimSuffix(columns.String(), ", ") + " WHERE false"
	return fmt.Sprintf(`-- No finished night has a file of %[1]s yet. Run these statements in each session of DuckDB, or print them again after the first night with data.
SET VARIABLE cwharvest_%[1]s = (SELECT CASE WHEN count(*) > 0 THEN %[2]s ELSE %[3]s END FROM glob(%[4]s));
CREATE OR REPLACE VIEW %[1]s AS
SELECT * FROM query(getvariable('cwharvest_%[1]s'));`, t.Name, quote(query), quote(none), pattern)
}

// globEscaper quotes a path for DuckDB's glob patterns. DuckDB reads a backslash as a slash, so only a wildcard matches one.
var globEscaper = strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]", `\`, "?")

// hidden refuses a place with a directory such as region=eu, since DuckDB would use it instead of the column in the files.
func (t *table) hidden() error {
	for element := range strings.SplitSeq(t.Place, "/") {
		name, _, found := strings.Cut(element, "=")
		if found && (strings.EqualFold(name, "date") || slices.ContainsFunc(t.Columns, func(c column) bool { return strings.EqualFold(c.Name, name) })) {
			return hintedError{fmt.Errorf("output %s: DuckDB would read %s as the column %q of every row", t.Place, element, name), "move the output to another directory"}
		}
	}
	return nil
}

// types lists the columns with their types in the syntax of DuckDB's functions.
func (t *table) types(timestamp string) string {
	all := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		kind := c.Kind
		if kind == "timestamp" {
			kind = timestamp
		}
		all[i] = quote(c.Name) + ": " + quote(strings.ToUpper(kind))
	}
	return strings.Join(all, ", ")
}

func athena(t *table) (string, error) {
	if !strings.HasPrefix(t.Place, "s3://") {
		return "", usageError{fmt.Errorf("output %s: Athena reads S3 only", filepath.Clean(t.Place)),
			"set out: s3://bucket/prefix, or copy the files and change the LOCATION"}
	}
	if t.mixed && t.format.Name == "csv" {
		return "", hintedError{fmt.Errorf("output %s: Athena reads CSV columns by position, and some files have other statistics", t.Place), "write Parquet"}
	}
	columns := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		kind := map[string]string{"varchar": "string"}[c.Kind]
		if kind == "" {
			kind = c.Kind
		}
		if t.format.Name != "parquet" && kind == "timestamp" {
			kind = "string" // RFC 3339: from_iso8601_timestamp reads it
		}
		if t.format.Name == "csv" {
			kind = "string" // the only type of OpenCSVSerDe that allows empty cells
		}
		columns[i] = fmt.Sprintf("  `%s` %s", c.Name, kind)
	}
	stored := map[string]string{
		"parquet": "STORED AS PARQUET",
		"csv":     "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde'\nSTORED AS TEXTFILE",
		"jsonl":   "ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'\nSTORED AS TEXTFILE",
	}[t.format.Name]
	properties := []string{"'projection.enabled' = 'true'", "'projection.date.type' = 'date'", "'projection.date.format' = 'yyyy-MM-dd'",
		fmt.Sprintf("'projection.date.range' = '%s,NOW'", t.First), fmt.Sprintf("'storage.location.template' = '%s/date=${date}/'", t.Place)}
	if t.format.Name == "csv" {
		properties = append(properties, "'skip.header.line.count' = '1'")
	}
	return fmt.Sprintf("CREATE EXTERNAL TABLE %s (\n%s\n)\nPARTITIONED BY (`date` string)\n%s\nLOCATION '%s/'\nTBLPROPERTIES (\n  %s\n);",
		t.Name, strings.Join(columns, ",\n"), stored, t.Place, strings.Join(properties, ",\n  ")), nil
}

// quote formats an SQL string literal.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
