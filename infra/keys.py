"""Secrets of a development stack: made on the first start, in an ignored folder and nowhere else."""

import base64
import json
import os
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm


@dataclass(frozen=True, slots=True)
class Keys:
    """The files of one stack's secrets. All are readable by their owner only."""

    folder: Path

    @property
    def issuer_pem(self) -> Path:
        """RSA 2048 private key of the development token issuer, PKCS 8."""
        return self.folder / "issuer.pem"

    @property
    def jwks(self) -> Path:
        """Its public half as a JSON Web Key Set of one key, whose `kid` a token must name."""
        return self.folder / "jwks.json"

    @property
    def address_keys(self) -> Path:
        """`{"current": id, "keys": {id: 32 bytes in base64}}`: what orders encrypts addresses with."""
        return self.folder / "address-keys.json"

    @property
    def esewa_key(self) -> Path:
        """The text that eSewa and payments sign with."""
        return self.folder / "esewa.key"

    def password(self, role: str) -> str:
        """The database password of a role, made when it is first asked for."""
        path = self.folder / f"{role}.password"
        if not path.exists():
            _write(path, secrets.token_urlsafe(24))
        return path.read_text()


def ensure(folder: Path) -> Keys:
    """The secrets in the folder; what is missing is made, what is there stays."""
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    keys = Keys(folder)
    if not keys.jwks.exists():
        _make_issuer(keys)
    if not keys.address_keys.exists():
        _write(keys.address_keys, json.dumps(_address_keys()))
    if not keys.esewa_key.exists():
        _write(keys.esewa_key, secrets.token_urlsafe(24))
    return keys


def key_id(private: rsa.RSAPrivateKey) -> str:
    """The `kid` of a key: a fingerprint of its public half, the same wherever it is computed."""
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(public).hexdigest()[:16]


def _make_issuer(keys: Keys) -> None:
    """The private half first: a set of public keys that exists always has a private key beside it."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(keys.issuer_pem, pem.decode())
    public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    _write(keys.jwks, json.dumps({"keys": [public | {"kid": key_id(private), "use": "sig", "alg": "RS256"}]}))


def _address_keys() -> dict[str, object]:
    name = secrets.token_hex(4)
    return {"current": name, "keys": {name: base64.b64encode(secrets.token_bytes(32)).decode()}}


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    unfinished = path.with_suffix(".unfinished")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    unfinished.rename(path)
