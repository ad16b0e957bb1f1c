package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/store/record"
)

// checkup is the output of `doctor --json`. Version counts incompatible changes.
type checkup struct {
	Version     int                `json:"version"`
	Environment []string           `json:"environment"` // settings that have no effect
	Principals  []checkedPrincipal `json:"principals"`
	Directory   checkedDirectory   `json:"directory"`
	Out         *checkedPlace      `json:"out,omitempty"` // nil if the output is local
	Targets     []checkedTarget    `json:"targets"`
	options     string             // that choose this configuration, for remedies
}

type checkedPrincipal struct {
	Name        string    `json:"name"`
	From        string    `json:"from,omitempty"`
	Key         string    `json:"key,omitempty"` // masked
	Account     string    `json:"account,omitempty"`
	ARN         string    `json:"arn,omitempty"`
	ValidUntil  time.Time `json:"valid_until,omitzero"`
	ClockOffset float64   `json:"clock_offset_seconds"` // of AWS's clock, relative to this machine's
	Warning     string    `json:"warning,omitempty"`    // about the end of the keys
	Finding
}

// Finding is the result of one check. Class and Message are empty if it succeeded.
type Finding struct {
	Class   string `json:"class,omitempty"`
	Message string `json:"message,omitempty"`
	hint    string // the next step, if Message does not name it
	person  bool   // credentials need a person
}

type checkedTarget struct {
	record.Target
	Links  []checkedLink  `json:"links"`
	Probes []checkedProbe `json:"probes"`
}

// checkedLink is the result for one credential source of an account.
type checkedLink struct {
	Source string `json:"source"`
	ARN    string `json:"arn,omitempty"`
	Finding
}

type checkedProbe struct {
	Permission string `json:"permission"`
	Finding
}

// finding explains the error of a call. The message of an error that carries a hint includes it; the others get the remedy
// of their class.
func finding(err error) Finding {
	if err == nil {
		return Finding{}
	}
	failure := pipeline.Explain(err)
	f := Finding{Class: failure.Class, Message: failure.Message}
	var e *creds.Error
	f.person = errors.As(err, &e) && e.NeedsPerson()
	if carriedHint(err) == "" && f.Class != "region_not_enabled" { // the message of that class names the remedy
		f.hint = remedies[f.Class]
	}
	return f
}

func (c *checkup) exitCode() int {
	code := exitComplete
	note := func(f Finding) {
		switch {
		case f.Class == "":
		case f.person:
			code = exitCredentials
		case code == exitComplete:
			code = exitIncomplete
		}
	}
	note(c.Directory.Finding)
	if c.Out != nil {
		for _, p := range c.Out.Probes {
			note(p.Finding)
		}
	}
	for _, p := range c.Principals {
		note(p.Finding)
	}
	for _, t := range c.Targets {
		for _, l := range t.Links {
			note(l.Finding)
		}
		for _, p := range t.Probes {
			note(p.Finding)
		}
	}
	return code
}

// print prints every failure in full, and all that succeeded in one line for each subject.
func (c *checkup) print(w io.Writer) {
	line := func(format string, args ...any) {
		fmt.Fprintln(w, strings.ReplaceAll(fmt.Sprintf(format, args...), "OPTIONS", c.options)) // of remedies
	}
	for _, e := range c.Environment {
		line("ENVIRONMENT  %s", e)
	}
	for _, p := range c.Principals {
		text := fmt.Sprintf("%s from %s, key %s: %s", p.Name, p.From, p.Key, p.ARN)
		if !p.ValidUntil.IsZero() {
			text += ", valid until " + p.ValidUntil.Format("2006-01-02 15:04 UTC")
		}
		if p.Warning != "" && p.Class == "" {
			line("WARN %s; %s", text, p.Warning)
		} else {
			line("%-4s %s", verdict(p.Finding), describe(text, p.Name, p.Finding))
		}
		if offset := time.Duration(p.ClockOffset * float64(time.Second)); offset.Abs() > time.Minute {
			line("     AWS's clock is %v ahead of this machine's: signatures are corrected, ranges are not", offset)
		}
	}
	line("%-4s %s", verdict(c.Directory.Finding), describe(fmt.Sprintf("directory %s: writable, %s GB free", c.Directory.Path,
		human.Number(int64(c.Directory.FreeBytes/1e9))), "directory "+c.Directory.Path, c.Directory.Finding))
	if c.Out != nil {
		printProbes(line, c.Out.Place, c.Out.Probes, nil)
	}
	for _, t := range c.Targets {
		var well []string
		for _, l := range t.Links {
			if l.Class == "" {
				well = append(well, l.ARN)
				continue
			}
			line("FAIL %s  %s", t, describe("", l.Source, l.Finding))
		}
		printProbes(line, t.String(), t.Probes, well)
	}
}

// printProbes prints the failures of one subject, then one line with everything that succeeded.
func printProbes(line func(string, ...any), name string, probes []checkedProbe, well []string) {
	for _, p := range probes {
		if p.Class == "" {
			well = append(well, p.Permission)
			continue
		}
		line("FAIL %s  %s", name, describe("", p.Permission, p.Finding))
	}
	if len(well) > 0 {
		line("ok   %s  %s", name, strings.Join(well, ", "))
	}
}

func verdict(f Finding) string {
	if f.Class == "" {
		return "ok"
	}
	return "FAIL"
}

// describe returns the text for a subject that is well, or its failure with the next step.
func describe(well, subject string, f Finding) string {
	if f.Class == "" {
		return well
	}
	text := subject + ": " + f.Class + ": " + strings.TrimPrefix(f.Message, subject+": ")
	if f.hint != "" {
		text += "; " + f.hint
	}
	return text
}
