"""Sessions from Python: see them, and end them.

    from kmsi_middleware.sessions import Sessions

    with Sessions(store="sqlite:.kmsi/sessions.sqlite3") as sessions:  # or Sessions(), with KMSI_STORE
        sessions.revoke_user(issuer="https://login.example.com", subject="7c0a…")

    sessions = Sessions()  # an app's own view
    await sessions.revoke_others_async(request.scope["kmsi"])

1. Every call has a twin for ``await``: the same name and ``_async``.
2. Revocation is strict: once it was answered, no process of the store lets a request of these sessions pass, and no
   sign-in that was under way becomes a session. The next sign-in is a real one (``prompt=login``).
3. Nothing is opened before the first call. ``close`` closes; a later call opens again.

``kmsi sessions`` does the same on the command line.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from .edges.keeping import Keeping
from .edges.stores import open_store
from .flows import revocation
from .vocabulary import effects as ask
from .vocabulary.effects import Flow, SessionStore
from .vocabulary.errors import SettingsError, UnknownSession
from .vocabulary.session import Revoker, Session, Tombstone, user_key
from .vocabulary.settings import Settings

__all__ = ["Sessions"]

T = TypeVar("T")


class Sessions:
    """The sessions of a store.

    ``store``: as the setting of that name; else ``settings.store``, ``KMSI_STORE`` or the default, in this order.
    ``memory:`` is seen by its own middleware alone, so hand over the store object that the middleware has.
    ``clock`` answers seconds since 1970; ``by`` is who ends sessions, for the log.

    Raises :class:`~kmsi_middleware.errors.SettingsError` for a store that can't work, and each call
    :class:`~kmsi_middleware.errors.StoreUnavailable` where the store failed. If that happens on the way, some of the
    sessions may have ended; call again.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        store: str | SessionStore | None = None,
        clock: Callable[[], float] = time.time,
        by: Revoker = "python",
    ) -> None:
        self._keeping = Keeping(_opened(store, settings))
        self._clock = clock
        self._by: Revoker = by

    # Seeing -----------------------------------------------------------------------------------------------------

    def get(self, session: str) -> Session | Tombstone | None:
        """The session of this id; what is left of it if it ended within 24 hours; else ``None``.

        One that ran out is there for 24 hours, too: ``expires_at`` tells.
        """
        return self._run(_load(session))

    async def get_async(self, session: str) -> Session | Tombstone | None:
        """See :meth:`get`."""
        return await self._run_async(_load(session))

    def list_user(
        self,
        *,
        issuer: str | None = None,
        subject: str | None = None,
        tenant: str | None = None,
        object_id: str | None = None,
    ) -> list[Session]:
        """The live sessions of a user: by ``issuer`` and ``subject``, or by Entra's ``tenant`` and ``object_id``."""
        return self._run(_find(_user(issuer, subject, tenant, object_id)))

    async def list_user_async(
        self,
        *,
        issuer: str | None = None,
        subject: str | None = None,
        tenant: str | None = None,
        object_id: str | None = None,
    ) -> list[Session]:
        """See :meth:`list_user`."""
        return await self._run_async(_find(_user(issuer, subject, tenant, object_id)))

    def page(self, cursor: str = "", limit: int = 500) -> tuple[list[Session], str]:
        """About ``limit`` of all live sessions, in no order that means anything, and the cursor of the next page;
        an empty one at the end."""
        return self._run(_page(cursor, limit))

    async def page_async(self, cursor: str = "", limit: int = 500) -> tuple[list[Session], str]:
        """See :meth:`page`."""
        return await self._run_async(_page(cursor, limit))

    # Ending: every call answers how many sessions ended --------------------------------------------------------

    def revoke(self, session: Session | str) -> int:
        """End one session, given itself or its id."""
        return self._run(revocation.revoke(_key(session), self._clock(), self._by))

    async def revoke_async(self, session: Session | str) -> int:
        """See :meth:`revoke`."""
        return await self._run_async(revocation.revoke(_key(session), self._clock(), self._by))

    def revoke_user(
        self,
        *,
        issuer: str | None = None,
        subject: str | None = None,
        tenant: str | None = None,
        object_id: str | None = None,
    ) -> int:
        """End all sessions of a user: by ``issuer`` and ``subject``, or by Entra's ``tenant`` and ``object_id``."""
        user = _user(issuer, subject, tenant, object_id)
        return self._run(revocation.revoke_user(user, self._clock(), self._by))

    async def revoke_user_async(
        self,
        *,
        issuer: str | None = None,
        subject: str | None = None,
        tenant: str | None = None,
        object_id: str | None = None,
    ) -> int:
        """See :meth:`revoke_user`."""
        user = _user(issuer, subject, tenant, object_id)
        return await self._run_async(revocation.revoke_user(user, self._clock(), self._by))

    def revoke_others(self, session: Session | str) -> int:
        """End all sessions of the same person (issuer and subject) but this one.

        Raises :class:`~kmsi_middleware.errors.UnknownSession` for an id that is no session's (any more).
        """
        return self._run(self._others(session))

    async def revoke_others_async(self, session: Session | str) -> int:
        """See :meth:`revoke_others`."""
        return await self._run_async(self._others(session))

    def revoke_everything(self) -> int:
        """End every session of everybody."""
        return self._run(revocation.revoke_everything(self._clock(), self._by))

    async def revoke_everything_async(self) -> int:
        """See :meth:`revoke_everything`."""
        return await self._run_async(revocation.revoke_everything(self._clock(), self._by))

    # Closing ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the store. Not where it is a middleware's."""
        self._keeping.store.close()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Sessions:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    # How --------------------------------------------------------------------------------------------------------

    def _run(self, flow: Flow[T]) -> T:
        return self._keeping.run(flow, self._clock())

    async def _run_async(self, flow: Flow[T]) -> T:
        return await self._keeping.run_async(flow, self._clock())

    def _others(self, session: Session | str) -> Flow[int]:
        kept = (yield from _load(session)) if isinstance(session, str) else session
        if not isinstance(kept, Session):
            raise UnknownSession(f"there is no session {session}")
        return (yield from revocation.revoke_others(kept, self._clock(), self._by))


