"""The sessions of long-lived connections: what a process knows of each, and whether that still holds.

1. While the store's counter, the policies and the risk are what they were, and the clock has not come to the instant
   that the flow gave, nothing needs to be asked (as in :mod:`.settled`). Else the flow decides (``flows.live``).
2. What can't be asked is asked later. What is over by this process's own clock is over meanwhile.
3. ASGI looks twice a second (:mod:`.live_asgi`). WSGI has nobody to look, so it does so with every chunk of a
   streaming response (:class:`Chunks`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..flows import live
from ..flows.deployment import Deployment
from ..rules import lifetimes
from ..rules.close_codes import Ending
from ..vocabulary.effects import Flow, ReadVersion
from ..vocabulary.errors import Refused, Unavailable
from ..vocabulary.messages import Request
from ..vocabulary.session import Session
from .services import Services
from .settled import Settled, SettledSessions

if TYPE_CHECKING:
    from .watch import Watch

EVERY = 0.5
"""Seconds after which a connection is looked at again, where nothing tells of a change by itself."""
NOT_JUDGED = -1
"""No generation of policies: what they have made of the very request that began a connection is not known here."""


class SessionOver(ConnectionResetError):
    """Raised in an app that goes on sending when its session has ended, as if the client had gone away (ASGI 2.4,
    "Disconnected Client - send exception"). Servers for WSGI take it for that, too, and log no failure."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(errno.ECONNRESET, f"the session ended: {ending}")
        self.ending = ending


class LiveSessions:
    """Makes the :class:`LiveSession` of each connection of one app."""

    def __init__(
        self, deployment: Deployment, services: Services, settled: SettledSessions, clock: Callable[[], float]
    ) -> None:
        self.deployment = deployment
        self.services = services
        self.settled = settled
        self.watch: Watch | None = services.watch
        self.clock = clock

    def follow(self, settled: Settled, request: Callable[[], Request], begun_at: float = 0) -> LiveSession:
        """``settled``: the session as its connection began with it, at ``begun_at``. ``request``: what began it; asked
        for only when the flow needs to decide."""
        return LiveSession(self, settled, request, begun_at)


class LiveSession:
    """The session of one long-lived connection."""

    __slots__ = ("_generation", "_looked_at", "_of", "_request", "_risk", "_stamp", "_until", "session")

    def __init__(self, of: LiveSessions, settled: Settled, request: Callable[[], Request], begun_at: float) -> None:
        self._of = of
        self._request = request
        self._looked_at = begun_at
        self.session: Session = settled.session
        self._stamp: int | None = settled.stamp
        self._until = settled.until
        self._generation = NOT_JUDGED
        self._risk: Any = None

    def holds(self, now: float, *, patience: float = 0) -> bool:
        """Whether nothing needs to be asked. ``patience``: nor does it for so many seconds after the last look, unless
        a change is known of."""
        stamp = self._of.settled.stamp(self.session.key)
        if (stamp is not None and stamp != self._stamp) or self._is_judged_otherwise(now):
            return False
        return (stamp is not None and now < self._until) or abs(now - self._looked_at) < patience

    def _is_judged_otherwise(self, now: float) -> bool:
        """Whether the policies, or the risk that they read, have changed."""
        watch = self._of.watch
        return watch is not None and (
            watch.generation(now) != self._generation or watch.risk(self.session) != self._risk
        )

    def look(self, now: float) -> Flow[Ending | None]:
        """Ask the store, and the flow where there is something to decide. ``None``: the session goes on, as far as is
        known."""
        of, key = self._of, self.session.key
        self._looked_at = now
        # Both before the load: what changes meanwhile is seen by the next look.
        stamp = of.settled.stamp(key)
        generation = of.watch.generation(now) if of.watch is not None else NOT_JUDGED
        try:
            by_version = of.services.store.reads_versions and now < self._until and not self._is_judged_otherwise(now)
            if by_version and (yield ReadVersion(key)) == self.session.version:
                self._stamp = stamp
                return None
            found = yield from live.still(of.deployment, self._request(), self.session, now)
        except Unavailable:
            return None
        except Refused:  # a hook of the app's failed: what is not known lets nobody go on
            return "error"
        if not isinstance(found, live.GoesOn):
            return found
        self.session, self._until = found.session, found.until
        if found.until:
            self._stamp, self._generation, self._risk = stamp, generation, found.judged_risk
        return None

    def over(self, now: float) -> Ending | None:
        """Why it is over, as far as this process's own clock can tell."""
        found = lifetimes.judge(self.session, self._of.deployment.settings_of(self.session.user_flow), now)
        return found.reason if isinstance(found, lifetimes.Over) else None

    def check(self) -> None:
        """Look at it and wait for the answer, if need be. Raises :class:`SessionOver`."""
        now = self._of.clock()
        if self.holds(now, patience=EVERY):
            return
        ending = self._of.services.run(self.look(now), now)
        if ending is not None:
            raise SessionOver(ending)


class Chunks:
    """A WSGI app's streaming body, for as long as its session goes on. Then it breaks off, so that the server closes
    the connection: a body that merely ended would look complete.

    The first chunk belongs to the request, which was let in; the request itself may have ended the session.
    """

    def __init__(self, body: Iterable[bytes], follow: Callable[[], LiveSession]) -> None:
        self._body = body
        self._chunks = iter(body)
        self._follow = follow
        self._has_begun = False
        self._session: LiveSession | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)  # which the app may have been waiting for
        if not self._has_begun:
            self._has_begun = True
            return chunk
        if self._session is None:
            self._session = self._follow()
        self._session.check()
        return chunk

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()


def may_be_long(body: Iterable[bytes], file_wrapper: object) -> bool:
    """Whether a WSGI body may take long to come. Not what is in memory already, and not a file that the server sends
    by itself (PEP 3333, "Optional Platform-Specific File Handling")."""
    if isinstance(body, (list, tuple)):
        return False
    return not (isinstance(file_wrapper, type) and isinstance(body, file_wrapper))
