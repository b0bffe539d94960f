"""Checkouts in the database: placing, locking, saving with their history."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
from asyncpg.pgproto.pgproto import UUID as PgUUID  # noqa: N811 - parsed eight times quicker

from contracts.event import NIL, Envelope
from services.chassis.db import Tx
from services.chassis.decisions import restored
from services.orders.domain import Checkout, Hold, Line, PlaceCheckout, Stage, Step

COLUMNS: Final = """
    order_id, customer_id, stage, method, pay_within_s, lines, deliveries, total_paisa, hold_no, hold,
    held_at, paid_at, paid_paisa, pay_seq, money_seq, open_cases, stored, declined, cod_active,
    lines_returned, refusals, since, ended_at, seq, version
"""

LOCK_CHECKOUTS = f"""
    select {COLUMNS}, now() as now
    from checkouts
    where order_id = any($1::uuid[])
    order by order_id
    for update
"""  # noqa: S608 - composed of constants only

LOCK_CHECKOUTS_NUMBERED = f"""
    select {COLUMNS}, now() as now,
           case when stage = any($2::text[]) or (stage = 'reserving' and paid_at is not null)
                then next_order_number() end as order_number
    from checkouts
    where order_id = any($1::uuid[])
    order by order_id
    for update
"""  # noqa: S608 - composed of constants only

STEPS: Final = """
    insert into checkout_history
        (order_id, seq, old_stage, new_stage, cause, actor_type, actor_id, reason, trace_id)
    select *
    from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::uuid[],
                $6::text[], $7::uuid[], $8::text[], $9::text[])
"""

INSERT_CHECKOUTS = f"""
    with steps as ({STEPS}),
    addresses as (
        insert into delivery_addresses (order_id, sealed)
        select * from unnest($10::uuid[], $11::bytea[])
    ),
    taken as (
        delete from cart_lines
        using unnest($12::uuid[], $13::text[], $14::uuid[]) as gone(user_id, sku, returned_from)
        where cart_lines.user_id = gone.user_id and cart_lines.sku = gone.sku
          and cart_lines.returned_from = gone.returned_from
    )
    insert into checkouts (order_id, customer_id, stage, method, pay_within_s, lines, hold, cod_active, seq,
                           version)
    select * from unnest($15::uuid[], $16::uuid[], $17::text[], $18::text[], $19::int[], $20::jsonb[],
                         $21::text[], $22::boolean[], $23::bigint[], $24::int[])
"""  # noqa: S608 - composed of constants only

# `lines` and what else rarely changes is sent as null when it did not.
SAVE_CHECKOUTS = f"""
    with steps as ({STEPS})
    update checkouts
    set stage = new.stage, method = new.method,
        lines = coalesce(new.lines, checkouts.lines),
        deliveries = new.deliveries, total_paisa = new.total_paisa, hold_no = new.hold_no, hold = new.hold,
        held_at = new.held_at, paid_at = new.paid_at, paid_paisa = new.paid_paisa, pay_seq = new.pay_seq,
        money_seq = new.money_seq, open_cases = new.open_cases, stored = new.stored, declined = new.declined,
        cod_active = new.cod_active, lines_returned = new.lines_returned, refusals = new.refusals,
        since = new.since, ended_at = new.ended_at, seq = new.seq, version = new.version,
        updated_at = case when checkouts.version = new.version then checkouts.updated_at else now() end
    from unnest($10::uuid[], $11::text[], $12::text[], $13::jsonb[], $14::jsonb[], $15::bigint[],
                $16::smallint[], $17::text[], $18::timestamptz[], $19::timestamptz[], $20::bigint[],
                $21::bigint[], $22::bigint[], $23::jsonb[], $24::text[], $25::boolean[], $26::boolean[],
                $27::boolean[], $28::jsonb[], $29::timestamptz[], $30::timestamptz[], $31::bigint[],
                $32::int[])
         as new(order_id, stage, method, lines, deliveries, total_paisa, hold_no, hold, held_at, paid_at,
                paid_paisa, pay_seq, money_seq, open_cases, stored, declined, cod_active, lines_returned,
                refusals, since, ended_at, seq, version)
    where checkouts.order_id = new.order_id
"""  # noqa: S608 - composed of constants only

MAY_FINALIZE: Final = tuple(
    stage.value
    for stage in (
        Stage.AWAITING_PAYMENT,
        Stage.VERIFYING,
        Stage.ON_HOLD,
        Stage.PROCESSING,
        Stage.AWAITING_PHONE,
    )
)


async def lock_checkouts(tx: Tx, order_ids: Iterable[UUID]) -> dict[UUID, Checkout]:
    """The checkouts, locked in id order (no deadlocks) until the transaction ends; unknown ones left out."""
    return locked(tx, await tx.fetch(LOCK_CHECKOUTS, list(order_ids)))


async def lock_checkouts_numbered(
    tx: Tx, order_ids: Iterable[UUID], stages: Sequence[str] = MAY_FINALIZE
) -> dict[UUID, Checkout]:
    """The same, with an order number drawn for each in one of these stages, for an order it may become."""
    return locked(tx, await tx.fetch(LOCK_CHECKOUTS_NUMBERED, list(order_ids), list(stages)))


def locked(tx: Tx, rows: Sequence[asyncpg.Record]) -> dict[UUID, Checkout]:
    """The locked rows as values, by id; they bring the transaction's time along."""
    if rows:
        tx.starts_at(rows[0]["now"])
    return {row["order_id"]: checkout_of(row) for row in rows}


