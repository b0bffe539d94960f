"""Shipping addresses, sealed: AES-GCM with the key's id in front, bound to the order they belong to."""

import json
import secrets
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Addresses:
    """Seals with the current key and opens with any key that is still known, so that keys can be changed.

    A sealed address is: length of the key id, key id, nonce, ciphertext with tag. The order's id is
    authenticated with it, so one address copied to another order does not open.
    """

    current: str
    keys: Mapping[str, AESGCM]

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a JSON file `{"current": id, "keys": {id: base64 of 32 bytes}}`; raises ValueError."""
        said = json.loads(path.read_bytes())
        keys = {key_id: b64decode(text, validate=True) for key_id, text in said["keys"].items()}
        if said["current"] not in keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError("the address keys need a current one, and 32 bytes each")
        return cls(said["current"], {key_id: AESGCM(key) for key_id, key in keys.items()})

    def seal(self, order_id: UUID, address: Mapping[str, Any]) -> bytes:
        """The address, unreadable without the key."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        key_id = self.current.encode()
        sealed = self.keys[self.current].encrypt(nonce, orjson.dumps(dict(address)), order_id.bytes)
        return bytes([len(key_id)]) + key_id + nonce + sealed

    def open(self, order_id: UUID, sealed: bytes) -> dict[str, Any]:
        """The address again; raises cryptography's InvalidTag when it was changed or belongs elsewhere."""
        length = sealed[0] + 1
        key_id, nonce = sealed[1:length].decode(), sealed[length : length + NONCE_BYTES]
        plain = self.keys[key_id].decrypt(nonce, sealed[length + NONCE_BYTES :], order_id.bytes)
        address: dict[str, Any] = orjson.loads(plain)
        return address
