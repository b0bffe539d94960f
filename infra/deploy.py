"""The steps of a deployment in containers: make secrets, provision, run a service."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from infra import broker, databases, keys, postgres, topics
from services.chassis.migrate import migrate

SECRETS = Path(os.environ.get("KB_SECRETS", "/secrets"))
ANSWERS_WITHIN_S = 120.0


def make_secrets() -> None:
    """Generates what is missing into the secrets volume; another run changes nothing."""
    made = keys.ensure(SECRETS)
    for role in ("postgres", *(databases.login_role(service) for service in databases.SERVICES)):
        made.password(role)


async def provision() -> None:
    """Databases, roles, tables and topics; another run adds only what is new."""
    made, bootstrap = keys.ensure(SECRETS), os.environ["KB_KAFKA"]
    admin = _dsn("postgres", made.password("postgres"), "postgres")
    async with asyncio.timeout(ANSWERS_WITHIN_S):
        while not (await postgres.answers(admin) and await broker.answers(bootstrap)):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    for service in databases.SERVICES:
        await databases.provision(admin, service, made.password(databases.login_role(service)))
        await migrate(databases.database_dsn(admin, f"kb_{service}"), service)
    await topics.create(bootstrap)


def run(service: str) -> None:
    """Becomes the service, with the secrets that only it may have; they are in no file of compose."""
    made, env = keys.ensure(SECRETS), dict(os.environ)
    if service in databases.SERVICES:
        role = databases.login_role(service)
        env["KB_DATABASE_URL"] = _dsn(role, made.password(role), f"kb_{service}")
    if service == "payments":
        env["KB_ESEWA_KEY"] = made.esewa_key.read_text()
    command = [sys.executable, "-m", f"services.{service}", "run"]
    os.execve(sys.executable, command, env)  # noqa: S606 - the service takes this process's place


def _dsn(role: str, password: str, database: str) -> str:
    return f"postgresql://{role}:{password}@{os.environ['KB_POSTGRES']}/{database}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("secrets", help="make what is missing in the secrets volume")
    steps.add_parser("provision", help="databases, roles, tables, topics")
    steps.add_parser("run", help="become a service").add_argument("service")
    asked = parser.parse_args()
    if asked.step == "secrets":
        make_secrets()
    elif asked.step == "provision":
        asyncio.run(provision())
    else:
        run(asked.service)


if __name__ == "__main__":
    main()
