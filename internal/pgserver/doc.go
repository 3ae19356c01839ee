// Package pgserver starts a Postgres for a test: in a directory for temporary files,
// on a socket in it, as another user where the test is root. It needs initdb and
// pg_ctl where Debian, Homebrew or PATH has them, or where REALTIME_POSTGRES says.
// ci/postgres.sh installs them. Without them the test is skipped, or fails where
// REALTIME_REQUIRE_POSTGRES is set.
package pgserver
