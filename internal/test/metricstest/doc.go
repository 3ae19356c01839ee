// Package metricstest runs the dashboard and the alert rules of metrics/prometheus in
// Prometheus's own query engine. It is a module of its own, so that nobody who exports
// metrics downloads that.
package metricstest