def _load(session: str) -> Flow[Session | Tombstone | None]:
    found: Session | Tombstone | None = yield ask.LoadSession(_key(session))
    return found


def _find(user: bytes) -> Flow[list[Session]]:
    found: list[Session] = yield ask.FindUserSessions(user)
    return found


def _page(cursor: str, limit: int) -> Flow[tuple[list[Session], str]]:
    found, following = yield ask.ListSessions(bytes.fromhex(cursor), limit)
    return found, following.hex()


def _key(session: Session | str) -> bytes:
    if isinstance(session, Session):
        return session.key
    try:
        key = bytes.fromhex(session)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UnknownSession(f"{session!r} is no session's id: 64 hexadecimal digits")
    return key


def _user(issuer: str | None, subject: str | None, tenant: str | None, object_id: str | None) -> bytes:
    match issuer, subject, tenant, object_id:
        case str(), str(), None, None if issuer and subject:
            return user_key(issuer, subject)
        case None, None, str(), str() if tenant and object_id:
            return user_key(tenant, object_id)
    raise TypeError("give issuer and subject, or tenant and object_id")


def _opened(store: str | SessionStore | None, settings: Settings | None) -> SessionStore:
    given = {"store": store} if store is not None else {}
    chosen: str | SessionStore = Settings.resolve(given, settings, os.environ, only={"store"}).store
    if not isinstance(chosen, str):
        return chosen
    if chosen == "memory:":
        raise SettingsError("store", chosen, "memory is seen by its own middleware alone: give its store object")
    return open_store(chosen)
