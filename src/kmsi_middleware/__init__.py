"""One line gives a Python web app OpenID Connect sign-in, exact sessions, "Stay signed in?" and sign-out.

from kmsi_middleware import KMSIMiddleware           # ASGI: Starlette, FastAPI
from kmsi_middleware.wsgi import KMSIMiddleware      # WSGI: Flask, Django
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import KMSIError, SessionRequired, SettingsError
from .vocabulary.session import Session
from .vocabulary.settings import Settings
from .vocabulary.signals import SignInFacts, SignInSignals

if TYPE_CHECKING:
    from .asgi import KMSIMiddleware

__all__ = [
    "KMSIError",
    "KMSIMiddleware",
    "Session",
    "SessionRequired",
    "Settings",
    "SettingsError",
    "SignInFacts",
    "SignInSignals",
]


def __getattr__(name: str) -> Any:
    # The WSGI face comes through here too, and has no need of the ASGI one.
    if name == "KMSIMiddleware":
        from .asgi import KMSIMiddleware

        return KMSIMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
