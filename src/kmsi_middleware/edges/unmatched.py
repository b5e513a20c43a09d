"""Requests that match no transaction and no session: counted, never stored, so that nobody can fill a log.

1. Counted by kind (a callback without a transaction, a logout for an unknown ``sid``, …) and by address; an
   IPv6 address by its /64, which is what one subscriber has (RFC 6177).
2. Bounded: ``tracked`` pairs of kind and address; the one that was quiet for longest goes.
3. An address that has used up its minute is worth a warning; at most one line a minute is written.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections import OrderedDict

from ..rules.sign_in_log import clean_text
from .forks import renew_after_fork

_log = logging.getLogger("kmsi_middleware")
_MINUTE = 60.0


class UnmatchedCounter:
    """Counts of one process. ``limit`` is misses a minute for each kind and address."""

    def __init__(self, *, limit: int = 60, tracked: int = 4096) -> None:
        self._limit = limit
        self._tracked = tracked
        self._windows: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._totals: dict[str, int] = {}
        self._warned_at: float | None = None
        self._lock = threading.Lock()
        renew_after_fork(self)

    def hit(self, kind: str, address: str, now: float) -> bool:
        """Count one miss. Answer: whether it is among the first ``limit`` of its minute.

        ``kind`` is a word of ours, never of the request. Requests without an address (a Unix socket) are counted
        and never limited: they may be anybody's, so one person could lock out all.
        """
        network = _network(address)
        with self._lock:
            self._totals[kind] = self._totals.get(kind, 0) + 1
            since, count = self._window(kind, network, now)
            self._windows.pop((kind, network), None)  # to come last
            self._windows[kind, network] = since, count + 1
            if len(self._windows) > self._tracked:
                self._windows.popitem(last=False)
            quiet = self._warned_at is None or not 0 <= now - self._warned_at < _MINUTE
            warn = count + 1 >= self._limit and quiet
            if warn:
                self._warned_at = now
                totals = dict(self._totals)
        if warn:
            _log.warning(
                "%d or more unmatched requests (%s) within a minute from %s; since the start: %s",
                self._limit,
                kind,
                network or "an unknown address",
                ", ".join(f"{name} {total}" for name, total in sorted(totals.items())),
            )
        return count < self._limit or not network

    def allows(self, kind: str, address: str, now: float) -> bool:
        """Whether one more miss would be among the first ``limit`` of its minute. Counts nothing."""
        network = _network(address)
        with self._lock:
            return self._window(kind, network, now)[1] < self._limit or not network

    def totals(self) -> dict[str, int]:
        """How many misses of each kind this process has seen since its start."""
        with self._lock:
            return dict(self._totals)

    def renew(self) -> None:
        """See :mod:`.forks`. The counts go on from the parent's."""
        self._lock = threading.Lock()

    def _window(self, kind: str, network: str, now: float) -> tuple[float, int]:
        """The beginning of the minute that counts, and the misses in it."""
        since, count = self._windows.get((kind, network), (now, 0))
        return (since, count) if since <= now < since + _MINUTE else (now, 0)


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return clean_text(address, 64)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return f"{ipaddress.IPv6Address(int(ip) >> 64 << 64)}/64"
    return str(ip)
