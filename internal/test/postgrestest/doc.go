// Package postgrestest has the tests of package db that need a database of the
// real kind: Postgres, through pgx. They start a server of their own: see package
// pgserver.
package postgrestest
