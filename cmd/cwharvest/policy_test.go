package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"cwharvest/pipeline/config"

	"github.com/goccy/go-yaml"
)

// TestCloudFormationTemplate parses the template as CloudFormation does, with values that YAML would read as something else.
func TestCloudFormationTemplate(t *testing.T) {
	s := config.Default()
	s.Accounts = []config.Account{{ID: "111122223333", RoleARN: "arn:aws:iam::111122223333:role/path/0777", Regions: []string{"us-east-1"}}}
	var out strings.Builder
	if err := printTemplate(&out, &s, nil, `arn:aws:iam::999988887777:role/"x": #`); err != nil {
		t.Fatal(err)
	}
	var template struct {
		Parameters map[string]struct{ Type, Default string }
		Resources  struct {
			Reader struct {
				Properties struct {
					Policies []struct{ PolicyDocument document }
				}
			}
		}
	}
	text, err := yaml.YAMLToJSON([]byte(out.String()))
	if err == nil {
		err = json.Unmarshal(text, &template)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if got := template.Parameters["RoleName"].Default; got != "0777" {
		t.Errorf("RoleName is %q", got)
	}
	if got := template.Parameters["Principal"].Default; got != `arn:aws:iam::999988887777:role/"x": #` {
		t.Errorf("Principal is %q", got)
	}
	got := template.Resources.Reader.Properties.Policies[0].PolicyDocument
	if want := permissions(&s); !reflect.DeepEqual(got, want) {
		t.Errorf("the policy is %+v, want %+v", got, want)
	}
}
