package front

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// authority is a CA that issues a certificate for any name.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate

	mu     sync.Mutex
	issued map[string]*tls.Certificate
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, issued: map[string]*tls.Certificate{}}
	template := template("front of the simulated AWS")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a.certificate, err = x509.ParseCertificate(der)
	return a, err
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
}

// issue returns the certificate of the host that a client asks for.
func (a *authority) issue(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.issued[hello.ServerName]; c != nil {
		return c, nil
	}
	t := template(hello.ServerName)
	t.DNSNames, t.ExtKeyUsage = []string{hello.ServerName}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, a.certificate, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	a.issued[hello.ServerName] = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
	return a.issued[hello.ServerName], nil
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// tunnels is a listener for the connections that clients open through the proxy.
type tunnels struct {
	accept chan net.Conn // connect sends, Accept receives; never closed
	closed chan struct{} // closed by Close
	once   sync.Once
	addr   net.Addr
}

func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case c := <-t.accept:
		return c, nil
	case <-t.closed:
		return nil, net.ErrClosed
	}
}

func (t *tunnels) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

func (t *tunnels) Addr() net.Addr { return t.addr }

// servers are the proxy, and the server at the end of its tunnels.
type servers struct {
	plain   *httptest.Server
	inner   *http.Server
	tunnels *tunnels
	ca      *authority
}

// start serves a front until close.
func (s *servers) start(f *Front) (err error) {
	if s.ca, err = newAuthority(); err != nil {
		return err
	}
	s.plain = httptest.NewServer(http.HandlerFunc(f.serveProxy))
	s.tunnels = &tunnels{accept: make(chan net.Conn), closed: make(chan struct{}), addr: s.plain.Listener.Addr()}
	s.inner = &http.Server{Handler: f, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go s.inner.Serve(tls.NewListener(s.tunnels, &tls.Config{GetCertificate: s.ca.issue}))
	return nil
}

func (s *servers) close() {
	s.tunnels.Close()
	s.inner.Close()
	s.plain.CloseClientConnections()
	s.plain.Close()
}

// connect answers CONNECT and hands the connection to the inner server.
func (s *servers) connect(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		return
	}
	select {
	case s.tunnels.accept <- conn:
	case <-s.tunnels.closed:
		conn.Close()
	}
}
