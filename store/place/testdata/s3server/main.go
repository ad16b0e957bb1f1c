// S3server serves gofakes3 for tests and injects faults:
//
//	s3server BUCKET [DIR]
//
// It prints its URL, stores objects in DIR or in memory, and incomplete uploads in
// memory. It exits when its standard input ends. POST /_fault sets the current fault
// (see fault), and GET /_stats returns the number of requests by method.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3bolt"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal("s3server: ", err)
	}
}

func run(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Errorf("usage: s3server BUCKET [DIR]")
	}
	storage, err := backend(args[1:])
	if err != nil {
		return err
	}
	if err := storage.CreateBucket(args[0]); err != nil && !gofakes3.IsAlreadyExists(err) {
		return err
	}
	s3 := gofakes3.New(storage, gofakes3.WithoutVersioning(), gofakes3.WithTimeSkewLimit(0)).Server()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	quiet := log.New(io.Discard, "", 0) // drops messages about closed connections
	server := &http.Server{Handler: &faulty{next: &complement{next: s3}, done: map[string]int{}}, ErrorLog: quiet}
	return server.Serve(listener)
}

func backend(dir []string) (gofakes3.Backend, error) {
	if len(dir) == 0 {
		return s3mem.New(), nil
	}
	if err := os.MkdirAll(dir[0], 0o777); err != nil {
		return nil, err
	}
	return s3bolt.NewFile(filepath.Join(dir[0], "objects.bolt"))
}
