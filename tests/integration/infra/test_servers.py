"""The ground itself: databases closed to each other, topics declared once, Maven asked once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from contracts.topics import BY_NAME
from infra import broker, databases
from infra import topics as provisioning
from tests.conftest import Server

FAKE_MAVEN = """#!/bin/sh
echo once >> {asked}
for argument; do case $argument in -DoutputDirectory=*) mkdir "${{argument#*=}}";; esac; done
"""


async def test_a_role_cannot_read_the_database_of_another_service(postgres: Server) -> None:
    names = {service: f"t_{service}_{uuid4().hex}" for service in ("orders", "payments")}
    try:
        dsns = {
            service: await databases.provision(postgres.admin_dsn, service, "test", database=name)
            for service, name in names.items()
        }
        assert await _can_connect(dsns["orders"])
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _can_connect(databases.database_dsn(dsns["orders"], names["payments"]))
    finally:
        for name in names.values():
            await databases.drop(postgres.admin_dsn, name)


async def test_a_service_uses_the_tables_of_its_owner_and_cannot_change_their_shape(postgres: Server) -> None:
    name = f"t_orders_{uuid4().hex}"
    dsn = await databases.provision(postgres.admin_dsn, "orders", "test", database=name)
    try:
        await _execute(
            databases.database_dsn(postgres.admin_dsn, name),
            "set role kb_orders_owner; create table things (id int)",
        )
        await _execute(dsn, "insert into things values (1); truncate things")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _execute(dsn, "drop table things")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _execute(dsn, "create table more (id int)")
    finally:
        await databases.drop(postgres.admin_dsn, name)


async def test_provisioning_twice_and_at_once_changes_nothing(postgres: Server) -> None:
    name = f"t_orders_{uuid4().hex}"
    try:
        provisioned = [
            databases.provision(postgres.admin_dsn, "orders", "test", database=name) for _ in range(4)
        ]
        assert len(set(await asyncio.gather(*provisioned))) == 1
    finally:
        await databases.drop(postgres.admin_dsn, name)


async def test_topics_are_created_once(kafka: str) -> None:
    prefix, wanted = f"t{uuid4().hex[:12]}.", [BY_NAME["order.placed"], BY_NAME["order.state"]]
    created = await provisioning.create(kafka, wanted, prefix=prefix)
    try:
        assert sorted(created) == [f"{prefix}order.placed", f"{prefix}order.state"]
        assert await provisioning.create(kafka, wanted, prefix=prefix) == []
    finally:
        await provisioning.delete(kafka, created)


async def test_a_topic_with_another_number_of_partitions_is_refused(
    kafka: str, topics: Callable[..., Awaitable[str]]
) -> None:
    prefix = await topics("order.placed")
    changed = replace(BY_NAME["order.placed"], partitions=13)
    with pytest.raises(provisioning.TopicDiffersError, match="has 12 partitions, declared are 13"):
        await provisioning.create(kafka, [changed], prefix=prefix)


def test_maven_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    program.write_text(FAKE_MAVEN.format(asked=asked))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    first, second = broker.fetch(tmp_path / "cache"), broker.fetch(tmp_path / "cache")
    assert first == second
    assert asked.read_text() == "once\n"


async def _can_connect(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    await connection.close()
    return True


async def _execute(dsn: str, script: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(script)
    finally:
        await connection.close()
