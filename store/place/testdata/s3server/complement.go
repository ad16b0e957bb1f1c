package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/johannesboyne/gofakes3"
)

// complement adds what gofakes3 v1.2.0 lacks: If-None-Match of
// CompleteMultipartUpload, If-Match of GetObject, the check of SHA-256
// checksums, and an empty list of uploads for a bucket that never had one. Of a
// request's X-Amz- headers it stores only metadata. It rejects unsigned requests.
type complement struct {
	next http.Handler
	mu   sync.Mutex // held while the completion of an upload checks and writes
}

func (c *complement) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") == "" {
		refuse(w, http.StatusForbidden, "AccessDenied")
		return
	}
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && query.Has("uploadId") && r.Header.Get("If-None-Match") == "*":
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.head(r).Code == http.StatusOK {
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
	case r.Method == http.MethodGet && r.Header.Get("If-Match") != "":
		if head := c.head(r); head.Code == http.StatusOK && head.Header().Get("ETag") != r.Header.Get("If-Match") {
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
	case r.Method == http.MethodGet && query.Has("uploads"):
		c.listUploads(w, r)
		return
	}
	if sum := r.Header.Get("X-Amz-Checksum-Sha256"); sum != "" && r.Method == http.MethodPut {
		r.Body = &checked{ReadCloser: r.Body, want: sum, hash: sha256.New()}
	}
	strip(r.Header)
	c.next.ServeHTTP(w, r)
}

// head returns the response to a HEAD request for the object of r.
func (c *complement) head(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.next.ServeHTTP(w, httptest.NewRequest(http.MethodHead, r.URL.EscapedPath(), nil))
	return w
}

func (c *complement) listUploads(w http.ResponseWriter, r *http.Request) {
	list := httptest.NewRecorder()
	c.next.ServeHTTP(list, r)
	if list.Code == http.StatusNotFound && bytes.Contains(list.Body.Bytes(), []byte("NoSuchUpload")) {
		io.WriteString(w, "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
		return
	}
	w.WriteHeader(list.Code)
	w.Write(list.Body.Bytes())
}

// strip removes all X-Amz- headers except metadata, because gofakes3 stores each of
// them and returns it with the object.
func strip(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-") && !strings.HasPrefix(name, "X-Amz-Meta-") {
			h.Del(name)
		}
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	xml.NewEncoder(w).EncodeElement(struct{ Code, Message string }{code, "as asked for"},
		xml.StartElement{Name: xml.Name{Local: "Error"}})
}

// checked is a body that ends with an error if its checksum is wrong.
type checked struct {
	io.ReadCloser
	want string
	hash hash.Hash
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.hash.Write(p[:n])
	if err == io.EOF && base64.StdEncoding.EncodeToString(c.hash.Sum(nil)) != c.want {
		return n, gofakes3.ErrBadDigest
	}
	return n, err
}
