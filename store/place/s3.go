package place

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cwharvest/store/durable"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 is a place under a prefix of a bucket. It does not retry: the caller does, and asks
// Transient. Reads end with a transient error when S3 sends no byte for a while; writes
// have no deadline. Every method can be called again after an error.
type S3 struct {
	client    *s3.Client
	bucket    string
	prefix    string // without slashes around it; empty for the whole bucket
	temporary string // the local directory of temporary files
	files     *durable.Files

	part   int64         // the largest object that is uploaded in one request, and the least size of parts
	window int64         // how far a reader reads ahead
	stall  time.Duration // the longest time without a byte of a response to a read
	page   *int32        // the size of a page of a listing; nil leaves it to S3
}

// NewS3 returns the place under a prefix. The client should not retry, because its
// retries would multiply the caller's.
func NewS3(client *s3.Client, bucket, prefix, temporary string, files *durable.Files) *S3 {
	return &S3{
		client: client, bucket: bucket, prefix: prefix, temporary: temporary, files: files,
		part: 64 << 20, window: 4 << 20, stall: 30 * time.Second,
	}
}

func (s *S3) String() string { return strings.TrimSuffix("s3://"+s.bucket+"/"+s.prefix, "/") }

// key returns the object key of a name. "../instances/" of a place that is the whole
// bucket is instances/ in it, as "/.." is "/" in a file system.
func (s *S3) key(name string) string { return path.Join("/", s.prefix, name)[1:] }

// Temporary returns different paths for equal base names in different directories.
func (s *S3) Temporary(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if err := s.files.MakeDir(s.temporary, 0o777); err != nil {
		return "", err
	}
	return s.temporaryPath(name), nil
}

func (s *S3) temporaryPath(name string) string {
	h := fnv.New64a()
	io.WriteString(h, s.key(name)) // a hash never fails to write
	return durable.Temporary(filepath.Join(s.temporary, fmt.Sprintf("%s.%016x", path.Base(name), h.Sum64())))
}

// stat holds the attributes of an object.
type stat struct {
	size      int64
	etag, sum string // sum is empty for an object that this package did not write
}

// stat reads the first byte of an object instead of calling HeadObject. The response
// to a failed HEAD has no body, so an expired session, a wrong region and a missing
// bucket would look the same (S3 API reference, HeadObject). Both calls need
// s3:GetObject and cost the same.
func (s *S3) stat(ctx context.Context, name string) (stat, error) {
	out, err := s.get(ctx, name, "bytes=0-0", nil)
	if code(err) == "InvalidRange" { // an empty object has no byte 0
		out, err = s.get(ctx, name, "", nil)
	}
	if err != nil {
		return stat{}, err
	}
	size := aws.ToInt64(out.ContentLength)
	if _, total, ok := strings.Cut(aws.ToString(out.ContentRange), "/"); ok {
		size, err = strconv.ParseInt(total, 10, 64)
	}
	if err == nil && size < 0 {
		err = fmt.Errorf("response has a size of %d", size)
	}
	_, readErr := io.Copy(io.Discard, io.LimitReader(out.Body, 1)) // so that the connection can be used again
	if err = errors.Join(err, readErr, out.Body.Close()); err != nil {
		return stat{}, s.fail("read", name, err)
	}
	return stat{size, aws.ToString(out.ETag), out.Metadata["sha256"]}, nil
}

// get begins to read an object. It turns off the SDK's validation, which works only
// for whole objects that were uploaded in one request and logs a warning for all
// others.
func (s *S3) get(ctx context.Context, name, bytes string, etag *string) (*s3.GetObjectOutput, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.key(name)), IfMatch: etag}
	if bytes != "" {
		in.Range = &bytes
	}
	watch, ctx := s.watch(ctx)
	out, err := s.client.GetObject(ctx, in, func(o *s3.Options) {
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	if err = watch.explain(err); err != nil {
		return nil, s.fail("read", name, err)
	}
	watch.body, out.Body = out.Body, watch
	return out, nil
}

func (s *S3) Sum(ctx context.Context, name string, deep bool) (string, int64, error) {
	if !deep {
		current, err := s.stat(ctx, name)
		if err != nil || current.sum != "" {
			return current.sum, current.size, err
		}
	}
	out, err := s.get(ctx, name, "", nil)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	size, err := io.Copy(sum, out.Body)
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return "", 0, s.fail("read", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), size, nil
}

func (s *S3) Remove(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: aws.String(s.key(name))})
	return s.fail("remove", name, err)
}

