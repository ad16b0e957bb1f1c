package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// setting describes a key of harvest.yaml for the JSON Schema. The type is that of
// the document's field; form narrows it.
type setting struct {
	description string
	values      []string // the possible values
	form        *form
	initial     any // default value
	minimum     any
	maximum     any
}

// form is the syntax of a text value.
type form struct {
	pattern string
	number  bool // a whole number is valid, too
}

var (
	durations = &form{`^\s*(\d+|\d+(\.\d+)?(ms|s|m|h|d|w)(\s*\d+(\.\d+)?(ms|s|m|h|d|w))*)\s*$`, true}
	sizes     = &form{`^\s*\d+(\.\d+)?\s*([kKMG]i?)?B?\s*$`, true}
	times     = &form{`^\s*\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?\s*$`, false}
	ids       = &form{accountForm.String(), true}
	roles     = &form{roleForm.String(), false}
	roleNames = &form{roleNameForm.String(), false}
	secrets   = &form{externalIDForm.String(), true}
	regions   = &form{`^(enabled|[a-z0-9-]*[*?][a-z0-9*?-]*|[a-z]{2}(-[a-z]+)+-\d{1,2})$`, false}
	parents   = &form{parentForm.String(), false}
	spaces    = &form{namespaceForm.String(), false}
	lengths   = &form{`^(auto|never|` + strings.Trim(durations.pattern, `^$`) + `)$`, true}
)

// settings describes every key of the document by its path. The items of a list
// have the path of the list. A test fails for keys without a description.
var settings = map[string]setting{
	"job":         {description: "Name of the job, shown to people", initial: "harvest"},
	"dir":         {description: "Harvest directory, relative to this file", initial: "./harvest"},
	"out":         {description: "Output location: a directory or s3://bucket/prefix; default: data/ in dir"},
	"format":      {description: "Format of the output files", values: []string{"parquet", "csv", "jsonl"}, initial: "parquet"},
	"compression": {description: "Compression of csv and jsonl; Parquet has its own", values: []string{"none", "gzip", "zstd"}},
	"range":       {description: "Time range of a job: yesterday (the last complete UTC day), since_last, a duration, a day, or two times", initial: "yesterday"},
	"range.last":  {description: "Duration up to now, such as 24h", form: durations},
	"range.from":  {description: "Start, in UTC unless it has an offset", form: times},
	"range.to":    {description: "End, exclusive, in UTC unless it has an offset", form: times},
	"settle":      {description: "Minimum age of the data to request, up to 14d", form: durations, initial: "30m"},
	"period":      {description: "Period of the datapoints: a multiple of 60 seconds up to one day, or 1, 5, 10, 20 or 30 seconds", form: durations, initial: "5m"},

	"s3":             {description: "Credentials for an S3 output; default: the caller's"},
	"s3.profile":     {description: "Profile of the AWS shared configuration"},
	"s3.role_arn":    {description: "Role to assume", form: roles},
	"s3.external_id": {description: "External id that the role requires; ${NAME} reads a variable of the environment"},
	"s3.region":      {description: "Region of the bucket"},

	"defaults": {description: "Defaults of every account"},
	"accounts": {description: "Accounts to harvest; default: the caller's own account"},

	"tolerate":         {description: "Targets that may be denied while the job still counts as complete"},
	"tolerate.account": {description: "Account id of 12 digits, in quotes", form: ids},
	"tolerate.region":  {description: "Region; default: all"},
	"tolerate.until":   {description: "End of the exception", form: times},

	"instances":            {description: "Selection of instances"},
	"instances.sources":    {description: "Sources of the list; default: ec2 for metrics by InstanceId, cloudwatch for all others", values: []string{"ec2", "cloudwatch", "file"}},
	"instances.file":       {description: "File of instances, one per line; - is standard input"},
	"instances.tags":       {description: "Only EC2 instances with these tags"},
	"instances.states":     {description: "Only EC2 instances in these states; default: all", values: instanceStates},
	"instances.monitoring": {description: "Only EC2 instances with detailed (enabled) or basic (disabled) monitoring", values: []string{"enabled", "disabled"}},

	"metrics":            {description: "Metrics to request; default: eight of AWS/EC2 with Average and Maximum"},
	"metrics.namespace":  {description: "Namespace, such as AWS/EC2", form: spaces},
	"metrics.names":      {description: "Metric names"},
	"metrics.statistics": {description: "Average, Maximum, Minimum, Sum, SampleCount, or extended statistics such as p99, tm90, TM(10%:90%) or IQM"},
	"metrics.dimensions": {description: "Dimension names; default: InstanceId for AWS/EC2"},

	"concurrency":   {description: "Requests in flight per account and region", minimum: 1, maximum: 1024, initial: 8},
	"max_in_flight": {description: "Requests in flight over all accounts and regions", minimum: 1, maximum: 1024, initial: 64},
	"quota_share":   {description: "Share of CloudWatch's default quotas to use; above 1 where AWS has raised them", minimum: 0, maximum: maxQuotaShare, initial: 1},
	"part_size":     {description: "Bytes of packed data per output file", form: sizes, initial: "128MiB"},
	"spool_limit":   {description: "Bytes fetched but not yet published; fetching waits at this limit", form: sizes, initial: "2GiB"},

	"max_cost":      {description: "Largest cost of a job in USD, worst case, over all its runs; 0: no limit", minimum: 0, initial: 0},
	"max_duration":  {description: "Longest duration of a run; the next run continues the job; 0: no limit", form: durations, initial: 0},
	"give_up_after": {description: "Deny a target whose outage lasts this long, or never", form: lengths, initial: "never"},
	"strict_period": {description: "Refuse coarser data where CloudWatch no longer keeps this period", initial: false},
	"api":           {description: "Operation to call: data (GetMetricData) or statistics (GetMetricStatistics, part of the free tier)", values: []string{"data", "statistics"}, initial: "data"},
	"protocol":      {description: "Wire protocol of CloudWatch; cbor is the fastest, some emulators support only another one", values: protocols, initial: "cbor"},
	"on_finish":     {description: "Notifications at the end of a run: a command line, a command, a webhook, or a list of these"},

	"allow_unknown_metric": {description: "Request AWS/EC2 metrics that this version does not know", initial: false},
	"insecure_endpoint":    {description: "Allow plain http to other machines, although others can then read signatures and metrics", initial: false},

	"prices":                       {description: "Prices in USD per 1,000"},
	"prices.get_metric_data":       {description: "Metrics requested with GetMetricData", minimum: 0, initial: 0.01},
	"prices.get_metric_statistics": {description: "Calls of GetMetricStatistics", minimum: 0, initial: 0.01},
	"prices.list_metrics":          {description: "Calls of ListMetrics", minimum: 0, initial: 0.01},
}

