// Package check verifies harvest directories and rebuilds their databases. It reads
// through package record and does not depend on the writer, so that an error of the
// writer is found by independent code.
//
// [Verify] takes the directory's lock for reading and changes nothing. It recounts
// each job from its database: instances by outcome, rows of the spool, rows of the
// parts. The sizes and SHA-256 of the parts must match the manifest, and no other file
// may lie beside them. The deep check also reads every row of every part, merged by
// date over all jobs.
//
// [Repair] takes the directory's lock for writing. It rebuilds a database if a page,
// a spool value or a part is damaged, or if the database is missing:
//
//	manifest ──> parts of complete segments ──> progress of their instances
//	             other parts are lost ──────> their series-windows are pending again
//
// A segment is complete if all its parts match the manifest. One damaged part
// discards the whole segment, because a series-window may have rows in several parts.
// Repair removes no file. The next run fetches the rows of lost parts again and replaces
// the files as a redo does, when all new rows are published. Lost parts that exist again
// with their SHA-256 count again, at the next repair or run.
//
// A place of output that is not there is not judged (package claim).
// The new database is written beside the old one, and its rename commits the
// rebuild. The damaged database is kept as a backup. A database of another format, in
// use or unreadable is an error, and nothing is changed.
package check
