package main

import (
	"fmt"
	"io"
	"strings"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/record"
)

// remedies holds the next step for each class of failure. The next run retries everything that failed or was denied, unless
// --no-retry is given. OPTIONS stands for those of the run.
var remedies = map[string]string{
	"refused":              "fix the role's policy (print it: cwharvest policy OPTIONS), then run again",
	"credentials_refused":  "fix the role or its trust policy (find the link that fails: cwharvest doctor OPTIONS), then run again",
	"region_not_enabled":   "enable the region for the account, or remove it from regions",
	"not_configured":       "put the account back into the configuration, or do nothing: the next job does not have the target",
	"no_region":            "correct the patterns of regions",
	"gave_up":              "run again; its outage was longer than give_up_after",
	"retention_passed":     "nothing; CloudWatch no longer has the data",
	"wrong_protocol":       "choose the protocol that the server has: --protocol json or query; if it is AWS, check the endpoint",
	"several_units":        "choose one with unit in metrics",
	"impossible_dimension": "correct the program that publishes the metric; CloudWatch cannot be asked for it",

	"invalid_request": "run again; if it fails again, CloudWatch refuses this metric: remove it",
	"poison":          "run again; if it fails again, report the request to AWS",
	"outage":          "run again",
}

// printFailed lists denied targets and failed instances, class by class.
func printFailed(w io.Writer, s *record.Status, failed []record.FailedInstance) {
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
	for i := range s.TargetDetails {
		d := &s.TargetDetails[i]
		for n := range d.FailedMetrics {
			m := &d.FailedMetrics[n]
			add(m.Class, fmt.Sprintf("METRIC  %s/%s  %s: %s", d.Account, d.Region, m.Name(), m.Message))
		}
	}
	for _, f := range failed {
		add(f.Class, fmt.Sprintf("FAILED  %s/%s  %s %s: %s", f.Account, f.Region, f.Namespace, f.Dimensions, f.Message))
	}
	if len(order) == 0 {
		fmt.Fprintf(w, "%s: nothing failed or was denied\n", s.Job)
		return
	}
	for _, class := range order {
		fmt.Fprintf(w, "%s\n%s\n", class, strings.Join(classes[class], "\n"))
		if todo := remedies[class]; todo != "" {
			fmt.Fprintf(w, "  remedy:  %s\n", strings.ReplaceAll(todo, "OPTIONS", optionsOf(s)))
		}
	}
	if hidden := s.Instances.Failed - int64(len(failed)); hidden > 0 {
		fmt.Fprintf(w, "... and %s more; they are listed when the run has ended\n", human.Number(hidden))
	}
}

// optionsOf returns the options of the last run that chose its configuration.
func optionsOf(s *record.Status) string {
	if n := len(s.Attempts); n > 0 && s.Attempts[n-1].Options != "" {
		return s.Attempts[n-1].Options
	}
	return "-c " + initialName // an older version did not record them
}

func tolerated(d record.TargetDetail) string {
	if d.Tolerated {
		return " (tolerated)"
	}
	return ""
}
