package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// Setting is a key of harvest.yaml. Parsing, checks, flags, variables, the printed
// configuration, the schema, the initial file and the reference come from the
// table of settings. A new setting needs a field of Config, a row of the table, and
// the code that uses it.
type Setting struct {
	Key     string // with dots for the keys of a mapping, or of the items of a list
	Flag    string // overrides the key; without --. Empty: the key is set in the file only
	Default string // as written in the file
	Doc     string

	kind  *kind               // of a single value
	field func(c *Config) any // pointer to it
	check func(*Config) error // of the complete configuration; nil: every value is valid
	parts *mapping            // instead of kind, of a key with a structure
	init  string              // lines of the initial file; empty: the default, as a comment
	help  string              // of the flag, if not Doc
	group string              // heading in the initial file, above this key

	values           []string // the possible values, for the schema
	form             *form    // syntax, for the schema; nil: that of kind
	minimum, maximum any      // of a number, for the schema
	multiple         any      // of which a number is one, for the schema
}

// settings is the table. Its order is that of the file. Rows below a key with a
// structure describe its parts; those of defaults also describe the items of accounts.
var settings = []Setting{
	{Key: "job", Default: "harvest", Doc: "Name of the job, shown to people", kind: text, field: func(c *Config) any { return &c.Job },
		init: "job: harvest"},
	{Key: "dir", Flag: "dir", Default: "./harvest", Doc: "Harvest directory, relative to this file", kind: text, field: func(c *Config) any { return &c.Dir },
		check: (*Config).checkDir, init: "dir: ./harvest", help: "harvest directory (default ./harvest)"},
	{Key: "out", Flag: "out", Doc: "Output location: a directory or s3://bucket/prefix; default: data/ in dir", kind: location, field: func(c *Config) any { return &c.Out },
		check: (*Config).checkOut, group: "Output", init: "#out: ./harvest/data", help: "output location: a directory or s3://bucket/prefix (default data/ in the harvest directory)"},
	{Key: "s3", Doc: "Credentials for an S3 output; default: the caller's", parts: mappingOf((*Config).fillS3, (*Config).documentS3), check: (*Config).checkS3,
		init: "#s3: {profile: writer, region: eu-west-1}"},
	{Key: "s3.profile", Doc: "Profile of the AWS shared configuration"},
	{Key: "s3.role_arn", Doc: "Role to assume", form: roles},
	{Key: "s3.external_id", Doc: "External id that the role requires; ${NAME} reads a variable of the environment"},
	{Key: "s3.region", Doc: "Region of the bucket"},
	{Key: "format", Flag: "format", Default: "parquet", Doc: "Format of the output files", kind: text, field: func(c *Config) any { return &c.Format },
		check: (*Config).checkFormat, values: []string{"parquet", "csv", "jsonl"}, help: "parquet, csv or jsonl (default parquet)"},
	{Key: "compression", Flag: "compression", Doc: "Compression of csv and jsonl; Parquet has its own", kind: text, field: func(c *Config) any { return &c.Compression },
		values: []string{"none", "gzip", "zstd"}, init: "#compression: none", help: "none, gzip or zstd, for csv and jsonl"},

	{Key: "range", Flag: "range", Default: "yesterday", Doc: "Time range of a job: yesterday (the last complete UTC day), since_last, a duration, a day, or two times",
		parts: mappingOf((*Config).fillRange, (*Config).documentRange), check: (*Config).checkRange, group: "Time", init: "range: yesterday    # or since_last, {last: 24h}, {from: 2026-11-01, to: 2026-11-22}", help: "yesterday, since_last, 24h or 2026-11-01 (default yesterday)"},
	{Key: "range.last", Flag: "last", Doc: "Duration up to now, such as 24h", form: durations, help: "harvest the last 24h, 7d, ..."},
	{Key: "range.from", Flag: "from", Doc: "Start, in UTC unless it has an offset", form: times, help: "start of the range (with --to)"},
	{Key: "range.to", Flag: "to", Doc: "End, exclusive, in UTC unless it has an offset", form: times, help: "end of the range, exclusive (with --from)"},
	{Key: "settle", Flag: "settle", Default: "30m", Doc: "Minimum age of the data to request, up to 14d", kind: duration, field: func(c *Config) any { return &c.Settle },
		check: (*Config).checkSettle},
	{Key: "period", Flag: "period", Default: "5m", Doc: "Period of the datapoints: a multiple of 60 seconds up to one day, or 1, 5, 10, 20 or 30 seconds",
		kind: interval, field: func(c *Config) any { return &c.Period }, check: (*Config).checkPeriod, minimum: 60, maximum: int(longestPeriod), multiple: 60, init: "period: 5m    # CloudWatch keeps 1m for 15 days, 5m for 63 days, 1h for 455 days", help: "period of the datapoints (default 5m)"},

	{Key: "defaults", Doc: "Defaults of every account", parts: mappingOf((*Config).fillDefaults, (*Config).documentDefaults), group: "Accounts and regions",
		init: "#defaults: {session_duration: 1h, regions: [us-east-1]}"},
	{Key: "defaults.id", Doc: "Account id of 12 digits, in quotes", form: ids},
	{Key: "defaults.profile", Flag: "profile", Doc: "Profile of the AWS shared configuration", kind: text, field: func(c *Config) any { return &c.Defaults.Profile }},
	{Key: "defaults.role_arn", Flag: "role-arn", Doc: "Role to assume", kind: text, field: func(c *Config) any { return &c.Defaults.RoleARN }, form: roles},
	{Key: "defaults.role_name", Doc: "Name of the role in the account with this id, instead of role_arn", form: roleNames},
	{Key: "defaults.external_id", Flag: "external-id", Doc: "External id that the role requires; ${NAME} reads a variable of the environment",
		kind: text, field: func(c *Config) any { return &c.Defaults.ExternalID }, form: secrets, help: "external id that the role requires"},
	{Key: "defaults.role_session_name", Flag: "role-session-name", Doc: "Name of the role's sessions, which CloudTrail shows; default: AWS_ROLE_SESSION_NAME, else cwharvest",
		kind: text, field: func(c *Config) any { return &c.Defaults.RoleSessionName }, form: sessionNames, help: "name of the role's sessions, as CloudTrail shows them"},
	{Key: "defaults.session_duration", Flag: "session-duration", Default: "1h", Doc: "Duration of the role's sessions, 15m to 12h, or auto",
		kind: session, field: func(c *Config) any { return &c.Defaults.SessionDuration }},
	{Key: "defaults.regions", Flag: "region", Doc: "Regions, patterns such as us-*, or enabled; default: the region of the profile, or AWS_REGION",
		kind: list, field: func(c *Config) any { return &c.Defaults.Regions }, form: regions, help: "regions (default: the profile's or AWS_REGION)"},
	{Key: "defaults.file", Doc: "CSV file of accounts, which inherit the other keys of this entry"},
	{Key: "defaults.organization", Doc: "Active accounts of an organization, which inherit the other keys of this entry"},
	{Key: "defaults.organization.profile", Doc: "Profile of the management account or a delegated administrator"},
	{Key: "defaults.organization.ous", Doc: "Only accounts below these organizational units or roots", form: parents},
	{Key: "defaults.organization.exclude", Doc: "Accounts to leave out", form: ids},
	{Key: "defaults.via", Doc: "Intermediate role, assumed first"},
	{Key: "defaults.via.role_arn", Doc: "ARN of the intermediate role", form: roles},
	{Key: "defaults.via.external_id", Doc: "External id that the role requires", form: secrets},
	{Key: "defaults.fallbacks", Doc: "Alternatives, tried in order while the account's own credentials are unavailable"},
	{Key: "defaults.fallbacks.profile", Doc: "Profile of the AWS shared configuration"},
	{Key: "defaults.fallbacks.instance_role", Doc: "Use the role of the EC2 instance that runs this program"},
	{Key: "defaults.fallbacks.role_arn", Doc: "Role to assume", form: roles},
	{Key: "defaults.fallbacks.role_name", Doc: "Name of a role in the account", form: roleNames},
	{Key: "defaults.fallbacks.external_id", Doc: "External id that the role requires", form: secrets},
	{Key: "accounts", Doc: "Accounts to harvest; default: the caller's own account",
		parts: mappingOf((*Config).fillAccounts, (*Config).documentAccounts), check: (*Config).checkAccounts, init: initialAccounts},
	{Key: "tolerate", Doc: "Targets that may be denied while the job still counts as complete", parts: mappingOf((*Config).fillTolerations, (*Config).documentTolerations),
		init: `#tolerate: [{account: "777788889999", until: 2099-01-31}]`},
	{Key: "tolerate.account", Doc: "Account id of 12 digits, in quotes", form: ids},
	{Key: "tolerate.region", Doc: "Region; default: all"},
	{Key: "tolerate.until", Doc: "End of the exception", form: times},

	{Key: "instances", Doc: "Selection of instances", parts: mappingOf((*Config).fillInstances, (*Config).documentInstances), check: (*Config).checkInstances,
		group: "Instances and metrics", init: "#instances: {sources: [ec2, cloudwatch], states: [running, stopped], tags: {env: prod}}"},
	{Key: "instances.sources", Doc: "Sources of the list; default: ec2 for metrics by InstanceId, cloudwatch for all others", values: []string{"ec2", "cloudwatch", "file"}},
	{Key: "instances.file", Flag: "instances-from", Doc: "File of instances, one per line; - is standard input", help: "read instances from this file only; - is standard input"},
	{Key: "instances.tags", Doc: "Only EC2 instances with these tags"},
	{Key: "instances.states", Doc: "Only EC2 instances in these states; default: all", values: instanceStates},
	{Key: "instances.monitoring", Doc: "Only EC2 instances with detailed (enabled) or basic (disabled) monitoring", values: []string{"enabled", "disabled"}},
	{Key: "metrics", Doc: "Metrics to request; default: eight of AWS/EC2 with Average and Maximum", parts: mappingOf((*Config).fillMetrics, (*Config).documentMetrics),
		check: (*Config).checkMetrics, init: initialMetrics},
	{Key: "metrics.namespace", Flag: "namespace", Doc: "Namespace, such as AWS/EC2", form: spaces, help: "namespace of --metric (default AWS/EC2)"},
	{Key: "metrics.names", Flag: "metric", Doc: "Metric names", kind: list, help: "metrics (default: those of the file, or eight of AWS/EC2)"},
	{Key: "metrics.statistics", Flag: "stat", Doc: "Average, Maximum, Minimum, Sum, SampleCount, or extended statistics such as p99, tm90, TM(10%:90%) or IQM",
		kind: list, help: "statistics (default Average,Maximum)"},
	{Key: "metrics.dimensions", Flag: "dimension", Doc: "Dimension names; default: InstanceId for AWS/EC2; [] for metrics without dimensions", kind: list, help: "dimension names of --metric (default InstanceId for AWS/EC2)"},
	{Key: "metrics.unit", Doc: "Only datapoints published with this unit, for a metric that is published with several", values: cloudwatch.Units},

	{Key: "concurrency", Flag: "concurrency", Default: "8", Doc: "Requests in flight per account and region", kind: whole, field: func(c *Config) any { return &c.Concurrency },
		check: func(c *Config) error { return c.checkRequests("concurrency", c.Concurrency) }, minimum: 1, maximum: maxRequests, group: "Speed and cost"},
	{Key: "max_in_flight", Default: "64", Doc: "Requests in flight over all accounts and regions", kind: whole, field: func(c *Config) any { return &c.MaxInFlight },
		check: func(c *Config) error { return c.checkRequests("max_in_flight", c.MaxInFlight) }, minimum: 1, maximum: maxRequests},
	{Key: "quota_share", Default: "1", Doc: "Share of CloudWatch's default quotas to use; above 1 where AWS has raised them", kind: number, field: func(c *Config) any { return &c.QuotaShare },
		check: (*Config).checkQuotaShare, minimum: 0, maximum: maxQuotaShare},
	{Key: "part_size", Flag: "part-size", Default: "128MiB", Doc: "Bytes of packed data per output file", kind: size, field: func(c *Config) any { return &c.PartSize },
		check: (*Config).checkPartSize},
	{Key: "spool_limit", Default: formatSize(record.DefaultSpoolLimit), Doc: "Bytes fetched but not yet published; fetching waits at this limit", kind: size,
		field: func(c *Config) any { return &c.SpoolLimit }, check: (*Config).checkSpoolLimit},
	{Key: "max_cost", Flag: "max-cost", Default: "0", Doc: "Largest cost of a job in USD, worst case, over all its runs; 0: no limit", kind: number,
		field: func(c *Config) any { return &c.MaxCost }, check: (*Config).checkMaxCost, minimum: 0, init: "#max_cost: 25", help: "stop with exit 5 before a job may cost more USD than this, over all its runs (default no limit)"},
	{Key: "max_duration", Flag: "max-duration", Default: "0", Doc: "Longest duration of a run; the next run continues the job; 0: no limit", kind: duration,
		field: func(c *Config) any { return &c.MaxDuration }, init: "#max_duration: 6h", help: "stop with exit 5 after this time; the next run continues the job (default no limit)"},
	{Key: "give_up_after", Flag: "give-up-after", Default: "never", Doc: "Deny a target whose outage lasts this long, or never", kind: patience,
		field: func(c *Config) any { return &c.GiveUpAfter }},
	{Key: "strict_period", Flag: "strict-period", Default: "false", Doc: "Refuse coarser data where CloudWatch no longer keeps this period", kind: boolean,
		field: func(c *Config) any { return &c.StrictPeriod }},
	{Key: "on_finish", Doc: "Notifications at the end of a run: a command line, a command, a webhook, or a list of these", parts: mappingOf((*Config).fillOnFinish, nil),
		check: (*Config).checkOnFinish, init: `#on_finish: {command: [sh, -c, "mail -s \"harvest: exit $CWHARVEST_EXIT\" ops@example.com"], timeout: 1m}    # or {webhook: "https://..."}`},
	{Key: "api", Flag: "api", Default: "data", Doc: "Operation to call: data (GetMetricData) or statistics (GetMetricStatistics, part of the free tier)", kind: text,
		field: func(c *Config) any { return (*string)(&c.API) }, check: (*Config).checkAPI, values: []string{"data", "statistics"}},
	{Key: "protocol", Flag: "protocol", Default: "cbor", Doc: "Wire protocol of CloudWatch; cbor is the fastest, some emulators support only another one", kind: text,
		field: func(c *Config) any { return &c.Protocol }, check: (*Config).checkProtocol, values: protocols, help: "wire protocol of CloudWatch: cbor, json or query; emulators may need json (default cbor)"},
	{Key: "allow_unknown_metric", Flag: "allow-unknown-metric", Default: "false", Doc: "Request AWS/EC2 metrics that this version does not know", kind: boolean,
		field: func(c *Config) any { return &c.AllowUnknownMetric }},
	{Key: "insecure_endpoint", Flag: "insecure-endpoint", Default: "false", Doc: "Allow plain http to other machines, although others can then read signatures and metrics",
		kind: boolean, field: func(c *Config) any { return &c.InsecureEndpoint }},
	{Key: "prices", Doc: "Prices in USD per 1,000", parts: mappingOf((*Config).fillPrices, (*Config).documentPrices), check: (*Config).checkPrices,
		init: "#prices: {get_metric_data: 0.01, get_metric_statistics: 0.01, list_metrics: 0.01}"},
	{Key: "prices.get_metric_data", Default: "0.01", Doc: "Metrics requested with GetMetricData", minimum: 0},
	{Key: "prices.get_metric_statistics", Default: "0.01", Doc: "Calls of GetMetricStatistics", minimum: 0},
	{Key: "prices.list_metrics", Default: "0.01", Doc: "Calls of ListMetrics", minimum: 0},
}

