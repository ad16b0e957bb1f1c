// Package cloudwatch holds the facts about Amazon CloudWatch that the product
// relies on: the limits of one call, the quotas of an account, for how long
// datapoints are kept, the statistics, and the prices. Each fact stands here
// once, with its source, and nothing else in the product repeats it. The
// simulated CloudWatch (pipeline/awssim) keeps its own copy on purpose: a wrong
// figure here then fails a test there.
//
// The package imports nothing of this module and calls nothing. The sources are
// pages of AWS's documentation:
//
//   - API reference: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/,
//     pages API_GetMetricData.html and API_GetMetricStatistics.html
//   - Service quotas: https://docs.aws.amazon.com/general/latest/gr/cw_region.html
//   - Statistics definitions: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
//   - Pricing: https://aws.amazon.com/cloudwatch/pricing/
package cloudwatch
