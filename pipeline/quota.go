package pipeline

import "time"

// Quota is how many estimated datapoints a second CloudWatch grants one account
// and region of data that begin at start, if its quotas were never changed.
func Quota(start, now time.Time) float64 {
	if now.Sub(start) > quotaRecent {
		return quotaOldPoints
	}
	return quotaNewPoints
}
