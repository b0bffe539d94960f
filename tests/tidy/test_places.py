"""No file names a package registry, a path of one machine, or a secret."""

import re
from pathlib import Path

import pytest

from tests.support.source import files, text_of

# Letters in brackets, so that this file does not offend itself.
REGISTRIES = re.compile(
    r"https?://[^\s/]*(?:pyp[i]|pythonhoste[d]|mave[n]|npmj[s]|golan[g]|crate[s]|debia[n])[^\s/]*",
    re.IGNORECASE,
)
MACHINE = re.compile(r"(?<![\w.])/(?:wor[k]|roo[t]|hom[e])/\w")
SECRET = re.compile(r"-----BEGIN (?:RSA |EC )?PRIVATE KE[Y]-----")
TEXT = tuple(path for path in files() if path.suffix not in (".png", ".ico", ".woff2"))


def offences(text: str) -> list[str]:
    return [found.group() for rule in (REGISTRIES, MACHINE, SECRET) for found in rule.finditer(text)]


@pytest.mark.parametrize("path", TEXT, ids=str)
def test_a_file_could_lie_on_any_machine(path: Path) -> None:
    assert offences(text_of(path)) == []


PLANTED = (
    "https://repo.{}.example/x".format("maven"),
    "/{}/main".format("work"),
    "-----BEGIN PRIVATE {}-----".format("KEY"),
)


@pytest.mark.parametrize("planted", PLANTED)
def test_the_rule_sees_an_offence(planted: str) -> None:
    assert offences(planted) != []
