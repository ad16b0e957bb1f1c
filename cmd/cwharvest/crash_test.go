package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/place/s3test"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestCrashPoints proves that a job killed at random moments of its whole life, in
// every format and on S3, has every row once.
func TestCrashPoints(t *testing.T) {
	places := []string{
		"format: parquet", "format: csv", "{format: csv, compression: gzip}", "{format: csv, compression: zstd}",
		"format: jsonl", "{format: jsonl, compression: gzip}", "{format: jsonl, compression: zstd}", "{format: parquet, out: s3://bucket/harvest/data}",
	}
	each := sized(1, 25) // kills for each
	for i, settings := range places {
		t.Run(settings, func(t *testing.T) {
			t.Parallel()
			crash(t, strings.NewReplacer("{", "", "}", "", ", ", "\n").Replace(settings), each, uint64(i))
		})
	}
}

func crash(t *testing.T, settings string, kills int, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	done, rows, life := 0, 0, 250*time.Millisecond // life is the time of a whole run
	for done < kills {
		n := newCrashNight(t, settings)
		for range 4 {
			if !n.killed(time.Duration(rng.Int64N(int64(life)))) {
				break
			}
			done++
		}
		began := time.Now()
		n.run()
		life = max(life, time.Since(began))
		if strings.Contains(settings, "s3://") {
			n.download()
		}
		rows += n.check().Rows
	}
	t.Logf("%d kills, %d rows, 0/0/0", done, rows)
}

// TestCrashOfTwoNights proves that two nights which one process works side by side have
// every row once, although it is killed while both wait for a region, and again when the
// region is back and both fetch.
func TestCrashOfTwoNights(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	for range sized(1, 10) {
		n := newNight(t, awssim.Config{
			Accounts: []string{"111122223333"}, Regions: []string{"us-east-1", "eu-west-1"}, Instances: 100, Latency: 20 * time.Millisecond, TrackRepeats: true,
		}, 5*time.Minute, 2, []string{"CPUUtilization", "NetworkIn"}, []string{"Average", "Maximum"}, "part_size: 256KiB\nconcurrency: 2\nquota_share: 0.2")
		text, err := os.ReadFile(filepath.Join(n.dir, "harvest.yaml"))
		if err == nil {
			ranged := regexp.MustCompile(`(?m)^range:.*$`).ReplaceAll(text, []byte("range: yesterday"))
			err = os.WriteFile(filepath.Join(n.dir, "harvest.yaml"), ranged, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		machine := n.env
		at := func(night int) {
			n.env = append(slices.Clip(machine), testClock+"="+n.truth.Start.AddDate(0, 0, night).Add(time.Hour).Format(time.RFC3339))
		}
		at(1)
		n.outage("eu-west-1")
		n.killedWaiting(0, func() {})
		at(2)
		n.killedWaiting(1, func() {})
		n.killedWaiting(1, func() {
			n.sim.Clear("region_down")
			time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
		})
		n.run()
		found := n.check()
		if s := n.status(); len(s.OpenNights) > 0 || s.State != string(record.Finished) {
			t.Errorf("%s with open nights %+v", s.State, s.OpenNights)
		}
		t.Logf("%d rows, %d queries answered again", found.Rows, n.sim.Stats().Repeated)
	}
}

func (n *night) outage(region string) {
	n.Helper()
	if err := n.sim.Inject(awssim.Fault{Kind: "region_down", Region: region}); err != nil {
		n.Fatal(err)
	}
}

// killedWaiting kills a run after it waits with so many open nights beside the current one,
// and after then has been called.
func (n *night) killedWaiting(open int, then func()) {
	n.Helper()
	c, output := n.command("run", "-c", "harvest.yaml")
	if err := c.Start(); err != nil {
		n.Fatal(err)
	}
	for deadline := time.Now().Add(hangAfter); ; time.Sleep(5 * time.Millisecond) {
		s, err := record.ReadStatus(filepath.Join(n.dir, "harvest"))
		if err == nil && len(s.OpenNights) == open && s.Source == "snapshot" && s.State == "waiting" && s.PID == c.Process.Pid {
			break
		}
		if time.Now().After(deadline) {
			n.Fatalf("not waiting with %d open nights: %v, %+v\n%s", open, err, s, output)
		}
	}
	then()
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.Fatal(err)
	}
	_ = c.Wait() // it was killed
}

func newCrashNight(t *testing.T, settings string) *night {
	n := newNight(t, awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1", "eu-west-1"}, Instances: 40, Latency: 5 * time.Millisecond,
	}, 5*time.Minute, 2, []string{"CPUUtilization", "NetworkIn"}, []string{"Average", "Maximum"}, settings+"\npart_size: 64KiB\n")
	if strings.Contains(settings, "s3://") {
		n.bucket = s3test.Start(t, "bucket")
		n.env = append(n.env, "AWS_ENDPOINT_URL_S3="+n.bucket.URL, "AWS_REGION=us-east-1")
	}
	return n
}

// download copies the objects of the bucket to the directory where output would be.
func (n *night) download() {
	n.Helper()
	client := n.bucket.Client()
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String("bucket")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			n.Fatal(err)
		}
		for _, o := range page.Contents {
			if err := fetchObject(client, *o.Key, filepath.Join(n.dir, *o.Key)); err != nil {
				n.Fatal(err)
			}
		}
	}
}

func fetchObject(client *s3.Client, key, path string) error {
	out, err := client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: &key})
	if err != nil {
		return err
	}
	defer out.Body.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, out.Body); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return file.Close()
}
