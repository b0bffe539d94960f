"""A token issuer for tests: one key pair per process, its JWKS in a file."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from infra.issuer import Issuer
from infra.keys import key_id

NAME = "https://issuer.test"
AUDIENCE = "kb-api"


@cache
def private_key() -> rsa.RSAPrivateKey:
    """Made once; a key costs a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def jwk_of(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    public: dict[str, Any] = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return public | {"kid": key_id(key), "use": "sig", "alg": "RS256"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """The issuer, and the file its verifiers read."""

    issuer: Issuer
    jwks: Path


def tokens_in(folder: Path) -> Tokens:
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps({"keys": [jwk_of(private_key())]}))
    return Tokens(Issuer(private_key(), NAME, AUDIENCE), jwks)
