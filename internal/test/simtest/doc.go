// Package simtest simulates a cluster: real nodes in virtual time over one engine
// that does everything an engine and a network may do, all of it drawn from one seed.
// The package has tests only.
//
//	go test ./internal/test/simtest                   # 200 seeds; with -race 40
//	go test ./internal/test/simtest -seeds 10000
//	go test ./internal/test/simtest -run TestCluster -seed 42 -v    # one, with its trace
package simtest
