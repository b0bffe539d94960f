-- One intent per subject: what is to be paid, until when, and how it stands.
create table intents (
    subject_id uuid primary key,                 -- the order's or the booking's id; also the intent's own
    subject_kind text not null check (subject_kind in ('order', 'booking')),
    status text not null check (status in ('AWAITING_PAYMENT', 'SUCCEEDED', 'EXPIRED', 'CANCELLED')),
    customer_id uuid,
    amount_paisa bigint check (amount_paisa > 0),
    currency text not null default 'NPR' check (currency = 'NPR'),
    pay_by timestamptz,
    close_at timestamptz check (close_at >= pay_by),   -- when the last lookups are due
    verified_at timestamptz,                     -- when payment.verified was told
    verified_xid xid8,                           -- by which transaction: tells whether it has left the outbox
    part smallint,                               -- of that event, once somebody asks whether it has left
    left_at timestamptz,                         -- when it was first seen to have left
    answer text check (answer in ('finalized', 'cancelled')),
    answered_at timestamptz,                     -- when it was heard
    traceparent text not null default '',        -- of the checkout: everything told later continues its trace
    has_details boolean not null default false,  -- refunds, cases or items exist and must be read too
    seq bigint not null default 0 check (seq >= 0),
    version int not null default 1,
    opened_at timestamptz not null default now(),
    -- Only a checkout that was cancelled before it could be paid has no amount.
    constraint intents_amount_known check (
        num_nonnulls(customer_id, amount_paisa, pay_by, close_at) in (0, 4)
        and (status = 'CANCELLED' or amount_paisa is not null)
    ),
    constraint intents_paid_is_told check (status <> 'SUCCEEDED' or verified_at is not null),
    constraint intents_finalized_is_paid check (answer is distinct from 'finalized' or status = 'SUCCEEDED'),
    constraint intents_cancelled_is_final check ((answer is not distinct from 'cancelled') = (status = 'CANCELLED'))
) with (fillfactor = 70);
create index intents_closing on intents (close_at) where status = 'AWAITING_PAYMENT';
create index intents_unanswered on intents (verified_at) where status = 'SUCCEEDED' and answer is null;

create table attempts (
    id uuid primary key,
    subject_id uuid not null references intents,
    provider text not null check (provider in ('esewa', 'khalti')),
    reference text not null check (reference ~ '^[0-9a-f]{32}$'),  -- a secret: who knows it can read the status
    merchant_code text not null,
    amount_paisa bigint not null check (amount_paisa > 0),
    status text not null check (status in (
        'OPEN', 'IN_FLIGHT', 'ON_HOLD', 'CONFIRMED', 'MISMATCHED', 'DECLINED', 'LAPSED', 'CLOSED', 'REVERSED')),
    opened_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > opened_at),
    closes_at timestamptz not null check (closes_at > expires_at),
    next_check_at timestamptz,                   -- a claim moves it ahead: a dead worker loses only that time
    answered_at timestamptz,                     -- the last definite answer
    nudged_at timestamptz,                       -- the last browser return that counted
    unknowns int not null default 0 check (unknowns >= 0),
    checks int not null default 0 check (checks >= 0),
    unique (provider, reference),
    constraint attempts_settled_rest check (
        status not in ('CONFIRMED', 'CLOSED', 'REVERSED') or next_check_at is null)
) with (fillfactor = 70);
create index attempts_of_intent on attempts (subject_id);
create index attempts_due on attempts (next_check_at) where next_check_at is not null;
create index attempts_forgotten on attempts (id)
    where next_check_at is null and status in ('OPEN', 'IN_FLIGHT', 'ON_HOLD', 'DECLINED', 'LAPSED');

-- Everything a gateway or a browser ever said, written before anything is concluded from it.
-- No foreign key: evidence is kept whatever it speaks of, and each check would lock the attempt once more.
create table gateway_observations (
    attempt_id uuid not null,
    id uuid not null,
    kind text not null check (kind in ('return', 'lookup')),
    http_status smallint,
    body text not null check (length(body) <= 4096),    -- redacted: the fields we know, nothing else
    body_sha256 bytea not null check (octet_length(body_sha256) = 32),
    verdict text not null,
    detail text,
    received_at timestamptz not null default now(),
    primary key (attempt_id, id)
);

create table charges (
    id uuid primary key,                         -- of the observation that proved it
    attempt_id uuid not null unique references attempts,
    provider text not null,
    provider_txn_id text not null check (provider_txn_id <> ''),
    amount_paisa bigint not null check (amount_paisa > 0),
    currency text not null default 'NPR' check (currency = 'NPR'),
    confirmed_at timestamptz not null default now(),
    unique (provider, provider_txn_id)
);