async def insert_checkouts(
    tx: Tx,
    placed: Mapping[UUID, Checkout],
    commands: Mapping[UUID, PlaceCheckout],
    steps: Sequence[Step],
    taken: Sequence[tuple[UUID, str, UUID]],
) -> None:
    """New checkouts with their sealed addresses; their lines (user, sku, returned_from) leave the cart."""
    rows = [
        (
            one.order_id,
            one.customer_id,
            one.stage.value,
            one.method,
            one.pay_within_s,
            _lines_out(one.lines),
            one.hold.value,
            one.cod_active,
            one.seq,
            one.version,
        )
        for one in placed.values()
    ]
    sealed = [(key, commands[key].address) for key in placed]
    await tx.execute(
        INSERT_CHECKOUTS, *_history(steps), *_columns(sealed, 2), *_columns(taken, 3), *_columns(rows, 10)
    )


async def save_checkouts(
    tx: Tx, before: Mapping[UUID, Checkout], changed: Mapping[UUID, Checkout], steps: Sequence[Step]
) -> None:
    """What changed, and a row of history per change of stage; the rows are locked by this transaction."""
    if not changed:
        return
    rows = [_row(before[key], one) for key, one in changed.items()]
    await tx.execute(SAVE_CHECKOUTS, *_history(steps), *zip(*rows, strict=True))


def _row(before: Checkout, one: Checkout) -> tuple[object, ...]:
    return (
        one.order_id,
        one.stage.value,
        one.method,
        None if one.lines is before.lines else _lines_out(one.lines),
        {str(vendor): paisa for vendor, paisa in one.deliveries} or None,
        one.total_paisa,
        one.hold_no,
        one.hold.value,
        one.held_at,
        one.paid_at,
        one.paid_paisa,
        one.pay_seq,
        one.money_seq,
        {str(case): reason for case, reason in one.open_cases} or None,
        one.stored,
        one.declined,
        one.cod_active,
        one.lines_returned,
        dict(one.refusals) or None,
        one.since,
        one.ended_at,
        one.seq,
        one.version,
    )


def checkout_of(row: asyncpg.Record) -> Checkout:
    """The row as a value."""
    (
        order_id, customer_id, stage, method, pay_within_s, lines, deliveries, total_paisa, hold_no, hold,
        held_at, paid_at, paid_paisa, pay_seq, money_seq, open_cases, stored, declined, cod_active,
        lines_returned, refusals, since, ended_at, seq, version, *_,
    ) = row  # fmt: skip
    return restored(
        Checkout,
        order_id=order_id,
        customer_id=customer_id,
        method=method,
        pay_within_s=pay_within_s,
        lines=tuple(_line(line_id, lines[line_id]) for line_id in sorted(lines)),
        stage=Stage(stage),
        hold_no=hold_no,
        hold=Hold(hold),
        total_paisa=total_paisa,
        deliveries=tuple((PgUUID(vendor), paisa) for vendor, paisa in (deliveries or {}).items()),
        paid_at=paid_at,
        paid_paisa=paid_paisa,
        pay_seq=pay_seq,
        money_seq=money_seq,
        open_cases=frozenset((UUID(case), reason) for case, reason in (open_cases or {}).items()),
        stored=stored,
        declined=declined,
        cod_active=cod_active,
        lines_returned=lines_returned,
        refusals=tuple((refusals or {}).items()),
        held_at=held_at,
        since=since,
        ended_at=ended_at,
        seq=seq,
        version=version,
        order_number=row.get("order_number") or "",
    )


def _line(line_id: str, said: Mapping[str, Any]) -> Line:
    price = said.get("price_paisa")
    if price is None:
        return Line(PgUUID(line_id), said["sku"], said["quantity"])
    vendor = PgUUID(said["vendor_id"])
    return Line(PgUUID(line_id), said["sku"], said["quantity"], price, vendor, said["slug"], said["title"])


def _lines_out(lines: Sequence[Line]) -> dict[str, dict[str, object]]:
    """By id: UUIDv7, so their order is that of the lines. The driver takes a list for a dimension."""
    return {str(line.id): _line_out(line) for line in lines}


def _line_out(line: Line) -> dict[str, object]:
    said: dict[str, object] = {"sku": line.sku, "quantity": line.quantity}
    if line.price_paisa is not None:
        said |= {
            "price_paisa": line.price_paisa,
            "vendor_id": str(line.vendor_id),
            "slug": line.slug,
            "title": line.title,
        }
    return said


def _history(steps: Sequence[Step]) -> Sequence[Sequence[object]]:
    rows = [
        (
            step.order_id,
            step.seq,
            step.old.value if step.old else None,
            step.new.value,
            *cause_of(step.cause),
            step.actor.type,
            step.actor.id,
            step.reason,
            trace_of(step.cause),
        )
        for step in steps
    ]
    return _columns(rows, 9)


def cause_of(cause: Envelope) -> tuple[UUID | None]:
    """The causing event's id; none for requests and timers."""
    return (None if cause.id == NIL else cause.id,)


def trace_of(cause: Envelope) -> str | None:
    """The trace the cause belongs to: the second field of a `traceparent`."""
    return cause.traceparent[3:35] or None


def _columns(rows: Sequence[Sequence[object]], width: int) -> Sequence[Sequence[object]]:
    return list(zip(*rows, strict=True)) if rows else ((),) * width
