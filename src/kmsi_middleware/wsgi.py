"""The one line for WSGI apps: Flask, Django and any other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Unpack

from .assembly import Clock, assemble, check_app
from .edges.wsgi import WSGIShell
from .vocabulary.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from .vocabulary.settings_keywords import SettingsKeywords

__all__ = ["KMSIMiddleware"]


class KMSIMiddleware(WSGIShell):
    """Sign-in, session, "Stay signed in?" and sign-out for a WSGI app.

    ``settings`` and the keywords are described in ``docs/settings.md``; what is given in neither comes from the
    environment (``KMSI_…``). ``clock`` answers seconds since 1970 (UTC).

    Raises :class:`~kmsi_middleware.errors.SettingsError` for a setting that can't work, and for an ASGI app.
    """

    def __init__(
        self,
        app: WSGIApplication,
        settings: Settings | None = None,
        *,
        clock: Clock = time.time,
        **keywords: Unpack[SettingsKeywords],
    ) -> None:
        check_app(app, asynchronous=False)
        parts = assemble(keywords, settings, clock=clock, asynchronous=False)
        idp = parts.idp.wsgi if parts.idp else None
        super().__init__(app, parts.deployment, parts.services, parts.pages, clock, idp)
