// Package clusterfaults breaks clusters of real processes: nodes and the servers of
// their engines are killed, stopped, cut off, restarted without their data, and put
// back to an earlier state, while clients follow and publishers publish. It then
// checks what the library promises of a cluster, and prints the figures of
// docs/reliability.md. It is a module of its own, so that nobody who uses the library
// downloads what it takes.
//
//	go test                             # the short form, a minute
//	go test -timeout 3h -full           # the full figures
//	go test -run TestNATS/three -v -seed 7
//
// A node is a process: the test program starts itself again, so that kill -9 and
// SIGSTOP are what they are elsewhere. The servers of NATS are processes of the same
// program, those of Redis are redis-server or valkey-server, of the directory that
// REALTIME_REDIS names or of the PATH, and those of Postgres are what package localpg finds. Without them their tests are skipped, or fail where
// REALTIME_REQUIRE_REDIS or REALTIME_REQUIRE_POSTGRES is set or CI is true. Where the
// engine is one Postgres, every second message is published in a transaction.
//
// The faults and when they come follow from the seed. What processes make of them
// does not.
package clusterfaults
