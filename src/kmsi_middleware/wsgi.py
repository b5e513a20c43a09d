"""The one line for WSGI apps: Flask, Django and any other."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .assembly import Clock, assemble
from .edges.wsgi import WSGIShell
from .vocabulary.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

__all__ = ["KMSIMiddleware"]


class KMSIMiddleware:
    """Sign-in, session, "Stay signed in?" and sign-out for a WSGI app.

    ``settings`` and the keywords are described in ``docs/settings.md``; what is given in neither comes from the
    environment (``KMSI_…``). ``clock`` answers seconds since 1970 (UTC).

    Raises :class:`~kmsi_middleware.errors.SettingsError` for a setting that can't work.
    """

    def __init__(
        self, app: WSGIApplication, settings: Settings | None = None, *, clock: Clock = time.time, **keywords: Any
    ) -> None:
        parts = assemble(keywords, settings, clock=clock, asynchronous=False)
        idp = parts.idp.wsgi if parts.idp else None
        self._shell = WSGIShell(app, parts.deployment, parts.services, parts.pages, clock, idp)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return self._shell(environ, start_response)
