"""Finding one story by any of its ids: who knows it, what happened when, what it waits for, and why."""

from infra.find.command import find_command

__all__ = ["find_command"]
