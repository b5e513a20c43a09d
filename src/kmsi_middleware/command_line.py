"""What the commands of ``kmsi`` share: instants, tables, the sign-in log, and how they say no."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .edges.sign_in_log import SignInLog, beside
from .rules.sign_in_log import clean_text
from .vocabulary.addresses import without_password
from .vocabulary.settings import default_text, described

TIMES = (
    "TIME is ISO 8601, in UTC unless it says otherwise (2026-11-21, 2026-11-21T09:30+01:00), or how long ago: 90s, "
    "15m, 2h, 3d, 1w."
)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class WrongUse(Exception):
    """The command was asked for wrongly: exit code 2."""


class NotDone(Exception):
    """The command could not be done: exit code 1."""


def ago(text: str) -> int | None:
    """``90s``, ``15m``, ``2h``, ``3d``, ``1w`` in seconds; ``None`` for anything else."""
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip())
    return int(found[1]) * _UNITS[found[2]] if found else None


def instant(text: str, now: float) -> float:
    """The argument TIME, in seconds since 1970."""
    seconds = ago(text)
    if seconds is not None:
        return now - seconds
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: give 2026-11-21, 2026-11-21T09:30Z, or how long ago, as 2h or 3d"
        ) from None


def check_period(since: float | None, until: float | None) -> None:
    if since is not None and until is not None and since >= until:
        raise WrongUse("--since must be before --until")


def store_text(store: str | None) -> str:
    """The session store: the argument, ``KMSI_STORE``, or the default."""
    if store is not None:
        return store
    default = next(default_text(item) for item in described() if item.name == "store")
    return os.environ.get("KMSI_STORE", default)  # an empty one is an empty value, as for all settings


def sign_in_log(store: str | None) -> SignInLog:
    """The sign-in log beside a session store: the argument, ``KMSI_STORE``, or the default."""
    store = store_text(store)
    kind, _, place = store.partition(":")
    if kind == "memory" or kind.partition("+")[0] in ("redis", "rediss"):
        raise WrongUse(
            f"with the store {without_password(store)!r} there is no sign-in log on disk; its records are on the "
            "logger kmsi_middleware.sign_ins"
        )
    if kind != "sqlite" or not place:
        raise WrongUse(f"the store {without_password(store)!r} is none that has a sign-in log: give sqlite:PATH")
    path = beside(Path(place))
    if not path.exists():
        raise NotDone(f"there is no sign-in log at {path} yet; --store sqlite:PATH or KMSI_STORE says where to look")
    return SignInLog(path, days=1)


def terminal_width() -> int | None:
    """A table for a person fits the terminal; a file or a pipe gets everything (``None``)."""
    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else None


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, shrink: Iterable[tuple[int, int]] = ()
) -> None:
    """A table with straight columns. ``shrink``: columns that give way, in this order, and the least that they
    keep. Without rows nothing is printed."""
    table = [tuple(headings), *(tuple(clean_text(cell) for cell in row) for row in rows)]
    if len(table) == 1:
        return
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    width = terminal_width()
    if width is not None:
        room = width - 2 * (len(sizes) - 1)
        for column, least in shrink:
            excess = max(0, sum(sizes) - room)
            sizes[column] = max(min(sizes[column], least), sizes[column] - excess)
    for row in table:
        cells = (cell if len(cell) <= size else cell[: size - 1] + "…" for cell, size in zip(row, sizes, strict=True))
        print("  ".join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=True)).rstrip())
