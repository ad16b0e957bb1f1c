// Package awssim is a simulated AWS for tests, benchmarks and the demo. It serves
// a part of STS, EC2, CloudWatch and Organizations over HTTP, checks signatures,
// sessions and limits as AWS does, and fails on request (see Fault).
//
// All data are pure functions of the Config and of names and times, so that a test
// can compute the correct value of every datapoint without a server (see Datapoint).
// The package has its own copy of CloudWatch's limits, so that a wrong limit in the
// product shows up as a refused request.
//
// # Simulated
//
//	STS            AssumeRole, AssumeRoleWithWebIdentity, GetCallerIdentity
//	EC2            DescribeInstances, DescribeRegions
//	CloudWatch     GetMetricData, GetMetricStatistics, ListMetrics,
//	               each as Smithy RPC v2 CBOR, AWS JSON 1.0 and AWS Query
//	Organizations  ListAccounts, ListAccountsForParent,
//	               ListOrganizationalUnitsForParent
//
// Every request but AssumeRoleWithWebIdentity needs a valid Signature Version 4 of a
// long-lived key or of an unexpired session. Roles can be assumed by name and external
// id. Keys are known in the regions of their account's partition, without those that
// are disabled.
//
// # Not simulated
//
// HTTP/2; IAM policies; quotas other than GetMetricData's; metric math, Metrics
// Insights, units and label options; cross-account observability. Package front has
// TLS, host names, and the credential services of instances, containers and people.
//
// # Documented by AWS
//
//   - Limits, periods, retention, and the rounding of StartTime: see limits.go.
//   - Statistics: CloudWatch User Guide, "CloudWatch statistics definitions".
//   - Five statistics of a metric are billed once: Amazon CloudWatch pricing.
//   - Session durations: AWS STS API Reference, AssumeRole. They are 900 to 43,200
//     seconds, at most the role's maximum, and one hour for a chained role.
//   - Pages of EC2 and Organizations: their API references. They hold 5 to 1,000
//     instances, and at most 20 accounts.
//   - Signatures, and their five minutes of clock skew: IAM User Guide, "AWS
//     Signature Version 4 for API requests".
//
// # Observed by users of AWS
//
// Codes, status and texts of errors follow published reports, most of them about
// the Query protocol:
//
//   - An expired session is ExpiredToken (403), and RequestExpired (400) for EC2.
//   - A throttled call is Throttling "Rate exceeded" (400), and RequestLimitExceeded
//     (503) for EC2.
//   - In a region that is not enabled or of another partition, valid keys look unknown,
//     to STS as well: InvalidClientTokenId (403), and AuthFailure (401) for EC2
//     (aws-sdk-ruby#2850, terraform-provider-aws#38607).
//   - AssumeRole checks the range of the duration, then the role's maximum, then
//     the limit for chained roles.
//   - The quota of datapoints counts every period of a query, also without data.
//   - Values have the sizes, decimals, rounding errors, repeats and zeros of the real
//     series in the Numenta Anomaly Benchmark (see TestValuesAreLikeMeasuredOnes).
//
// # Assumed
//
//   - CBOR responses have the form that the AWS SDK for Go reads and writes:
//     timestamps as tag 1 with a float, and X-Amzn-Query-Error beside an error.
//   - Quotas are token buckets that hold one second's worth.
//   - The next page of a GetMetricData response is not billed again, and page
//     tokens do not expire.
//   - An unknown metric has no datapoints, without an error.
//   - Every metric has one sample a minute, and a datapoint of less than a minute has
//     the one of its minute. A trimmed statistic uses at least one sample.
package awssim
