"""Examining a whole installation: what is wrong, and what to do about each thing that is."""

from infra.doctor.command import doctor_command

__all__ = ["doctor_command"]
