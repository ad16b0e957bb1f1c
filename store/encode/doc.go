// Package encode writes datapoints and inventories to Parquet, CSV and JSON Lines
// files, and reads the datapoints back. It takes and returns runs of datapoints of
// one series. Writers keep nothing of a run after WriteRun; readers accept any bytes
// and report damage as an error that names the row.
//
// # Rows
//
// All formats have the same columns, in this order: account, region, namespace,
// metric, instance_id, dimensions, timestamp, period_s, and one column for each
// statistic (average, maximum, minimum, sum, sample_count, p99, tm_10_90, ...). A
// statistic without a value is null. A point without any value is no row.
//
// # Parquet
//
// A file has row groups of about 131,072 rows. Each column of a row group has one
// data page (version 1) and, if it has a dictionary, a dictionary page before it:
//
//	PAR1
//	row group ...
//	  account, region,     dictionary page: length (4 bytes) and bytes of each word
//	  namespace, metric,   data page:       width (1 byte), indices as RLE and
//	  instance_id,                          bit-packed runs (RLE_DICTIONARY)
//	  dimensions
//	  timestamp            data page:       milliseconds, DELTA_BINARY_PACKED
//	  period_s             dictionary page: numbers of 4 bytes
//	                       data page:       width, indices as above
//	  each statistic       data page:       length of the levels (4 bytes),
//	                                        definition levels (1: not null; RLE and
//	                                        bit-packed runs of width 1),
//	                                        values of 8 bytes without gaps (PLAIN)
//	footer                 schema, row groups, bounds and null counts of columns,
//	                       metadata of the job
//	length of the footer (4 bytes), PAR1
//
// Every page is one zstd frame; see package zstdframe. Equal neighbours in the text
// columns and in period_s are kept as runs while a row group is gathered, so such a
// column costs a run, and not a row, in time and in bytes. BYTE_STREAM_SPLIT would
// make the values smaller, but Spark's vectorized reader cannot read it.
//
// The footer and the headers of pages are written by arrow-go. The reader does not
// trust them: it checks counts and sizes before arrow allocates memory for them.
//
// # CSV
//
// Lines end with CR LF (RFC 4180), and the first line holds the column names. Null
// is an empty cell. An apostrophe precedes a text that a spreadsheet would run as a
// formula, and precedes every text that begins with an apostrophe, so that removing
// one gives back each text:
//
//	account,region,...,timestamp,period_s,average
//	111122223333,us-east-1,...,2026-01-31T23:55:00Z,300,0.125
//
// # JSON Lines
//
// Each line is an object with all columns in the same order. Null is null:
//
//	{"account":"111122223333",...,"timestamp":"2026-01-31T23:55:00Z","period_s":300,"average":0.125}
//
// CSV and JSON Lines files are uncompressed, one gzip stream or one zstd stream.
package encode
