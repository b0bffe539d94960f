-- What a service tells: an append-only log in a ring of days, read by snapshot windows, emptied by TRUNCATE.
-- Rows are never changed: no dead tuples, so a backlog or a long reader does not slow anybody down.
create table outbox (                            -- wide columns first: nothing is lost to alignment
    id bigint generated always as identity,      -- order within a window; CACHE must stay 1
    xid xid8 not null default pg_current_xact_id(),
    key_seq bigint not null,                     -- ce_sequence, counted under the aggregate's row lock
    created_at timestamptz not null default statement_timestamp(),
    slot smallint not null default (date_part('epoch', now())::bigint / 86400 % 8)::smallint,
    part smallint not null,                      -- the Kafka partition: a shard of the relay
    version smallint not null default 1,         -- of the event's type, which is named like its topic
    event_id uuid not null,
    topic text not null,
    key text not null,
    subject_kind text not null,                  -- what the key names
    payload bytea not null check (octet_length(payload) <= 900000),
    correlation_id uuid,                         -- null: the flow is the key's own
    causation_id uuid,                           -- null: nobody told us, a person or a clock did it
    traceparent text
) partition by list (slot);

-- The only index: the window is found by xid, a page of it is listed from the index alone.
create index outbox_window on outbox (xid, id);

do $$ begin
    for slot in 0..7 loop
        execute format('create table outbox_%s partition of outbox for values in (%s)', slot, slot);
    end loop;
end $$;

-- How far each partition is published, and which relay may publish it until when.
create table outbox_shard (
    part smallint primary key,
    owner text,
    epoch bigint not null default 0,             -- grows with every change of owner
    lease_until timestamptz not null default '-infinity',
    snap pg_snapshot not null,                   -- everything visible in it is published
    page_to pg_snapshot,                         -- catching up: of what became visible since `snap` ...
    page_after bigint not null default 0,        -- ... up to `page_to`, ids up to here are published
    saved_at timestamptz not null default now()
) with (fillfactor = 50);

insert into outbox_shard (part, snap)
select part, pg_current_snapshot() from generate_series(0, 11) as part;

-- Who is alive, for a fair share of the shards.
create table outbox_relay (
    owner text primary key,
    seen_at timestamptz not null
) with (fillfactor = 50);

-- Records the broker refuses, and what waits behind them: `parked` blocks its (topic, key).
create table outbox_parked (
    id bigint primary key,                       -- of the outbox row, hence the order of a key
    part smallint not null,
    topic text not null,
    key text not null,
    key_seq bigint not null,
    event_id uuid not null,
    version smallint not null default 1,
    subject_kind text not null,
    payload bytea not null,
    correlation_id uuid,
    causation_id uuid,
    traceparent text,
    created_at timestamptz not null,
    state text not null default 'parked' check (state in ('parked', 'retry', 'published', 'skipped')),
    error text not null,
    reason text,                                 -- why somebody skipped it
    parked_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index outbox_parked_waiting on outbox_parked (part, topic, key, id) where state in ('parked', 'retry');

revoke all on outbox from :service;
grant select, insert on outbox to :service;
do $$ begin
    for slot in 0..7 loop
        execute format('revoke all on outbox_%s from :service', slot);
        execute format('grant select, truncate on outbox_%s to :service', slot);
    end loop;
end $$;
revoke all on outbox_shard, outbox_relay, outbox_parked from :service;
grant select, update on outbox_shard to :service;
grant select, insert, update, delete on outbox_relay to :service;
grant select, insert, update on outbox_parked to :service;
