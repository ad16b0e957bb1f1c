package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/place/s3test"

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
