"""Torture of the outbox: writers that do all a transaction can do, relays that freeze and die, a judge.

Each torture takes its size or duration and returns a result, so that a test runs it short and a bench long.
"""
