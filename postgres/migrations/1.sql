-- The log and the store of package postgres. "realtime" is the schema's name.

create schema if not exists "realtime";

create table "realtime".migrations (
	version int primary key,
	at timestamptz not null default now()
);

-- The server's timeline. It grows when a standby is promoted and when a backup is
-- restored to a point in time, and with it perhaps the tail of the log is lost.
create function "realtime".timeline() returns text stable language plpgsql as $$
begin
	return substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8);
end $$;

-- What does not change within an epoch: its number, the sequence number before its
-- first record, and the timeline it is of.
create table "realtime".state (
	one boolean primary key default true check (one),
	installation uuid not null default gen_random_uuid(),
	epoch bigint not null,
	base bigint not null,
	timeline text not null
);
insert into "realtime".state (epoch, base, timeline)
	values ((extract(epoch from clock_timestamp()) * 1000000)::bigint, 0, "realtime".timeline());

-- The log is a ring of tables. The newest is written to, the oldest is truncated when
-- it is in the way or too old. So a record leaves no dead row, and vacuum has no work.
create table "realtime".log (
	slot int not null,
	seq bigint not null,
	epoch bigint not null,
	id bytea not null,
	cause bigint not null,
	at timestamptz not null,
	data bytea not null
) partition by list (slot);

-- The ids of the last minutes are another ring.
create table "realtime".ids (
	slot int not null,
	id bytea not null,
	seq bigint not null,
	at timestamptz not null
) partition by list (slot);

do $$
begin
	for n in 0 .. 4 loop
		execute format('create table "realtime".log_%s partition of "realtime".log (primary key (seq)) for values in (%s)', n, n);
	end loop;
	for n in 0 .. 2 loop
		execute format('create table "realtime".ids_%s partition of "realtime".ids for values in (%s)', n, n);
		execute format('create index on "realtime".ids_%s (id, seq)', n);
	end loop;
end $$;

-- The tables of the rings. The one with the greatest turn is written to; one without
-- a turn is empty. base is the sequence number before its first record.
create table "realtime".slots (
	ring text not null,
	slot int not null,
	turn bigint,
	base bigint not null,
	began timestamptz not null,
	primary key (ring, slot)
) with (fillfactor = 50);
insert into "realtime".slots
	select 'log', n, case n when 0 then 1 end, 0, now() from generate_series(0, 4) n union all
	select 'ids', n, case n when 0 then 1 end, 0, now() from generate_series(0, 2) n;

-- The newest revision: it grows with the clock, so that none is used again after the
-- database was put back to an earlier state.
create sequence "realtime".revisions;

create table "realtime".store (
	kind text collate "C" not null,
	grp bytea not null,
	name bytea not null,
	rev bigint not null,
	value bytea not null,
	primary key (kind, grp, name)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);

