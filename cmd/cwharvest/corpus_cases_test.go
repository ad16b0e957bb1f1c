package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/record"
)

// throttledRegion throttles every request for data in the second region, so that
// a run cannot complete.
var throttledRegion = awssim.Fault{Kind: "throttle", Operation: "GetMetricData", Region: "eu-west-1"}

// corpusCases are the directories of the corpus.
var corpusCases = []struct {
	name, about string
	make        func(m *corpusMaker)
}{
	{"parquet-nights", "three complete nights in Parquet, with instances that have gaps or no datapoints", func(m *corpusMaker) {
		m.serve(30)
		m.configure(twoMetrics)
		m.nights(3)
	}},
	{"pruned", "three nights in CSV, the databases of the first two pruned", func(m *corpusMaker) {
		m.serve(6)
		m.configure("format: csv\n" + twoMetrics)
		m.nights(3)
		clock := m.Clock
		m.Clock = time.Now().AddDate(0, 0, 3) // jobs end at the time of the machine's clock
		m.run(0, "prune", "harvest", "--keep", "1d")
		m.Clock = clock
		if left, err := filepath.Glob(filepath.Join(m.dir, "harvest/jobs/*.db")); err != nil || len(left) != 1 {
			m.Fatalf("not pruned: %v, %v", left, err)
		}
	}},
	{"csv-gzip", "a complete job in CSV with gzip, its regions found by a pattern", func(m *corpusMaker) {
		m.serve(6)
		m.write("harvest.yaml", "dir: harvest\nperiod: 1h\nformat: csv\ncompression: gzip\n"+m.yesterday()+twoMetrics+
			"accounts: [{id: \"111122223333\", role_name: metrics-reader, external_id: x1, regions: [\"*\"]}, {id: \"444455556666\", role_name: metrics-reader, external_id: x1, regions: enabled}]\n")
		m.expect(1, 0)
		m.run(0, runArgs...)
	}},
	{"jsonl-statistics", "a complete job in JSON Lines with zstd, fetched by GetMetricStatistics, with extended statistics", func(m *corpusMaker) {
		m.serve(4)
		m.configure("format: jsonl\ncompression: zstd\napi: statistics\n" + m.yesterday() +
			"metrics: [{namespace: AWS/EC2, names: [CPUUtilization, CPUCreditBalance], statistics: [Average, SampleCount, Sum, p99.9, \"TM(10%:90%)\"]}]\n")
		m.Expect = []corpusRows{{
			Namespace: "AWS/EC2", Metrics: []string{"CPUUtilization", "CPUCreditBalance"},
			Statistics: map[string]string{"average": "Average", "sample_count": "SampleCount", "sum": "Sum", "p99_9": "p99.9", "tm_10_90": "TM(10%:90%)"},
			Start:      m.ago(1), End: m.ago(0), Period: 3600,
		}}
		m.run(0, runArgs...)
	}},
	{"jsonl-zstd-parts", "an open job in JSON Lines with zstd, some parts published and others in the spool", func(m *corpusMaker) {
		m.serve(40)
		m.configure("period: 15m\nformat: jsonl\ncompression: zstd\npart_size: 64KiB\n" + m.yesterday() +
			"metrics: [{namespace: AWS/EC2, names: [CPUUtilization, NetworkIn], statistics: [Average, Maximum]}]\n")
		m.expect(1, 0)
		m.Expect[0].Period = 900
		m.fault(throttledRegion)
		m.fault(awssim.Fault{Kind: "latency", Operation: "GetMetricData", Millis: 300})
		m.killWhen(func(s map[string]any) bool { return done(40)(s) && s["parts"].(float64) > 0 })
	}},
	{"csv-spool", "an open job in CSV, killed with a spool of three days", func(m *corpusMaker) {
		m.serve(8)
		m.configure("format: csv\ncompression: zstd\n" + m.days(3, 0) + twoMetrics)
		m.expect(3, 0)
		m.fault(throttledRegion)
		m.killWhen(done(14))
	}},
	{"parquet-spool", "an open job in Parquet, killed within a target and before another was enumerated", func(m *corpusMaker) {
		m.serve(60)
		m.configure("concurrency: 1\nmax_in_flight: 1\n" + m.range6h() +
			"metrics: [{namespace: AWS/EC2, names: [CPUUtilization, NetworkIn, NetworkOut], statistics: [Average, Maximum, Minimum, Sum, SampleCount]}]\n")
		m.Expect = []corpusRows{{
			Namespace: "AWS/EC2", Metrics: []string{"CPUUtilization", "NetworkIn", "NetworkOut"},
			Statistics: map[string]string{"average": "Average", "maximum": "Maximum", "minimum": "Minimum", "sum": "Sum", "sample_count": "SampleCount"},
			Start:      m.ago(1), End: m.ago(1).Add(6 * time.Hour), Period: 3600,
		}}
		m.fault(awssim.Fault{Kind: "error503", Service: "ec2", Region: "eu-west-1"})
		m.fault(awssim.Fault{Kind: "latency", Operation: "GetMetricData", Millis: 2500})
		m.killWhen(done(20))
	}},
	{"intent", "an open job whose segment is sealed: the intent is recorded, nothing is built", func(m *corpusMaker) {
		m.serve(6)
		m.configure("format: parquet\n" + m.days(2, 0) + twoMetrics)
		m.expect(2, 0)
		wall := filepath.Join(m.dir, "harvest/data/date="+m.day(2))
		if err := os.MkdirAll(filepath.Dir(wall), 0o777); err != nil {
			m.Fatal(err)
		}
		m.write("harvest/data/date="+m.day(2), "")
		m.run(1, runArgs...)
		if r, ok := m.record(); !ok || len(r.Intents) != 1 || r.Intents[0].Parts[0].SHA256 != "" {
			m.Fatalf("%+v", r)
		}
		if err := os.Remove(wall); err != nil {
			m.Fatal(err)
		}
	}},
	{"intent-built", "an open job killed after a part was built and its checksum recorded, and before it had its name", func(m *corpusMaker) {
		m.serve(6)
		m.configure("format: csv\ncompression: gzip\n" + m.days(4, 0) + twoMetrics)
		m.expect(4, 0)
		m.killUntil(func(r corpusRecord) bool {
			for _, in := range r.Intents {
				for _, p := range in.Parts {
					if p.SHA256 != "" && !m.published(p.Name) {
						return true
					}
				}
			}
			return false
		})
	}},
	{"redo-staged", "a redo of two targets: the rows of one are built and staged, the other is denied, so that the old rows stay", func(m *corpusMaker) {
		m.redoOf("format: jsonl\ncompression: gzip\n")
		m.fault(awssim.Fault{Kind: "access_denied", Region: "eu-west-1"})
		m.run(3, append(runArgs, "--redo", "--only", "111122223333")...)
		if r, ok := m.record(); !ok || r.Redo == nil || len(r.Intents) == 0 || !r.Intents[0].Staged {
			m.Fatalf("%+v", r)
		}
	}},
	{"redo-spool", "a redo killed with new rows in the spool", func(m *corpusMaker) {
		m.redoOf("")
		m.fault(throttledRegion)
		m.killWhen(func(s map[string]any) bool { return s["state"] != "finished" && done(17)(s) }, "--redo", "--only", "111122223333")
	}},
	{"redo-prepared", "a redo killed when all its parts were built and before they took the place of the old ones", func(m *corpusMaker) {
		m.redoOf("format: csv\n")
		m.killUntil(func(r corpusRecord) bool { return r.Redo != nil && r.Redo.Prepared }, "--redo", "--only", "111122223333/us-east-1")
	}},
	{"shard", "the complete second shard of two", func(m *corpusMaker) {
		m.shard(record.Shard{Number: 2, Of: 2})
		m.run(0, append(runArgs, "--shard", "2/2")...)
	}},
	{"shard-spool", "the first shard of two, killed with a spool", func(m *corpusMaker) {
		m.shard(record.Shard{Number: 1, Of: 2})
		m.fault(throttledRegion)
		m.killWhen(done(5), "--shard", "1/2")
	}},
	{"dimensions", "dimension values with commas, equals signs, backslashes, quotes and blanks, from a list and from ListMetrics", func(m *corpusMaker) {
		m.serve(5)
		m.configure("format: csv\n" + m.yesterday() + `instances: {file: ids.csv, sources: [cloudwatch, file]}
metrics:
  - {namespace: CWAgent, names: [disk_used_percent], statistics: [Average], dimensions: [InstanceId, path, device, fstype]}
  - {namespace: CWAgent, names: [disk_used_percent], statistics: [Average], dimensions: [device, path]}
  - {namespace: AWS/RDS, names: [CPUUtilization], statistics: [Average], dimensions: [DBInstanceIdentifier]}
`)
		m.write("ids.csv", strings.Join([]string{
			`account,region,namespace,device,path,DBInstanceIdentifier`,
			`111122223333,us-east-1,CWAgent,"C:\,D=","\\srv\a=b,c=d\",`,
			`111122223333,us-east-1,CWAgent,"a""b","/ ü, \n=",`,
			`111122223333,us-east-1,CWAgent,"=",",",`,
			`111122223333,us-east-1,AWS/RDS,,,"orders\,a=b"`,
		}, "\n")+"\n")
		rows := corpusRows{Namespace: "CWAgent", Metrics: []string{"disk_used_percent"}, Statistics: map[string]string{"average": "Average"},
			Start: m.ago(1), End: m.ago(0), Period: 3600}
		published, listed, single, databases := rows, rows, rows, rows
		published.By = []string{"InstanceId", "device", "fstype", "path"}
		listed.Accounts, listed.Regions = []string{"111122223333"}, []string{"us-east-1"}
		listed.Sets = []string{`device=C:\,D=,path=\\srv\a=b,c=d\`, `device=a"b,path=/ ü, \n=`, `device==,path=,`}
		single = listed
		single.Namespace, single.Metrics, single.Sets = "AWS/RDS", []string{"CPUUtilization"}, []string{`DBInstanceIdentifier=orders\,a=b`}
		databases.Namespace, databases.Metrics, databases.By = "AWS/RDS", []string{"CPUUtilization"}, []string{"DBInstanceIdentifier"}
		m.Expect = []corpusRows{published, listed, single, databases}
		m.run(0, runArgs...)
	}},
	{"denied", "a finished job with a denied account and a failed instance", func(m *corpusMaker) {
		m.serve(6)
		m.configure("format: jsonl\n" + m.yesterday() + twoMetrics)
		m.expect(1, 0)
		id := m.AWS.Instance("111122223333", "us-east-1", 1).ID
		m.fault(awssim.Fault{Kind: "role_denied", Account: "444455556666"})
		m.fault(awssim.Fault{Kind: "poison", Instance: id})
		m.run(3, runArgs...)
	}},
	{"replanned", "an open job whose range CloudWatch has made coarser since: its windows are replanned from five minutes to an hour", func(m *corpusMaker) {
		m.serve(4)
		m.configure("period: 5m\n" + m.days(61, 60) + twoMetrics)
		m.fault(throttledRegion)
		m.killWhen(done(8))
		m.at(m.Clock.AddDate(0, 0, 3))
		m.fault(throttledRegion)
		m.killWhen(func(s map[string]any) bool { return s["targets"].(map[string]any)["waiting"].(float64) > 0 })
		m.Redo = []string{"--only", "111122223333/eu-west-1"}
		r, ok := m.record()
		if !ok || len(r.Replans) == 0 {
			m.Fatalf("not replanned: %+v", r)
		}
		m.expect(61, 60)
		m.Replans = r.Replans
		fine := m.Expect[0]
		fine.Regions, fine.Period = []string{"us-east-1"}, 300
		m.Expect[0].Regions = []string{"eu-west-1"}
		m.Expect = append(m.Expect, fine)
	}},
	{"since-last", "two complete jobs of since_last and an open one", func(m *corpusMaker) {
		m.serve(4)
		m.configure("format: csv\nrange: since_last\n" + twoMetrics)
		m.expect(1, 0)
		m.Expect[0].End = m.Clock.Add(4 * time.Hour)
		m.run(0, runArgs...)
		m.at(m.Clock.Add(2*time.Hour + time.Minute))
		m.run(0, runArgs...)
		m.at(m.Clock.Add(3 * time.Hour))
		m.fault(throttledRegion)
		m.killWhen(func(s map[string]any) bool { return s["state"] != "finished" && done(8)(s) })
	}},
}

// nights harvests the last n nights, one run for each.
func (m *corpusMaker) nights(n int) {
	m.Helper()
	m.expect(n, 0)
	for ; n > 1; n-- {
		m.run(0, append(runArgs, "--night", m.day(n))...)
	}
	m.run(0, runArgs...)
}

// redoOf harvests yesterday, for a redo of some of its rows.
func (m *corpusMaker) redoOf(settings string) {
	m.Helper()
	m.serve(6)
	m.configure(settings + m.yesterday() + twoMetrics)
	m.expect(1, 0)
	m.run(0, runArgs...)
}

func (m *corpusMaker) range6h() string {
	return "range: {from: " + m.day(1) + "T00:00:00Z, to: " + m.day(1) + "T06:00:00Z}\n"
}

// shard prepares one shard of yesterday's targets.
func (m *corpusMaker) shard(share record.Shard) {
	m.Helper()
	m.serve(5)
	m.configure(m.yesterday() + twoMetrics)
	m.Redo = nil
	for _, account := range m.AWS.Accounts {
		for _, region := range m.AWS.Regions {
			if !share.Holds(record.Target{Account: account, Region: region}) {
				continue
			}
			m.expect(1, 0)
			last := &m.Expect[len(m.Expect)-1]
			last.Accounts, last.Regions = []string{account}, []string{region}
			m.Redo = append(m.Redo, "--only", account+"/"+region)
		}
	}
	flag := []string{"--shard", fmt.Sprintf("%d/%d", share.Number, share.Of)}
	m.Redo, m.Runs = append(m.Redo[:2], flag...), [][]string{flag}
}
