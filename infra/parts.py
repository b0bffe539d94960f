"""The whole system as one table: every part, how it runs, where it answers, what must be there before it."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx2

from infra import broker, databases, postgres, topics
from infra.keys import Keys
from infra.ports import free_port
from infra.processes import Program
from services.chassis.migrate import migrate

ROOT = Path(__file__).parents[1]
SERVICES = ("orders", "inventory", "payments", "gateway")
ISSUER = "https://dev.kbstylish.local"
AUDIENCE = "kb-api"
ESEWA_MERCHANT = "EPAYTEST"
HEALTH_TIMEOUT_S = 2.0
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")

Begin = Callable[[], Awaitable[Program | None]]


@dataclass(frozen=True, slots=True)
class Part:
    """One row of the table: `begin` returns the program to keep running, or does a step and is done."""

    name: str
    begin: Begin
    after: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """What one stack is made of: its folder, its secrets, its ports, and what its user asked for."""

    folder: Path
    keys: Keys
    services: Sequence[str]
    replicas: Mapping[str, int]
    env: Mapping[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    fronts: Mapping[str, int] = field(default_factory=dict)
    """Ports that stand before the broker (`kafka`) or a service's database; services know only them."""

    def port(self, name: str) -> int:
        """The port of that name, the same as long as the stack lives."""
        if name not in self.ports:
            self.ports[name] = free_port()
        return self.ports[name]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port(name)}"

    def names(self, service: str) -> list[str]:
        """The replicas of a service: `orders-0`, `orders-1`."""
        return [f"{service}-{number}" for number in range(self.replicas.get(service, 1))]

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    @property
    def kafka(self) -> str:
        return f"127.0.0.1:{self.port('kafka')}"

    @property
    def kafka_of_services(self) -> str:
        return f"127.0.0.1:{self.fronts['kafka']}" if "kafka" in self.fronts else self.kafka

    @property
    def admin_dsn(self) -> str:
        return postgres.admin_dsn(self.port("postgres"), self.keys.password("postgres"))

    def database_url(self, service: str) -> str:
        """The DSN of the service's own role."""
        role = databases.login_role(service)
        password = self.keys.password(role)
        return databases.database_dsn(self.admin_dsn, f"kb_{service}", user=role, password=password)

    def database_url_of_service(self, service: str) -> str:
        """The same, through what stands in front of it."""
        url = urlsplit(self.database_url(service))
        port = self.fronts.get(service, url.port)
        return urlunsplit(url._replace(netloc=f"{url.netloc.rpartition(':')[0]}:{port}"))


def table(plan: Plan) -> list[Part]:
    """Every part that this checkout has, in the order in which it is stopped backwards."""
    return [
        Part("postgres", lambda: _postgres(plan)),
        Part("databases", lambda: _databases(plan), after=("postgres",)),
        Part("kafka", lambda: _kafka(plan)),
        Part("topics", lambda: _topics(plan), after=("kafka",)),
        *([Part("esewa", lambda: _esewa(plan))] if _is_present("tests/fakes/esewa") else []),
        *(
            Part(name, _service(plan, service, name), after=("databases", "topics"))
            for service in plan.services
            for name in plan.names(service)
        ),
    ]


def present_services() -> list[str]:
    return [name for name in SERVICES if _is_present(f"services/{name}")]


def _is_present(folder: str) -> bool:
    return (ROOT / folder / "__main__.py").exists()


async def _postgres(plan: Plan) -> Program:
    return await postgres.program(
        plan.folder / "postgres",
        password=plan.keys.password("postgres"),
        port=plan.port("postgres"),
        log=plan.log("postgres"),
    )


async def _kafka(plan: Plan) -> Program:
    return await broker.program(
        plan.folder / "kafka",
        port=plan.port("kafka"),
        log=plan.log("kafka"),
        front=plan.fronts.get("kafka"),
    )


