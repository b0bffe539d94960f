"""Stock and its ledger: locked in SKU order, moved by sums, every unit that comes or goes written down."""

from collections.abc import Iterable, Sequence

from services.chassis.db import Tx
from services.inventory.domain import Adjustment, Level, MovementKind, Offer, Shelf, StockMove

# Locked in SKU order, so that two batches with the same SKUs wait for each other and never in a circle.
LOCK_SHELF = """
    select s.sku, v.price_paisa, p.vendor_id, d.delivery_charge_paisa, p.slug, p.title,
           v.withdrawn_at is not null or p.withdrawn_at is not null as withdrawn,
           s.on_hand - s.reserved as free
    from stock s
    join variants v on v.sku = s.sku
    join products p on p.id = v.product_id
    left join vendors d on d.id = p.vendor_id
    where s.sku = any($1::text[])
    order by s.sku
    for update of s
"""

# The locked rows bring their sums along: joined to them afterwards, each row would be compared with each sum.
MOVE_STOCK = """
    with locked as materialized (
        select s.sku, moved.on_hand, moved.reserved
        from unnest($1::text[], $2::bigint[], $3::bigint[]) as moved (sku, on_hand, reserved)
        join stock s on s.sku = moved.sku
        order by s.sku
        for update of s
    )
    update stock
    set on_hand = stock.on_hand + locked.on_hand,
        reserved = stock.reserved + locked.reserved,
        version = stock.version + 1
    from locked
    where stock.sku = locked.sku
"""

INSERT_MOVEMENTS = """
    insert into stock_movements (sku, kind, delta, order_id, hold_no, order_item_id)
    select * from unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::int[], $6::uuid[])
"""

LOCK_LEVELS = """
    select s.sku, p.vendor_id, s.on_hand, s.reserved, s.version,
           s.version = 1 as is_new
    from stock s
    join variants v on v.sku = s.sku
    join products p on p.id = v.product_id
    where s.sku = any($1::text[])
    order by s.sku
    for update of s
"""

SAVE_LEVELS = """
    update stock set on_hand = counted.on_hand, version = counted.version
    from unnest($1::text[], $2::bigint[], $3::bigint[]) as counted (sku, on_hand, version)
    where stock.sku = counted.sku
"""

INSERT_ADJUSTMENTS = """
    with made as (
        insert into adjustments (id, sku, delta, reason, made_by)
        select id, sku, delta, reason, made_by
        from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::uuid[])
            as new (id, sku, kind, delta, reason, made_by)
    )
    insert into stock_movements (sku, kind, delta, adjustment_id)
    select sku, kind, delta, id from unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
        with ordinality as new (id, sku, kind, delta, place)
    order by place
"""


async def lock_shelf(tx: Tx, skus: Iterable[str]) -> Shelf:
    """What is on sale of these SKUs, locked in SKU order; an unknown SKU is left out."""
    rows = await tx.fetch(LOCK_SHELF, sorted(set(skus)))
    offers = {row["sku"]: Offer(*row[:7]) for row in rows}
    return Shelf(offers, {row["sku"]: row["free"] for row in rows})


async def move_stock(tx: Tx, moves: Sequence[StockMove]) -> None:
    """Apply the sum of these moves, and write down each that brings units on or off hand."""
    if not moves:
        return
    sums = _sums(moves)
    await tx.execute(MOVE_STOCK, list(sums), *map(list, zip(*sums.values(), strict=True)))
    entries = [_entry(move) for move in moves if move.on_hand]
    if entries:
        await tx.execute(INSERT_MOVEMENTS, *zip(*entries, strict=True))


async def lock_levels(tx: Tx, skus: Iterable[str]) -> dict[str, Level]:
    """The stock of these SKUs, locked in SKU order; an unknown SKU is left out."""
    return {row["sku"]: Level(*row) for row in await tx.fetch(LOCK_LEVELS, sorted(set(skus)))}


async def save_levels(tx: Tx, levels: Iterable[Level]) -> None:
    """Write what was counted; the rows are locked."""
    rows = [(one.sku, one.on_hand, one.version) for one in levels]
    await tx.execute(SAVE_LEVELS, *zip(*rows, strict=True))


async def insert_adjustments(tx: Tx, made: Sequence[tuple[Adjustment, MovementKind]]) -> None:
    """Who counted what and why, and its line in the ledger."""
    rows = [(one.id, one.sku, kind, one.delta, one.reason, one.made_by) for one, kind in made]
    await tx.execute(INSERT_ADJUSTMENTS, *zip(*rows, strict=True))


def _sums(moves: Iterable[StockMove]) -> dict[str, tuple[int, int]]:
    sums: dict[str, tuple[int, int]] = {}
    for move in moves:
        on_hand, reserved = sums.get(move.sku, (0, 0))
        sums[move.sku] = (on_hand + move.on_hand, reserved + move.reserved)
    return sums


def _entry(move: StockMove) -> tuple[object, ...]:
    kind = "sold" if move.on_hand < 0 else "returned"
    return move.sku, kind, move.on_hand, move.order_id, move.hold_no, move.item_id
