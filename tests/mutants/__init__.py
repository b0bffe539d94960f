"""Bugs planted on purpose, one at a time: a test suite that lives with one of them has a hole."""
