"""A small world with real services in it: people buy, pay, cancel, pay late; then everything stops."""

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from contracts.topics import TOPICS
from infra import databases, topics
from infra.audit import audit
from infra.people import Admin, Api, ApiError, Customer, Vendor
from infra.ports import free_port
from services.chassis.app import Process, Service
from services.gateway.app import build as build_gateway
from services.gateway.settings import GatewaySettings
from services.inventory.app import build as build_inventory
from services.inventory.settings import InventorySettings
from services.orders.app import build as build_orders
from services.orders.settings import OrdersSettings
from services.payments.app import build as build_payments
from services.payments.settings import PaymentsSettings
from tests.fakes.esewa import Simulator, running_simulator
from tests.fakes.esewa.faults import WrongAmount
from tests.support import run
from tests.support.tokens import AUDIENCE, NAME, Tokens, tokens_in
from tests.support.waiting import until

OWNERS = ("orders", "inventory", "payments")
PASSWORD = "test"
SHELF = {"kurta": 1_299_00, "shawl": 499_50, "topi": 250_00}
STOCK = 20

# Nobody is left to look: what would be due while the tests run is put off.
PUT_OFF = "update attempts set next_check_at = next_check_at + interval '30 days'"


@dataclass(frozen=True, slots=True)
class LivedIn:
    """What is left of it: databases (service -> superuser's DSN), topics, and what the gateway says."""

    admin_dsn: str
    databases: dict[str, str]
    kafka: str
    prefix: str
    truth: list[dict[str, Any]]

    async def remove(self) -> None:
        for dsn in self.databases.values():
            await databases.drop(self.admin_dsn, dsn.rpartition("/")[2])
        await topics.delete(self.kafka, [f"{self.prefix}{one.name}" for one in TOPICS])


async def make(folder: Path) -> LivedIn:
    """Takes some seconds; the caller removes it."""
    admin_dsn, kafka, prefix = run.ask("postgres"), run.ask("kafka"), f"t{uuid4().hex[:12]}."
    await topics.create(kafka, prefix=prefix)
    names = {service: f"t_{service}_{uuid4().hex}" for service in OWNERS}
    dsns = {service: await _clone(admin_dsn, service, name) for service, name in names.items()}
    admins = {service: databases.database_dsn(admin_dsn, name) for service, name in names.items()}
    async with running_simulator() as simulator, _people(folder, dsns, kafka, prefix, simulator) as town:
        await _live(town)
        report = await audit(databases=admins, kafka=kafka, topic_prefix=prefix, wait_quiet_s=30)
        assert not report.moving, report.moving
        truth = await _truth(simulator)
    payments = await asyncpg.connect(admins["payments"])
    await payments.execute(PUT_OFF)
    await payments.close()
    return LivedIn(admin_dsn, admins, kafka, prefix, truth)


async def _clone(admin_dsn: str, service: str, name: str) -> str:
    return await databases.clone(admin_dsn, service, run.ask(f"template {service}"), name, PASSWORD)


async def _truth(simulator: Simulator) -> list[dict[str, Any]]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(
            f"{simulator.control_url}/_sim/truth", headers={"accept": "application/x-ndjson"}
        )
    return [json.loads(line) for line in answer.text.splitlines()]


# ----- the services


@dataclass(frozen=True, slots=True)
class Town:
    """People with tokens, and the gateway they pay at."""

    api: Api
    make_token: Callable[..., str]
    simulator: Simulator

    def customer(self) -> Customer:
        return Customer(self.api, self.make_token)


@asynccontextmanager
async def _people(
    folder: Path, dsns: dict[str, str], kafka: str, prefix: str, simulator: Simulator
) -> AsyncIterator[Town]:
    tokens, ports = tokens_in(folder), {name: free_port() for name in (*OWNERS, "gateway")}
    async with AsyncExitStack() as after:
        for service in _services(folder, dsns, (kafka, prefix), ports, tokens, simulator):
            await after.enter_async_context(_running(Process(service)))
        api = Api.at(f"http://127.0.0.1:{ports['gateway']}")
        after.push_async_callback(api.close)
        yield Town(api, tokens.issuer.make_token, simulator)


