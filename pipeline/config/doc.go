// Package config holds the settings of a harvest: which metrics of which
// accounts, over which time range, into which files.
//
// A Config starts as Default. ReadFile or Parse applies harvest.yaml, the
// caller applies environment variables and flags (and reports them with
// Override), and Validate then checks everything at once. No network call and
// no file is made before Validate has succeeded.
//
//	Default -> ReadFile -> flags -> Validate -> Due -> Freeze -> store.Plan
//
// The package promises:
//
//   - Parsing is strict. Unknown keys, wrong types, unset ${NAME} variables and
//     a second YAML document are errors, with file, line and column.
//   - Every *Error is a fact (Error) and, where there is one, a hint (Hint),
//     each on one line. Neither contains a secret.
//   - Time is a parameter. The package reads no clock.
//   - Due never returns time that a finished job already covers, so that no row
//     is exported twice.
//   - Freeze turns an interval into a store.Plan: the windows of every series
//     cover the interval exactly once, in whole periods that CloudWatch still
//     keeps. The plan does not change for the life of the job. Diff lists the
//     settings that differ from it; credentials, limits and notifications are
//     not part of it and can change between runs.
package config
