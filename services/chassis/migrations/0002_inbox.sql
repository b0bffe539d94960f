-- What a service has heard: each event id once per consumer, in a ring of days emptied by TRUNCATE.
create table inbox (
    slot smallint not null,          -- (day inside the UUIDv7) % 40: a pure function of the id, so the key is global
    consumer smallint not null,      -- (service, topic)
    event_id uuid not null,
    primary key (slot, consumer, event_id)
) partition by list (slot);

do $$ begin
    for slot in 0..39 loop
        execute format('create table inbox_%s partition of inbox for values in (%s)', slot, slot);
        execute format('grant truncate on inbox_%s to :service', slot);
    end loop;
end $$;

-- A key of one topic that waits: later records of it are parked behind the first in order.
create table inbox_block (
    consumer smallint not null,
    key text not null,
    since timestamptz not null default now(),
    attempts int not null default 0,
    next_at timestamptz not null default now(),
    primary key (consumer, key)
);
create index inbox_block_due on inbox_block (next_at);

create table inbox_parked (
    id bigint generated always as identity primary key,
    consumer smallint not null,
    topic text not null,
    part int not null,
    kafka_offset bigint not null,
    key text not null,
    key_seq bigint,
    event_id uuid,
    payload bytea,
    headers jsonb not null,
    state text not null check (state in ('parked', 'dead', 'replayed', 'skipped')),
    attempts int not null default 0,
    reason text not null,
    error text not null,
    first_failed_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    dismissed_by text check (dismissed_by <> ''),          -- who decided that it will never take effect,
    dismissed_reason text check (dismissed_reason <> ''),  -- and why
    dismissed_at timestamptz,
    constraint inbox_parked_dismissed check (
        num_nonnulls(dismissed_by, dismissed_reason, dismissed_at) = case state when 'skipped' then 3 else 0 end),
    unique nulls not distinct (consumer, topic, part, kafka_offset, event_id)  -- a topic made anew counts anew
);
create index inbox_parked_waiting on inbox_parked (consumer, key, id) where state = 'parked';
create index inbox_parked_open on inbox_parked (state) where state in ('parked', 'dead');

-- Each healing duty: when it looked, what it found, when it looks again. A pause is signed and ends by itself.
create table reconciler_runs (
    name text primary key,
    last_run_at timestamptz,                 -- null: paused before it ever ran
    last_success_at timestamptz,
    last_took_s float8,
    last_found int not null default 0,
    last_found_at timestamptz,               -- when it last found anything
    last_error text,                         -- of the last run, if that failed
    next_run_at timestamptz,                 -- whichever process comes first then
    paused_at timestamptz,
    paused_until timestamptz,
    paused_by uuid,
    paused_reason text check (paused_reason <> ''),
    constraint reconciler_runs_pause_is_signed check (
        num_nonnulls(paused_at, paused_until, paused_by, paused_reason) in (0, 4)),
    constraint reconciler_runs_no_pause_for_ever check (paused_until <= paused_at + interval '24 hours')
);

grant select, insert on inbox to :service;
grant select, insert, update, delete on inbox_block, inbox_parked, reconciler_runs to :service;
