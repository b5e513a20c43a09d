"""What the tests of ``kmsi`` share."""

from __future__ import annotations

from collections.abc import Callable

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
HOUR, DAY = 3_600, 86_400
Run = Callable[..., tuple[int, str, str]]
"""Runs ``kmsi`` with these arguments; tells its exit code, and what it wrote to either stream."""