create table allocations (
    charge_id uuid primary key references charges,
    subject_id uuid not null,
    kind text not null check (kind in ('APPLIED', 'SURPLUS', 'LATE', 'MISMATCH')),
    allocated_at timestamptz not null default now()
);
-- payment.verified is told for APPLIED and LATE: at most once per intent, ever.
create unique index allocations_verified_once on allocations (subject_id) where kind in ('APPLIED', 'LATE');

create table refunds (
    id uuid primary key,                         -- the order item's id, or the charge's: each goes back once
    subject_id uuid not null references intents,
    charge_id uuid not null references charges,
    cause text not null check (cause in ('surplus', 'item', 'order', 'late', 'admin')),
    amount_paisa bigint not null check (amount_paisa > 0),
    status text not null check (status in ('MANUAL_PENDING', 'SUCCEEDED', 'REJECTED')),
    evidence_ref text,
    note text,
    completed_by uuid,
    requested_at timestamptz not null default now(),
    completed_at timestamptz,
    constraint refunds_done_is_proven check (
        (status = 'SUCCEEDED') = (evidence_ref is not null and completed_by is not null)),
    constraint refunds_whole_or_item check ((cause = 'item') = (id <> charge_id))
);
create index refunds_of_intent on refunds (subject_id);
create index refunds_of_charge on refunds (charge_id);
create index refunds_by_status on refunds (status, id);

-- The charge row is the lock under which refunds are counted: two at once cannot both fit.
-- Definer's rights, because the service itself may not even lock an immutable row.
create function refunds_stay_within_charge() returns trigger language plpgsql security definer
set search_path = public as $$
declare
    charged bigint;
    given bigint;
begin
    select amount_paisa into charged from charges where id = new.charge_id for no key update;
    select coalesce(sum(amount_paisa), 0) into given
    from refunds where charge_id = new.charge_id and id <> new.id and status <> 'REJECTED';
    if new.status <> 'REJECTED' and given + new.amount_paisa > charged then
        raise exception 'refunds of charge % would exceed it', new.charge_id
            using errcode = 'check_violation', constraint = 'refunds_stay_within_charge';
    end if;
    return new;
end $$;
create trigger refunds_stay_within_charge before insert or update on refunds
    for each row execute function refunds_stay_within_charge();

create table review_cases (
    id uuid primary key,
    subject_id uuid not null references intents,
    reason text not null check (reason in ('mismatch', 'undecided', 'unanswered', 'reversed')),
    attempt_id uuid references attempts,
    open boolean not null default true,
    resolution text,
    opened_at timestamptz not null default now(),
    closed_at timestamptz,
    constraint review_cases_closed_is_told check (open = (closed_at is null) and open = (resolution is null)),
    constraint review_cases_name_their_attempt check ((reason in ('mismatch', 'reversed')) = (attempt_id is not null))
);
create index review_cases_of_intent on review_cases (subject_id);
create index review_cases_open on review_cases (id) where open;
create unique index review_cases_once on review_cases (subject_id, reason)
    where reason in ('undecided', 'unanswered');

-- One row per order item, made by whichever of order.finalized and item.* is heard first.
create table payment_items (
    id uuid primary key,
    subject_id uuid not null references intents,
    vendor_id uuid not null,
    net_paisa bigint not null check (net_paisa >= 0),
    delivery_paisa bigint check (delivery_paisa >= 0),   -- known from order.finalized
    status text not null check (status in ('ordered', 'fulfilled', 'cancelled')),
    known_at timestamptz not null default now()
) with (fillfactor = 80);
create index payment_items_of_intent on payment_items (subject_id);

create function payments_keep_history() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;

do $$
declare
    kept text;
begin
    foreach kept in array array['gateway_observations', 'charges', 'allocations'] loop
        execute format('create trigger keep_history before update or delete or truncate on %I
                        for each statement execute function payments_keep_history()', kept);
    end loop;
end $$;

-- Column by column, so that what was frozen stays frozen: amount, customer, reference, merchant.
revoke all on intents, attempts, gateway_observations, charges, allocations, refunds, review_cases, payment_items
    from kb_payments;
grant select, insert on intents, attempts, gateway_observations, charges, allocations, refunds, review_cases,
    payment_items to kb_payments;
grant update (status, verified_at, verified_xid, part, left_at, answer, answered_at, has_details, seq, version) on intents to kb_payments;
grant update (status, next_check_at, answered_at, nudged_at, unknowns, checks) on attempts to kb_payments;
grant update (status, evidence_ref, note, completed_by, completed_at) on refunds to kb_payments;
grant update (open, resolution, closed_at) on review_cases to kb_payments;
grant update (status, delivery_paisa) on payment_items to kb_payments;
