package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"cwharvest/pipeline/config"
	"cwharvest/store/place"
	"cwharvest/store/record"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

func newPolicy() *cobra.Command {
	f := &runFlags{}
	var format, principal string
	c := &cobra.Command{
		Use:   "policy",
		Short: "Print the least IAM policy that the specification needs, and the roles' trust policies",
		Long: `Prints what the harvested accounts must allow: the least IAM policy for the metrics and
instance sources of the specification, and for every role a trust policy with its
external id. It calls nothing. --format cloudformation prints a template that makes
the role in one account, or by a StackSet in every account of an organization.`,
		Example: `  cwharvest policy -c harvest.yaml --principal arn:aws:iam::999988887777:role/harvester
  cwharvest policy -c harvest.yaml --format cloudformation > metrics-reader.yaml`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := f.configuration(c)
			if err != nil {
				return err
			}
			switch format {
			case "json":
				return printPolicies(c.OutOrStdout(), s, principal)
			case "cloudformation":
				return printTemplate(c.OutOrStdout(), s, principal)
			}
			return usageError{error: fmt.Errorf("--format %q: json or cloudformation", format)}
		},
	}
	f.registerAccess(c)
	c.Flags().StringVar(&format, "format", "json", "json or cloudformation")
	c.Flags().StringVar(&principal, "principal", "", "ARN of who assumes the roles (default: a placeholder to fill in)")
	return c
}

// document is an IAM policy document.
type document struct {
	Version   string      `json:"Version" yaml:"Version"`
	Statement []statement `json:"Statement" yaml:"Statement"`
}

type statement struct {
	Sid       string         `json:"Sid,omitempty" yaml:"Sid,omitempty"`
	Effect    string         `json:"Effect" yaml:"Effect"`
	Principal map[string]any `json:"Principal,omitempty" yaml:"Principal,omitempty"`
	Action    []string       `json:"Action" yaml:"Action"`
	Resource  any            `json:"Resource,omitempty" yaml:"Resource,omitempty"`
	Condition map[string]any `json:"Condition,omitempty" yaml:"Condition,omitempty"`
}

const policyVersion = "2012-10-17" // of the policy language; there is no later one

// permission is an action that a job takes, and why.
type permission struct{ action, why string }

// permissionsOf are those that a specification needs in each account.
func permissionsOf(s *config.Config) []permission {
	all := []permission{{"cloudwatch:GetMetricData", "the datapoints"}}
	if s.API == config.MetricStatistics {
		all = []permission{{"cloudwatch:GetMetricStatistics", "the datapoints"}}
	}
	uses := func(source string) bool {
		return slices.ContainsFunc(s.Metrics, func(m config.Metric) bool { return s.Uses(source, &m) })
	}
	if uses("ec2") {
		all = append(all, permission{"ec2:DescribeInstances", "source ec2"})
	}
	if uses("cloudwatch") {
		all = append(all, permission{"cloudwatch:ListMetrics", "source cloudwatch"})
	}
	regions := slices.Clone(s.Defaults.Regions)
	for i := range s.Accounts {
		regions = append(regions, s.Accounts[i].Regions...)
	}
	if slices.ContainsFunc(regions, func(region string) bool { return record.Target{Region: region}.IsPattern() }) {
		all = append(all, permission{"ec2:DescribeRegions", "patterns of regions"})
	}
	return all
}

// permissions are the actions that harvesting takes. None of them knows
// resources (service authorization reference of CloudWatch and EC2).
func permissions(s *config.Config) document {
	var actions []string
	for _, p := range permissionsOf(s) {
		actions = append(actions, p.action)
	}
	slices.Sort(actions)
	return document{policyVersion, []statement{{Sid: "Harvest", Effect: "Allow", Action: actions, Resource: "*"}}}
}

// trust lets a principal assume a role, with the external id that it needs.
func trust(principal, externalID any) document {
	t := statement{Effect: "Allow", Principal: map[string]any{"AWS": principal}, Action: []string{"sts:AssumeRole"}}
	if externalID != nil && externalID != "" {
		t.Condition = map[string]any{"StringEquals": map[string]any{"sts:ExternalId": externalID}}
	}
	return document{policyVersion, []statement{t}}
}

// rolePolicy is what one role must look like.
type rolePolicy struct {
	Role        string   `json:"Role"`
	TrustPolicy document `json:"TrustPolicy"`
}

type policies struct {
	Policy document     `json:"Policy"`           // of every role, or of the caller's own identity
	Caller *document    `json:"Caller,omitempty"` // what who assumes the roles needs
	Roles  []rolePolicy `json:"Roles,omitempty"`
	Writer *document    `json:"Writer,omitempty"` // of who writes the output to S3
}

