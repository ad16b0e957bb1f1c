// Package config holds the settings of a harvest: which metrics of which
// accounts, over which time range, into which files.
//
// A Config starts as Default. ReadFile or Parse applies harvest.yaml. The caller
// applies environment variables and flags with Override. Validate then checks
// everything at once, before any network call is made and before any file is
// written. One table holds all settings (see Setting).
//
//	Default -> ReadFile -> flags -> Validate -> Due -> Freeze -> record.Plan
//
// The package promises:
//
//   - Parsing is strict. Unknown keys, wrong types, unset ${NAME} variables and
//     a second YAML document are errors, with file, line and column.
//   - Every *Error is a fact (Error) and, where there is one, a hint (Hint),
//     each on one line. Neither contains a secret.
//   - Time is a parameter. The package reads no clock.
//
// # The interval that is due
//
// Due compares the configured range with the intervals of the finished jobs in the
// harvest directory. It never returns time that a finished job already covers, so
// that no row is exported twice. Data younger than Settle is not requested, because
// CloudWatch may still add to it.
//
//	yesterday    the gaps of the last complete UTC day
//	since_last   from the end of the latest finished job to now; at first, yesterday
//	last: 24h    the gaps of the last 24 hours, once they are long enough for a job
//	from, to     all of the range, or nothing if it is finished; an error if a part is
//
// # The plan
//
// Freeze turns an interval into a record.Plan, which does not change for the life of
// the job. CloudWatch keeps older data only at coarser periods, so Freeze first
// splits the interval by age into spans, and then each span into windows that fit
// one request:
//
//	age      455 d        63 d           15 d          3 h      now
//	          |-- 1 h -----|--- 5 min ----|--- 1 min ---|- 1 s --|
//	spans          [============][====================]
//	windows        [=====][=====][=========][=========]
//
// The windows of a series cover the interval exactly once, in whole periods that
// CloudWatch keeps at least until the job has had time to end. If a job is continued
// so late that windows have aged out, Replans replaces them by coarser ones.
//
// Diff lists the settings that differ from the plan of an open job, which cannot be
// continued with other settings. Credentials, limits and notifications are
// not part of the plan and can change between runs.
package config
