"""`make bench` means what it says: every command that measures is in it."""

from typer.core import TyperGroup
from typer.main import get_command

from bench import everything
from bench.__main__ import app

MEASURES_NOTHING = {"all", "profile"}


def test_every_measurement_is_one_of_all_and_the_minutes_are_told() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    commands = group.commands
    assert {one.arguments[0] for one in everything.MEASUREMENTS} == set(commands) - MEASURES_NOTHING
    minutes = sum(one.minutes for one in everything.MEASUREMENTS)
    assert f"about {minutes} minutes" in str(commands["all"].help)
