// Package db announces what database transactions commit: after the commit, and
// only then.
//
//	todos := db.New(rt, sqlDB, nil)
//
//	err := todos.InTx(ctx, nil, func(tx *db.Tx) error {
//		if _, err := tx.ExecContext(ctx, `INSERT INTO todos (id, title) VALUES ($1, $2)`, id, title); err != nil {
//			return err
//		}
//		return tx.Emit(realtime.DocumentCreated("todos", id))
//	})
//
// A bad event is refused within the transaction, so that nothing is committed that
// cannot be announced. A transaction that rolls back announces nothing. In requests
// that came through [realtime.Realtime.Attribute], the events are attributed to the
// client.
//
// # Order
//
// The events of a document come in the order in which its transactions committed,
// among those that go through one [DB]: it commits and announces under a lock of
// each document that the transaction has events of.
//
// These locks cannot deadlock with those of the database. They are taken after the
// function has returned, when the transaction holds all the row locks it needs, and
// released after the commit, which waits for no row. So a transaction that holds
// document locks never waits for one that wants them. There are two exceptions:
// constraints that are checked at the commit (DEFERRABLE INITIALLY DEFERRED), which
// may wait for another transaction, and databases in which a commit waits for readers
// (SQLite without WAL). There the wait for the documents ends after 10 s, and the
// transaction is rolled back with [ErrBusy].
//
// # When the caller has gone
//
// A browser that navigates away ends the context of its request. As long as the
// COMMIT has not begun, the transaction is then rolled back, and the error is that of
// the context. Once it has begun, the context no longer counts: the transaction is
// committed and announced, or the error says which of the two has failed or is
// unknown. So there are four outcomes:
//
//	nil                   committed, announced
//	ErrMaybeCommitted     maybe committed, announced, so that clients read again
//	ErrUnannounced        committed (or maybe, if it matches ErrMaybeCommitted as well), not announced
//	any other error       not committed, not announced
//
// # What can be lost
//
// If the backend is that of package postgres, and the [sql.DB] leads to the same
// database, nothing is lost: the events are rows of the transaction, and a node moves
// them to the log after the commit. This includes [ErrMaybeCommitted]: what was
// committed is announced. The role of the [sql.DB] needs postgres.PublisherGrants.
//
// With other backends, a process that crashes between the commit and the event has
// committed without an event. If the log is in memory this does no harm, since the
// restart resets all clients. Otherwise, if the event matters, write it into a table
// within the same transaction (an outbox), and let a worker emit the rows of that table
// in order, each with the row's id as [realtime.WithID], and delete them afterwards.
// With Postgres you may follow its logical replication instead, which delivers commits
// in order, including those of other programs: see postgres.Source. Of a table that it follows,
// transactions must not emit events as well, or there are two.
package db
