package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

// page is the whole page. It fetches from its own origin only.
//
//go:embed page.html
var page string

// contentSecurity allows only the page's own script and style, by their hashes.
var contentSecurity = "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"script-src " + hashOf(page, "script") + "; style-src " + hashOf(page, "style")

// hashOf returns the CSP source expression for the content of a tag.
func hashOf(html, tag string) string {
	_, rest, _ := strings.Cut(html, "<"+tag+">")
	text, _, _ := strings.Cut(rest, "</"+tag+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func servePage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(page)) // an error means that the client has gone
}