// accountSettings describes the keys of defaults and of accounts.
var accountSettings = map[string]setting{
	"id":                      {description: "Account id of 12 digits, in quotes", form: ids},
	"profile":                 {description: "Profile of the AWS shared configuration"},
	"role_arn":                {description: "Role to assume", form: roles},
	"role_name":               {description: "Name of the role in the account with this id, instead of role_arn", form: roleNames},
	"external_id":             {description: "External id that the role requires; ${NAME} reads a variable of the environment", form: secrets},
	"session_duration":        {description: "Duration of the role's sessions, 15m to 12h, or auto", form: lengths, initial: "1h"},
	"regions":                 {description: "Regions, patterns such as us-*, or enabled; default: the region of the profile, or AWS_REGION", form: regions},
	"file":                    {description: "CSV file of accounts, which inherit the other keys of this entry"},
	"organization":            {description: "Active accounts of an organization, which inherit the other keys of this entry"},
	"organization.profile":    {description: "Profile of the management account or a delegated administrator"},
	"organization.ous":        {description: "Only accounts below these organizational units or roots", form: parents},
	"organization.exclude":    {description: "Accounts to leave out", form: ids},
	"via":                     {description: "Intermediate role, assumed first"},
	"via.role_arn":            {description: "ARN of the intermediate role", form: roles},
	"via.external_id":         {description: "External id that the role requires", form: secrets},
	"fallbacks":               {description: "Alternatives, tried in order while the account's own credentials are unavailable"},
	"fallbacks.profile":       {description: "Profile of the AWS shared configuration"},
	"fallbacks.instance_role": {description: "Use the role of the EC2 instance that runs this program"},
	"fallbacks.role_arn":      {description: "Role to assume", form: roles},
	"fallbacks.role_name":     {description: "Name of a role in the account", form: roleNames},
	"fallbacks.external_id":   {description: "External id that the role requires", form: secrets},
}

// settingOf returns the description of a path.
func settingOf(path string) (setting, bool) {
	for _, of := range []string{"defaults.", "accounts."} {
		if key, below := strings.CutPrefix(path, of); below {
			s, known := accountSettings[key]
			return s, known
		}
	}
	s, known := settings[path]
	return s, known
}