async def _databases(plan: Plan) -> None:
    """Databases, roles and tables, before any service looks for them."""
    await databases.add_statement_statistics(plan.admin_dsn)
    for service in databases.SERVICES:
        await databases.provision(plan.admin_dsn, service, plan.keys.password(databases.login_role(service)))
        await migrate(databases.database_dsn(plan.admin_dsn, f"kb_{service}"), service)


async def _topics(plan: Plan) -> None:
    await topics.create(plan.kafka)


async def _esewa(plan: Plan) -> Program:
    options = {
        "--port": str(plan.port("esewa")),
        "--control-port": str(plan.port("esewa-control")),
        "--state": str(plan.folder / "esewa.state"),
        "--product-code": ESEWA_MERCHANT,
        "--key-file": str(plan.keys.esewa_key),
    }
    command = ["tests.fakes.esewa", *(word for pair in options.items() for word in pair)]
    return _python(plan, "esewa", command, {}, health=f"{plan.url('esewa')}/healthz")


def _service(plan: Plan, service: str, name: str) -> Begin:
    async def begin() -> Program:
        env = _common(plan, name) | _own(plan)[service] | dict(plan.env)
        return _python(plan, name, [f"services.{service}", "run"], env, health=f"{plan.url(name)}/readyz")

    return begin


def _common(plan: Plan, name: str) -> dict[str, str]:
    """What every service is told."""
    return {
        "KB_HOST": "127.0.0.1",
        "KB_PORT": str(plan.port(name)),
        "KB_INSTANCE": name,
        "KB_KAFKA": plan.kafka_of_services,
        "KB_TOPIC_PREFIX": "",
        "KB_ISSUER": ISSUER,
        "KB_AUDIENCE": AUDIENCE,
        "KB_JWKS_FILE": str(plan.keys.jwks),
        "KB_PUBLIC_URL": plan.url("gateway-0"),
        "KB_PARKED_EDITS": "true",
        "KB_TRACE_RATIO": os.environ.get("KB_TRACE_RATIO", "1"),
    }


def _own(plan: Plan) -> dict[str, dict[str, str]]:
    """What only that service is told."""
    return {
        "orders": {
            "KB_DATABASE_URL": plan.database_url_of_service("orders"),
            "KB_ADDRESS_KEY_FILE": str(plan.keys.address_keys),
        },
        "inventory": {"KB_DATABASE_URL": plan.database_url_of_service("inventory")},
        "payments": {
            "KB_DATABASE_URL": plan.database_url_of_service("payments"),
            "KB_ESEWA_FORM_URL": f"{plan.url('esewa')}/esewa/api/epay/main/v2/form",
            "KB_ESEWA_STATUS_URL": f"{plan.url('esewa')}/esewa/api/epay/transaction/status/",
            "KB_ESEWA_MERCHANT": ESEWA_MERCHANT,
            "KB_ESEWA_KEY": plan.keys.esewa_key.read_text(),
        },
        "gateway": {
            f"KB_{service.upper()}_URL": ",".join(plan.url(name) for name in plan.names(service))
            for service in ("orders", "inventory", "payments")
        },
    }


def _python(plan: Plan, name: str, command: list[str], env: Mapping[str, str], *, health: str) -> Program:
    return Program(
        name=name,
        command=[sys.executable, "-m", *command],
        log=plan.log(name),
        answers=lambda: _healthy(health),
        env={**_inherited(), "PYTHONUNBUFFERED": "1", **env},
        cwd=ROOT,
    )


def _inherited() -> dict[str, str]:
    """What a person set for all services (KB_LOG_LEVEL, a shorter timer), and what any program needs."""
    return {name: value for name, value in os.environ.items() if name in INHERITED or name.startswith("KB_")}


async def _healthy(url: str) -> bool:
    try:
        async with httpx2.AsyncClient(timeout=HEALTH_TIMEOUT_S, trust_env=False) as client:
            return (await client.get(url)).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False
