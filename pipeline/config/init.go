package config

import _ "embed"

// Initial is a harvest.yaml that runs as it is, with the other settings as
// comments.
//
//go:embed init.yaml
var Initial string