// object is a JSON object.
type object = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of harvest.yaml. Parse and
// Validate refuse everything that it refuses, and Validate also checks rules that
// involve several keys.
func Schema() ([]byte, error) {
	schema, err := schemaOf(reflect.TypeFor[document](), "")
	if err != nil {
		return nil, err
	}
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "harvest.yaml of cwharvest"
	text, err := json.MarshalIndent(schema, "", "  ")
	return append(text, '\n'), err
}

func schemaOf(t reflect.Type, path string) (object, error) {
	properties := object{}
	for f := range t.Fields() {
		at := strings.TrimPrefix(path+"."+f.Tag.Get("yaml"), ".")
		s, known := settingOf(at)
		if !known {
			return nil, fmt.Errorf("key %s has no description", at)
		}
		value, err := valueOf(f.Type, at, &s)
		if err != nil {
			return nil, err
		}
		value["description"] = s.description
		if s.initial != nil {
			value["default"] = s.initial
		}
		properties[f.Tag.Get("yaml")] = value
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties}, nil
}

func valueOf(t reflect.Type, path string, s *setting) (object, error) {
	switch t.Kind() {
	case reflect.Pointer:
		return valueOf(t.Elem(), path, s)
	case reflect.Struct:
		return schemaOf(t, path)
	case reflect.Slice:
		items, err := valueOf(t.Elem(), path, s)
		return object{"type": "array", "items": items}, err
	case reflect.Map:
		return object{"type": "object", "additionalProperties": object{"type": []string{"string", "number", "boolean"}}}, nil
	case reflect.Bool:
		return object{"type": "boolean"}, nil
	case reflect.Int:
		return limited("integer", s), nil
	case reflect.Float64:
		return limited("number", s), nil
	case reflect.String:
		return text(s), nil
	}
	switch key := path[strings.LastIndex(path, ".")+1:]; key {
	case "range":
		return rangeSchema(), nil
	case "on_finish":
		return hookSchema(), nil
	case "regions":
		return object{"anyOf": []object{text(s), {"type": "array", "items": text(s)}}}, nil
	}
	return nil, fmt.Errorf("key %s has a type without a schema", path)
}

// inVariable matches text with a ${NAME}, which can expand to any value.
const inVariable = `\$\{[A-Za-z_][A-Za-z0-9_]*\}`

// limited returns the schema of a number, which may be in quotes.
func limited(kind string, s *setting) object {
	number := object{"type": kind}
	if s.minimum != nil {
		number["minimum"] = s.minimum
	}
	if s.maximum != nil {
		number["maximum"] = s.maximum
	}
	return object{"anyOf": []object{number, {"type": "string", "pattern": `^\d+(\.\d+)?$|` + inVariable}}}
}

// text returns the schema of a text value.
func text(s *setting) object {
	switch {
	case s.values != nil:
		return object{"anyOf": []object{{"enum": s.values}, {"type": "string", "pattern": inVariable}}}
	case s.form == nil:
		return object{"type": []string{"string", "number", "boolean"}}
	case s.form.number:
		return object{"type": []string{"string", "integer"}, "minimum": 0, "pattern": ecma(s.form.pattern) + "|" + inVariable}
	}
	return object{"type": "string", "pattern": ecma(s.form.pattern) + "|" + inVariable}
}

var unmarked = regexp.MustCompile(`\\([=,@:])`)

// ecma returns a pattern in the dialect of JSON Schema.
func ecma(pattern string) string { return unmarked.ReplaceAllString(pattern, "$1") }

func hookSchema() object {
	words := object{"anyOf": []object{{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": object{"type": []string{"string", "number", "boolean"}}}}}
	timeout := text(&setting{form: durations})
	either := func(key string, value object) object {
		return object{"type": "object", "additionalProperties": false, "required": []string{key}, "properties": object{key: value, "timeout": timeout}}
	}
	hooks := []object{{"type": "string", "minLength": 1}, either("command", words), either("webhook", object{"type": "string", "pattern": "^https?://|" + inVariable})}
	return object{"anyOf": append(hooks, object{"type": "array", "items": object{"anyOf": hooks}})}
}

func rangeSchema() object {
	part := func(key string) object {
		s := settings["range."+key]
		value := text(&s)
		value["description"] = s.description
		return value
	}
	form := &form{`^(yesterday|since_last|\d{4}-\d{2}-\d{2}|` + strings.Trim(durations.pattern, `^$`) + `)$`, true}
	return object{"anyOf": []object{
		text(&setting{form: form}),
		{"type": "object", "additionalProperties": false, "required": []string{"last"}, "properties": object{"last": part("last")}},
		{"type": "object", "additionalProperties": false, "required": []string{"from", "to"}, "properties": object{"from": part("from"), "to": part("to")}},
	}}
}
