// Package zstdframe compresses the pages of a Parquet file with zstd (RFC 8878).
// For a page of doubles it builds a frame of its own, the shared-bytes frame, where
// that is smaller than the frame of the general encoder (klauspost/compress, fastest
// level). For whole numbers without repetition it takes a tenth of the time and 6 to
// 14 % fewer bytes. Every zstd decoder reads both frames.
//
// # Why another frame
//
// A column of doubles is slow to compress. The general encoder finds, after much
// search, that a value shares some bytes with the value before it: the low bytes,
// which are zero in whole numbers, and the exponent. These shared bytes are the
// same for a thousand values in a row, so one pass over the values finds them.
// They are a match of fixed length at distance 8, which zstd can state once a
// block at no cost per value.
//
// # The frame
//
// All numbers are little-endian.
//
//	28 B5 2F FD            magic number
//	A0                     descriptor: one segment, 4 bytes of size, no checksum
//	size                   4 bytes, of the content
//	raw block              the bytes before the values, and the first value
//	block ...              at most 1,024 values each, compressed or raw
//	01 00 00               raw block, last, empty
//
// A compressed block holds n values that share m bytes (3 to 7) with the value
// before. The other 8-m bytes are literals:
//
//	3 bytes                block header: not the last, compressed, size
//	3 bytes                literals header: raw, size in 20 bits
//	n*(8-m) bytes          literals, value after value
//	1 or 2 bytes           n, the number of sequences
//	54                     each of the three codes is the same in all sequences
//	8-m                    code of the literals' length
//	03, later 00           code of the distance: 8, later the previous distance
//	m-3                    code of the match's length
//	DB B6 6D, later none   3 bits for each of 8 sequences: distance 2^3 + 3 - 3
//	01                     end of the bits
//
// A sequence is literals and then a match, so values are cut where the match
// ends: when the shared bytes are in the middle of a value, raw bytes up to that
// place come first. The first compressed block of a frame has exactly 8 sequences,
// because its distances take bits. A chunk of 1,024 values that share fewer than 3
// bytes is halved, down to 64 values, and then raw. Fewer than 8 values are raw,
// too.
package zstdframe
