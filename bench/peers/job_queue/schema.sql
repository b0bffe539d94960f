-- The replaced design: one database, business functions in it, and a job queue that finalizes one order at a time.
-- It writes the same business rows per order as the services do, so only the way of working differs.

create table vendors (
    id uuid primary key,
    name text not null,
    delivery_paisa bigint not null check (delivery_paisa >= 0)
);

create table inventory (
    sku text primary key,
    vendor_id uuid not null references vendors,
    slug text not null,
    title text not null,
    price_paisa bigint not null check (price_paisa >= 0),
    on_hand bigint not null,
    reserved bigint not null default 0,
    version bigint not null default 1,
    check (0 <= reserved and reserved <= on_hand)
) with (fillfactor = 50);

create table cart_items (
    user_id uuid not null,
    sku text not null,
    quantity int not null check (quantity > 0),
    primary key (user_id, sku)
);

create table payment_intents (
    id uuid primary key,
    user_id uuid not null,
    provider text not null,
    amount_paisa bigint not null,
    address bytea not null,
    status text not null default 'pending' check (status in ('pending', 'succeeded', 'cancelled')),
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp()
);

create table payment_intent_lines (
    intent_id uuid not null references payment_intents,
    line int not null,
    sku text not null,
    quantity int not null check (quantity > 0),
    price_paisa bigint not null,
    vendor_id uuid not null,
    slug text not null,
    title text not null,
    primary key (intent_id, line)
);

create table payment_attempts (
    reference text primary key,
    intent_id uuid not null references payment_intents,
    status text not null default 'open',
    created_at timestamptz not null default clock_timestamp()
);
create index on payment_attempts (intent_id);

create table payment_observations (
    id bigint generated always as identity primary key,
    reference text not null references payment_attempts,
    status text not null,
    amount_paisa bigint not null,
    external_id text not null,
    body text not null,
    body_sha256 bytea not null,
    observed_at timestamptz not null default clock_timestamp()
);

create table charges (
    provider text not null,
    external_id text not null,
    intent_id uuid not null references payment_intents,
    amount_paisa bigint not null,
    charged_at timestamptz not null default clock_timestamp(),
    primary key (provider, external_id)
);

create table allocations (
    id bigint generated always as identity primary key,
    intent_id uuid not null unique references payment_intents,
    external_id text not null,
    amount_paisa bigint not null
);

create sequence order_numbers;

create table orders (
    id uuid primary key,
    order_number text not null unique,
    intent_id uuid not null unique references payment_intents,
    user_id uuid not null,
    total_paisa bigint not null,
    status text not null default 'confirmed' check (status in ('confirmed', 'delivered', 'cancelled')),
    created_at timestamptz not null default clock_timestamp()
);

create table order_items (
    id uuid primary key default gen_random_uuid(),
    order_id uuid not null references orders,
    line int not null,
    sku text not null,
    vendor_id uuid not null,
    slug text not null,
    title text not null,
    quantity int not null,
    price_paisa bigint not null,
    fulfillment_status text not null default 'pending'
        check (fulfillment_status in ('pending', 'processing', 'shipped', 'delivered', 'cancelled')),
    unique (order_id, line)
);
create index on order_items (order_id, fulfillment_status);

create table checkout_history (
    id bigint generated always as identity primary key,
    intent_id uuid not null,
    old_status text,
    new_status text not null,
    actor text not null,
    changed_at timestamptz not null default clock_timestamp()
);
create index on checkout_history (intent_id);

create table order_history (
    id bigint generated always as identity primary key,
    order_id uuid not null,
    old_status text,
    new_status text not null,
    actor text not null,
    changed_at timestamptz not null default clock_timestamp()
);
create index on order_history (order_id);

create table item_history (
    id bigint generated always as identity primary key,
    item_id uuid not null,
    old_status text,
    new_status text not null,
    actor text not null,
    changed_at timestamptz not null default clock_timestamp()
);
create index on item_history (item_id);

create table inventory_movements (
    id bigint generated always as identity primary key,
    sku text not null,
    order_id uuid not null,
    delta bigint not null,
    moved_at timestamptz not null default clock_timestamp()
);
create index on inventory_movements (sku, id);

create table job_queue (
    id bigint generated always as identity primary key,
    job_type text not null,
    payload jsonb not null,
    idempotency_key text unique,
    priority int not null default 100,
    status text not null default 'pending',
    attempts int not null default 0,
    max_attempts int not null default 5,
    locked_by text,
    locked_until timestamptz,
    last_error text,
    created_at timestamptz not null default clock_timestamp(),
    completed_at timestamptz
);
create index job_queue_waiting on job_queue (priority, id) where status = 'pending';
create index job_queue_locked on job_queue (locked_until) where status = 'processing';

