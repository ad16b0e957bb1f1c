// Package store is the one writer of a harvest directory. A series-window counts as
// done if and only if the transaction with its datapoints committed, and each row
// is published exactly once, whenever the process is killed or the power fails.
// Package record has the format on disk and its readers, package check verifies
// and repairs.
//
// # Commit point
//
// [Job.Commit] is the commit point: one bbolt transaction writes the datapoints to
// the spool, marks the series-windows in the progress of their instances and adds
// to the counters. Data that were not committed are fetched again; data that were
// committed never are. Commit drops a result whose series-window has an outcome
// already, so a repeated request never doubles a row. All other steps can be
// repeated, or are decided by one transaction or one rename:
//
//	create a job         rename of its database
//	publish a segment    transaction that moves its parts from the intent to the manifest
//	replace an inventory transaction that records the new one
//	end a redo           transaction that swaps old and new parts
//	prune a job          removal of its database
//
// # Life of a segment and its parts
//
//	Commit ──> active segment            a bucket of the spool
//	             │ seal, in the transaction that fills it or at Finish
//	             v
//	           sealed segment + intent   the intent names one part for each date
//	             │ build                 OUT/date=DATE/_NAME, synced
//	             │ record                size and SHA-256 of the part, in the intent
//	             │ publish               rename to OUT/date=DATE/NAME, sync of the directory
//	             v
//	           parts                     one transaction adds them to the manifest and
//	                                     deletes the intent and the segment
//
// Spool keys begin with the UTC date, so building the part of a date is one scan
// with one open file, however many dates a segment has. After a crash the next
// attempt repeats the steps from the intent. If a file with the name of a part exists
// and has the recorded SHA-256, the part is published; any other file of that name
// is an error and stays. A part never changes once it has its name.
//
// # Garbage
//
// Output files are never removed before the database says so. A new inventory is
// recorded as garbage before it gets its name. The transaction that commits a
// replacement withdraws that entry and records the replaced files instead. Every
// attempt removes the garbage that it finds, and Finish requires that none is left.
//
// # Redo
//
// A redo fetches the rows of some targets again. The old rows stay published until
// all new ones are there. Meanwhile the parts of sealed segments are built, but keep
// their temporary names. When every target is complete, old parts with rows of the
// targets are rewritten without them, also under temporary names. Then all new
// parts get their names, one transaction swaps the lists, and the replaced parts are
// garbage. A target that is denied or has failures again keeps its old rows.
//
// The lost parts of a repair are replaced in the same way, by a redo without targets. If
// a file of them still has rows that could not be fetched again, all of them stay.
//
// # Goroutines and locks
//
// A [Dir] holds the lock of its directory, so one process has open jobs. The
// goroutine that calls Commit, Finish and Close owns the job. [Job.Begin] starts two
// more, and Close ends both:
//
//   - the builder publishes sealed segments, oldest first. Nothing else publishes
//     parts, except for Finish when it ends a redo, after the builder is drained.
//   - the publisher of status replaces status.json every second.
//
// Job.mu guards the copy of the committed state. Commit holds it across its
// transaction, so others take it before a transaction and never inside one.
// builder.mu guards the sizes of the spool, may be taken while Job.mu is held, and
// is never held during I/O. A commit waits for the builder while more than the limit
// of the spool is unpublished. Read transactions copy about 1 MB and end, because
// bbolt cannot reuse freed pages while one is open.
//
// # Power cuts
//
// Every step that must survive a power cut goes through package durable, which
// syncs files before it names them and directories afterwards. A test forgets
// everything that was not synced at each of these steps, and then requires that
// another attempt publishes each row once. status.json is not synced: after a power
// cut, readers use the database.
//
// # Claims
//
// A place of output belongs to one harvest directory, or to the shards of one
// division, by a claim file that is created exclusively: with a hard link in a
// directory, with a conditional PutObject in a bucket. Nothing is changed in a place
// that another directory has claimed.
package store
