// Package record is the format of a harvest directory on disk, and reads it. It has
// no writer of jobs: package store writes, package check verifies and repairs, and
// both use this package for everything that they read or encode.
//
// # Files
//
//	DIR/lock                         flock of the process that holds the directory; its Owner
//	DIR/status.json                  Status that a run publishes every second, not synced
//	DIR/jobs/.cwharvest.json         identity of the directory in claims
//	DIR/jobs/ID.db                   database of a job; its rename creates the job
//	DIR/jobs/ID.json                 Plan, a copy of the one in the database
//	DIR/jobs/ID.manifest.json        Manifest, a copy of parts and inventory in the database
//	DIR/jobs/ID.summary.json         Status of a pruned job, which has no database
//	DIR/jobs/ID.db.damaged-TIME      backup that repair makes
//	OUT/.cwharvest*.json             claims of the place of output
//	OUT/date=DATE/ID-SEGMENT.EXT     part; -rSEGMENT before EXT if a redo rewrote it
//	OUT/instances/date=DATE/...      inventory; beside OUT if that is called data
//
// Names that begin with _ are temporary. Query engines ignore them.
//
// # Buckets of a database
//
//	meta       job       JobRecord (JSON), replaced by every commit
//	           spec      Plan (JSON), never changed
//	           denied    targets denied in the previous job: since when (JSON)
//	targets    ACCOUNT/REGION                   TargetRecord (JSON)
//	instances  ACCOUNT/REGION > instance key    Instance (JSON)
//	progress   ACCOUNT/REGION > instance key    Progress; no entry: nothing has an outcome
//	spool      segment > spool key              spool value
//	intents    segment                          Intent (JSON): parts of a sealed segment
//	parts      name of the part                 Part (JSON): the manifest
//	failures   ACCOUNT/REGION 0 instance key    Failure (JSON): the first one
//	garbage    name of an output file           empty; the next attempt removes the file
//	lost       name of a part                   Part (JSON), until its rows are published again
//
// A > stands for a nested bucket, 0 for a zero byte. Segments are 8 bytes,
// big-endian. Keys and values:
//
//	instance key    namespace 0 sorted names of dimensions 0 Name=Value,Name=Value
//	spool key       date (4) account 0 region 0 instance key 0 series (2) window (4)
//	progress        flags (1) rows (uvarint) bitmap of done windows, bitmap of failed windows
//	spool value     version (1) start period points statistics (uvarints) columns CRC-32C (4)
//
// Numbers in keys are big-endian, so that spool keys sort as the rows of a part do:
// by date first, since each date of a segment becomes a part. A progress has no
// bitmaps if every window is done, and the second one only if a window failed. The
// checksum covers key and value,
// because bbolt has none for its data pages.
//
// # Columns of a spool value
//
//	kind (1)         bits: some values are missing, some repeat; or: all are missing
//	presence         bitmap of the values that are not missing, if some are
//	changes          bitmap of the values that differ from the previous one, if some repeat
//	shape (1)        lowest byte that differs, and the number of bytes from there
//	first value (8)
//	values           of each stored value, the bytes that differ
//
// Values of a series share bytes: the low ones, which are zero in whole numbers, and
// the exponent. Storing the others takes 3 bytes for a value of the simulated AWS,
// where S2 takes 5.2 bytes and five times as long. Columns of mostly zeros take 0.9
// bytes a value (S2: 0.8), and averages that share nothing 8 (S2: 5.6). A spool is
// short-lived, so time counts more than size.
//
// # What a reader may rely on
//
// All counts are committed ones. One process holds the directory and writes its
// databases; while it works, other processes read status.json, manifests and plans.
// These are replaced as a whole, except that a full disk lets a run overwrite
// status.json in place. [ReadStatus] therefore takes no lock for longer than one
// database is read, and never keeps a run from starting. Anybody may edit the JSON
// files, so plans and manifests are checked before their content becomes a path, an
// index or a length.
//
// # Damaged databases
//
// bbolt trusts its pages: a wrong reference makes it recurse or allocate until the
// process dies. Package btree therefore checks them before bbolt reads them, all of
// them before a writer opens the file or a reader's first [Database.View]. A reader
// that only lists jobs needs few pages, and only these are checked. What remains, a
// file that another process changes meanwhile for example, is a panic of bbolt or a
// fault of its memory map, which [Database.View] and [Database.Update] return as a
// [*DamagedError] as well.
//
// A bbolt file begins with two meta pages, and the newer one belongs to the last
// transaction. If it is damaged, bbolt silently falls back to the other one, and the
// last transaction is lost although a status may have shown its data as done. Opening
// therefore checks both meta pages, and compares the transaction with the one in
// status.json. A commit that a power cut tears in half leaves the same trace. It is
// rare, since the meta data lie within one disk sector, and it is refused as well.
package record
