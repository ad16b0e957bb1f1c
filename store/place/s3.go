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

	"cwharvest/store/durable"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 is a prefix of a bucket. It calls once and leaves deadlines and repetition
// to its caller, who may ask Transient; everything can be done again.
type S3 struct {
	client    *s3.Client
	bucket    string
	prefix    string // without slashes around it; empty: the whole bucket
	temporary string // the local directory in which objects are made
	files     *durable.Files

	part   int64  // objects up to this size go in one piece, larger ones in parts of it or more
	window int64  // how far a reader reads ahead
	page   *int32 // of a listing; nil: as AWS likes
}

// NewS3 returns the place of a prefix. The client's own retries would be
// multiplied by the caller's: it should have none.
func NewS3(client *s3.Client, bucket, prefix, temporary string, files *durable.Files) *S3 {
	return &S3{
		client: client, bucket: bucket, prefix: prefix, temporary: temporary, files: files,
		part: 64 << 20, window: 4 << 20,
	}
}

func (s *S3) String() string { return strings.TrimSuffix("s3://"+s.bucket+"/"+s.prefix, "/") }

// key is the object key of a name. What would lie beside the root of the bucket
// lies in it, as in the root directory of a file system.
func (s *S3) key(name string) string { return path.Join("/", s.prefix, name)[1:] }

// Temporary tells names of one base in different directories apart.
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

// stat is what S3 keeps of an object.
type stat struct {
	size      int64
	etag, sum string // sum is empty for an object that is not ours
}

// stat asks for one byte instead of for the head: the answer to a failed HEAD
// has no body, so that an expired session, a wrong region and a bucket that is
// not there could not be told apart (S3 API reference, HeadObject). Both need
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
		err = fmt.Errorf("answer tells a size of %d", size)
	}
	_, readErr := io.Copy(io.Discard, io.LimitReader(out.Body, 1)) // so that the connection can be used again
	if err = errors.Join(err, readErr, out.Body.Close()); err != nil {
		return stat{}, s.fail("read", name, err)
	}
	return stat{size, aws.ToString(out.ETag), out.Metadata["sha256"]}, nil
}

// get starts to read an object. The SDK's validation is off: it knows only
// whole objects uploaded in one piece, and logs a warning for every other.
func (s *S3) get(ctx context.Context, name, bytes string, etag *string) (*s3.GetObjectOutput, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.key(name)), IfMatch: etag}
	if bytes != "" {
		in.Range = &bytes
	}
	out, err := s.client.GetObject(ctx, in, func(o *s3.Options) {
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return out, s.fail("read", name, err)
}

func (s *S3) Sum(ctx context.Context, name string, deep bool) (string, int64, error) {
	if !deep {
		held, err := s.stat(ctx, name)
		if err != nil || held.sum != "" {
			return held.sum, held.size, err
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

// List asks for the keys that begin like the pattern up to its first wildcard.
func (s *S3) List(ctx context.Context, pattern string) ([]string, error) {
	up, rest := climb(pattern)
	if _, err := path.Match(rest, ""); err != nil {
		return nil, fmt.Errorf("%s: %w", pattern, err)
	}
	dir := s.dir(up)
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: aws.String(dir + literal(rest)), MaxKeys: s.page,
	})
	var names []string
	for token, n := "", 1; pages.HasMorePages(); n++ {
		out, err := pages.NextPage(ctx)
		if err == nil && out.Name == nil {
			err = errNoList
		}
		if err == nil {
			token, err = another(n, token, aws.ToString(out.NextContinuationToken))
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

// errNoList is what a proxy puts in the place of an answer, with status 200: XML
// or nothing, without the bucket's name.
var errNoList = errors.New("answer is no list of a bucket")

// mostPages bounds a listing: of 1,000 objects each, a hundred million.
const mostPages = 100_000

// another refuses the token of the page that it came with: the list would never
// end.
func another(page int, token, next string) (string, error) {
	if page > mostPages {
		return "", fmt.Errorf("answer has more than %d pages", mostPages)
	}
	if next != "" && next == token {
		return "", errors.New("answer names the page it is as the next one")
	}
	return next, nil
}

// climb splits a pattern after its leading "../".
func climb(pattern string) (up, rest string) {
	rest = pattern
	for strings.HasPrefix(rest, "../") {
		rest = rest[len("../"):]
	}
	return pattern[:len(pattern)-len(rest)], rest
}

// dir is what the keys in a directory begin with.
func (s *S3) dir(name string) string {
	if key := s.key(name); key != "" {
		return key + "/"
	}
	return ""
}

func literal(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return pattern[:i]
	}
	return pattern
}

// Sweep also aborts uploads that were never completed: their parts are paid for
// and appear in no listing of objects (S3 User Guide, Aborting a multipart
// upload).
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
			token, err = another(n, token, aws.ToString(out.NextKeyMarker)+"\n"+aws.ToString(out.NextUploadIdMarker))
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
