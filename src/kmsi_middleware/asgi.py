"""The one line for ASGI apps: Starlette, FastAPI and any other."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Unpack

import anyio

from .assembly import Clock, assemble, check_app
from .edges.asgi import ASGIShell
from .edges.asgi_wire import ASGIApp, Receive, Scope, Send
from .vocabulary.errors import SettingsError
from .vocabulary.settings import Settings

if TYPE_CHECKING:
    from .vocabulary.settings_keywords import SettingsKeywords

_log = logging.getLogger("kmsi_middleware")


class KMSIMiddleware(ASGIShell):
    """Sign-in, session, "Stay signed in?" and sign-out for an ASGI app.

    ``settings`` and the keywords are described in ``docs/settings.md``; what is given in neither comes from the
    environment (``KMSI_…``). ``clock`` answers seconds since 1970 (UTC).

    Raises :class:`~kmsi_middleware.errors.SettingsError` for a setting that can't work, and for a WSGI app. An
    app that is put together only when its server has started (Starlette's ``add_middleware``) fails the start-up
    instead (``lifespan.startup.failed``).
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings | None = None,
        *,
        clock: Clock = time.time,
        **keywords: Unpack[SettingsKeywords],
    ) -> None:
        try:
            check_app(app, asynchronous=True)
            parts = assemble(keywords, settings, clock=clock, asynchronous=True)
        except SettingsError as error:
            if not _is_running():
                raise
            _log.critical("%s", error)
            self._error = error
            self.__class__ = _Failed
        else:
            super().__init__(app, parts.deployment, parts.services, parts.pages, clock, parts.idp)


class _Failed(KMSIMiddleware):
    """What a middleware becomes whose settings can't work, where it is too late to raise: the server's start-up
    fails, and so does every request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            raise self._error
        await receive()  # lifespan.startup
        await send({"type": "lifespan.startup.failed", "message": str(self._error)})
        raise self._error  # as Starlette itself does: who waits for the start-up in the same process hears of it so


def _is_running() -> bool:
    """Whether a server's event loop is running already: then an exception here would pass for an app without a
    lifespan, and the server would start."""
    try:
        anyio.get_cancelled_exc_class()  # whichever event loop it is, it has one
    except RuntimeError:
        return False
    return True


__all__ = ["KMSIMiddleware"]
