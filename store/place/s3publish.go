package place

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	maxParts     = 10_000           // of an upload (S3 User Guide, Amazon S3 multipart upload limits)
	abortTimeout = 15 * time.Second // the longest time that a cancelled caller waits
)

// Publish writes on the condition that the key is free, so that one of two writers
// fails. The request that makes the object visible is the commit point. If its
// response is lost, the next attempt finds the object and succeeds.
func (s *S3) Publish(ctx context.Context, name, sum string) error {
	temporary := s.temporaryPath(name)
	file, err := os.Open(temporary)
	switch {
	case err == nil:
		err = errors.Join(s.upload(ctx, name, sum, file), file.Close())
	case errors.Is(err, fs.ErrNotExist): // published by an earlier attempt, or lost
		err = s.compare(ctx, name, sum)
	}
	if err != nil {
		return err
	}
	return s.files.Remove(temporary)
}

func (s *S3) upload(ctx context.Context, name, sum string, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > s.part {
		return s.uploadParts(ctx, name, sum, file, info.Size())
	}
	return s.resolveConflict(ctx, name, sum, s.put(ctx, name, sum, io.NewSectionReader(file, 0, info.Size()), info.Size()))
}

// Create relies on the same condition as Publish.
func (s *S3) Create(ctx context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	err := s.put(ctx, name, hex.EncodeToString(sum[:]), bytes.NewReader(data), int64(len(data)))
	if code(err) == "PreconditionFailed" {
		return fs.ErrExist
	}
	return err
}

// put writes an object on the condition that the key is free.
func (s *S3) put(ctx context.Context, name, sum string, body io.Reader, size int64) error {
	checksum, err := hex.DecodeString(sum)
	if err != nil {
		return fmt.Errorf("SHA-256 of %s: %w", name, err)
	}
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.key(name)), IfNoneMatch: aws.String("*"),
		Body: body, ContentLength: aws.Int64(size),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		ChecksumSHA256:    aws.String(base64.StdEncoding.EncodeToString(checksum)),
		Metadata:          map[string]string{"sha256": sum},
	})
	return s.fail("write", name, err)
}

// resolveConflict succeeds if a write failed because the key already has the same
// content. It returns other errors unchanged.
func (s *S3) resolveConflict(ctx context.Context, name, sum string, writeErr error) error {
	switch code(writeErr) {
	case "PreconditionFailed", "ConditionalRequestConflict":
	default:
		return writeErr
	}
	err := s.compare(ctx, name, sum)
	if errors.Is(err, fs.ErrNotExist) { // another write is in progress, or the object was just removed
		return writeErr
	}
	return err
}

// compare returns nil if the object exists with the given SHA-256.
func (s *S3) compare(ctx context.Context, name, sum string) error {
	current, _, err := s.Sum(ctx, name, false)
	if err == nil && current != sum {
		return s.fail("write", name, ErrExists)
	}
	return err
}

func (s *S3) uploadParts(ctx context.Context, name, sum string, file *os.File, size int64) error {
	key := s.key(name)
	out, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &key,
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		Metadata:          map[string]string{"sha256": sum},
	})
	if err != nil {
		return s.fail("create an upload of", name, err)
	}
	u := &upload{S3: s, name: name, key: key, id: out.UploadId}
	if err = u.send(ctx, sum, file, size); err == nil {
		return nil
	}
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	return errors.Join(s.resolveConflict(ctx, name, sum, err), s.abort(own, key, out.UploadId))
}

// upload is a multipart upload in progress.
type upload struct {
	*S3
	name, key string
	id        *string
	parts     []types.CompletedPart
}

// send uploads the parts and completes the upload. It checks the SHA-256 of the whole
// file itself, because S3 computes only one of the parts' checksums.
func (u *upload) send(ctx context.Context, sum string, file *os.File, size int64) error {
	whole := sha256.New()
	length := u.partLength(size)
	for at := int64(0); at < size; at += length {
		section := io.NewSectionReader(file, at, min(length, size-at))
		if err := u.sendPart(ctx, section, whole); err != nil {
			return err
		}
	}
	if found := hex.EncodeToString(whole.Sum(nil)); found != sum {
		return fmt.Errorf("%s was changed after it was written: its SHA-256 is %s, expected %s", file.Name(), found, sum)
	}
	_, err := u.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: u.id, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	})
	return u.fail("complete the upload of", u.name, err)
}

func (s *S3) partLength(size int64) int64 { return max(s.part, (size+maxParts-1)/maxParts) }

func (u *upload) sendPart(ctx context.Context, section *io.SectionReader, whole io.Writer) error {
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(sum, whole), section); err != nil {
		return err
	}
	if _, err := section.Seek(0, io.SeekStart); err != nil {
		return err
	}
	part := types.CompletedPart{
		PartNumber:     aws.Int32(int32(len(u.parts) + 1)),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum.Sum(nil))),
	}
	out, err := u.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: u.id, PartNumber: part.PartNumber,
		Body: section, ContentLength: aws.Int64(section.Size()),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumSHA256: part.ChecksumSHA256,
	})
	if err != nil {
		return u.fail("upload a part of", u.name, err)
	}
	part.ETag = out.ETag
	u.parts = append(u.parts, part)
	return nil
}

// abort aborts an upload. It succeeds if the upload does not exist.
func (s *S3) abort(ctx context.Context, key string, id *string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: id})
	if code(err) == "NoSuchUpload" {
		return nil
	}
	return s.failKey("abort the upload of", key, err)
}