-- Where checkouts enter by HTTP: which requests were answered already, as the services keep it.
create table idempotency_keys (
    caller uuid not null,
    route text not null,
    key text not null check (length(key) between 1 and 200),
    fingerprint bytea not null,
    status smallint not null check (status between 200 and 499),
    body jsonb not null,
    headers jsonb not null,
    created_at timestamptz not null default now(),
    primary key (caller, route, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- 1. Checkout: the cart's lines are reserved one by one in SKU order, and an intent with its attempt remembers them.
create function place_checkout(the_intent uuid, the_user uuid, the_address bytea, the_reference text)
returns bigint language plpgsql as $$
declare
    wanted record;
    held inventory;
    total bigint := 0;
    number int := 0;
begin
    insert into payment_intents (id, user_id, provider, amount_paisa, address)
    values (the_intent, the_user, 'esewa', 0, the_address);
    for wanted in select sku, quantity from cart_items where user_id = the_user order by sku for update loop
        update inventory set reserved = reserved + wanted.quantity, version = version + 1
        where sku = wanted.sku and on_hand - reserved >= wanted.quantity
        returning * into held;
        if not found then
            raise exception 'INSUFFICIENT_STOCK %', wanted.sku;
        end if;
        number := number + 1;
        total := total + held.price_paisa * wanted.quantity;
        insert into payment_intent_lines
        values (the_intent, number, held.sku, wanted.quantity, held.price_paisa, held.vendor_id, held.slug, held.title);
    end loop;
    if number = 0 then
        raise exception 'EMPTY_CART';
    end if;
    delete from cart_items where user_id = the_user;
    select total + sum(delivery_paisa) into total from vendors
    where id in (select vendor_id from payment_intent_lines where intent_id = the_intent);
    update payment_intents set amount_paisa = total where id = the_intent;
    insert into payment_attempts (reference, intent_id) values (the_reference, the_intent);
    insert into checkout_history (intent_id, new_status, actor)
    values (the_intent, 'reserving', 'customer'), (the_intent, 'awaiting_payment', 'system');
    return total;
end $$;

-- 2. The gateway's answer: observed, charged and allocated once, and the order asked for as a job.
create function settle_payment(the_reference text, the_external text, paid_paisa bigint, the_body text, the_hash bytea)
returns boolean language plpgsql as $$
declare
    intent payment_intents;
begin
    select i.* into intent from payment_intents i join payment_attempts a on a.intent_id = i.id
    where a.reference = the_reference for update of i;
    insert into payment_observations (reference, status, amount_paisa, external_id, body, body_sha256)
    values (the_reference, 'COMPLETE', paid_paisa, the_external, the_body, the_hash);
    if intent.status <> 'pending' or paid_paisa <> intent.amount_paisa then
        return false;
    end if;
    insert into charges (provider, external_id, intent_id, amount_paisa)
    values ('esewa', the_external, intent.id, paid_paisa);
    insert into allocations (intent_id, external_id, amount_paisa) values (intent.id, the_external, paid_paisa);
    update payment_attempts set status = 'complete' where reference = the_reference;
    update payment_intents set status = 'succeeded', updated_at = clock_timestamp() where id = intent.id;
    insert into job_queue (job_type, payload, idempotency_key)
    values ('finalize_order', jsonb_build_object('intent', intent.id), 'finalize-' || intent.id)
    on conflict do nothing;
    return true;
end $$;

-- 3. The job: order, items, histories, and the reserved units sold.
create function finalize_order(the_intent uuid)
returns uuid language plpgsql as $$
declare
    intent payment_intents;
begin
    select * into intent from payment_intents where id = the_intent and status = 'succeeded';
    if not found then
        raise exception 'INTENT_NOT_PAID';
    end if;
    insert into orders (id, order_number, intent_id, user_id, total_paisa)
    values (intent.id, 'ORD-' || nextval('order_numbers'), intent.id, intent.user_id, intent.amount_paisa)
    on conflict do nothing;
    if not found then
        return null;
    end if;
    with items as (
        insert into order_items (order_id, line, sku, vendor_id, slug, title, quantity, price_paisa)
        select intent_id, line, sku, vendor_id, slug, title, quantity, price_paisa
        from payment_intent_lines where intent_id = the_intent
        returning id
    )
    insert into item_history (item_id, new_status, actor) select id, 'pending', 'system' from items;
    if not found then
        raise exception 'ORDER_WITHOUT_ITEMS';
    end if;
    insert into order_history (order_id, new_status, actor) values (intent.id, 'confirmed', 'system');
    insert into checkout_history (intent_id, old_status, new_status, actor)
    values (intent.id, 'awaiting_payment', 'confirmed', 'system');
    update inventory
    set on_hand = on_hand - sold.quantity, reserved = reserved - sold.quantity, version = version + 1
    from (select sku, quantity from payment_intent_lines where intent_id = the_intent order by sku) as sold
    where inventory.sku = sold.sku;
    insert into inventory_movements (sku, order_id, delta)
    select sku, intent.id, -quantity from payment_intent_lines where intent_id = the_intent;
    return intent.id;
end $$;

create function acquire_next_job(worker text) returns job_queue language sql as $$
    update job_queue
    set status = 'processing', attempts = attempts + 1, locked_by = worker, locked_until = now() + interval '30 s'
    where id = (
        select id from job_queue where status = 'pending' order by priority, id limit 1 for update skip locked
    )
    returning *
$$;

create function complete_job(job bigint) returns void language sql as $$
    update job_queue set status = 'completed', completed_at = clock_timestamp(), locked_until = null where id = job
$$;
