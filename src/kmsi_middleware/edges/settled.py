"""The fast path: sessions that this process has looked at, and about which nothing is to be done.

A session is *settled* until an instant, for as long as the store's counter of its slot stays what it was when
the session was loaded. Then the request is passed on, and no flow runs. Everything else is for the flow.

1. The counter is read before the load and compared after it; an odd one (a write is under way) is not believed.
   So a request that starts after a revocation was answered, in whatever process, does not pass here. The counters
   are asked for anew every time: those of a store that was closed since may be another file's by now.
2. Sessions are found by the token's SHA-256, as in the store, so that no comparison's time tells of a token.
3. Where :func:`SettledSessions.peek` answers, the flow would have forwarded the same session, and asked for
   nothing but the load.
4. A store whose counters can't tell may tell a session's version instead, for less than a load costs
   (``reads_versions``): :meth:`SettledSessions.ask`. It is asked after the request came in, so rule 1 holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import anyio.to_thread

from ..rules.app_data import kept
from ..rules.cookies import LONGEST_HEADER, TOKEN_LENGTH
from ..vocabulary.effects import SessionStore, slot_of
from ..vocabulary.errors import StoreUnavailable
from ..vocabulary.session import Session
from .forks import renew_after_fork
from .identity import User, fixed
from .keeping import is_asyncio

_SEMICOLON = ord(";")
MOST_SESSIONS = 20_000
"""How many sessions a process keeps at hand; the one that was put there first goes."""
MOST_INPUTS = 32
"""How many combinations of inputs one of them is remembered with."""
UNVOUCHED = -1
"""The stamp of a session that no count vouches for: none is ever that."""


def _fixed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(fixed(dict(given)))


class Settled:
    """One settled session, ready to be handed to the app."""

    __slots__ = ("generation", "granted", "new_data", "session", "slot", "stamp", "until", "user")

    def __init__(self, session: Session, user: User, until: int, slot: int, stamp: int) -> None:
        self.generation = 0
        self.granted: dict[Hashable, int] = {}
        """Where policies have a say: until when, for which inputs (:mod:`.watch`)."""
        self.session = session
        self.user = user
        self.new_data = kept(session.data)
        self.until = until
        self.slot = slot
        self.stamp = stamp

    def is_as_good_as(self, other: Settled) -> bool:
        """Whether what was granted under this one holds for the other."""
        return (self.stamp, self.generation, self.session.version) == (
            other.stamp,
            other.generation,
            other.session.version,
        )


class SettledSessions:
    """The settled sessions of one process."""

    __slots__ = ("__weakref__", "_by_key", "_clock", "_counters", "_lock", "_store", "_user_claim", "asks")

    def __init__(self, store: SessionStore, clock: Callable[[], float], user_claim: str) -> None:
        self.asks = store.reads_versions
        """Whether to :meth:`ask` instead of :meth:`peek`."""
        self._store = store
        self._counters = store.counters
        self._clock = clock
        self._user_claim = user_claim
        self._by_key: dict[bytes, Settled] = {}
        self._lock = threading.Lock()
        renew_after_fork(self)

    def renew(self) -> None:
        """See :mod:`.forks`. What is at hand stays good: the counters are shared with the parent."""
        self._lock = threading.Lock()

    def peek(self, cookies: bytes, at: int, length: int, unsure: bool = False) -> Settled | None:
        """The settled session that a Cookie header leads to, or ``None``: then ask the flow.

        ``at``: where in it the session cookie's name was found last; ``length``: that of the name and equals sign.
        ``unsure``: whatever the store's counters say.
        """
        if at and cookies[:at].rstrip(b" ")[-1:] != b";":
            return None  # a blank alone is no boundary: a stranger's cookie may have one in its value
        begin = at + length
        end = begin + TOKEN_LENGTH
        settled = self._by_key.get(sha256(cookies[begin:end]).digest())
        if settled is None:
            return None
        try:
            counters = None if unsure else self._counters()
        except StoreUnavailable:
            return None
        if (
            (unsure or (counters is not None and counters[settled.slot] == settled.stamp))
            and self._clock() < settled.until
            and (end == len(cookies) or cookies[end] == _SEMICOLON)
            and len(cookies) <= LONGEST_HEADER
        ):
            return settled
        return None

    def ask(self, cookies: bytes, at: int, length: int) -> Settled | None:
        """The same for a store that tells versions: where its counters can't tell, it is asked (rule 4)."""
        settled = self.peek(cookies, at, length, unsure=True)
        if settled is None:
            return None
        key = settled.session.key
        stamp = self.stamp(key)
        if stamp == settled.stamp:
            return settled
        try:
            version = self._store.version(key)
        except StoreUnavailable:
            return None  # the flow meets it, too, and says so
        return settled if self._is_same(settled, version, stamp) else None

    async def ask_async(self, cookies: bytes, at: int, length: int) -> Settled | None:
        """The same with ``await``."""
        settled = self.peek(cookies, at, length, unsure=True)
        if settled is None:
            return None
        key = settled.session.key
        stamp = self.stamp(key)
        if stamp == settled.stamp:
            return settled
        asynchronous = self._store.asynchronous
        try:
            if asynchronous is not None and is_asyncio():
                version = await asynchronous.version(key)
            else:
                version = await anyio.to_thread.run_sync(self._store.version, key)
        except StoreUnavailable:
            return None
        return settled if self._is_same(settled, version, stamp) else None

    def _is_same(self, settled: Settled, version: int | None, stamp: int | None) -> bool:
        """Whether a session is what the store holds; ``stamp``: its counter before the store was asked."""
        if version != settled.session.version:
            return False
        if stamp is not None:
            settled.stamp = stamp  # so from now on the counter vouches for it
        return True

    def stamp(self, key: bytes) -> int | None:
        """The counter of a key's slot, to be read before its load; ``None`` if it vouches for nothing."""
        stamp = self._count(slot_of(key))
        return None if stamp is None or stamp & 1 else stamp

    def _count(self, slot: int) -> int | None:
        try:
            counters = self._counters()
        except StoreUnavailable:
            return None
        return None if counters is None else counters[slot]

    def settle(
        self, session: Session, until: int, stamp: int | None, generation: int = 0, inputs: Hashable = None
    ) -> Settled:
        """Make a loaded session ready, and keep it if its slot's counter is still ``stamp`` (rule 1), or if the
        store will be asked for its version.

        ``generation`` and ``inputs``: what it was judged by, where policies have a say.
        """
        slot = slot_of(session.key)
        # All requests of the process are shown this one session, so none may change it for the others.
        session = replace(session, claims=_fixed(session.claims), signals=_fixed(session.signals))
        vouched = stamp if stamp is not None and self._count(slot) == stamp else UNVOUCHED
        settled = Settled(session, User(session, self._user_claim), until, slot, vouched)
        if until and (vouched != UNVOUCHED or self.asks):
            settled.generation = generation
            with self._lock:
                by_key = self._by_key
                before = by_key.get(session.key)
                if before is not None and before.is_as_good_as(settled):
                    if len(before.granted) < MOST_INPUTS:
                        settled.granted.update(before.granted)
                    settled.until = max(until, before.until)
                settled.granted[inputs] = until
                if len(by_key) >= MOST_SESSIONS and session.key not in by_key:
                    del by_key[next(iter(by_key))]
                by_key[session.key] = settled
        return settled
