"""A history is replayed to its end, whatever interrupts it, and the table says what the history says."""

import asyncio
import os
import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from csv import writer
from itertools import cycle, islice
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from infra.demo.scene import Scene
from infra.people import Admin, Customer
from infra.replay import history, report
from infra.replay.catalogue import put_on_sale
from infra.replay.history import History
from infra.replay.journal import Journal
from infra.replay.play import Player, ReplayError
from infra.replay.run import play_all
from tests.e2e.asking import every_promise_kept
from tests.fakes.esewa import PayResult, Simulator
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDERS = 30
SELLERS = 5


def write_history(folder: Path) -> None:
    """Every status, several sellers, items that repeat, a customer who comes back, two rows of no use."""
    chance, regular = random.Random(7), uuid4().hex
    sellers = [uuid4().hex for _ in range(SELLERS)]
    goods = [
        (uuid4().hex, seller, f"{chance.randint(1, 900)}.{chance.randint(0, 9)}") for seller in sellers * 2
    ]
    orders: list[tuple[str, str, str, str]] = []
    items: list[tuple[str, int, str, str, str]] = []
    for number, status in enumerate(islice(cycle(history.ENDS_AS), ORDERS)):
        order_id, customer = uuid4().hex, uuid4().hex if number % 5 else regular
        orders.append((order_id, customer, status, "2018-01-02 03:04:05"))
        bought = chance.choices(goods, k=chance.randint(1, 4))
        items += [(order_id, place, *one) for place, one in enumerate(bought, 1)]
    orders.append((uuid4().hex, regular, "delivered", "the day before yesterday"))
    items.append((orders[0][0], 9, goods[0][0], goods[0][1], ""))
    write(folder / history.ORDERS, [history.ORDER_COLUMNS, *orders])
    write(folder / history.ITEMS, [history.ITEM_COLUMNS, *items])


def write(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="") as file:
        writer(file).writerows(rows)


@pytest.fixture
def past(tmp_path: Path) -> History:
    write_history(tmp_path)
    return history.read(tmp_path)


def player(scene: Scene, folder: Path, esewa: Simulator | None = None) -> Player:
    """Somebody who knows only what the journal in this folder says."""
    journal = Journal(folder / "replay.jsonl")
    return Player(scene.api, scene.issuer.make_token, esewa or scene.esewa, journal)


async def test_an_interrupted_replay_ends_with_the_historys_table(
    clean: Scene, past: History, tmp_path: Path
) -> None:
    assert len(past.orders) == ORDERS
    assert [one.reason for one in past.unusable] == ["order_purchase_timestamp: not a date", "price: missing"]
    for done, victim in ((6, "orders"), (12, "payments"), (18, "inventory")):
        await interrupted(clean, past, tmp_path, after=done)
        clean.stack.kill(victim)
    await replayed(clean, past, tmp_path)


async def interrupted(scene: Scene, past: History, folder: Path, *, after: int) -> None:
    """The replay cancelled once so many orders are through."""
    one = player(scene, folder)
    running = asyncio.create_task(play_all(one, past, Console(quiet=True), at_once=4))

    async def far_enough() -> bool:
        assert not running.done() or running.exception() is None, running.exception()
        return through(one) >= after

    await until(far_enough, what=f"{after} orders through")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    with one.journal:
        assert through(one) < len(past.orders), "nothing was left to go on with"


def through(one: Player) -> int:
    return sum(placed.done for placed in one.journal.placed.values())


async def replayed(scene: Scene, past: History, folder: Path) -> None:
    """To the end, and what is there is what the history says, once."""
    one = player(scene, folder)
    with one.journal:
        await play_all(one, past, Console(quiet=True), at_once=8)
        outcome = await report.read_back(one, past)
    assert outcome.wrong == []
    assert outcome.found == outcome.said
    assert outcome.said.total() == len(past.orders)
    assert await placed_by_all(scene, past) == len(past.orders)


async def placed_by_all(scene: Scene, past: History) -> int:
    """Orders that the system has of these customers; one placed twice would show."""
    people = {order.customer for order in past.orders.values()}
    found = 0
    for customer in people:
        buyer = Customer(scene.api, scene.issuer.make_token, subject=UUID(customer))
        found += len((await buyer.call("GET", "/v1/orders?limit=50"))["data"])
    return found


class LeavesThePayPage(Simulator):
    """A payer who dies on the pay page, once: the gateway has taken the form and will not take it again."""

    async def pay(self, form_url: str, fields: Mapping[str, str], *, follow_return: bool = True) -> PayResult:  # noqa: ARG002 - never got so far
        await self.submit(form_url, fields)
        raise asyncio.CancelledError


async def test_an_order_left_on_the_pay_page_is_paid_with_another_attempt(
    clean: Scene, past: History, tmp_path: Path
) -> None:
    past = some(past, 1)
    await left_on_the_pay_page(clean, past, tmp_path)
    await replayed(clean, past, tmp_path)


async def left_on_the_pay_page(scene: Scene, past: History, folder: Path) -> None:
    async with LeavesThePayPage(scene.esewa.base_url, scene.esewa.control_url) as dying:
        first = player(scene, folder, dying)
        with first.journal, suppress(asyncio.CancelledError):
            await play_all(first, past, Console(quiet=True), at_once=1)
    assert through(first) == 0


async def test_an_order_that_lost_its_checkout_is_placed_again_only_where_that_is_asked_for(
    clean: Scene, past: History, tmp_path: Path
) -> None:
    past = some(past, 1)
    with player(clean, tmp_path).journal as journal:
        await put_on_sale(Admin(clean.api, clean.issuer.make_token), past, times=2)
        journal.note_catalogue()
    await left_on_the_pay_page(clean, past, tmp_path)
    await cancelled(clean, past, tmp_path)
    strict = player(clean, tmp_path)
    with strict.journal, pytest.raises(ExceptionGroup, match="unhandled errors") as failed:
        await play_all(strict, past, Console(quiet=True), at_once=1)
    assert failed.group_contains(ReplayError, match="is cancelled")
    with Journal(tmp_path / "replay.jsonl") as noted:
        again = frozenset({"cancelled"})
        one = Player(clean.api, clean.issuer.make_token, clean.esewa, noted, again)
        await play_all(one, past, Console(quiet=True), at_once=1)
    await replayed(clean, past, tmp_path)


async def cancelled(scene: Scene, past: History, folder: Path) -> None:
    """The customer of the only order gives its checkout up."""
    (order,) = past.orders.values()
    with Journal(folder / "replay.jsonl") as noted:
        path = f"/v1/checkouts/{noted.placed[order.id].checkout_id}/cancel"
    buyer = Customer(scene.api, scene.issuer.make_token, subject=UUID(order.customer))
    await buyer.call("POST", path)


def some(past: History, count: int) -> History:
    """The first orders of it."""
    return History(dict(islice(past.orders.items(), count)), past.unusable)


@pytest.mark.skipif("KB_DATA" not in os.environ, reason="KB_DATA names no folder with an order history")
async def test_the_beginning_of_a_real_history(clean: Scene, tmp_path: Path) -> None:
    found = sorted(Path(os.environ["KB_DATA"]).glob(f"**/{history.ORDERS}"))
    if not found:
        pytest.skip("the folder that KB_DATA names holds no order history")
    await replayed(clean, some(history.read(found[0].parent), 60), tmp_path)


async def test_after_all_replays_every_promise_is_kept(clean: Scene) -> None:
    assert await every_promise_kept(clean)
