create table if not exists orders (
	id bigint generated always as identity primary key,
	customer text not null,
	item text not null,
	cents bigint not null check (cents > 0),
	status text not null default 'new' check (status in ('new', 'paid', 'packed', 'shipped'))
);
