-- Orders: carts, the checkout saga, orders with their items, and the histories of all three.

-- What is in a cart. A line that came back from a checkout without an order says which; money that comes late
-- takes exactly those out again. The nil id: put there by the customer.
create table cart_lines (
    user_id uuid not null,
    sku text not null check (length(sku) between 1 and 200),
    returned_from uuid not null default '00000000-0000-0000-0000-000000000000',
    quantity int not null check (quantity between 1 and 50),
    expires_at timestamptz not null default now() + interval '30 days',
    primary key (user_id, sku, returned_from)
);
create index cart_lines_expiry on cart_lines (expires_at);

-- The saga, one row per checkout; the order of the same id comes out of it. `lines` is a snapshot that only
-- this row reads: {line id: {sku, quantity}}, once held also price_paisa, vendor_id, slug, title. What is asked
-- about by itself, the items of an order, is normalised below.
-- What stays as it is comes first: the log of an update leaves out the beginning that did not change.
create table checkouts (
    order_id uuid primary key,
    customer_id uuid not null,
    pay_within_s int not null check (pay_within_s > 0),
    placed_at timestamptz not null default now(),
    placed_xid xid8 not null default pg_current_xact_id(),
    method text not null check (method in ('esewa', 'khalti', 'cod')),
    lines jsonb not null check (jsonb_typeof(lines) = 'object' and lines <> '{}'),
    deliveries jsonb,                            -- {vendor_id: paisa}
    total_paisa bigint check (total_paisa >= 0),
    held_at timestamptz,                         -- when inventory first held the lines
    hold_no smallint not null default 1 check (hold_no >= 1),
    stage text not null check (stage in (
        'reserving', 'awaiting_phone', 'awaiting_payment', 'verifying', 'on_hold', 'processing', 'confirmed',
        'rejected', 'expired', 'payment_failed', 'cancelled', 'refund_pending', 'refunded')),
    hold text not null check (hold in ('asked', 'held', 'none')),
    paid_at timestamptz,
    paid_paisa bigint check (paid_paisa >= 0),
    pay_seq bigint not null default 0,           -- ce_sequence of the newest hint
    money_seq bigint not null default 0,         -- ce_sequence of the newest verified or refunded
    open_cases jsonb,                            -- {case_id: reason}
    stored text check (stored in ('opened', 'returned', 'declined', 'failed')),
    declined boolean not null default false,
    cod_active boolean not null default false,
    lines_returned boolean not null default false,
    refusals jsonb,                              -- {sku: code}, why inventory held nothing
    since timestamptz not null default now(),    -- from when the time limit of the stage counts
    asked boolean not null default false,        -- order.placed is known to have left the outbox
    part smallint,                               -- of that event, once somebody asks whether it has left
    ended_at timestamptz,
    updated_at timestamptz not null default now(), -- of this version
    seq bigint not null,                         -- ce_sequence of the last event told, until the order counts on
    version int not null check (version >= 1),   -- one per stage: the ETag, and the number of history rows
    deleted_at timestamptz,
    constraint checkouts_priced check (stage <> 'confirmed' or total_paisa is not null),
    constraint checkouts_money check ((paid_at is null) = (paid_paisa is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create index checkouts_by_customer on checkouts (customer_id, order_id desc);
-- For the timers: only what is under way is in it.
create index checkouts_under_way on checkouts (stage, since) where stage in (
    'reserving', 'awaiting_phone', 'awaiting_payment', 'verifying', 'on_hold', 'processing');

-- Where to send the parcel: encrypted, apart from what moves, read only for the customer and support.
create table delivery_addresses (
    order_id uuid primary key references checkouts on delete cascade,
    sealed bytea not null check (octet_length(sealed) between 1 and 8192)
);

create table orders (
    order_id uuid primary key references checkouts,
    customer_id uuid not null,
    order_number text not null unique check (order_number ~ '^ORD-\d{4}-\d{7,}$'),
    method text not null check (method in ('esewa', 'khalti', 'cod')),
    status text not null check (status in ('confirmed', 'delivered', 'cancelled')),
    total_paisa bigint not null check (total_paisa >= 0),
    hold_no smallint not null check (hold_no >= 1),
    delivered_at timestamptz,
    blocked boolean not null default false,      -- a reversal is being looked at: nothing may ship
    created_at timestamptz not null,
    seq bigint not null,                         -- goes on from the checkout's
    version int not null check (version >= 1),   -- of the public snapshot: any change of order or item
    steps int not null default 1 check (steps >= 1), -- changes of status: the number of history rows
    deleted_at timestamptz,
    constraint orders_delivered_at check ((status = 'delivered') = (delivered_at is not null))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create index orders_by_status on orders (status, order_id desc);

-- The roll-up reads the items of an order through the primary key; (order_id, status) would buy nothing.
create table order_items (
    order_id uuid not null references orders on delete cascade,
    line smallint not null check (line between 1 and 100),
    id uuid not null unique,
    sku text not null check (sku <> ''),
    quantity int not null check (quantity >= 1),
    price_paisa bigint not null check (price_paisa >= 0),
    net_paisa bigint not null,
    delivery_paisa bigint not null check (delivery_paisa >= 0),
    vendor_id uuid not null check (vendor_id <> '00000000-0000-0000-0000-000000000000'),
    slug text not null check (slug <> ''),
    title text not null,
    status text not null default 'pending'
        check (status in ('pending', 'processing', 'shipped', 'delivered', 'cancelled')),
    delivered_at timestamptz,
    version int not null default 1 check (version >= 1),
    primary key (order_id, line),
    constraint order_items_net check (net_paisa = price_paisa * quantity),
    constraint order_items_delivered_at check ((status = 'delivered') = (delivered_at is not null))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create index order_items_by_vendor on order_items (vendor_id, status, id desc);

-- An order without items cannot be committed, whoever writes it.
create function refuse_empty_order() returns trigger language plpgsql set search_path from current as $$
begin
    if exists (select from orders where order_id = new.order_id)
       and not exists (select from order_items where order_id = new.order_id) then
        raise exception 'order % has no items', new.order_id using errcode = 'check_violation';
    end if;
    return null;
end $$;
create constraint trigger orders_have_items after insert on orders
    deferrable initially deferred for each row execute function refuse_empty_order();

create function refuse_orphaned_order() returns trigger language plpgsql set search_path from current as $$
begin
    if exists (select from orders where order_id = old.order_id)
       and not exists (select from order_items where order_id = old.order_id) then
        raise exception 'order % would have no items', old.order_id using errcode = 'check_violation';
    end if;
    return null;
end $$;
create constraint trigger orders_keep_items after delete or update of order_id on order_items
    deferrable initially deferred for each row execute function refuse_orphaned_order();

-- Order numbers: one sequence per year of Nepal's calendar day; a number drawn and not used stays unused.
do $$ begin
    for year in 2025..2100 loop
        execute format('create sequence order_number_%s cache 1', year);
        execute format('grant usage on sequence order_number_%s to :service', year);
    end loop;
end $$;
create function next_order_number() returns text language sql volatile set search_path from current as $$
    select format('ORD-%s-%s', year, lpad(nextval(format('order_number_%s', year)::regclass)::text, 7, '0'))
    from to_char(now() at time zone 'Asia/Kathmandu', 'YYYY') as year
$$;

-- Histories: what changed, when, by whom, caused by which event, in which trace. Append only; no foreign keys,
-- because nothing they speak of can be deleted by the service and every row would pay for the check.
create table checkout_history (
    order_id uuid not null,
    seq int not null check (seq >= 1),
    old_stage text,
    new_stage text not null,
    cause uuid,                                  -- ce_id of the event, null for requests and timers
    actor_type text not null check (actor_type in ('customer', 'vendor', 'admin', 'system')),
    actor_id uuid,
    reason text not null,
    trace_id text,
    at timestamptz not null default now(),
    primary key (order_id, seq),
    check ((seq = 1) = (old_stage is null))
);
create table order_history (
    order_id uuid not null,
    seq int not null check (seq >= 1),
    old_status text,
    new_status text not null,
    cause uuid,
    actor_type text not null check (actor_type in ('customer', 'vendor', 'admin', 'system')),
    actor_id uuid,
    reason text not null,
    trace_id text,
    at timestamptz not null default now(),
    primary key (order_id, seq),
    check ((seq = 1) = (old_status is null))
);
create table item_history (
    item_id uuid not null,
    seq int not null check (seq >= 1),
    order_id uuid not null,
    old_status text,
    new_status text not null,
    cause uuid,
    actor_type text not null check (actor_type in ('customer', 'vendor', 'admin', 'system')),
    actor_id uuid,
    reason text not null,
    trace_id text,
    at timestamptz not null default now(),
    primary key (item_id, seq),
    check ((seq = 1) = (old_status is null))
);

create function refuse_rewriting() returns trigger language plpgsql as $$
begin
    raise exception '% is append only', tg_table_name using errcode = 'restrict_violation';
end $$;
create trigger checkout_history_append_only before update or delete or truncate on checkout_history
    for each statement execute function refuse_rewriting();
create trigger order_history_append_only before update or delete or truncate on order_history
    for each statement execute function refuse_rewriting();
create trigger item_history_append_only before update or delete or truncate on item_history
    for each statement execute function refuse_rewriting();

-- What an operator has switched off for a while: every replica looks here. It ends by itself.
create table switches (
    name text primary key check (name in ('rollup')),
    off_until timestamptz not null,
    reason text not null check (btrim(reason) <> ''),
    set_by uuid not null,
    set_at timestamptz not null default now(),
    constraint switches_end check (off_until <= set_at + interval '24 hours')
);

-- Exactly what the service needs, whatever the database grants by default.
revoke all on switches from :service;
grant select, insert, update on switches to :service;
revoke all on cart_lines, checkouts, delivery_addresses, orders, order_items,
    checkout_history, order_history, item_history from :service;
grant select, insert, update, delete on cart_lines to :service;
grant select, insert, update on checkouts, delivery_addresses, orders, order_items to :service;
grant select, insert on checkout_history, order_history, item_history to :service;
