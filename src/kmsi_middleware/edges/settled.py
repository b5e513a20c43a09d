"""The fast path: sessions that this process has looked at, and about which nothing is to be done.

A session is *settled* until an instant, for as long as the store's counter of its slot stays what it was when
the session was loaded. Then the request is passed on, and no flow runs. Everything else is for the flow.

1. The counter is read before the load and compared after it; an odd one (a write is under way) is not believed.
   So a request that starts after a revocation was answered, in whatever process, does not pass here. The counters
   are asked for anew every time: those of a store that was closed since may be another file's by now.
2. Sessions are found by the token's SHA-256, as in the store, so that no comparison's time tells of a token. The
   Cookie header that led to one last is remembered with it, and leads there again without being read: a dict finds
   it by a hash that is keyed anew in every process, and compares only what has that very hash.
3. Where :func:`SettledSessions.peek` answers, the flow would have forwarded the same session, and asked for
   nothing but the load.
4. A store whose counters can't tell by themselves is asked, for less than a load costs (``reads_versions``), and
   after the request came in, so rule 1 holds: under asyncio for its counters, where one question may do for all
   requests that wait; and where they can't tell either, for the session's version.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
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
LONGEST_REMEMBERED = 2_048
"""The longest Cookie header that is remembered, in bytes."""
UNVOUCHED = -1
"""The stamp of a session that no count vouches for: none is ever that."""


def _fixed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(fixed(dict(given)))


class Settled:
    """One settled session, ready to be handed to the app."""

    __slots__ = ("generation", "granted", "header", "new_data", "session", "slot", "stamp", "until", "user")

    def __init__(self, session: Session, user: User, until: int, slot: int, stamp: int) -> None:
        self.generation = 0
        self.granted: dict[Hashable, int] = {}
        """Where policies have a say: until when, for which inputs (:mod:`.watch`)."""
        self.header: bytes | str = b""
        """The Cookie header that led here last, if it is remembered."""
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
    """The settled sessions of one process.

    ``name``: the session cookie's name and equals sign, where it is always the same.
    """

    __slots__ = (
        "__weakref__",
        "_asynchronous",
        "_by_header",
        "_by_key",
        "_clock",
        "_counters",
        "_lock",
        "_name",
        "_store",
        "_user_claim",
        "asks",
    )

    def __init__(self, store: SessionStore, clock: Callable[[], float], user_claim: str, name: bytes = b"") -> None:
        self.asks = store.reads_versions
        """Whether to :meth:`ask` where :meth:`peek` can't tell."""
        self._store = store
        self._asynchronous = store.asynchronous
        self._counters = store.counters
        self._clock = clock
        self._user_claim = user_claim
        self._name = name
        self._by_key: dict[bytes, Settled] = {}
        self._by_header: dict[bytes | str, Settled] = {}
        self._lock = threading.Lock()
        renew_after_fork(self)

    def renew(self) -> None:
        """See :mod:`.forks`. What is at hand stays good: the counters are shared with the parent."""
        self._lock = threading.Lock()

    def peek(self, cookies: bytes | str, name: bytes) -> Settled | None:
        """The settled session that a Cookie header leads to, or ``None``: then ask the flow.

        ``name``: the session cookie's, and an equals sign. Of several cookies of the name the last one counts.
        """
        try:
            counters = self._counters()
        except StoreUnavailable:
            return None
        if counters is None:
            return None
        # As at_hand, but in one frame: on the way of nearly every request.
        settled = self._by_header.get(cookies) or self._find(cookies, name)
        if settled is None or self._clock() >= settled.until or counters[settled.slot] != settled.stamp:
            return None
        return settled

    def at_hand(self, cookies: bytes | str, name: bytes) -> Settled | None:
        """As :meth:`peek`, whatever the counters say: then :meth:`ask`."""
        settled = self._by_header.get(cookies) or self._find(cookies, name)
        return settled if settled is not None and self._clock() < settled.until else None

    def ask(self, settled: Settled) -> Settled | None:
        """Ask the store whether it still holds, where it tells versions (rule 4); ``None``: then ask the flow."""
        stamp = self.note(settled.session.key)
        try:
            version = self._store.version(settled.session.key)
        except StoreUnavailable:
            return None  # the flow meets it, too, and says so
        return _same(settled, version, stamp)

    async def ask_async(self, settled: Settled) -> Settled | None:
        """The same with ``await``."""
        store = self._asynchronous
        if store is None or not is_asyncio():
            return await anyio.to_thread.run_sync(self.ask, settled)
        try:
            counters = await store.counters()
            if counters is not None and counters[settled.slot] == settled.stamp:
                return settled
            stamp = self.note(settled.session.key)
            version = await store.version(settled.session.key)
        except StoreUnavailable:
            return None
        return _same(settled, version, stamp)

    def _find(self, cookies: bytes | str, name: bytes) -> Settled | None:
        """The session at hand that a Cookie header leads to, which is remembered from now on."""
        raw = cookies.encode("latin-1") if isinstance(cookies, str) else cookies
        at = raw.rfind(name)
        if at < 0:
            return None
        if at and raw[:at].rstrip(b" ")[-1:] != b";":
            return None  # a blank alone is no boundary: a stranger's cookie may have one in its value
        begin = at + len(name)
        end = begin + TOKEN_LENGTH
        if (end < len(raw) and raw[end] != _SEMICOLON) or len(raw) > LONGEST_HEADER:
            return None
        settled = self._by_key.get(sha256(raw[begin:end]).digest())
        if settled is not None and name == self._name and len(raw) <= LONGEST_REMEMBERED:
            with self._lock:
                if self._by_key.get(settled.session.key) is settled:  # else it has been replaced, or has gone
                    self._by_header.pop(settled.header, None)
                    self._by_header[cookies] = settled
                    settled.header = cookies
        return settled

    def stamp(self, key: bytes) -> int | None:
        """The counter of a key's slot; ``None`` if it vouches for nothing now."""
        try:
            return _even(self._counters(), key)
        except StoreUnavailable:
            return None

    def note(self, key: bytes) -> int | None:
        """The counter of a key's slot, to be read before its load; ``None`` if it will vouch for nothing."""
        stamp, store = self.stamp(key), self._asynchronous
        return _even(store.noted_counters(), key) if stamp is None and store is not None else stamp

    def settle(
        self, session: Session, until: int, stamp: int | None, generation: int = 0, inputs: Hashable = None
    ) -> Settled:
        """Make a loaded session ready, and keep it if its slot's counter is still ``stamp`` (rule 1), or if the
        store will be asked.

        ``generation`` and ``inputs``: what it was judged by, where policies have a say.
        """
        # All requests of the process are shown this one session, so none may change it for the others.
        session = replace(session, claims=_fixed(session.claims), signals=_fixed(session.signals))
        vouched = stamp if stamp is not None and self.note(session.key) == stamp else UNVOUCHED
        settled = Settled(session, User(session, self._user_claim), until, slot_of(session.key), vouched)
        if until and (vouched != UNVOUCHED or self.asks):
            settled.generation = generation
            with self._lock:
                by_key = self._by_key
                before = by_key.get(session.key)
                if before is not None:
                    self._by_header.pop(before.header, None)
                    if before.is_as_good_as(settled):
                        if len(before.granted) < MOST_INPUTS:
                            settled.granted.update(before.granted)
                        settled.until = max(until, before.until)
                elif len(by_key) >= MOST_SESSIONS:
                    first = by_key.pop(next(iter(by_key)))
                    self._by_header.pop(first.header, None)
                settled.granted[inputs] = until
                by_key[session.key] = settled
        return settled


def _same(settled: Settled, version: int | None, stamp: int | None) -> Settled | None:
    """A session that is of the version that the store holds; ``stamp``: as noted before the store was asked."""
    if version != settled.session.version:
        return None
    if stamp is not None:
        settled.stamp = stamp  # so from now on the counter vouches for it
    return settled


def _even(counters: Sequence[int] | None, key: bytes) -> int | None:
    stamp = None if counters is None else counters[slot_of(key)]
    return None if stamp is None or stamp & 1 else stamp
