package main

import (
	"cwharvest/cmd/cwharvest/human"
	"fmt"
	"io"
	"strings"

	"cwharvest/store"
)

// remedies say what to do about a class of failures. The next run tries again
// whatever failed or was denied, unless it is given --no-retry.
var remedies = map[string]string{
	"refused":             "mend the role's policy (`cwharvest policy -c FILE` prints it), then run again",
	"credentials_refused": "mend the role or its trust policy (`cwharvest doctor -c FILE` tells which link), then run again",
	"region_not_enabled":  "enable the region for the account, or leave it out of regions",
	"not_configured":      "put the account back into the file, or leave it: the next job has no such target",
	"no_region":           "mend the patterns of regions",
	"gave_up":             "run again; it was out for longer than give_up_after",
	"retention_passed":    "nothing: CloudWatch does not keep these data any more",
	"invalid_request":     "run again; if it stays, CloudWatch refuses this metric: leave it out",
	"poison":              "run again; if it stays, report it to AWS with the request",
	"outage":              "run again",
}

// printFailed lists what was denied and what failed, class by class.
func printFailed(w io.Writer, s *store.Status, failed []store.FailedInstance) {
	w = human.Writer{Writer: w}
	classes := map[string][]string{}
	var order []string
	add := func(class, text string) {
		if classes[class] == nil {
			order = append(order, class)
		}
		classes[class] = append(classes[class], text)
	}
	for _, d := range s.TargetDetails {
		if d.State == "denied" {
			instances := "instances unknown"
			if d.Instances != nil {
				instances = human.Number(d.Instances.Denied) + " instances"
			}
			add(d.Class, fmt.Sprintf("DENIED  %s/%s  %s: %s%s", d.Account, d.Region, instances, d.Reason, tolerated(d)))
		}
	}
	for _, f := range failed {
		add(f.Class, fmt.Sprintf("FAILED  %s/%s  %s %s: %s", f.Account, f.Region, f.Namespace, f.Dimensions, f.Message))
	}
	if len(order) == 0 {
		fmt.Fprintf(w, "%s: nothing failed, nothing is denied\n", s.Job)
		return
	}
	for _, class := range order {
		fmt.Fprintf(w, "%s\n%s\n", class, strings.Join(classes[class], "\n"))
		if todo := remedies[class]; todo != "" {
			fmt.Fprintf(w, "  what to do:  %s\n", todo)
		}
	}
	if hidden := s.Instances.Failed - int64(len(failed)); hidden > 0 {
		fmt.Fprintf(w, "... and %s more, once the run has ended\n", human.Number(hidden))
	}
}

func tolerated(d store.TargetDetail) string {
	if d.Tolerated {
		return " (tolerated)"
	}
	return ""
}
