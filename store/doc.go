// Package store keeps a harvest directory: one bbolt file per job with the
// instances, their progress and the spool, and the immutable parts published
// from it. What it calls done is durable: a series-window counts if and only
// if the transaction that holds its data committed, and every row reaches the
// parts exactly once, whatever kills the process and whenever.
package store
