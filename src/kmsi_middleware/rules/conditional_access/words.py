"""Policies and durations in words, for tables and findings."""

from __future__ import annotations

from ...vocabulary.settings import DAY
from .policy import Policy


def duration(seconds: int) -> str:
    """``3 days``, ``1 hour``, in the largest unit that fits without a rest."""
    for unit, size in (("day", DAY), ("hour", 3_600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            number = seconds // size
            return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
    return f"{seconds} seconds"


def often(seconds: int | None) -> str:
    """A sign-in frequency; ``None``: every time."""
    return "every time" if seconds is None else f"every {duration(seconds)}"


def controls_of(policy: Policy) -> list[str]:
    """A policy's controls."""
    words = []
    if policy.grant is not None:
        words.append(f" {policy.grant.operator} ".join(policy.grant.controls))
    if policy.sign_in_frequency is not None:
        factor = " (second factor)" if policy.sign_in_frequency.second_factor_only else ""
        words.append(f"sign in {often(policy.sign_in_frequency.seconds)}{factor}")
    if policy.persistent_browser is not None:
        words.append(f"persistent browser: {policy.persistent_browser}")
    return words
