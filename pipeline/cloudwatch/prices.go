package cloudwatch

// Prices are in USD per 1,000: metrics requested of GetMetricData, and calls of
// the other two operations. A price of 0 means that nothing is charged.
type Prices struct{ GetMetricData, GetMetricStatistics, ListMetrics float64 }

// DefaultPrices returns the prices of us-east-1 without the free tier
// (CloudWatch pricing).
func DefaultPrices() Prices {
	return Prices{GetMetricData: 0.01, GetMetricStatistics: 0.01, ListMetrics: 0.01}
}

// billedTogether is the number of statistics of one metric that GetMetricData
// bills as one metric if one call asks for them (CloudWatch pricing).
const billedTogether = 5

// MetricData returns the price in USD of one metric with some statistics in one
// GetMetricData call, as AWS documents it and in the worst case. The worst case
// bills every statistic, which some users report.
func (p Prices) MetricData(statistics int) (usd, worst float64) {
	billed := (statistics + billedTogether - 1) / billedTogether
	return float64(billed) * p.GetMetricData / 1000, float64(statistics) * p.GetMetricData / 1000
}

// MetricStatistics returns the price in USD of GetMetricStatistics calls.
func (p Prices) MetricStatistics(calls int) float64 {
	return float64(calls) * p.GetMetricStatistics / 1000
}

// Listing returns the price in USD of ListMetrics calls.
func (p Prices) Listing(calls int64) float64 { return float64(calls) * p.ListMetrics / 1000 }
