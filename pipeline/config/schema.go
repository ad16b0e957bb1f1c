package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// setting is what editors are told of a key of harvest.yaml. The type follows
// from the document, unless form says otherwise.
type setting struct {
	about  string
	values []string // it takes one of these
	form   *form
	preset any // what it is when it is left out
	least  any // a number is at least this
	most   any // and at most this
}

// form is how a value is written.
type form struct {
	pattern string
	number  bool // whole numbers as well
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

// settings describe every key of the document, by its path; a list's items have
// the path of the list. A test refuses keys without a description.
var settings = map[string]setting{
	"job":         {about: "A name, for people", preset: "harvest"},
	"dir":         {about: "The harvest directory, relative to this file", preset: "./harvest"},
	"out":         {about: "Where parts go: a directory or s3://bucket/prefix; default data/ in dir"},
	"format":      {about: "Format of the parts", values: []string{"parquet", "csv", "jsonl"}, preset: "parquet"},
	"compression": {about: "Of csv and jsonl; Parquet compresses by itself", values: []string{"none", "gzip", "zstd"}},
	"range":       {about: "What a job harvests: yesterday (the last complete UTC day, once settled), since_last, a length or a day", preset: "yesterday"},
	"range.last":  {about: "The last so long, such as 24h", form: durations},
	"range.from":  {about: "Begin, UTC unless it has an offset", form: times},
	"range.to":    {about: "End, exclusive", form: times},
	"settle":      {about: "Nothing younger than this is asked for, up to 14d", form: durations, preset: "30m"},
	"period":      {about: "Period of the datapoints: a multiple of 60 seconds up to one day, or 1, 5, 10, 20 or 30 seconds", form: durations, preset: "5m"},

	"s3":             {about: "Who writes the output to S3; default: the caller"},
	"s3.profile":     {about: "Shared-config profile"},
	"s3.role_arn":    {about: "Role to assume", form: roles},
	"s3.external_id": {about: "External id that the role demands; ${NAME} takes it from the environment"},
	"s3.region":      {about: "Region of the bucket"},

	"defaults": {about: "What every account inherits"},
	"accounts": {about: "Accounts to harvest; none: the caller's own identity"},

	"tolerate":         {about: "Targets that may be denied without making a night incomplete"},
	"tolerate.account": {about: "Account id of 12 digits, in quotes", form: ids},
	"tolerate.region":  {about: "Only this region; default all"},
	"tolerate.until":   {about: "Until then", form: times},

	"instances":            {about: "Which instances"},
	"instances.sources":    {about: "Where they come from; default ec2 for metrics by InstanceId, cloudwatch for all others", values: []string{"ec2", "cloudwatch", "file"}},
	"instances.file":       {about: "File of instances, one a line; - reads standard input"},
	"instances.tags":       {about: "Only EC2 instances with these tags"},
	"instances.states":     {about: "Only EC2 instances in these states; default all", values: instanceStates},
	"instances.monitoring": {about: "Only EC2 instances with detailed (enabled) or basic (disabled) monitoring", values: []string{"enabled", "disabled"}},

	"metrics":            {about: "Metrics to ask for; default: eight of AWS/EC2 with Average and Maximum"},
	"metrics.namespace":  {about: "Namespace, such as AWS/EC2", form: spaces},
	"metrics.names":      {about: "Names of metrics"},
	"metrics.statistics": {about: "Average, Maximum, Minimum, Sum, SampleCount, or extended ones such as p99, tm90, TM(10%:90%), IQM"},
	"metrics.dimensions": {about: "Names of dimensions; default InstanceId for AWS/EC2"},

	"concurrency":   {about: "Requests in flight per account and region", least: 1, most: 1024, preset: 8},
	"max_in_flight": {about: "Requests in flight over all of them", least: 1, most: 1024, preset: 64},
	"quota_share":   {about: "Share of CloudWatch's default quotas to use; above 1 where AWS has raised them", least: 0, most: maxQuotaShare, preset: 1},
	"part_size":     {about: "Bytes of fetched data per part, packed", form: sizes, preset: "128MiB"},
	"spool_limit":   {about: "Bytes fetched and not yet published; fetching waits beyond it", form: sizes, preset: "2GiB"},

	"max_cost":      {about: "USD that a job may cost at worst, over all its runs; 0: no limit", least: 0, preset: 0},
	"max_duration":  {about: "A run stops resumably after so long; 0: no limit", form: durations, preset: 0},
	"give_up_after": {about: "A target that is out for so long is denied", form: lengths, preset: "never"},
	"strict_period": {about: "Rather nothing than datapoints by a coarser period", preset: false},
	"api":           {about: "data (GetMetricData) or statistics (GetMetricStatistics, within the free tier)", values: []string{"data", "statistics"}, preset: "data"},
	"protocol":      {about: "How CloudWatch is spoken to; cbor is the fastest, and some emulators know only another one", values: protocols, preset: "cbor"},
	"on_finish":     {about: "Who is told when a run has worked: a command line, a command or a webhook, or a list of these"},

	"allow_unknown_metric": {about: "Ask for AWS/EC2 metrics that this version does not know", preset: false},
	"insecure_endpoint":    {about: "Let plain http go to other machines: signatures and metrics may be read on the way", preset: false},

	"prices":                       {about: "USD per 1,000"},
	"prices.get_metric_data":       {about: "Metrics requested of GetMetricData", least: 0, preset: 0.01},
	"prices.get_metric_statistics": {about: "Calls of GetMetricStatistics", least: 0, preset: 0.01},
	"prices.list_metrics":          {about: "Calls of ListMetrics", least: 0, preset: 0.01},
}

// accountSettings are those of defaults and of accounts.
var accountSettings = map[string]setting{
	"id":                      {about: "Account id of 12 digits, in quotes", form: ids},
	"profile":                 {about: "Shared-config profile to call with"},
	"role_arn":                {about: "Role to assume", form: roles},
	"role_name":               {about: "Name of the role, which makes its ARN with the account's id", form: roleNames},
	"external_id":             {about: "External id that the role demands; ${NAME} takes it from the environment", form: secrets},
	"session_duration":        {about: "Life of the role's sessions, 15m to 12h, or auto", form: lengths, preset: "1h"},
	"regions":                 {about: "Regions, patterns such as us-*, or enabled; default: the profile's or AWS_REGION", form: regions},
	"file":                    {about: "CSV file of accounts, which inherit the rest of this entry"},
	"organization":            {about: "The active accounts of an organization, which inherit the rest of this entry"},
	"organization.profile":    {about: "Profile of the management account or a delegated administrator"},
	"organization.ous":        {about: "Only accounts below these units or roots", form: parents},
	"organization.exclude":    {about: "Not these accounts", form: ids},
	"via":                     {about: "A role to assume first"},
	"via.role_arn":            {about: "Its ARN", form: roles},
	"via.external_id":         {about: "Its external id", form: secrets},
	"fallbacks":               {about: "Other ways in, in order, while the account's own cannot be had"},
	"fallbacks.profile":       {about: "Another profile"},
	"fallbacks.instance_role": {about: "The role of the instance that this runs on"},
	"fallbacks.role_arn":      {about: "Another role", form: roles},
	"fallbacks.role_name":     {about: "Name of another role in the account", form: roleNames},
	"fallbacks.external_id":   {about: "Its external id", form: secrets},
}

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

// Schema returns the JSON Schema (draft 2020-12) of harvest.yaml. What it refuses
// Parse or Validate refuses as well; what hangs together over several keys only
// Validate knows.
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
		value["description"] = s.about
		if s.preset != nil {
			value["default"] = s.preset
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

// inVariable lets ${NAME} stand for any text.
const inVariable = `\$\{[A-Za-z_][A-Za-z0-9_]*\}`

// limited is a number. One in quotes is as good.
func limited(kind string, s *setting) object {
	number := object{"type": kind}
	if s.least != nil {
		number["minimum"] = s.least
	}
	if s.most != nil {
		number["maximum"] = s.most
	}
	return object{"anyOf": []object{number, {"type": "string", "pattern": `^\d+(\.\d+)?$|` + inVariable}}}
}

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

// ecma is a pattern as JSON Schema's readers know it.
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
		value["description"] = s.about
		return value
	}
	form := &form{`^(yesterday|since_last|\d{4}-\d{2}-\d{2}|` + strings.Trim(durations.pattern, `^$`) + `)$`, true}
	return object{"anyOf": []object{
		text(&setting{form: form}),
		{"type": "object", "additionalProperties": false, "required": []string{"last"}, "properties": object{"last": part("last")}},
		{"type": "object", "additionalProperties": false, "required": []string{"from", "to"}, "properties": object{"from": part("from"), "to": part("to")}},
	}}
}
