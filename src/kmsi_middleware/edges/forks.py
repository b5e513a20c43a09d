"""What must not be shared with a forked child: locks, and connections to SQLite.

A server that loads the app before it forks (``gunicorn --preload``) copies them into every worker, where a
lock may be held by a thread that does not exist, and a connection breaks the file. Whoever owns such things
gives them up in the child by :func:`renew_after_fork`.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    def renew(self) -> None:
        """Called in the child, before it has a second thread: make new locks, forget connections unclosed."""


_owners: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(owner: Renewable) -> None:
    """Call ``owner.renew()`` in every child forked from now on, for as long as ``owner`` lives."""
    _owners.add(owner)


def _renew_all() -> None:
    for owner in list(_owners):
        owner.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_all)
