"""Getting a shard's rows to the broker: all it takes, in order, and put aside what it will never take.

A refusal names a batch, a failure without a reason not even that. So the rows are halved until one stands
alone: a refused one is parked at once; one that fails without a reason only when the broker is seen to take
others, and not this one, once more after that. A key waits behind its parked row, everybody else goes on.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg
import structlog

from services.chassis import outbox_metrics as metrics
from services.chassis import parked_rows
from services.chassis.leases import Leases, Shard
from services.chassis.publisher import RefusedError, Row, Sink, UnavailableError, UnclearError
from services.chassis.send_span import send_span

LOG = structlog.get_logger("relay")
UNCLEAR_TRIES: Final = 5
"""So often what fails without a reason is only tried again; then the row is looked for whose fault it is."""
QUIET_ROUNDS: Final = 3
"""So many rounds the broker must take other topics before a row is parked that only its topic speaks for."""


class Sending:
    """One relay's way to the broker, within the leases of its shards."""

    def __init__(
        self, sink: Sink, leases: Leases, *, send_s: float, got_through: Callable[[float], None]
    ) -> None:
        self._sink = sink
        self._leases = leases
        self._send_s = send_s
        self._got_through = got_through
        """Told the time, on the loop's clock, of everything that was stored."""
        self._accepted: dict[tuple[int, str], float] = {}
        """(partition, topic) -> when the broker last took something there, on the loop's clock."""

    async def send(self, shard: Shard, rows: list[Row]) -> None:
        """One round: send the rows whose key is free, park those that wait behind a parked one.

        Raises UnavailableError when they are to be tried again, OvertakenError when the shard is another's.
        """
        shard.sending, shard.round_at = rows, asyncio.get_running_loop().time()
        try:
            await self._send_free(shard, rows)
        except UnclearError:
            shard.unclear += 1
            shard.unclear_at = asyncio.get_running_loop().time()
            raise
        else:
            shard.unclear = 0
            shard.fails_alone.clear()
        finally:
            shard.sending = ()

    async def send_parked(self, shard: Shard) -> None:
        """Send what is due, or what somebody wants sent after all; then see which keys are still blocked."""
        try:
            async with self._leases.connection() as connection:
                rows = await parked_rows.to_retry(connection, shard.part)
            if rows:
                await self._send_each(shard, rows)
            async with self._leases.connection() as connection:
                shard.blocked = await parked_rows.blocked(connection, shard.part)
        except (
            UnavailableError,
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
        ) as error:
            LOG.warning("parked rows not sent", part=shard.part, error=repr(error)[:500])

    async def _send_free(self, shard: Shard, rows: list[Row]) -> None:
        if shard.blocked:
            waiting = [row for row in rows if (row["topic"], row["key"]) in shard.blocked]
            if waiting:
                await self._park(shard, waiting, "waits behind a parked record of its key")
                rows = [row for row in rows if (row["topic"], row["key"]) not in shard.blocked]
        if not rows:
            return
        try:
            await self._send_within_lease(shard, rows)
        except RefusedError as refusal:
            await self._isolate(shard, refusal, rows)
        except UnclearError as failure:
            if shard.unclear < UNCLEAR_TRIES:
                raise
            await self._isolate(shard, failure, rows)

    async def _isolate(self, shard: Shard, refusal: RefusedError | UnclearError, rows: list[Row]) -> None:
        """Halve what was refused until the culprit stands alone; then part with it and send the rest."""
        rows = _not_stored(rows, refusal.rows[0])
        if len(refusal.rows) == 1:
            await self._part_with(shard, refusal.rows[0], refusal)
            await self._send_free(shard, [row for row in rows if row["id"] != refusal.rows[0]["id"]])
            return
        middle = len(refusal.rows) // 2
        second = {row["id"] for row in refusal.rows[middle:]}
        await self._send_free(shard, list(refusal.rows[:middle]))
        # What was sent with the refused batch is sent again in its place, so that the order holds.
        await self._send_free(shard, [row for row in rows if row["id"] in second])
        refused = {row["id"] for row in refusal.rows}
        await self._send_free(shard, [row for row in rows if row["id"] not in refused])

    async def _part_with(self, shard: Shard, culprit: Row, failure: RefusedError | UnclearError) -> None:
        """Park it. One whose fault it may not be has to fail once more, after others were taken."""
        if isinstance(failure, UnclearError):
            if not await self._is_to_blame(shard, culprit):
                raise failure
            try:
                await self._send_within_lease(shard, [culprit])
            except (RefusedError, UnclearError) as again:
                failure = again
            else:
                return
        await self._park(shard, [culprit], str(failure))
        shard.blocked.add((culprit["topic"], culprit["key"]))

    async def _is_to_blame(self, shard: Shard, culprit: Row) -> bool:
        """Whether the broker takes others, so that the fault is the row's and not everybody's.

        Other keys of its topic and partition say so at once. Without any, its topic elsewhere does, if it
        took something since the row failed last. Other topics say it only round after round: it may be its
        topic that fails, but no partition is held for ever for that either.
        """
        topic = culprit["topic"]
        beside = _first_of_others(shard, culprit, of_its_topic=True)
        if beside:
            place = (shard.part, topic)
            if self._accepted.get(place, 0.0) > shard.round_at or await self._takes_one_of(shard, beside):
                return True
        elif self._took_since(shard.unclear_at, lambda name: name == topic):
            return True
        apart = _first_of_others(shard, culprit, of_its_topic=False)
        if self._took_since(shard.unclear_at, lambda name: name != topic) or await self._takes_one_of(
            shard, apart
        ):
            shard.fails_alone[topic] += 1
            return shard.fails_alone[topic] >= QUIET_ROUNDS
        return False

    def _took_since(self, when: float, concerns: Callable[[str], bool]) -> bool:
        return any(at > when for (_, topic), at in self._accepted.items() if concerns(topic))

    async def _takes_one_of(self, shard: Shard, rows: Sequence[Row]) -> bool:
        """Sent again in its place it is a copy. Which is left to chance: the next may be at fault itself."""
        if not rows:
            return False
        try:
            await self._send_within_lease(shard, [random.choice(rows)])  # noqa: S311 - not a secret
        except (RefusedError, UnavailableError):
            return False
        return True

    async def _park(self, shard: Shard, rows: Sequence[Row], error: str) -> None:
        try:
            async with self._leases.connection() as connection:
                await parked_rows.park(connection, self._leases.owner, shard.epoch, rows, error)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as failure:
            raise UnavailableError(f"not parked: {failure!r}") from failure
        LOG.error("parked", part=shard.part, topic=rows[0]["topic"], rows=len(rows), error=error)

    async def _send_each(self, shard: Shard, rows: Sequence[Row]) -> None:
        """One by one: a row that is refused again holds up what follows it in its key, and nothing else."""
        sent: list[Row] = []
        held_up: set[tuple[str, str]] = set()
        try:
            for row in rows:
                if (row["topic"], row["key"]) in held_up:
                    continue
                try:
                    await self._send_within_lease(shard, [row])
                except (RefusedError, UnclearError) as refusal:
                    held_up.add((row["topic"], row["key"]))
                    async with self._leases.connection() as connection:
                        await parked_rows.park_again(connection, row, str(refusal))
                else:
                    sent.append(row)
        finally:
            if sent:
                async with self._leases.connection() as connection:
                    await parked_rows.mark_published(connection, sent)

    async def _send_within_lease(self, shard: Shard, rows: Sequence[Row]) -> None:
        started = asyncio.get_running_loop().time()
        within = min(shard.deadline - started, self._send_s)
        if within <= 0:
            raise UnavailableError("the lease ran out")
        with send_span(shard.part, rows):
            await self._sink.publish(shard.part, rows, within)
        now = asyncio.get_running_loop().time()
        metrics.PUBLISH_SECONDS.observe(now - started)
        self._accepted.update({(shard.part, topic): now for topic in count_published(rows)})
        self._got_through(now)


def _not_stored(rows: list[Row], refused: Row) -> list[Row]:
    """Without those of its topic before it: a topic goes batch by batch, each acknowledged first."""
    place = next(n for n, row in enumerate(rows) if row["id"] == refused["id"])
    return [row for n, row in enumerate(rows) if n >= place or row["topic"] != refused["topic"]]


def _first_of_others(shard: Shard, culprit: Row, *, of_its_topic: bool) -> list[Row]:
    """Of each other key that may be sent, in its topic or in the others, the first row being sent."""
    first: dict[tuple[str, str], Row] = {}
    for row in shard.sending:
        key = row["topic"], row["key"]
        if (
            (row["topic"] == culprit["topic"]) is of_its_topic
            and key not in shard.blocked
            and key != (culprit["topic"], culprit["key"])
        ):
            first.setdefault(key, row)
    return list(first.values())


def count_published(rows: Sequence[Row]) -> dict[str, int]:
    """Counts them, and returns how many there were of each topic."""
    counts: dict[str, int] = {}
    for row in rows:
        topic = row["topic"]
        counts[topic] = counts.get(topic, 0) + 1
    for topic, count in counts.items():
        metrics.PUBLISHED.labels(topic).inc(count)
    return counts
