-- What operators do, by whom and why; and what a parked record needs to be retried, replayed and repaired.
create table operator_actions (
    id uuid primary key,
    at timestamptz not null default now(),
    actor uuid not null,                                   -- the subject of the token
    action text not null check (action <> ''),             -- parked.skip, for example
    subject text not null check (subject <> ''),           -- what it was done to
    reason text not null check (btrim(reason) <> ''),
    detail jsonb not null default '{}'
);
create index operator_actions_subject on operator_actions (subject, at);

create function refuse_rewriting_actions() returns trigger language plpgsql as $$ begin
    raise exception '% is append only', tg_table_name using errcode = 'restrict_violation';
end $$;
create trigger operator_actions_append_only before update or delete or truncate on operator_actions
    for each statement execute function refuse_rewriting_actions();

revoke all on operator_actions from :service;
grant select, insert on operator_actions to :service;

-- `attempts` counts retries. The bytes that came are kept beside those somebody put in their place.
alter table inbox_parked
    add column last_failed_at timestamptz not null default now(),
    add column traceparent text generated always as (headers ->> 'traceparent') stored,
    add column outcome text,                               -- what a replay came to
    add column edited_payload bytea,
    add column replay uuid;                                -- the operator action that selected it
create index inbox_parked_replay on inbox_parked (replay) where replay is not null;

-- Here the record carries the back-off itself; what counts is `next_at` of the first one that waits of a key.
alter table outbox_parked
    add column attempts int not null default 0,
    add column last_failed_at timestamptz not null default now(),
    add column next_at timestamptz not null default now() + interval '1 second',
    add column failure text generated always as (          -- the class of the error
        case when error like 'waits behind %' then 'BEHIND'
             when error ~ '^[A-Za-z]+:' then split_part(error, ':', 1)
             else 'REFUSED' end) stored,
    add column edited_payload bytea,
    add column replay uuid,
    add column dismissed_by text;
create index outbox_parked_replay on outbox_parked (replay) where replay is not null;
create index outbox_parked_open on outbox_parked (id) where state in ('parked', 'retry');
