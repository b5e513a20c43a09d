"""What could not be saved just now and must not be lost: kept in the process until it can be.

It is sealed as in the store. What it is for is rare, so it is bounded by number alone; the oldest goes.
"""

from __future__ import annotations

MOST_KEPT = 10_000


class Aside:
    """Payloads by key."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}

    def put(self, key: bytes, payload: bytes) -> None:
        """Keep a payload, or forget what there is if it is empty."""
        self._kept.pop(key, None)
        if payload:
            self._kept[key] = payload
            if len(self._kept) > MOST_KEPT:
                self._kept.pop(next(iter(self._kept)), None)

    def read(self, key: bytes) -> bytes:
        return self._kept.get(key, b"")
