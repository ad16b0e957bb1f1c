package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/place/s3test"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestAthenaTables proves that Athena's tables name the places of the published
// parts, even in a bucket without a prefix that is named like a directory of data.
func TestAthenaTables(t *testing.T) {
	for out, places := range map[string][2]string{
		"s3://lake/cw/data/": {"s3://lake/cw/data", "s3://lake/cw/instances"},
		"s3://data/":         {"s3://data", "s3://data/instances"},
	} {
		t.Run(out, func(t *testing.T) {
			bucket, _, _ := strings.Cut(strings.TrimPrefix(out, "s3://"), "/")
			server := s3test.Start(t, bucket)
			n := newNight(t, awssim.Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 3},
				time.Hour, 1, []string{"CPUUtilization"}, []string{"Average", "p99"}, "out: "+out+"\ns3: {region: us-east-1}\n")
			n.env = append(n.env, "AWS_ENDPOINT_URL_S3="+server.URL)
			n.run()
			n.checkAthena(places, server)
			n.refuseMixed("s3://" + bucket + "/csv")
		})
	}
}

// checkAthena compares ddl's tables with the expected ones, and their places with
// the keys in the bucket.
func (n *night) checkAthena(places [2]string, server *s3test.Server) {
	n.Helper()
	c, output := n.command("ddl", "athena", "harvest")
	if err := c.Run(); err != nil {
		n.Fatalf("ddl: %v\n%s", err, output)
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "athena.sql"))
	if err != nil {
		n.Fatal(err)
	}
	date := n.truth.Start.Format(time.DateOnly)
	want := strings.NewReplacer("METRICS", places[0], "INSTANCES", places[1], "DATE", date).Replace(string(golden))
	if output.String() != want {
		n.Errorf("ddl athena prints\n%s, want\n%s", output, want)
	}
	for _, place := range places {
		bucket, prefix, _ := strings.Cut(strings.TrimPrefix(place, "s3://"), "/")
		prefix = strings.TrimPrefix(prefix+"/date="+date+"/", "/")
		found, err := server.Client().ListObjectsV2(n.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
		if err != nil {
			n.Fatal(err)
		}
		if len(found.Contents) != 1 {
			n.Errorf("%d objects in %s of %s, want one", len(found.Contents), prefix, bucket)
		}
	}
}

// refuseMixed checks that ddl refuses two nights in CSV with different columns,
// because Athena reads CSV columns by position.
func (n *night) refuseMixed(out string) {
	n.Helper()
	for i, statistics := range []string{"Average", "Average,p99"} {
		c, output := n.command("run", "-c", "harvest.yaml", "--dir", "csv", "--out", out, "--format", "csv", "--metric", "CPUUtilization", "--stat", statistics,
			"--night", n.truth.Start.AddDate(0, 0, -i-1).Format(time.DateOnly))
		if err := c.Run(); err != nil {
			n.Fatalf("run: %v\n%s", err, output)
		}
		c, output = n.command("ddl", "athena", "csv")
		err := c.Run()
		if refused := strings.Contains(output.String(), "Athena reads CSV columns by position"); (err != nil) != refused || refused != (i == 1) {
			n.Errorf("ddl after %d nights of CSV: %v\n%s", i+1, err, output)
		}
	}
}
