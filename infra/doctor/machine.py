"""What this machine says: whether the stack and its processes answer, keys can be read, disks have room."""

import json
import shutil
from typing import Final

import httpx2
import jwt

from infra import stack
from infra.doctor.findings import Finding, Patient
from infra.installation import NotRunningError

ANSWERS_WITHIN_S: Final = 3.0
LEAST_FREE_SHARE: Final = 0.05
GIB: Final = 2**30


async def running(patient: Patient) -> list[Finding]:
    """Whether the stack that wrote its addresses down still runs."""
    assert patient.place.folder is not None
    try:
        stack.describe(patient.place.folder)
    except NotRunningError as error:
        what, _, do = str(error).rpartition(": ")
        return [Finding(f"{what}; the addresses here are those of its last run", do)]
    return []


async def processes(patient: Patient) -> list[Finding]:
    """Processes that do not answer, or that say they cannot work."""
    found: list[Finding] = []
    async with httpx2.AsyncClient(timeout=ANSWERS_WITHIN_S, trust_env=False) as client:
        for name, url in patient.place.services.items():
            if said := await _unready(client, url):
                found.append(
                    Finding(f"{name} is not ready: {said}", f"its log says why (.run/*/logs/{name}.log)")
                )
    return found


async def _unready(client: httpx2.AsyncClient, url: str) -> str | None:
    try:
        answer = await client.get(f"{url}/readyz")
    except httpx2.HTTPError as error:
        return f"no answer ({type(error).__name__})"
    return None if answer.status_code == httpx2.codes.OK else answer.text[:300]


async def keys(patient: Patient) -> list[Finding]:
    """Whether a service that starts now could verify a token."""
    assert patient.jwks is not None
    do = "services keep the keys they have and cannot start anew: restore the file (KB_JWKS_FILE)"
    try:
        told = json.loads(patient.jwks.read_bytes())["keys"]
        readable = [jwt.PyJWK(one, algorithm="RS256") for one in told]
    except OSError as error:
        return [Finding(f"the key set cannot be read: {error.strerror}", do)]
    except (ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
        return [Finding(f"the key set is none: {type(error).__name__}", do)]
    return [] if readable else [Finding("the key set is empty: every token is refused", do)]


async def disk(patient: Patient) -> list[Finding]:
    """Whether the disk below a stack has room; a server elsewhere is watched there."""
    folder = patient.place.folder
    assert folder is not None
    room = shutil.disk_usage(folder)
    if room.free >= max(patient.least_free_bytes, LEAST_FREE_SHARE * room.total):
        return []
    return [
        Finding(
            f"only {room.free / GIB:.1f} GiB of {room.total / GIB:.0f} GiB are free below {folder.name}",
            "make room: a full disk stops PostgreSQL and Kafka at once",
        )
    ]
