package config

import (
	_ "embed"
	"reflect"
)

// document is the structure of harvest.yaml: every key that it can contain.
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
	OnFinish     any      `yaml:"on_finish"` // a command line, a mapping, or a list of these
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

// documentAccount is an item of accounts, and the mapping defaults.
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

// allKeys returns every key of harvest.yaml, at any depth.
func allKeys() []string {
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

// Initial is the harvest.yaml for new users. It works as it is and shows the
// other settings in comments.
//
//go:embed init.yaml
var Initial string
