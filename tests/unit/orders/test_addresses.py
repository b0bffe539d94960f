"""Sealed addresses: readable with the key and the order, unreadable otherwise."""

import json
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from services.chassis.ids import new_id
from services.orders.addresses import Addresses

ADDRESS = {"name": "Sita Sharma", "phone": "+9779800000001", "city": "Lalitpur"}


def keys(folder: Path, current: str, **known: bytes) -> Addresses:
    path = folder / "keys.json"
    said = {"current": current, "keys": {name: b64encode(key).decode() for name, key in known.items()}}
    path.write_text(json.dumps(said))
    return Addresses.read(path)


def test_what_is_sealed_opens_again_and_shows_nothing(tmp_path: Path) -> None:
    addresses, order = keys(tmp_path, "k1", k1=bytes(32)), new_id()
    sealed = addresses.seal(order, ADDRESS)
    assert addresses.open(order, sealed) == ADDRESS
    assert b"Sita" not in sealed
    assert sealed != addresses.seal(order, ADDRESS), "the same address twice looks different"


def test_it_opens_only_for_its_own_order_and_unchanged(tmp_path: Path) -> None:
    addresses, order = keys(tmp_path, "k1", k1=bytes(32)), new_id()
    sealed = addresses.seal(order, ADDRESS)
    with pytest.raises(InvalidTag):
        addresses.open(new_id(), sealed)
    with pytest.raises(InvalidTag):
        addresses.open(order, sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_an_old_key_still_opens_what_it_sealed(tmp_path: Path) -> None:
    order, old = new_id(), bytes(32)
    sealed = keys(tmp_path, "k1", k1=old).seal(order, ADDRESS)
    changed = keys(tmp_path, "k2", k1=old, k2=bytes(range(32)))
    assert changed.open(order, sealed) == ADDRESS
    assert changed.seal(order, ADDRESS)[1:3] == b"k2"


@pytest.mark.parametrize(("current", "known"), [("k2", {"k1": bytes(32)}), ("k1", {"k1": bytes(16)})])
def test_keys_that_cannot_work_are_refused_at_the_start(
    tmp_path: Path, current: str, known: dict[str, bytes]
) -> None:
    with pytest.raises(ValueError, match="address keys"):
        keys(tmp_path, current, **known)
