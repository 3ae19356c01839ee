package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// NodeGrants returns the SQL that gives a role what [NewBackend] needs, and no more.
// The role that called [Migrate] must run it.
func NodeGrants(schema, role string) (string, error) {
	return grants(schema, role, `grant usage on schema "realtime" to %[1]s;
grant select on "realtime".migrations to %[1]s;
grant select, update on "realtime".state, "realtime".slots to %[1]s;
grant select, insert on "realtime".log, "realtime".ids to %[1]s;
grant truncate on "realtime".log_0, "realtime".log_1, "realtime".log_2, "realtime".log_3, "realtime".log_4 to %[1]s;
grant truncate on "realtime".ids_0, "realtime".ids_1, "realtime".ids_2 to %[1]s;
grant select, insert, update, delete on "realtime".store to %[1]s;
grant select, delete on "realtime".outbox to %[1]s;
grant usage, update on sequence "realtime".revisions to %[1]s;
`)
}

// PublisherGrants returns the SQL that gives a role what [Publish], [Emit] and package
// db need in its transactions, and no more.
func PublisherGrants(schema, role string) (string, error) {
	return grants(schema, role, `grant usage on schema "realtime" to %[1]s;
grant select on "realtime".state to %[1]s;
grant insert on "realtime".outbox to %[1]s;
`)
}

// SourceGrants returns the SQL that gives a role what a [Source] needs beside
// [NodeGrants], and no more: it may follow all tables that are published. A superuser must
// run it. Hosted databases have something of their own in its place: see
// docs/postgres.md.
func SourceGrants(role string) string {
	return fmt.Sprintf("alter role %s replication;\n", pgx.Identifier{role}.Sanitize())
}

func grants(schema, role, sql string) (string, error) {
	schema, err := schemaOr(schema)
	if err != nil {
		return "", err
	}
	return in(schema, fmt.Sprintf(sql, pgx.Identifier{role}.Sanitize())), nil
}

// missing returns what the current role lacks of what its grants give, such as
// "insert on log".
const missing = `select coalesce(string_agg(privilege || ' on ' || name, ', '), '') from (values
	('state', 'select'), ('state', 'update'), ('slots', 'select'), ('slots', 'update'),
	('log', 'select'), ('log', 'insert'), ('ids', 'select'), ('ids', 'insert'),
	('log_0', 'truncate'), ('log_1', 'truncate'), ('log_2', 'truncate'), ('log_3', 'truncate'), ('log_4', 'truncate'),
	('ids_0', 'truncate'), ('ids_1', 'truncate'), ('ids_2', 'truncate'),
	('store', 'select'), ('store', 'insert'), ('store', 'update'), ('store', 'delete'), ('outbox', 'select'), ('outbox', 'delete')
) as needed (name, privilege) where not has_table_privilege('"realtime".' || name, privilege)`

func (b *Backend) checkPrivileges(ctx context.Context) error {
	var lacks, role string
	err := b.pool.QueryRow(ctx, in(b.schema, `select (`+missing+`) ||
		case when has_sequence_privilege('"realtime".revisions', 'usage') and has_sequence_privilege('"realtime".revisions', 'update')
		then '' else ' usage and update on revisions' end, current_user`)).Scan(&lacks, &role)
	if err != nil {
		return fmt.Errorf("postgres: ask for privileges: %w", err)
	}
	if lacks = strings.TrimSpace(lacks); lacks == "" {
		return nil
	}
	sql, err := NodeGrants(b.schema, role)
	return errors.Join(fmt.Errorf("postgres: the role %q lacks %s; the owner of the schema %s grants it with\n%s", role, lacks, b.schema, sql), err)
}
