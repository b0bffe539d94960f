"""Who asks: bearer tokens (RS256, RFC 9068), checked again by every service that is asked."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Annotated, Any, Final
from uuid import UUID

import jwt
from fastapi import Depends, Request
from starlette.datastructures import Headers

from contracts.http import CANONICAL_ID
from services.chassis.errors import Problem

ROLES: Final = frozenset({"customer", "vendor", "stylist", "support", "operator", "admin", "service"})
LONGEST_LIFE_S: Final = 3600
CLOCK_SKEW_S: Final = 2
REMEMBERED: Final = 10_000
MOST_HEADS: Final = 100
REQUIRED: Final = ["iss", "aud", "exp", "iat", "sub", "roles"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The subject of a verified token; `vendor_id` is set for vendors."""

    subject: UUID
    roles: frozenset[str]
    vendor_id: UUID | None = None
    expires_at: float = field(default=0.0, compare=False)
    """Unix seconds; a live stream ends then."""


class TokenVerifier:
    """Verifies tokens against a JWKS file, which is read again when a token names a key it did not know."""

    def __init__(self, jwks_file: Path, *, issuer: str, audience: str) -> None:
        self.jwks_file = jwks_file
        self.issuer = issuer
        self.audience = audience
        self.keys: dict[str, jwt.PyJWK] = {}
        self.read_at_ns = 0
        self.verified: OrderedDict[bytes, Principal] = OrderedDict()
        self.heads: dict[str, str] = {}
        """The key named by each first part of a token that was verified: an issuer's tokens share theirs."""

    def verify(self, token: str) -> Principal:
        """The principal of a token; raises 401 `INVALID_TOKEN`, saying nothing about why.

        A signature costs as much as a small transaction, so verified tokens are remembered by their hash,
        at most 10,000, none beyond its `exp`.
        """
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self.verified.get(digest)
        if known is not None and time() < known.expires_at:
            self.verified.move_to_end(digest)
            return known
        try:
            principal = self._verify(token)
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            raise _invalid_token() from None
        self.verified[digest] = principal
        if len(self.verified) > REMEMBERED:
            self.verified.popitem(last=False)
        return principal

    def _verify(self, token: str) -> Principal:
        said = token.partition(".")[0]
        kid = self.heads.get(said) or _kid(token)
        claims = jwt.decode(
            token,
            self._key(kid),
            algorithms=["RS256"],
            audience=self.audience,
            issuer=self.issuer,
            leeway=CLOCK_SKEW_S,
            options={"require": REQUIRED},
        )
        if claims["exp"] - claims["iat"] > LONGEST_LIFE_S:
            raise jwt.InvalidTokenError
        if len(self.heads) < MOST_HEADS:
            self.heads[said] = kid
        return _principal(claims)

    def _key(self, kid: str) -> jwt.PyJWK:
        if kid not in self.keys:
            self._read_keys()
        return self.keys[kid]

    def _read_keys(self) -> None:
        changed_at = self.jwks_file.stat().st_mtime_ns if self.jwks_file.exists() else 0
        if changed_at == self.read_at_ns:
            return
        found = json.loads(self.jwks_file.read_bytes())["keys"]
        self.keys = {one["kid"]: jwt.PyJWK(one, algorithm="RS256") for one in found}
        self.read_at_ns = changed_at
        self.verified.clear()
        self.heads.clear()


def _kid(token: str) -> str:
    """The key the token names, of a token that says it is for access."""
    header = jwt.get_unverified_header(token)
    if str(header.get("typ", "")).lower() != "at+jwt":
        raise jwt.InvalidTokenError
    kid: str = header["kid"]
    return kid


def _principal(claims: dict[str, Any]) -> Principal:
    roles = frozenset(claims["roles"])
    vendor = claims.get("vendor_id")
    if not roles or not roles <= ROLES or ("vendor" in roles and vendor is None):
        raise ValueError
    vendor_id = None if vendor is None else _id(vendor)
    return Principal(_id(claims["sub"]), roles, vendor_id, float(claims["exp"]))


def _id(text: str) -> UUID:
    if not CANONICAL_ID.fullmatch(text):
        raise ValueError
    return UUID(text)


def _invalid_token() -> Problem:
    challenge = 'Bearer realm="kb-api", error="invalid_token"'
    return Problem(401, "INVALID_TOKEN", headers={"WWW-Authenticate": challenge})


def bearer(headers: Headers) -> str:
    """The one bearer token of a request; raises 401."""
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(401, "UNAUTHENTICATED", headers={"WWW-Authenticate": 'Bearer realm="kb-api"'})
    return token.strip()


async def principal_of(request: Request) -> Principal:
    """Who asks; raises 401. A coroutine, since FastAPI would give a plain function a thread."""
    verifier: TokenVerifier = request.app.state.verifier
    principal = verifier.verify(bearer(request.headers))
    request.scope["principal"] = principal
    return principal


Caller = Annotated[Principal, Depends(principal_of)]
"""Anybody with a valid token."""


def require(*roles: str) -> Callable[[Principal], Awaitable[Principal]]:
    """A dependency that gives the caller if it has any of these roles; raises 401, 403."""
    wanted = frozenset(roles)

    async def check(caller: Caller) -> Principal:
        if not caller.roles & wanted:
            raise Problem(403, "FORBIDDEN")
        return caller

    return check