// writer lets somebody publish to the place of output, and verify it. Without
// s3:ListBucket an object that is not there could not be told from one that is
// denied (S3 API reference, GetObject).
func writer(s *config.Config) *document {
	bucket, prefix, isS3, err := place.ParseS3(s.Out)
	if err != nil || !isS3 {
		return nil
	}
	arn := "arn:aws:s3:::" + bucket
	inventories := (&record.Plan{Out: s.Out}).InventoryPlace()
	objects := []string{arn + "/" + strings.TrimPrefix(prefix+"/*", "/")}
	if other := arn + strings.TrimPrefix(inventories, "s3://"+bucket) + "/*"; !strings.HasPrefix(other, strings.TrimSuffix(objects[0], "*")) {
		objects = append(objects, other)
	}
	return &document{policyVersion, []statement{
		{Sid: "Publish", Effect: "Allow", Action: []string{"s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"}, Resource: objects},
		{Sid: "Look", Effect: "Allow", Action: []string{"s3:ListBucket", "s3:ListBucketMultipartUploads"}, Resource: arn},
	}}
}

func printPolicies(w io.Writer, s *config.Config, principal string) error {
	principal = cmp.Or(principal, "FILL IN: the ARN of who runs cwharvest")
	p := policies{Policy: permissions(s), Writer: writer(s)}
	caller := statement{Sid: "AssumeReaders", Effect: "Allow", Action: []string{"sts:AssumeRole"}}
	var direct []string
	entries, err := policyEntries(s)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.RoleARN == "" {
			continue
		}
		by := principal
		if e.Via.RoleARN != "" {
			by = e.Via.RoleARN
		} else {
			direct = append(direct, e.RoleARN)
		}
		p.Roles = append(p.Roles, rolePolicy{e.RoleARN, trust(by, e.ExternalID)})
		for _, f := range e.Fallbacks {
			if f.RoleARN != "" {
				p.Roles = append(p.Roles, rolePolicy{f.RoleARN, trust(principal, f.ExternalID)})
				direct = append(direct, f.RoleARN)
			}
		}
		if e.Via.RoleARN != "" && !slices.ContainsFunc(p.Roles, func(r rolePolicy) bool { return r.Role == e.Via.RoleARN }) {
			p.Roles = append(p.Roles, rolePolicy{e.Via.RoleARN, trust(principal, e.Via.ExternalID)})
			direct = append(direct, e.Via.RoleARN)
		}
	}
	if s.S3.RoleARN != "" {
		p.Roles = append(p.Roles, rolePolicy{s.S3.RoleARN, trust(principal, s.S3.ExternalID)})
		direct = append(direct, s.S3.RoleARN)
	}
	if slices.Sort(direct); len(direct) > 0 {
		caller.Resource = slices.Compact(direct)
		p.Caller = &document{policyVersion, []statement{caller}}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(p)
}

// policyEntries are the specification's accounts without asking anybody: of an
// organization, any account.
func policyEntries(s *config.Config) ([]config.Account, error) {
	members := map[int][]config.Account{}
	for i := range s.Accounts {
		switch a := &s.Accounts[i]; {
		case a.File != "":
			var err error
			if members[i], err = readAccounts(a.File); err != nil {
				return nil, err
			}
		case a.Organization != nil:
			members[i] = []config.Account{{ID: "*"}}
		}
	}
	return s.Expand(members)
}

// printTemplate prints a CloudFormation template of the role. Who assumes it
// and the external id are parameters, so that one template serves all.
func printTemplate(w io.Writer, s *config.Config, principal string) error {
	name := "cwharvest-metrics-reader"
	entries, err := policyEntries(s)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, role, found := strings.Cut(e.RoleARN, ":role/"); found {
			name = role[strings.LastIndex(role, "/")+1:]
			break
		}
	}
	parameter := func(description, value string) map[string]any {
		p := map[string]any{"Type": "String", "Description": description}
		if value != "" {
			p["Default"] = value
		}
		return p
	}
	template := map[string]any{
		"AWSTemplateFormatVersion": "2010-09-09",
		"Description":              "Role that lets cwharvest read metrics, with the least permissions",
		"Parameters": map[string]any{
			"Principal":  parameter("ARN of who runs cwharvest", principal),
			"ExternalId": parameter("external_id of the specification", ""),
			"RoleName":   parameter("name of the role", name),
		},
		"Resources": map[string]any{"Reader": map[string]any{
			"Type": "AWS::IAM::Role",
			"Properties": map[string]any{
				"RoleName":                 map[string]any{"Ref": "RoleName"},
				"MaxSessionDuration":       43200,
				"AssumeRolePolicyDocument": trust(map[string]any{"Ref": "Principal"}, map[string]any{"Ref": "ExternalId"}),
				"Policies":                 []any{map[string]any{"PolicyName": "harvest", "PolicyDocument": permissions(s)}},
			},
		}},
		"Outputs": map[string]any{"RoleArn": map[string]any{"Value": map[string]any{"Fn::GetAtt": []string{"Reader", "Arn"}}}},
	}
	return yaml.NewEncoder(w, yaml.Indent(2)).Encode(template)
}
