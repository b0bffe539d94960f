"""The development issuer: tokens as a real identity provider would make them (RFC 9068)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Self
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infra.keys import key_id

LONGEST_LIFE_S = 3600


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs tokens with one key; `name` is the `iss` every service expects."""

    key: RSAPrivateKey
    name: str
    audience: str = "kb-api"

    @classmethod
    def read(cls, pem: Path, name: str, audience: str = "kb-api") -> Self:
        """The issuer whose private key is in that file."""
        key = load_pem_private_key(pem.read_bytes(), password=None)
        assert isinstance(key, RSAPrivateKey)
        return cls(key, name, audience)

    def make_token(
        self,
        *,
        subject: UUID,
        roles: Iterable[str],
        vendor_id: UUID | None = None,
        lives_s: int = LONGEST_LIFE_S,
    ) -> str:
        """A signed access token, good for `lives_s` seconds (at most 3,600)."""
        now = int(time())
        claims = {
            "iss": self.name,
            "aud": self.audience,
            "sub": str(subject),
            "roles": sorted(roles),
            "iat": now,
            "exp": now + min(lives_s, LONGEST_LIFE_S),
            "jti": str(uuid4()),
        }
        if vendor_id is not None:
            claims["vendor_id"] = str(vendor_id)
        return jwt.encode(claims, self.key, "RS256", {"typ": "at+jwt", "kid": key_id(self.key)})