// List lists the keys that begin with the literal prefix of the pattern.
func (s *S3) List(ctx context.Context, pattern string) ([]string, error) {
	up, rest := splitParents(pattern)
	if _, err := path.Match(rest, ""); err != nil {
		return nil, fmt.Errorf("%s: %w", pattern, err)
	}
	dir := s.dir(up)
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: aws.String(dir + literalPrefix(rest)), MaxKeys: s.page,
	})
	var names []string
	for token, n := "", 1; pages.HasMorePages(); n++ {
		watch, ctx := s.watch(ctx)
		out, err := pages.NextPage(ctx)
		err = watch.explain(err)
		watch.end()
		if err == nil && out.Name == nil {
			err = errNoList
		}
		if err == nil {
			token, err = nextToken(n, token, aws.ToString(out.NextContinuationToken))
		}
		if err != nil {
			return nil, s.fail("list", pattern, err)
		}
		for _, object := range out.Contents {
			name := strings.TrimPrefix(aws.ToString(object.Key), dir)
			if matched, _ := path.Match(rest, name); matched && !strings.HasPrefix(path.Base(name), "_") {
				names = append(names, up+name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// errNoList reports a response with status 200 that does not name the bucket: an
// empty one, or other XML.
var errNoList = errors.New("response is not a bucket listing; it probably came from a proxy, not from S3")

// mostPages bounds a listing: of 1,000 objects each, a hundred million.
const mostPages = 100_000

// nextToken returns the token of the next page. It returns an error for the token of
// the current page, with which the listing would never end.
func nextToken(page int, token, next string) (string, error) {
	if page > mostPages {
		return "", fmt.Errorf("listing has more than %d pages", mostPages)
	}
	if next != "" && next == token {
		return "", errors.New("listing names the same page as the next one")
	}
	return next, nil
}

// splitParents splits a pattern after its leading "../".
func splitParents(pattern string) (up, rest string) {
	rest = pattern
	for strings.HasPrefix(rest, "../") {
		rest = rest[len("../"):]
	}
	return pattern[:len(pattern)-len(rest)], rest
}

// dir returns the prefix of the keys in a directory.
func (s *S3) dir(name string) string {
	if key := s.key(name); key != "" {
		return key + "/"
	}
	return ""
}

// literalPrefix returns a pattern up to its first special character.
func literalPrefix(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return pattern[:i]
	}
	return pattern
}

// Sweep also aborts incomplete uploads. Their parts cost money and do not appear in
// listings of objects (S3 User Guide, Aborting a multipart upload).
func (s *S3) Sweep(ctx context.Context, base string) error {
	for _, dir := range []string{"", "../instances"} {
		if err := s.sweepUploads(ctx, dir, base); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(s.temporary)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "_"+base) {
			continue
		}
		if err := s.files.Remove(filepath.Join(s.temporary, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (s *S3) sweepUploads(ctx context.Context, dir, base string) error {
	pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{
		Bucket: &s.bucket, Prefix: aws.String(s.dir(dir)), MaxUploads: s.page,
	})
	for token, n := "", 1; pages.HasMorePages(); n++ {
		out, err := pages.NextPage(ctx)
		if err == nil {
			token, err = nextToken(n, token, aws.ToString(out.NextKeyMarker)+"\n"+aws.ToString(out.NextUploadIdMarker))
		}
		if err != nil {
			return s.fail("list uploads of", dir, err)
		}
		for _, u := range out.Uploads {
			key := aws.ToString(u.Key)
			if !strings.HasPrefix(path.Base(key), base) {
				continue
			}
			if err := s.abort(ctx, key, u.UploadId); err != nil {
				return err
			}
		}
	}
	return nil
}
