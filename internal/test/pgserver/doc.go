// Package pgserver starts a Postgres for a test, as [localpg] does. Without one the test
// is skipped, or fails where REALTIME_REQUIRE_POSTGRES is set; ci/postgres.sh installs it.
package pgserver
