package check

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cwharvest/store/record"
)

// A rebuilt database takes from the last status no more than the status has.
func FuzzRecall(f *testing.F) {
	exit := 3
	full := record.Status{
		Version: record.StatusVersion, Job: "night-1", State: string(record.Unfinished), Source: "snapshot", Written: time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC), Transaction: 7,
		TargetDetails: []record.TargetDetail{{Account: "111122223333", Region: "us-east-1", State: "waiting", Instances: &record.InstanceCounts{Planned: 2, Pending: 2}}},
		Attempts:      []record.Attempt{{Exit: &exit, Reason: "r"}}, Trouble: &record.Trouble{},
	}
	data, err := json.Marshal(full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte(`{"state":"open","written":"9999-01-01T00:00:00Z","eta_seconds":1e308,"targets":{"waiting":1}}`))
	f.Add([]byte("null"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "status.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := record.ReadSnapshot(dir)
		if err != nil {
			return
		}
		b := rebuilding{dir: &record.Dir{Path: dir}, plan: record.Plan{ID: s.Job}, targets: map[record.Target]record.TargetRecord{}}
		if b.recall(); len(b.record.Attempts) != len(s.Attempts) || len(b.targets) > len(s.TargetDetails) {
			t.Errorf("recalled %+v of %+v", b.record, *s)
		}
	})
}
