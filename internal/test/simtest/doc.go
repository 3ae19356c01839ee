// Package simtest simulates a cluster: real nodes in virtual time over one engine
// that does everything an engine and a network may do, all of it drawn from one seed.
// The order of a node's goroutines that wake in one moment is not drawn: in one seed of
// some hundred two runs differ from there on. The package has tests only.
//
//	go test ./internal/test/simtest                   # 200 seeds; with -race 40
//	go test ./internal/test/simtest -seeds 10000
//	go test ./internal/test/simtest -run TestCluster -seed 42 -v    # one, with its trace
//	go test ./internal/test/simtest -run TestCluster -seed 42 -count 20
package simtest
