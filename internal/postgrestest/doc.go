// Package postgrestest has the tests of package db that need a database of the
// real kind: Postgres, through pgx. They start a server of their own, in a
// directory for temporary files and on a socket in it, and need initdb and pg_ctl
// where Debian, Homebrew or PATH has them, or where REALTIME_POSTGRES says.
// ci/postgres.sh installs them.
package postgrestest
