// Package sqlite shows a database that is there anyway as the engine of a
// [kv.Store]: in SQL, through database/sql. It is SQLite here; for Postgres the
// columns are of type TEXT COLLATE "C", BYTEA and BIGINT. Its tests show package db
// at work on the same database.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/maravilla-realtime/realtime/kv"
)

const schema = `
CREATE TABLE IF NOT EXISTS kv (
	namespace TEXT   NOT NULL,
	key       TEXT   NOT NULL,
	value     BLOB   NOT NULL,
	version   TEXT   NOT NULL,
	expires   BIGINT,          -- milliseconds since the Unix epoch, or never
	PRIMARY KEY (namespace, key)
);
CREATE INDEX IF NOT EXISTS kv_expires ON kv (expires) WHERE expires IS NOT NULL`

// KV implements [kv.Engine] in a table.
type KV struct{ db *sql.DB }

// NewKV returns an engine in db, and makes its table if it is not there.
func NewKV(ctx context.Context, db *sql.DB) (*KV, error) {
	_, err := db.ExecContext(ctx, schema)
	return &KV{db}, err
}

const columns = `namespace, key, value, version, expires`

func (e *KV) Get(ctx context.Context, namespace, key string) (kv.Entry, error) {
	list, err := e.query(ctx, `SELECT `+columns+` FROM kv WHERE namespace = $1 AND key = $2`, namespace, key)
	if err == nil && len(list) == 0 {
		err = kv.ErrNotFound
	}
	if err != nil {
		return kv.Entry{}, err
	}
	return list[0], nil
}

func (e *KV) Put(ctx context.Context, entry kv.Entry) error {
	expires := sql.NullInt64{Int64: entry.Expires.UnixMilli(), Valid: !entry.Expires.IsZero()}
	value := append([]byte{}, entry.Value...) // not NULL
	_, err := e.db.ExecContext(ctx, `INSERT INTO kv (`+columns+`) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, version = excluded.version, expires = excluded.expires`,
		entry.Namespace, entry.Key, value, entry.Version, expires)
	return err
}

func (e *KV) Delete(ctx context.Context, namespace, key string) error {
	_, err := e.db.ExecContext(ctx, `DELETE FROM kv WHERE namespace = $1 AND key = $2`, namespace, key)
	return err
}

func (e *KV) List(ctx context.Context, namespace, prefix, after string, limit int) ([]kv.Entry, error) {
	// U+10FFFF is no character, and greater than all that are. LIKE would find
	// wildcards in the prefix.
	return e.query(ctx, `SELECT `+columns+` FROM kv WHERE namespace = $1 AND key > $2 AND key >= $3 AND key < $4
		ORDER BY key LIMIT $5`, namespace, after, prefix, prefix+"\U0010ffff", limit)
}

func (e *KV) Expiring(ctx context.Context, limit int) ([]kv.Entry, error) {
	return e.query(ctx, `SELECT `+columns+` FROM kv WHERE expires IS NOT NULL ORDER BY expires LIMIT $1`, limit)
}

func (e *KV) query(ctx context.Context, query string, args ...any) (list []kv.Entry, err error) {
	rows, err := e.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var entry kv.Entry
		var expires sql.NullInt64
		if err := rows.Scan(&entry.Namespace, &entry.Key, &entry.Value, &entry.Version, &expires); err != nil {
			return nil, err
		}
		if expires.Valid {
			entry.Expires = time.UnixMilli(expires.Int64)
		}
		list = append(list, entry)
	}
	return list, rows.Err()
}
