-- Which requests were answered already: the effect and its answer are committed together.
create table idempotency_keys (
    caller uuid not null,
    route text not null,                -- method and path with its ids, so that one key on two resources is two
    key text not null check (length(key) between 1 and 200),
    fingerprint bytea not null,         -- of the body; another body under the same key is refused
    status smallint not null check (status between 200 and 499),
    body jsonb not null,
    headers jsonb not null,
    created_at timestamptz not null default now(),
    primary key (caller, route, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

grant select, insert, update, delete on idempotency_keys to :service;
