package spec
import ("testing";"fmt")
func TestProbe(t *testing.T){
 for _, y := range []string{
  "dir: a\n---\nmetrcs: []\n",
  "accounts:\n  - {id: 012345678901, regions: [us-east-1]}\n",
  "accounts:\n  - {id: 111122223333, regions: [us-east-1]}\n",
  "accounts:\n  - {id: 0x11, regions: [us-east-1]}\n",
  "period: 300\nsettle: 0\n", "period: 1_000\n", "part_size: 128000000\n", "range: {from: 2026-11-01, to: 2026-11-22T06:00:00Z}\n",
  "period: [1]\n", "accounts: 5\n", "concurrency: x\n", "- a\n", "hello\n", "# only\n", "", "dir: a\n  b: c\n", "\tdir: a\n",
  "defaults: {regions: [\"${R}\"]}\n", "range: {last: \"${L}\"}\n", "accounts: [~]\n", "metrics:\n", "defaults: {<<: {role_name: a}}\n",
  "x: &a {role_name: r}\ndefaults: *a\n", "defaults: &a {role_name: r}\naccounts: [*a]\n", "period: \"\"\n", "job: null\n", "range: ~\n", "dir: h\nformat: csv\n", "job: 5\n", "job: true\n",
  "metrics:\n  - {namespace: AWS/EC2, names: CPUUtilization, statistics: [Averge, P99]}\n",
  "instances: {tags: {env: 5}}\n", "instances: {tags: {a: b, a: c}}\n", "range: {last: 24h, last: 25h}\n", "range: {frm: 1}\n", "max_cost:\n", "tolerate: ~\n", "accounts:\n - {id: \"1\", role_name: x y}\n - {profile: p, role_name: x}\n", "defaults: {role_name: x}\n",
  "accounts: [{id: \"111122223333\"},{id: \"111122223333\"}]\n","accounts: [{id: \"111122223333\", regions: [us-east-1, us-east-1]}]\n",
 }{
  s, err := Parse("f.yaml", []byte(y), noEnv)
  if err == nil { err = s.Validate() }
  fmt.Printf("%q\n    -> %v\n", y, err)
  if err==nil { fmt.Printf("    period %v settle %v dir %q range %v accounts %+v\n", s.Period, s.Settle, s.Dir, s.Range, s.Entries()) }
 }
}
