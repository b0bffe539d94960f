-- What is sold, how much of it there is, and what is promised to whom.

create table vendors (
    id uuid primary key,
    name text not null check (length(name) between 1 and 200),
    delivery_charge_paisa bigint not null check (delivery_charge_paisa between 0 and 1000000000),
    version bigint not null default 1
);

create table products (
    id uuid primary key,                     -- UUIDv7, so the newest product is the greatest id
    slug text not null unique check (length(slug) between 1 and 200),
    vendor_id uuid not null references vendors,
    title text not null check (length(title) between 1 and 300),
    withdrawn_at timestamptz,
    version bigint not null default 1
);
create index products_of_vendor on products (vendor_id);

create table variants (
    sku text primary key check (length(sku) between 1 and 200),
    product_id uuid not null references products,
    price_paisa bigint not null check (price_paisa between 1 and 100000000000),
    withdrawn_at timestamptz
);
create index variants_of_product on variants (product_id);

-- One row per SKU, updated by every hold and sale: room on each page keeps those updates away from the index.
create table stock (
    sku text primary key references variants,
    on_hand bigint not null default 0,
    reserved bigint not null default 0,
    version bigint not null default 1,       -- 1 until the first units come
    constraint stock_never_oversold check (0 <= reserved and reserved <= on_hand)
) with (fillfactor = 50);

-- The row of an order that every decision about its holds locks first. It exists before the holds do, so
-- events of one order that overtake each other on different topics still meet on one lock.
create table hold_orders (
    order_id uuid primary key,
    seq bigint not null default 0,           -- ce_sequence: events told about this order, over all its holds
    closes_all boolean not null default false -- cancelled before an order existed: nothing is ever held again
) with (fillfactor = 45);                    -- every row is counted on at least once, most in their own page

-- A tombstone is a hold without lines that is `ended`: its end was heard before its beginning.
create table holds (
    order_id uuid not null references hold_orders,
    hold_no int not null check (hold_no >= 1),
    status text not null check (status in ('held', 'consumed', 'ended', 'refused')),
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    primary key (order_id, hold_no),
    constraint holds_closed_when_not_held check ((status = 'held') = (closed_at is null))
) with (fillfactor = 70);
-- At most one live hold per order. Order ids grow with time, so it also lists the oldest live holds first.
create unique index holds_one_held on holds (order_id) where status = 'held';

-- Price, vendor and names as they were when the hold was made: a revived order keeps them.
-- No foreign key to the catalogue: its check would lock a shared row for every line, and the SKU
-- was read under its stock row's lock in the same transaction. None to the hold: one statement writes both,
-- and the service can delete neither.
create table hold_lines (
    order_id uuid not null,
    hold_no int not null,
    sku text not null,
    quantity int not null check (quantity >= 1),
    price_paisa bigint not null check (price_paisa >= 0),
    vendor_id uuid not null,
    delivery_paisa bigint not null check (delivery_paisa >= 0), -- of the vendor, once per order, not per line
    slug text not null,
    title text not null,
    primary key (order_id, hold_no, sku)
);

-- Why a person changed a stock; the units themselves are in the ledger.
create table adjustments (
    id uuid primary key,
    sku text not null references stock,
    delta bigint not null check (delta <> 0),
    reason text not null check (length(reason) between 1 and 2000),
    made_by uuid not null,
    made_at timestamptz not null default now()
);

-- The ledger: on_hand of a SKU is the sum of its deltas.
create table stock_movements (
    id bigint generated always as identity primary key,
    sku text not null,
    kind text not null check (kind in ('opening', 'received', 'adjusted', 'sold', 'returned')),
    delta bigint not null check (delta <> 0),
    order_id uuid,
    hold_no int,
    order_item_id uuid,
    adjustment_id uuid references adjustments,
    moved_at timestamptz not null default now(),
    constraint stock_movements_kind_fits check (
        case kind
            when 'sold' then delta < 0 and order_id is not null and hold_no is not null
                and order_item_id is null and adjustment_id is null
            when 'returned' then delta > 0 and order_id is not null and order_item_id is not null
                and adjustment_id is null
            else order_id is null and hold_no is null and order_item_id is null and adjustment_id is not null
        end
    )
);
create unique index stock_movements_sold_once on stock_movements (order_id, hold_no, sku) where kind = 'sold';
create unique index stock_movements_returned_once on stock_movements (order_item_id) where kind = 'returned';
create unique index stock_movements_adjusted_once on stock_movements (adjustment_id)
    where adjustment_id is not null;

-- Rows that only grow: the service may insert and read, nobody may change them.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;

create trigger hold_lines_rows_stay before update or delete on hold_lines
    for each row execute function refuse_change();
create trigger hold_lines_stay before truncate on hold_lines
    for each statement execute function refuse_change();
create trigger stock_movements_rows_stay before update or delete on stock_movements
    for each row execute function refuse_change();
create trigger stock_movements_stay before truncate on stock_movements
    for each statement execute function refuse_change();
create trigger adjustments_rows_stay before update or delete on adjustments
    for each row execute function refuse_change();
create trigger adjustments_stay before truncate on adjustments
    for each statement execute function refuse_change();

revoke all on vendors, products, variants, stock, hold_orders, holds, hold_lines, adjustments, stock_movements
    from kb_inventory;
grant select, insert, update on vendors, products, variants, stock, hold_orders, holds to kb_inventory;
grant select, insert on hold_lines, adjustments, stock_movements to kb_inventory;
