package main

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/creds/partition"
	"cwharvest/pipeline/config"
	"cwharvest/store/place"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

func newPolicy() *cobra.Command {
	f := &runFlags{}
	var format, principal string
	c := &cobra.Command{
		Use:   "policy",
		Short: "Print the least IAM policy and the trust policies of the roles",
		Long: `Prints the least IAM policy for the configured metrics and instance sources, and a trust policy
with its external id for each role. It makes no calls. --format cloudformation prints a
template that creates the role in one account or, as a StackSet, in every account of an
organization.`,
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
				return printPolicies(c.OutOrStdout(), s, f.only, principal)
			case "cloudformation":
				return printTemplate(c.OutOrStdout(), s, f.only, principal)
			}
			return usageError{error: fmt.Errorf("--format %q: json or cloudformation", format)}
		},
	}
	f.register(c, func(flag string) bool { return slices.Contains(policyFlags, flag) })
	c.Flags().StringVar(&format, "format", "json", "json or cloudformation")
	c.Flags().StringVar(&principal, "principal", "", "ARN of the principal that assumes the roles (default: a placeholder)")
	return c
}

// document is an IAM policy document.
type document struct {
	Version   string      `json:"Version"`
	Statement []statement `json:"Statement"`
}

type statement struct {
	Sid       string         `json:"Sid,omitempty"`
	Effect    string         `json:"Effect"`
	Principal map[string]any `json:"Principal,omitempty"`
	Action    []string       `json:"Action"`
	Resource  any            `json:"Resource,omitempty"`
	Condition map[string]any `json:"Condition,omitempty"`
}

const policyVersion = "2012-10-17" // of the policy language; there is no later one

// permission is an IAM action and the setting that needs it.
type permission struct{ action, why string }

// permissionsOf returns the permissions that a configuration needs in each account.
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
	} else if s.FiltersListed() {
		all = append(all, permission{"ec2:DescribeInstances", "instances.tags, states or monitoring"})
	}
	if uses("cloudwatch") {
		all = append(all, permission{"cloudwatch:ListMetrics", "source cloudwatch"})
	}
	if slices.ContainsFunc(regionsOf(s), func(region string) bool { return record.Target{Region: region}.IsPattern() }) {
		all = append(all, permission{"ec2:DescribeRegions", "patterns of regions"})
	}
	return all
}

// regionsOf returns the regions and patterns of all accounts.
func regionsOf(s *config.Config) []string {
	regions := slices.Clone(s.Defaults.Regions)
	for i := range s.Accounts {
		regions = append(regions, s.Accounts[i].Regions...)
	}
	return regions
}

// permissions returns the policy for harvesting. None of its actions supports resource-level permissions (service authorization
// reference of CloudWatch and EC2).
func permissions(s *config.Config) document {
	var actions []string
	for _, p := range permissionsOf(s) {
		actions = append(actions, p.action)
	}
	if slices.ContainsFunc(regionsOf(s), func(region string) bool {
		return !(record.Target{Region: region}).IsPattern() && !partition.Known(region)
	}) {
		actions = append(actions, "ec2:DescribeRegions") // looks up a region that is newer than this version; a run goes on without
	}
	slices.Sort(actions)
	actions = slices.Compact(actions)
	return document{policyVersion, []statement{{Sid: "Harvest", Effect: "Allow", Action: actions, Resource: "*"}}}
}

// assumeActions let a principal assume a role. EKS Pod Identity and some identity providers give their sessions transitive tags, with
// which AssumeRole needs sts:TagSession as well (EKS user guide, "Grant pods access to AWS resources based on tags").
var assumeActions = []string{"sts:AssumeRole", "sts:TagSession"}

// trust returns the trust policy that lets a principal assume a role.
func trust(principal, externalID string) document {
	t := statement{Effect: "Allow", Principal: map[string]any{"AWS": principal}, Action: assumeActions}
	if externalID != "" {
		t.Condition = map[string]any{"StringEquals": map[string]any{"sts:ExternalId": externalID}}
	}
	return document{policyVersion, []statement{t}}
}