// sessionNames are the names that STS accepts (STS API reference, AssumeRole).
var sessionNames = &form{pattern: `^[\w+=,.@-]{2,64}$`, hint: "write 2 to 64 letters, digits or any of _+=,.@-"}

// accountForms are the forms of an account's texts that no other rule checks.
var accountForms = map[string]*form{"role_session_name": sessionNames}

const initialAccounts = `# Keep external ids out of this file: ${NAME} reads a variable of the environment.
#accounts:
#  - {id: "111122223333", role_arn: "arn:aws:iam::111122223333:role/metrics-reader", external_id: "${EXTERNAL_ID}"}
#  - {id: "444455556666", role_name: metrics-reader, regions: [us-east-1, eu-west-1]}`

const initialMetrics = `metrics:
  - namespace: AWS/EC2
    names: [CPUUtilization, NetworkIn, NetworkOut, EBSReadOps, EBSWriteOps, EBSReadBytes, EBSWriteBytes, CPUCreditBalance]
    statistics: [Average, Maximum]
#  - {namespace: CWAgent, names: [mem_used_percent], statistics: [Average, p99], dimensions: [InstanceId]}`

// Settings returns the settings, in the order of the file.
func Settings() []Setting { return slices.Clone(settings) }

// Type returns the type of the flag's value, such as text, whole number, number,
// true or false, list, duration or size.
func (s *Setting) Type() string {
	if s.kind == nil {
		return text.name
	}
	return s.kind.name
}

