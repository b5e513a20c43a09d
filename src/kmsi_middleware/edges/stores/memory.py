"""Sessions in this process's memory: for tests, and gone with the process.

1. Writes hold a lock. A ``load`` does not: it looks into one dict once.
2. A write makes its slot's count odd before it changes anything, and even afterwards (:mod:`.counters`).
3. What is over is dropped by writes, a few keys each, in the order of a heap that holds the instants.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush, nsmallest
from threading import Lock
from typing import TypeVar

from ...vocabulary.effects import SLOTS, slot_of
from ...vocabulary.errors import SignInRevoked, StoreConflict
from ...vocabulary.session import EVERYBODY, TOMBSTONE_SECONDS, EndReason, Mark, Session, Tombstone, later

Name = TypeVar("Name", bytes, str)

SWEEP_STEP = 4
"""Keys that one write looks at; it adds one at most."""


class MemoryStore:
    """The store behind ``memory:``."""

    inline = True
    inline_writes = True
    asynchronous = None
    reads_versions = False

    def __init__(self) -> None:
        self._lock = Lock()
        self._sessions: dict[bytes, Session | Tombstone] = {}
        self._keys_by_sid: dict[str, dict[bytes, None]] = {}
        self._keys_by_user: dict[bytes, dict[bytes, None]] = {}
        self._marks: dict[bytes, tuple[int, Mark]] = {}
        self._tickets: dict[bytes, tuple[int, bytes]] = {}
        self._over: list[tuple[int, bytes]] = []
        self._counters = array("Q", bytes(8 * SLOTS))

    # Sessions ---------------------------------------------------------------------------------------------

    def load(self, key: bytes, now: float) -> Session | Tombstone | None:
        kept = self._sessions.get(key)
        return kept if kept is not None and now < _gone_at(kept) else None

    def create(self, session: Session, now: float) -> None:
        with self._writing(session.key, now):
            if self.load(session.key, now) is not None:
                raise StoreConflict("the key is taken")
            if self._mark(session.mark_keys, now).stops(session.begun_at):
                raise SignInRevoked("revoked since the sign-in began")
            self._put(session.key, session)

    def save(self, session: Session, now: float) -> None:
        with self._writing(session.key, now):
            kept = self.load(session.key, now)
            if not isinstance(kept, Session) or kept.version != session.version - 1:
                raise StoreConflict("the session was saved by another or has ended")
            self._put(session.key, session)

    def end(self, key: bytes, reason: EndReason, now: float) -> bool:
        with self._writing(key, now):
            kept = self.load(key, now)
            if not isinstance(kept, Session):
                return False
            self._put(key, Tombstone(reason, int(now), kept.correlation_id))
            return True

    def end_many(self, keys: Sequence[bytes], reason: EndReason, now: float) -> int:
        return sum(self.end(key, reason, now) for key in keys)

    def find(self, sid: str, issuer: str | None, now: float) -> list[Session]:
        with self._lock:
            kept = [self._sessions[key] for key in self._keys_by_sid.get(sid, ())]
        return [session for session in _live(kept, now) if issuer is None or session.issuer == issuer]

    def find_user(self, user: bytes, now: float) -> list[Session]:
        with self._lock:
            kept = [self._sessions[key] for key in self._keys_by_user.get(user, ())]
        return _live(kept, now)

    def page(self, cursor: bytes, limit: int, now: float) -> tuple[list[Session], bytes]:
        with self._lock:
            keys = nsmallest(limit, (key for key in self._sessions if key > cursor))
            kept = [self._sessions[key] for key in keys]
        return _live(kept, now), keys[-1] if len(keys) == limit else b""

    # Marks ------------------------------------------------------------------------------------------------

    def read_mark(self, keys: Sequence[bytes], now: float) -> Mark:
        with self._lock:
            return self._mark(keys, now)

    def _mark(self, keys: Sequence[bytes], now: float) -> Mark:
        marks = (self._marks.get(key, (0, Mark())) for key in (*keys, EVERYBODY))
        return later(*(mark for until, mark in marks if now < until))

    def put_mark(self, key: bytes, mark: Mark, until: int, now: float) -> None:
        with self._lock:
            self._sweep(now)
            before, old = self._marks.get(key, (0, Mark()))
            if now < before:
                mark, until = later(mark, old), max(until, before)
            self._marks[key] = (until, mark)
            heappush(self._over, (until, key))

    # Tickets ----------------------------------------------------------------------------------------------

    def put_ticket(self, key: bytes, payload: bytes, expires_at: int, now: float) -> bool:
        with self._lock:
            self._sweep(now)
            if self.read_ticket(key, now) is not None:
                return False
            self._tickets[key] = (expires_at, payload)
            heappush(self._over, (expires_at, key))
            return True

    def read_ticket(self, key: bytes, now: float) -> bytes | None:
        expires_at, payload = self._tickets.get(key, (0, None))
        return payload if now < expires_at else None

    def take_ticket(self, key: bytes, now: float) -> bytes | None:
        with self._lock:
            payload = self.read_ticket(key, now)
            if payload is not None:
                del self._tickets[key]
            return payload

    # The process's side -------------------------------------------------------------------------------------

    def counters(self) -> Sequence[int] | None:
        return self._counters

    def version(self, key: bytes) -> int | None:
        kept = self._sessions.get(key)
        return kept.version if isinstance(kept, Session) else None

    def close(self) -> None:
        """Nothing to close; what is kept stays."""

    @contextmanager
    def _writing(self, key: bytes, now: float) -> Iterator[None]:
        slot = slot_of(key)
        with self._lock:
            self._counters[slot] += 1
            try:
                self._sweep(now)
                yield
            finally:
                self._counters[slot] += 1

    def _put(self, key: bytes, new: Session | Tombstone | None) -> None:
        old = self._sessions.get(key)
        if isinstance(old, Session):
            for sid in old.sids:
                _remove(self._keys_by_sid, sid, key)
            for user in old.user_keys:
                _remove(self._keys_by_user, user, key)
        if new is None:
            self._sessions.pop(key, None)
            return
        self._sessions[key] = new
        if old is None or _gone_at(new) < _gone_at(old):
            heappush(self._over, (_gone_at(new), key))
        if isinstance(new, Session):
            for sid in new.sids:
                self._keys_by_sid.setdefault(sid, {})[key] = None
            for user in new.user_keys:
                self._keys_by_user.setdefault(user, {})[key] = None

    def _sweep(self, now: float) -> None:
        """Drop what is over. Every key that is kept is in the heap, at its instant or before it."""
        for _ in range(SWEEP_STEP):
            if not self._over or now < self._over[0][0]:
                return
            _, key = heappop(self._over)
            kept = self._sessions.get(key)
            if kept is not None and now >= _gone_at(kept):
                self._put(key, None)
            elif kept is not None:
                heappush(self._over, (_gone_at(kept), key))
            ticket = self._tickets.get(key)
            if ticket is not None and now >= ticket[0]:
                del self._tickets[key]
            mark = self._marks.get(key)
            if mark is not None and now >= mark[0]:
                del self._marks[key]


def _live(kept: Iterable[Session | Tombstone], now: float) -> list[Session]:
    return [session for session in kept if isinstance(session, Session) and now < session.expires_at]


def _remove(index: dict[Name, dict[bytes, None]], name: Name, key: bytes) -> None:
    keys = index.get(name, {})
    keys.pop(key, None)
    if not keys:
        index.pop(name, None)


def _gone_at(kept: Session | Tombstone) -> int:
    """The instant from which it counts as absent."""
    return (kept.expires_at if isinstance(kept, Session) else kept.ended_at) + TOMBSTONE_SECONDS
