-- The replaced design's roll-up: a trigger per item that counts its siblings, in three variants.
create table orders (
    id int primary key,
    status text not null default 'confirmed',
    delivered_at timestamptz
);

create table order_items (
    id int primary key,
    order_id int not null references orders,
    fulfillment_status text not null default 'shipped',
    delivered_at timestamptz
);
create index on order_items (order_id, fulfillment_status);

create function roll_up(the_order int) returns void language sql as $$
    update orders set status = 'delivered', delivered_at = now()
    where id = the_order and status <> 'delivered'
      and not exists (select from order_items where order_id = the_order and fulfillment_status <> 'delivered')
$$;

create function roll_up_naive() returns trigger language plpgsql as $$
begin
    perform roll_up(new.order_id);
    return null;
end $$;

create function roll_up_skipping() returns trigger language plpgsql as $$
begin
    perform from orders where id = new.order_id for update skip locked;
    if found then
        perform roll_up(new.order_id);
    end if;
    return null;
end $$;

create function roll_up_locking() returns trigger language plpgsql as $$
begin
    perform from orders where id = new.order_id for update;
    perform roll_up(new.order_id);
    return null;
end $$;