// Help describes the flag.
func (s *Setting) Help() string {
	switch {
	case s.help != "":
		return s.help
	case s.Default == "" || s.Default == "false":
		return lowerFirst(s.Doc)
	}
	return lowerFirst(s.Doc) + " (default " + s.Default + ")"
}

// lowerFirst begins a sentence in lower case, unless its first word is a name.
func lowerFirst(sentence string) string {
	word, _, _ := strings.Cut(sentence, " ")
	if len(word) < 2 || word[1:] != strings.ToLower(word[1:]) || strings.HasPrefix(word, "Average") {
		return sentence
	}
	return strings.ToLower(word) + sentence[len(word):]
}

// VariablePrefix begins the names of variables that set flags.
const VariablePrefix = "CWHARVEST_"

// Variable returns the name of the variable that sets the flag, or "".
func (s *Setting) Variable() string {
	if s.Flag == "" {
		return ""
	}
	return VariableOf(s.Flag)
}

// VariableOf returns the name of the variable that sets a flag.
func VariableOf(flag string) string {
	return VariablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// isTop reports whether the key stands at the left margin.
func (s *Setting) isTop() bool { return !strings.Contains(s.Key, ".") }

// settingOf returns the setting with a key. The items of accounts have the keys of
// defaults.
func settingOf(key string) (*Setting, bool) {
	if below, found := strings.CutPrefix(key, "accounts."); found {
		key = "defaults." + below
	}
	i := slices.IndexFunc(settings, func(s Setting) bool { return s.Key == key })
	if i < 0 {
		return nil, false
	}
	return &settings[i], true
}

// Default returns the settings that apply without a file or flags.
func Default() Config {
	c := Config{Metrics: []Metric{{
		Namespace: "AWS/EC2",
		Names: []string{"CPUUtilization", "NetworkIn", "NetworkOut", "EBSReadOps", "EBSWriteOps",
			"EBSReadBytes", "EBSWriteBytes", "CPUCreditBalance"},
		Statistics: []string{"Average", "Maximum"},
	}}, Range: Range{Kind: Yesterday}, Prices: cloudwatch.DefaultPrices()}
	for i := range settings {
		s := &settings[i]
		if s.field == nil || s.Default == "" {
			continue
		}
		if err := s.kind.parse(s.field(&c), s.Default); err != nil {
			panic(s.Key + ": " + err.Error()) // the table is wrong
		}
	}
	return c
}

// Validate checks every setting. It returns all mistakes, joined, one *Error each.
func (c *Config) Validate() (errs error) {
	for i := range settings {
		if check := settings[i].check; check != nil {
			errs = errors.Join(errs, check(c))
		}
	}
	return errs
}

// documentType is the structure of harvest.yaml: a field for each key of the table
// at the left margin.
var documentType = func() reflect.Type {
	var fields []reflect.StructField
	for i := range settings {
		s := &settings[i]
		if !s.isTop() {
			continue
		}
		field := reflect.StructField{Name: fmt.Sprintf("Key%d", i), Tag: reflect.StructTag(fmt.Sprintf(`yaml:"%s"`, s.Key))}
		if s.parts != nil {
			field.Type = s.parts.shape
		} else {
			field.Type = s.kind.yaml
		}
		fields = append(fields, field)
	}
	return reflect.StructOf(fields)
}()

// allKeys returns every key of harvest.yaml, at any depth.
func allKeys() []string {
	var all []string
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		if t = structOf(t); t == nil {
			return
		}
		for f := range t.Fields() {
			all = append(all, f.Tag.Get("yaml"))
			walk(f.Type)
		}
	}
	walk(documentType)
	return all
}

