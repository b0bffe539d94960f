"""Every service begins anew, process after process, while people buy: what their requests met."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

from rich.console import Console

from bench.latency import spread
from bench.pipeline import LOG
from bench.results import Gate, Report
from infra import restart, stack
from infra.audit import audit
from infra.demo.chapters import at_stage
from infra.demo.scene import Scene, StoryFailedError, eventually, scene_on
from infra.people import ApiError, Customer, Vendor
from infra.progress import silent
from infra.replay.run import RAISED
from infra.restart import Restarted
from infra.stack import Stack
from services.chassis.app import STOPPED_WITHIN_S
from tests.support.doors import Doors, UnansweredError

TWO_OF_EACH: Final = dict.fromkeys(("orders", "inventory", "payments", "gateway"), 2)
SOONER: Final = RAISED | {"KB_POLL_AFTER_OPEN_S": "[1, 2, 4, 8, 16, 32]"}
"""Nobody comes back from the gateway to say that they have paid: payments asks by itself, after a second."""
COLUMNS: Final = (
    "restarts", "stop s", "away s", "orders", "answers", "p50 / p99 ms", "refused", "503", "409", "failed",
)  # fmt: skip


@dataclass(slots=True)
class Bought:
    """What the buyers have begun and brought to its end."""

    begun: int = 0
    delivered: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Rolled:
    """What one rolling restart came to."""

    restarts: list[Restarted] = field(default_factory=list)
    bought: Bought = field(default_factory=Bought)

    @property
    def not_drained(self) -> list[str]:
        """Processes that were asked to end and did so otherwise than with 0."""
        return [str(one) for one in self.restarts if one.code != 0]

    @property
    def slowest_stop_s(self) -> float:
        return max((one.stop_s for one in self.restarts), default=0.0)

    @property
    def longest_away_s(self) -> float:
        return max((one.away_s for one in self.restarts), default=0.0)


@asynccontextmanager
async def two_of_everything(
    folder: Path, env: Mapping[str, str] = SOONER
) -> AsyncIterator[tuple[Scene, Doors]]:
    """A stack with two processes of each service, its people, and a client that knows both gateways."""
    async with (
        Stack(folder, replicas=TWO_OF_EACH, env=env, report=silent) as running,
        scene_on(running, Console(quiet=True)) as scene,
    ):
        doors = Doors.of([running.addresses["gateway-0"], running.addresses["gateway-1"]])
        try:
            yield scene, doors
        finally:
            await doors.close()


async def roll_under_load(scene: Scene, doors: Doors, folder: Path, *, buyers: int, rounds: int) -> Rolled:
    """Restart every process `rounds` times while so many people buy, one order after the other each."""
    rolled, done = Rolled(), asyncio.Event()
    shelves = [await scene.goods("rolling", price_paisa=50_000, stock=100_000) for _ in range(buyers)]
    async with asyncio.TaskGroup() as group:
        for goods in shelves:
            group.create_task(_keep_buying(scene, doors, goods, done, rolled.bought))
        try:
            for _ in range(rounds):
                rolled.restarts += await restart.roll(folder, say=_say)
        finally:
            done.set()
    return rolled


def _say(line: str) -> None:
    LOG.print(line, style="dim")


async def _keep_buying(
    scene: Scene, doors: Doors, goods: tuple[UUID, str], done: asyncio.Event, bought: Bought
) -> None:
    """Order after order; what has begun is brought to its end."""
    while not done.is_set():
        bought.begun += 1
        try:
            bought.delivered.append(await _one_order(scene, doors, goods))
        except (UnansweredError, ApiError, StoryFailedError) as error:
            bought.stuck.append(str(error))


async def _one_order(scene: Scene, doors: Doors, goods: tuple[UUID, str]) -> str:
    """From an empty cart to delivered; every answer comes through the two doors."""
    vendor_id, sku = goods
    buyer = Customer(doors, scene.issuer.make_token)
    await buyer.wants(sku)
    checkout = await buyer.check_out()
    look = partial(buyer.checkout, checkout["id"])
    checkout, _ = await eventually(look, lambda one: one["payment"]["redirect"] is not None, "payable")
    await scene.pay(checkout, follow_return=False)
    await eventually(look, at_stage("confirmed"), "confirmed")
    vendor = Vendor(doors, scene.issuer.make_token, vendor_id)
    order = await buyer.order(checkout["id"])
    for item in order["items"]:
        for status in ("processing", "shipped", "delivered"):
            item = await vendor.move(item, status)  # noqa: PLW2901 - the item as it is now
    await eventually(
        partial(buyer.order, checkout["id"]), lambda one: one["status"] == "delivered", "delivered"
    )
    return str(checkout["id"])


async def measure(buyers: int, rounds: int) -> Report:
    """The whole system with two of everything, restarted under load, then audited."""
    report = Report("restart", f"Every process restarted {rounds} times while {buyers} people buy", COLUMNS)
    folder = Path(tempfile.mkdtemp(prefix="kb-bench-"))
    folder.chmod(0o711)  # PostgreSQL may run as another user and must reach its own folder
    try:
        async with two_of_everything(folder) as (scene, doors):
            rolled = await roll_under_load(scene, doors, folder, buyers=buyers, rounds=rounds)
            _tell(report, rolled, doors)
            await _judge(report, scene)
    finally:
        stack.erase(folder)
    return report


def _tell(report: Report, rolled: Rolled, doors: Doors) -> None:
    waited, bought = spread(doors.waits), rolled.bought
    report.add(
        len(rolled.restarts), rolled.slowest_stop_s, rolled.longest_away_s, len(bought.delivered),
        doors.answered, str(waited), doors.refused, doors.busy, doors.contended, len(doors.failed),
        restarts=[asdict(one) for one in rolled.restarts], longest=waited.longest,
        delivered=len(bought.delivered), answered=doors.answered, p50=waited.p50, p99=waited.p99,
        refused=doors.refused, busy=doors.busy, contended=doors.contended, failed=doors.failed,
    )  # fmt: skip
    report.gates += gates_of(rolled, doors)
    report.notes += [*doors.failed, *bought.stuck, *rolled.not_drained]
    report.notes += [
        "stop, away: the longest of one process; refused: connections, the other gateway was asked",
        "409: a row or key was busy, and the same request went through later; it counts as failed here",
        f"the slowest request took {waited.longest:,.0f} ms, with all its tries and pauses",
    ]


def gates_of(rolled: Rolled, doors: Doors) -> list[Gate]:
    """What callers and processes are promised; a 409 that went through later was no answer either."""
    begun, delivered = rolled.bought.begun, len(rolled.bought.delivered)
    failed = len(doors.failed) + doors.contended
    return [
        Gate("requests that failed otherwise than with 503 and Retry-After", failed, "at most", 0),
        Gate("orders begun and not delivered", begun - delivered, "at most", 0),
        Gate("connections refused: gateways were away", doors.refused, "at least", 1),
        Gate("processes restarted", len(rolled.restarts), "at least", 1),
        Gate("processes that ended otherwise than with 0", len(rolled.not_drained), "at most", 0),
        Gate("s from SIGTERM to the end, the slowest", rolled.slowest_stop_s, "at most", STOPPED_WITHIN_S),
    ]


async def _judge(report: Report, scene: Scene) -> None:
    addresses = scene.stack.addresses
    found = await audit(
        databases=scene.stack.databases, kafka=addresses["kafka"], truth_url=addresses["esewa-control"]
    )
    health = await scene.admin().call("GET", "/v1/admin/health")
    stuck = {
        f"{service}: {kind}": count
        for service, said in health["services"].items()
        for kind, count in said.get("stuck", {"does not answer": 1}).items()
        if count
    }
    report.gates += [
        Gate("stuck, as the services say", sum(stuck.values()), "at most", 0),
        Gate("promises the audit found broken", len(found.broken), "at most", 0),
        Gate("still moving after half a minute", len(found.moving), "at most", 0),
    ]
    report.notes += [f"stuck: {stuck}"] if stuck else []
    report.notes += [f"broken: {one}" for one in found.broken] + [f"moving: {one}" for one in found.moving]