def _services(
    folder: Path,
    dsns: dict[str, str],
    broker: tuple[str, str],
    ports: dict[str, int],
    tokens: Tokens,
    simulator: Simulator,
) -> list[Service]:
    def shared(service: str) -> dict[str, Any]:
        said = {"kafka": broker[0], "topic_prefix": broker[1], "instance": f"{service}-0"}
        trusted = {"issuer": NAME, "audience": AUDIENCE, "jwks_file": tokens.jwks}
        owned = {"database_url": dsns[service]} if service in dsns else {}
        return {**said, **trusted, **owned, "port": ports[service]}

    urls: dict[str, Any] = {f"{service}_url": f"http://127.0.0.1:{ports[service]}" for service in OWNERS}
    payments = PaymentsSettings(
        **shared("payments"),
        esewa_form_url=simulator.form_url,
        esewa_status_url=simulator.status_url,
        public_url=f"http://127.0.0.1:{ports['gateway']}",
        gateway_calls_per_s=1000,
    )
    return [
        build_orders(OrdersSettings(**shared("orders"), address_key_file=_address_keys(folder))),
        build_inventory(InventorySettings(**shared("inventory"))),
        build_payments(payments),
        build_gateway(GatewaySettings(**shared("gateway"), **urls)),
    ]


def _address_keys(folder: Path) -> Path:
    path = folder / "address-keys.json"
    path.write_text(json.dumps({"current": "a", "keys": {"a": b64encode(os.urandom(32)).decode()}}))
    return path


@asynccontextmanager
async def _running(process: Process) -> AsyncIterator[None]:
    """Until the end of the block; what is told by then is published before it stops."""
    task = asyncio.create_task(process.run())
    url = f"http://127.0.0.1:{process.service.settings.port}/readyz"
    try:
        async with httpx2.AsyncClient(trust_env=False) as client:
            await until(lambda: _is_ready(client, url), within_s=60, what=f"{process.service.name} is ready")
        yield
    finally:
        process.stopping.set()
        await task


