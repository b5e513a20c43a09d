"""The fast path: sessions that this process has looked at, and about which nothing is to be done.

A session is *settled* until an instant, for as long as the store's counter of its slot stays what it was when
the session was loaded. Then the request is passed on, and no flow runs. Everything else is for the flow.

1. The counter is read before the load and compared after it; an odd one (a write is under way) is not believed.
   So a request that starts after a revocation was answered, in whatever process, does not pass here.
2. Sessions are found by the token's SHA-256, as in the store, so that no comparison's time tells of a token.
3. Where :func:`SettledSessions.peek` answers, the flow would have forwarded the same session, and asked for
   nothing but the load.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType

from ..rules.app_data import kept
from ..rules.cookies import TOKEN_LENGTH
from ..vocabulary.effects import SessionStore, slot_of
from ..vocabulary.errors import StoreUnavailable
from ..vocabulary.session import Session
from .forks import renew_after_fork
from .identity import User

_SEMICOLON = ord(";")
MOST_SESSIONS = 20_000
"""How many sessions a process keeps at hand; the one that was put there first goes."""


class Settled:
    """One settled session, ready to be handed to the app."""

    __slots__ = ("new_data", "session", "slot", "stamp", "until", "user")

    def __init__(self, session: Session, user: User, until: int, slot: int, stamp: int) -> None:
        self.session = session
        self.user = user
        self.new_data = kept(session.data)
        self.until = until
        self.slot = slot
        self.stamp = stamp


class SettledSessions:
    """The settled sessions of one process."""

    __slots__ = ("__weakref__", "_by_key", "_clock", "_counters", "_lock", "_store", "_user_claim")

    def __init__(self, store: SessionStore, clock: Callable[[], float], user_claim: str) -> None:
        self._store = store
        self._clock = clock
        self._user_claim = user_claim
        self._by_key: dict[bytes, Settled] = {}
        self._counters: Sequence[int] | None = None
        self._lock = threading.Lock()
        renew_after_fork(self)

    def renew(self) -> None:
        """See :mod:`.forks`. What is at hand stays good: the counters are shared with the parent."""
        self._lock = threading.Lock()

    def peek(self, cookies: bytes, needle: bytes) -> Settled | None:
        """The settled session that a Cookie header leads to, or ``None``: then ask the flow.

        ``needle`` is the session cookie's name with its equals sign.
        """
        at = cookies.rfind(needle)
        if at < 0 or (at and cookies[:at].rstrip(b" ")[-1:] != b";"):
            return None  # a blank alone is no boundary: a stranger's cookie may have one in its value
        begin = at + len(needle)
        end = begin + TOKEN_LENGTH
        settled = self._by_key.get(sha256(cookies[begin:end]).digest())
        counters = self._counters
        if (
            settled is not None
            and counters is not None
            and self._clock() < settled.until
            and counters[settled.slot] == settled.stamp
            and (end == len(cookies) or cookies[end] == _SEMICOLON)
        ):
            return settled
        return None

    def stamp(self, key: bytes) -> int | None:
        """The counter of a key's slot, to be read before its load; ``None`` if it vouches for nothing."""
        try:
            counters = self._counters = self._store.counters()
        except StoreUnavailable:
            return None
        if counters is None:
            return None
        stamp = counters[slot_of(key)]
        return None if stamp & 1 else stamp

    def settle(self, session: Session, until: int, stamp: int | None) -> Settled:
        """Make a loaded session ready, and keep it if its slot's counter is still ``stamp`` (rule 1)."""
        slot = slot_of(session.key)
        # All requests of the process are shown this one session, so none may change it for the others.
        session = replace(session, claims=MappingProxyType(dict(session.claims)))
        settled = Settled(session, User(session, self._user_claim), until, slot, stamp or 0)
        counters = self._counters
        if until and stamp is not None and counters is not None and counters[slot] == stamp:
            with self._lock:
                by_key = self._by_key
                if len(by_key) >= MOST_SESSIONS and session.key not in by_key:
                    del by_key[next(iter(by_key))]
                by_key[session.key] = settled
        return settled
