package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// FailedInstance is an instance of which something failed, with the first
// reason.
type FailedInstance struct {
	Account    string `json:"account"`
	Region     string `json:"region"`
	Namespace  string `json:"namespace"`
	Dimensions string `json:"dimensions"`
	Failure
}

// mostFailures is how many a snapshot holds: it is written every second.
const mostFailures = 100

// failed returns the first instances that failed; limit 0: all.
func failed(tx *bolt.Tx, limit int) (all []FailedInstance, err error) {
	all = []FailedInstance{}
	c := tx.Bucket(bucketFailures).Cursor()
	for k, v := c.First(); k != nil && (limit == 0 || len(all) < limit); k, v = c.Next() {
		fields := strings.Split(string(k), "\x00")
		account, region, _ := strings.Cut(fields[0], "/")
		if len(fields) != 4 {
			return nil, fmt.Errorf("failure %q has %d fields, want 4", k, len(fields))
		}
		f := FailedInstance{Account: account, Region: region, Namespace: fields[1], Dimensions: fields[3]}
		if err := json.Unmarshal(v, &f.Failure); err != nil {
			return nil, fmt.Errorf("failure %q: %w", k, err)
		}
		all = append(all, f)
	}
	return all, nil
}

// ReadFailed returns all instances that failed in the job that ReadStatus tells
// of; those of its snapshot while a process works on it.
func ReadFailed(dir string, s *Status) ([]FailedInstance, error) {
	if s.Source == "snapshot" || int64(len(s.Failed)) == s.Instances.Failed {
		return s.Failed, nil
	}
	db, err := openForReading(jobFile(dir, s.Job, ".db"))
	if err != nil {
		return nil, err
	}
	var all []FailedInstance
	err = db.view(func(tx *bolt.Tx) (err error) {
		all, err = failed(tx, 0)
		return err
	})
	return all, errors.Join(err, db.close())
}
