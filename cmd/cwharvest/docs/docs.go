// Package docs holds the manual of cwharvest, a page for each topic, and renders it for terminals and as man pages. The pages are
// Markdown, so that they can also be read in the repository.
package docs

import "embed"

//go:embed *.md
var files embed.FS

// Topic is a page of the manual.
type Topic struct{ Name, Short string }

// Topics lists the pages in the order in which a new user needs them.
var Topics = []Topic{
	{"configuration", "harvest.yaml: metrics, instances, ranges, cost"},
	{"metrics", "examples for EC2, the agent, load balancers, queues, buckets"},
	{"accounts", "several accounts and regions, and the permissions they need"},
	{"credentials", "where credentials come from, and what happens when they end"},
	{"output", "files, columns, queries, other formats, S3"},
	{"operations", "every night: exit codes, schedulers, monitoring, repair"},
	{"security", "what is stored, where, and what goes over the network"},
	{"performance", "duration, memory, quotas and measured figures"},
	{"troubleshooting", "messages and symptoms, and what to do"},
}

// Markdown returns the source of a page, or "" if there is no such topic.
func Markdown(name string) string {
	for _, t := range Topics {
		if t.Name == name {
			text, err := files.ReadFile(name + ".md")
			if err != nil {
				panic(err) // it is embedded
			}
			return string(text)
		}
	}
	return ""
}
