"""The audit's judgement without what the run itself has planted: records that nobody of ours has told."""

from dataclasses import replace

from contracts.topics import BY_NAME
from infra.audit.promises import Finding, Violation
from infra.audit.report import Report
from tests.chaos.ground import Ground
from tests.support.topic_log import read_all

BLAMED = "EVT-2"
"""Everything else must hold of strange records too."""


async def without_planted(found: Report, ground: Ground) -> Report:
    """The same report; of EVT-2 only what the run did not do itself is left."""
    if BLAMED not in found.broken:
        return found
    records = await read_all(ground.kafka, list(BY_NAME))
    places = {f"{one.topic}[{one.partition}]@{one.offset}" for one in records if one.key in ground.planted}
    judged = tuple(
        replace(one, finding=_without(one.finding, places)) if one.promise.id == BLAMED else one
        for one in found.judged
    )
    return replace(found, judged=judged)


def _without(finding: Finding, places: set[str]) -> Finding:
    left = []
    for violation in finding.violations:
        ids = tuple(one for one in violation.ids if one.rpartition(" ")[2] not in places)
        if ids:
            left.append(Violation(ids, violation.what))
    return replace(finding, violations=tuple(left))