-- What transactions of the host publish. The next writer of the log moves it there, in
-- the order of n.
create table "realtime".outbox (
	n bigint generated always as identity primary key,
	id bytea not null,
	data bytea not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

-- The functions are of plpgsql, which keeps the plans of its statements. Those of SQL
-- are planned at each call (before Postgres 18).

-- The sequence number of the newest record, or the one before the first.
create function "realtime".head() returns bigint stable language plpgsql as $$
begin
	return coalesce((select max(seq) from "realtime".log), (select max(base) from "realtime".slots where ring = 'log' and turn is not null));
end $$;

-- Where the log begins and ends, whether the server is still on the timeline of the
-- epoch, and at most the given number of records, of some 4 MiB.
create function "realtime".read(after_epoch bigint, after_seq bigint, most int)
returns table (epoch bigint, first bigint, head bigint, same boolean, seq bigint, record_epoch bigint, id bytea, cause bigint, at timestamptz, data bytea)
stable language plpgsql as $$
#variable_conflict use_column
declare
	s "realtime".state;
	lowest bigint;
	newest bigint := "realtime".head();
begin
	select * into s from "realtime".state;
	select greatest(s.base, min(base)) into lowest from "realtime".slots where ring = 'log' and turn is not null;
	return query select s.epoch, lowest + 1, newest, s.timeline = "realtime".timeline(), r.seq, r.epoch, r.id, r.cause, r.at, r.data
	from (select) one left join (
		select l.*, sum(octet_length(l.data)) over (order by l.seq) - octet_length(l.data) as before
		from (
			select * from "realtime".log
			where log.seq > greatest(lowest, case when after_epoch < s.epoch then 0 else after_seq end) and after_epoch <= s.epoch
			order by log.seq limit most
		) l
	) r on r.before < 4194304 order by r.seq;
end $$;

-- Empties a table of a ring, unless somebody is reading it.
create function "realtime".clear(of_ring text, of_slot int) returns boolean language plpgsql as $$
begin
	execute format('lock table "realtime".%I in access exclusive mode nowait', of_ring || '_' || of_slot);
	execute format('truncate "realtime".%I', of_ring || '_' || of_slot);
	update "realtime".slots set turn = null where ring = of_ring and slot = of_slot;
	return true;
exception when lock_not_available then
	return false;
end $$;

-- Makes another table of a ring the one that is written to. If none can be emptied,
-- it stays as it is.
create function "realtime".turn(of_ring text, head bigint) returns void language plpgsql as $$
declare
	next int;
begin
	select slot into next from "realtime".slots where ring = of_ring and turn is null limit 1;
	if next is null then
		select slot into next from "realtime".slots where ring = of_ring order by turn limit 1;
		if not "realtime".clear(of_ring, next) then
			return;
		end if;
	end if;
	update "realtime".slots set base = head, began = clock_timestamp(),
		turn = (select max(turn) + 1 from "realtime".slots where ring = of_ring)
		where ring = of_ring and slot = next;
end $$;

-- Keeps the log within its bounds: four tables that are full, and one being filled.
create function "realtime".trim(head bigint, events bigint, bytes bigint, age interval) returns void language plpgsql as $$
declare
	c "realtime".slots;
	old int;
begin
	select * into c from "realtime".slots where ring = 'log' order by turn desc nulls last limit 1;
	if head > c.base and (head - c.base >= events / 4 or c.began < clock_timestamp() - age / 4
		or pg_table_size(format('"realtime".log_%s', c.slot)::regclass) >= bytes / 4) then
		perform "realtime".turn('log', head);
	end if;
	for old in select a.slot from "realtime".slots a join "realtime".slots b on b.ring = 'log' and b.turn = a.turn + 1
		where a.ring = 'log' and b.began < clock_timestamp() - age order by a.turn loop
		exit when not "realtime".clear('log', old);
	end loop;
end $$;

-- Changes a record of the store if it has the revision that is expected. It returns
-- the new revision, or 0. Only "realtime".write calls it, which lets nobody else in.
create function "realtime".put(of_kind text, of_grp bytea, of_name bytea, of_rev bigint, new_value bytea)
returns bigint language plpgsql as $$
declare
	new_rev bigint := greatest(nextval('"realtime".revisions'), (extract(epoch from clock_timestamp()) * 1000000)::bigint);
begin
	perform setval('"realtime".revisions', new_rev);
	if new_value is null then
		delete from "realtime".store where kind = of_kind and grp = of_grp and name = of_name and rev = of_rev;
	elsif of_rev = 0 then
		insert into "realtime".store (kind, grp, name, rev, value) values (of_kind, of_grp, of_name, new_rev, new_value) on conflict do nothing;
	else
		update "realtime".store set rev = new_rev, value = new_value where kind = of_kind and grp = of_grp and name = of_name and rev = of_rev;
	end if;
	return case when found then new_rev else 0 end;
end $$;

-- Everything that changes the log or the store, one at a time: it raises the epoch if
-- the log has lost its tail, makes room, moves what is in the outbox to the log (10,000
-- entries or 32 MiB of them), and then does what is asked, in order. A request is a change of a record (with a kind;
-- without a value it is a deletion), an entry (with data), or a change whose entry is
-- appended if it succeeds. known_epoch and known_seq are the newest record that the
-- caller has read. One row for each request is returned: rev is 0 if the record had
-- another revision. With quiet no row is, which is quicker for a request of thousands.
create function "realtime".write(known_epoch bigint, known_seq bigint,
	kinds text[], grps bytea[], names bytea[], revs bigint[], vals bytea[], ids bytea[], datas bytea[],
	events bigint, bytes bigint, age interval, quiet boolean)
returns table (epoch bigint, seq bigint, rev bigint) language plpgsql as $$
#variable_conflict use_column
declare
	s "realtime".state;
	head bigint;
	slot_log int;
	slot_ids int;
	news boolean; -- something is perhaps appended
	put bigint[] := array_fill(0::bigint, array[cardinality(kinds)]);
begin
	perform pg_advisory_xact_lock(hashtextextended('maravilla realtime write "realtime"', 0));
	select * into s from "realtime".state;
	head := "realtime".head();
	if s.timeline <> "realtime".timeline() or s.epoch < known_epoch or s.epoch = known_epoch and head < known_seq then
		update "realtime".state set base = head, timeline = "realtime".timeline(),
			epoch = greatest(greatest(s.epoch, known_epoch) + 1000000000, (extract(epoch from clock_timestamp()) * 1000000)::bigint)
			returning * into s;
		perform pg_notify('realtime', '');
	end if;
	perform "realtime".trim(head, events, bytes, age);
	news := exists (select from "realtime".outbox);
	if cardinality(kinds) = 0 and not news then
		return;
	end if;
	select slot into slot_log from "realtime".slots where ring = 'log' order by turn desc nulls last limit 1;
	if exists (select from "realtime".slots where ring = 'ids' having max(began) < clock_timestamp() - interval '1 minute') then
		perform "realtime".turn('ids', head);
	end if;
	select slot into slot_ids from "realtime".slots where ring = 'ids' order by turn desc nulls last limit 1;
	for i in 1 .. cardinality(kinds) loop
		if kinds[i] is not null then
			put[i] := "realtime".put(kinds[i], grps[i], names[i], revs[i], vals[i]);
		end if;
	end loop;
	return query
	with moved as (
		delete from "realtime".outbox where n in (
			select n from (
				select n, sum(octet_length(data)) over (order by n) - octet_length(data) as before
				from (select n, data from "realtime".outbox order by n limit 10000) o
			) sized where before < 33554432
		) returning n, id, data
	), asked as (
		select false as own, n as ord, id, data, 0::bigint as cause from moved
		union all
		select true, a.ord, a.id, a.data, a.rev from unnest(kinds, put, ids, datas) with ordinality a (kind, rev, id, data, ord)
			where a.data is not null and (a.kind is null or a.rev > 0)
	), known as (
		select a.own, a.ord, k.seq from asked a, lateral (
			select max(i.seq) as seq from "realtime".ids i
			where i.id = a.id and i.seq > s.base and i.at > clock_timestamp() - interval '2 minutes'
		) k where a.id <> '' and k.seq is not null
	), fresh as (
		select a.*, head + row_number() over (order by a.own, a.ord) as seq from (
			select *, row_number() over (partition by id order by own, ord) as nth from asked
		) a where (a.id = '' or a.nth = 1) and not exists (select from known k where k.own = a.own and k.ord = a.ord)
	), logged as (
		insert into "realtime".log (slot, seq, epoch, id, cause, at, data)
			select slot_log, seq, s.epoch, id, cause, clock_timestamp(), data from fresh
	), remembered as (
		insert into "realtime".ids (slot, id, seq, at) select slot_ids, id, seq, clock_timestamp() from fresh where id <> ''
	)
	select s.epoch, coalesce(k.seq, f.seq, 0), a.rev
	from unnest(kinds, put, ids) with ordinality a (kind, rev, id, ord)
	left join known k on k.own and k.ord = a.ord
	left join fresh f on case when a.id = '' then f.own and f.ord = a.ord else f.id = a.id end
	where not quiet order by a.ord;
	if news or exists (select from unnest(datas) d where d is not null) then
		perform pg_notify('realtime', '');
	end if;
end $$;

insert into "realtime".migrations (version) values (1);