async def _is_ready(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


# ----- what happens there


async def _live(town: Town) -> None:
    vendors = await _fill_shelves(town)
    await asyncio.gather(
        _everything_arrives(town, vendors),
        _one_item_is_cancelled(town, vendors),
        _nothing_has_moved_yet(town),
        _changes_their_mind(town),
        _wants_too_much(town),
        _pays_too_late(town),
        _is_still_thinking(town),
        _pays_twice(town),
        _pays_another_amount(town),
    )


async def _fill_shelves(town: Town) -> dict[str, Vendor]:
    admin, vendors = Admin(town.api, town.make_token), {}
    for sku, price_paisa in SHELF.items():
        vendor_id = uuid4()
        await admin.puts_on_sale(vendor_id, sku, [{"sku": sku, "price_paisa": price_paisa, "stock": STOCK}])
        vendors[sku] = Vendor(town.api, town.make_token, vendor_id)
    return vendors


async def _checks_out(customer: Customer, *skus: str, quantity: int = 1) -> dict[str, Any]:
    for sku in skus:
        await customer.wants(sku, quantity)
    return await customer.check_out()


async def _pays(town: Town, customer: Customer, checkout: dict[str, Any], stage: str) -> None:
    redirect = checkout["payment"]["redirect"]
    await town.simulator.pay(redirect["url"], redirect["fields"])

    async def is_there() -> bool:
        return bool((await customer.checkout(checkout["id"]))["stage"] == stage)

    await until(is_there, what=f"the checkout is {stage}")


async def _buys(town: Town, customer: Customer, *skus: str, quantity: int = 1) -> dict[str, Any]:
    checkout = await _checks_out(customer, *skus, quantity=quantity)
    await _pays(town, customer, checkout, "confirmed")
    return await customer.order(checkout["id"])


async def _move(order: dict[str, Any], vendors: dict[str, Vendor], sku: str, statuses: Sequence[str]) -> None:
    item = next(one for one in order["items"] if one["sku"] == sku)
    for status in statuses:
        await vendors[sku].move(item, status, **({"reason": "sold out"} if status == "cancelled" else {}))
        item = {**item, "version": item["version"] + 1}


async def _until_order_is(customer: Customer, order_id: str, status: str) -> None:
    async def is_there() -> bool:
        return bool((await customer.order(order_id))["status"] == status)

    await until(is_there, what=f"the order is {status}")


DELIVERED = ("processing", "shipped", "delivered")


async def _everything_arrives(town: Town, vendors: dict[str, Vendor]) -> None:
    customer = town.customer()
    order = await _buys(town, customer, *SHELF, quantity=2)
    await asyncio.gather(*(_move(order, vendors, sku, DELIVERED) for sku in SHELF))
    await _until_order_is(customer, order["id"], "delivered")


async def _one_item_is_cancelled(town: Town, vendors: dict[str, Vendor]) -> None:
    customer = town.customer()
    order = await _buys(town, customer, "kurta", "shawl")
    await _move(order, vendors, "kurta", ("processing", "cancelled"))
    await _move(order, vendors, "shawl", DELIVERED)
    await _until_order_is(customer, order["id"], "delivered")


async def _nothing_has_moved_yet(town: Town) -> None:
    await _buys(town, town.customer(), "topi", "shawl")


async def _changes_their_mind(town: Town) -> None:
    customer = town.customer()
    checkout = await _checks_out(customer, "topi")
    await _cancel(customer, checkout["id"])


async def _cancel(customer: Customer, checkout_id: str) -> None:
    await customer.call("POST", f"/v1/checkouts/{checkout_id}/cancel", {}, idempotency_key=str(uuid4()))


async def _wants_too_much(town: Town) -> None:
    with pytest.raises(ApiError) as refused:
        await _checks_out(town.customer(), "topi", quantity=STOCK + 1)
    assert refused.value.status == httpx2.codes.CONFLICT


async def _pays_too_late(town: Town) -> None:
    customer = town.customer()
    checkout = await _checks_out(customer, "shawl")
    await _cancel(customer, checkout["id"])
    await _pays(town, customer, checkout, "refund_pending")


async def _pays_twice(town: Town) -> None:
    """Two tabs, each with an attempt of its own; the second payment is one too many."""
    customer = town.customer()
    checkout = await _checks_out(customer, "kurta")
    path = f"/v1/checkouts/{checkout['id']}/attempts"
    second = await customer.call("POST", path, {"provider": "esewa"}, idempotency_key=str(uuid4()))
    await _pays(town, customer, checkout, "confirmed")
    await town.simulator.pay(second["redirect"]["url"], second["redirect"]["fields"])


async def _pays_another_amount(town: Town) -> None:
    """What the gateway says was paid is not what was asked for: a person must look."""
    customer = town.customer()
    checkout = await _checks_out(customer, "topi")
    reference = checkout["payment"]["redirect"]["fields"]["transaction_uuid"]
    await town.simulator.faults(WrongAmount(delta_paisa=-100), op="status", ref=reference)
    await _pays(town, customer, checkout, "on_hold")


async def _is_still_thinking(town: Town) -> None:
    checkout = await _checks_out(town.customer(), "kurta")
    assert checkout["stage"] == "awaiting_payment"


async def planted(world: LivedIn, service: str, statements: Sequence[str]) -> str:
    """A copy of that service's database, changed behind everybody's back; returns its DSN."""
    template, name = world.databases[service].rpartition("/")[2], f"t_{service}_{uuid4().hex}"
    await databases.clone(world.admin_dsn, service, template, name, PASSWORD)
    dsn = databases.database_dsn(world.admin_dsn, name)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("set session_replication_role = replica")
        for statement in statements:
            done = await connection.execute(statement)
            assert not done.endswith(" 0"), f"nothing was planted by {statement}"
    finally:
        await connection.close()
    return dsn