// rolePolicy is the trust policy of one role.
type rolePolicy struct {
	Role        string   `json:"Role"`
	TrustPolicy document `json:"TrustPolicy"`
}

type policies struct {
	Policy document     `json:"Policy"`           // of every role, or of the caller without roles
	Caller *document    `json:"Caller,omitempty"` // of the principal that assumes the roles
	Roles  []rolePolicy `json:"Roles,omitempty"`
	Writer *document    `json:"Writer,omitempty"` // of the principal that writes the output to S3
}

// writer returns the policy for publishing to S3 and verifying the output; nil if the output is local. Without s3:ListBucket, S3
// answers requests for missing objects with AccessDenied (S3 API reference, GetObject).
func writer(s *config.Config) *document {
	bucket, prefix, isS3, err := place.ParseS3(s.Out)
	if err != nil || !isS3 {
		return nil
	}
	arn := "arn:" + cmp.Or(partition.OfARN(s.S3.RoleARN), partition.Of(s.S3.Region)) + ":s3:::" + bucket
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

func printPolicies(w io.Writer, s *config.Config, only accounts.Selection, principal string) error {
	principal = cmp.Or(principal, "FILL IN: ARN of the principal that runs cwharvest")
	p := policies{Policy: permissions(s), Writer: writer(s)}
	caller := statement{Sid: "AssumeReaders", Effect: "Allow", Action: assumeActions}
	var direct []string
	entries, err := policyEntries(s, only)
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

// policyEntries returns the selected accounts without any call. An organization stands for any account, or for those selected.
func policyEntries(s *config.Config, only accounts.Selection) ([]config.Account, error) {
	members, err := accounts.ReadFiles(s)
	if err != nil {
		return nil, err
	}
	for i := range s.Accounts {
		if s.Accounts[i].Organization != nil {
			members[i] = membersOf(only)
		}
	}
	entries, err := s.Expand(members)
	if err != nil {
		return nil, err
	}
	// The account of a profile or of the caller is unknown without a call, so it stays.
	selected := slices.DeleteFunc(entries, func(a config.Account) bool { return a.ID != "" && !only.SelectsAccount(a.ID) })
	if len(selected) == 0 && len(only) > 0 {
		return nil, usageError{fmt.Errorf("--only %s: no such account is configured", only), "name an account of harvest.yaml"}
	}
	return selected, nil
}

// membersOf returns the accounts for which an organization stands.
func membersOf(only accounts.Selection) []config.Account {
	ids := only.Accounts()
	if len(only) == 0 {
		ids = []string{"*"}
	}
	var members []config.Account
	for _, id := range ids {
		members = append(members, config.Account{ID: id})
	}
	return members
}

// cloudFormation is the template of the role. Principal and external id are parameters, so that one template serves all accounts.
// Three words in capitals are replaced. text/template would do it too, but it calls methods by their names, so that the linker could
// drop none: the program would be twice as large.
//
//go:embed cloudformation.yaml
var cloudFormation string

func printTemplate(w io.Writer, s *config.Config, only accounts.Selection, principal string) error {
	name := "cwharvest-metrics-reader"
	entries, err := policyEntries(s, only)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, role, found := strings.Cut(e.RoleARN, ":role/"); found {
			name = role[strings.LastIndex(role, "/")+1:]
			break
		}
	}
	actions, err := json.Marshal(permissions(s).Statement[0].Action)
	if err != nil {
		return err
	}
	text := cloudFormation
	if principal == "" {
		text = strings.Replace(text, "    Default: PRINCIPAL\n", "", 1)
	}
	_, err = strings.NewReplacer("PRINCIPAL", strconv.Quote(principal), "ROLE_NAME", strconv.Quote(name), "ACTIONS", string(actions)).WriteString(w, text)
	return err
}
