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
// An event that is bad is refused within the transaction, so that nothing is
// committed that cannot be announced. After a rollback nothing is. Requests that
// came through [realtime.Realtime.Attribute] attribute the events.
//
// # Order
//
// The events of a document come in the order in which its transactions committed,
// among those that go through one [DB]: it commits and announces under a lock of
// each document that the transaction has events of.
//
// These locks and those of the database do not wait for each other in a circle.
// They are taken after the function has returned, when the transaction holds all
// the row locks it will ever want, and given back after the commit, which waits
// for no row. So who holds document locks waits for nobody who could be waiting for
// them. The exceptions are constraints that are checked at the commit (DEFERRABLE
// INITIALLY DEFERRED), which can wait for another transaction, and databases in
// which a commit waits for readers (SQLite without WAL). There the wait for the
// documents ends after 10 s, and the transaction is rolled back with [ErrBusy].
//
// # When the caller has gone
//
// A browser that navigates away ends the context of its request. As long as the
// COMMIT has not begun, the transaction is then rolled back, and the error is that of
// the context. Once it has begun, the context no longer counts: the transaction is
// committed and announced, or the error says which of the two is not known or has
// failed. So there are four outcomes:
//
//	nil                   committed, announced
//	ErrMaybeCommitted     perhaps committed, announced, so that clients read again
//	ErrUnannounced        committed (or perhaps, if it is an ErrMaybeCommitted as well), not announced
//	any other error       not committed, not announced
//
// # What can be lost
//
// Where the log is in the same database, because the backend is that of package
// postgres and the [sql.DB] leads to the same database, nothing: the events are rows
// of the transaction, and a node moves them to the log when it has committed. That
// holds for [ErrMaybeCommitted] as well: what was committed is announced. The role of
// the [sql.DB] needs postgres.PublisherGrants.
//
// Elsewhere, a process that crashes between commit and event has written and not announced.
// Where the log is in memory that makes no difference, since the restart resets all
// clients. Where it does make one, write the event into a table within the same
// transaction (an outbox), and have a worker emit what it finds there, in order of
// the table, with the row's id as [realtime.WithID], and delete it then. Postgres
// can save the table: its logical replication tells of commits in order, also of
// those made by other programs, which no library in this process can see.
package db