// structOf returns the type of a mapping, or of the mappings of a list, or nil.
func structOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// fieldOf returns the field of a key.
func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	if t != nil {
		for f := range t.Fields() {
			if f.Tag.Get("yaml") == key {
				return f, true
			}
		}
	}
	return reflect.StructField{}, false
}

// fill applies the keys of a document.
func (c *Config) fill(doc reflect.Value) (errs error) {
	for field, value := range doc.Fields() {
		s, _ := settingOf(field.Tag.Get("yaml"))
		switch {
		case s.parts != nil:
			errs = errors.Join(errs, s.parts.fill(c, value.Addr().Interface()))
		case !value.IsNil():
			if err := s.kind.fill(s.field(c), value); err != nil {
				errs = errors.Join(errs, c.wrapAt("$."+s.Key, err))
			}
		}
	}
	return errs
}

// document returns the harvest.yaml of a configuration.
func (c *Config) document() reflect.Value {
	doc := reflect.New(documentType).Elem()
	for field, value := range doc.Fields() {
		s, _ := settingOf(field.Tag.Get("yaml"))
		switch {
		case s.parts != nil && s.parts.print != nil:
			value.Set(reflect.ValueOf(s.parts.print(c)).Elem())
		case s.parts != nil: // not printed
		case s.Default == "" && reflect.ValueOf(s.field(c)).Elem().IsZero(): // such as out, whose default depends on dir
		default:
			value.Set(reflect.ValueOf(s.kind.print(s.field(c))))
		}
	}
	return doc
}
