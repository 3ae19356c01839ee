-- name: ListOrders :many
select id, customer, item, cents, status from orders order by id desc limit 200;

-- name: CreateOrder :one
insert into orders (customer, item, cents) values ($1, $2, $3) returning id;

-- name: MoveOrder :execrows
update orders set status = $2 where id = $1;

-- name: DeleteOrder :execrows
delete from orders where id = $1;

-- name: OwedBy :one
select coalesce(sum(cents), 0)::bigint as cents from orders where customer = $1 and status = 'new';
