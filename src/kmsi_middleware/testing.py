"""For tests of apps: a signed-in person, without the way through a provider (``docs/testing.md``).

    client = TestClient(app, base_url="http://localhost")                        # Starlette, FastAPI
    client.cookies.set(*session_cookie(app, {"sub": "mia", "roles": ["admin"]}))

    client = app.test_client()                                                   # Flask
    client.set_cookie(*session_cookie(app, {"sub": "mia", "roles": ["admin"]}))

The session is a real one, begun in the middleware's own store as a sign-in begins it, and the cookie is the only key to
it. The middleware knows nothing of tests: there is nothing to switch on, or to forget to switch off. Whoever can call
this holds the app itself in their hands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .edges.asgi import ASGIShell
from .edges.wsgi import WSGIShell
from .flows import sessions
from .rules.conditional_access.known import second_factor_at
from .vocabulary.messages import Request
from .vocabulary.signals import SignInSignals

__all__ = ["session_cookie"]

_INWARDS = ("middleware_stack", "wsgi_app", "app", "application", "_app")
"""Where apps and middlewares keep what they pass requests on to."""
_HOUR = 3_600


def session_cookie(
    app: object, claims: Mapping[str, Any] | None = None, *, url: str = "http://localhost", persistent: bool = False
) -> tuple[str, str]:
    """Sign somebody in. Answer: name and value of the session's cookie.

    ``app``: the middleware, or an app or a middleware around it. ``claims``: of the ID token, beside and before those
    that every ID token has; without ``sub`` it is ``somebody``. ``url``: where the test's client finds the app, if the
    setting ``base_url`` doesn't say it: the port is in the cookie's name. ``persistent``: as after a Yes to "Stay
    signed in?".

    Raises :class:`LookupError` where there is no middleware, :class:`~kmsi_middleware.errors.SettingsError` where its
    settings can't work, and what the store raises: :class:`~kmsi_middleware.errors.StoreUnavailable`, or in the second
    in which this person's sessions were revoked :class:`~kmsi_middleware.errors.SignInRevoked`.
    """
    shell = _middleware_of(app)
    deployment, now = shell._deployment, shell._clock()
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    site = shell._where.site(parts.scheme, parts.netloc, port, "")
    at = int(now)
    usual = {"iss": site.issuer, "aud": deployment.client_id, "sub": "somebody"}
    known = {**usual, "iat": at, "exp": at + _HOUR, "auth_time": at, **(claims or {})}
    sign_in = sessions.SignIn(
        issuer=known["iss"],
        claims=known,
        sids=(),
        auth_time=known["auth_time"],
        tokens={},
        return_to=f"{site.root}/",
        correlation_id="",
        begun_at=at,
        user_flow=deployment.settings.user_flows.default,
        second_factor_at=second_factor_at(known, SignInSignals(), at),
    )
    request = Request(site, "GET", "/", "", {})
    decision = "answered_yes" if persistent else "answered_no"
    begun = sessions.start(deployment, request, now, sign_in, persistent=persistent, decision=decision)
    _, cookies = shell._services.run(begun, now)
    name, _, value = cookies[0].partition(";")[0].partition("=")
    return name, value


def _middleware_of(app: object) -> ASGIShell | WSGIShell:
    """The outermost middleware of ours, from the outside inwards."""
    inner: Any = app
    while inner is not None and not isinstance(inner, ASGIShell | WSGIShell):
        if getattr(inner, "middleware_stack", inner) is None:  # Starlette puts it together with the first request
            inner.middleware_stack = inner.build_middleware_stack()
        inner = next((found for name in _INWARDS if (found := getattr(inner, name, None)) is not None), None)
    if inner is None:
        raise LookupError(f"there is no KMSIMiddleware in {app!r}")
    if (error := getattr(inner, "_error", None)) is not None:  # what the server's start-up would have failed with
        raise error
    return inner
