"""Requests to the issuer in the app's own name, and the token request and its answer (OpenID Connect Core 1.0
§3.1.3.1 to §3.1.3.4; RFC 6749 §2.3.1)."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal
from urllib.parse import quote

from ...vocabulary.errors import ProtocolError, ProviderUnavailable
from ...vocabulary.messages import HttpRequest, HttpResponse
from ...vocabulary.records import frozen
from ...vocabulary.settings import Settings
from .discovery import Provider, json_object


@frozen
class Tokens:
    """What the token endpoint gave."""

    id_token: str = field(repr=False)
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_in: int = 0
    """For how many seconds the access token is good; 0 if the issuer does not say."""


def token_request(
    provider: Provider, settings: Settings, *, client_id: str, redirect_uri: str, code: str, verifier: str
) -> HttpRequest:
    """Redeem an authorization code."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    return client_request(provider, settings, provider.token_endpoint, form, client_id=client_id)


def client_request(
    provider: Provider, settings: Settings, url: str, form: Mapping[str, str], *, client_id: str
) -> HttpRequest:
    """A form for an endpoint of the issuer's, with the client authentication that settings and metadata agree on."""
    form = dict(form)
    headers = {"accept": "application/json"}
    method = _auth_method(provider, settings)
    if method == "client_secret_basic":
        # RFC 6749 §2.3.1: both parts are form-encoded before they are joined; a blank as %20, because some decode
        # them as URLs.
        pair = f"{quote(client_id, safe='')}:{quote(settings.client_secret or '', safe='')}"
        headers["authorization"] = "Basic " + b64encode(pair.encode()).decode()
    else:
        form["client_id"] = client_id
        if method == "client_secret_post":
            form["client_secret"] = settings.client_secret or ""
    return HttpRequest("POST", url, headers, form)


def _auth_method(provider: Provider, settings: Settings) -> str:
    if settings.token_endpoint_auth_method != "auto":  # noqa: S105 (a method's name)
        return settings.token_endpoint_auth_method
    if not settings.client_secret:
        return "none"
    offered = provider.token_endpoint_auth_methods
    if "client_secret_basic" not in offered and "client_secret_post" in offered:
        return "client_secret_post"
    return "client_secret_basic"


def check_token_response(response: HttpResponse) -> Tokens:
    """Raises :class:`ProtocolError` (``token_refused``, ``id_token_missing``), or :class:`ProviderUnavailable` (also
    ``token_response_invalid``)."""
    if is_refusal(response):
        raise ProtocolError(
            "token_refused",
            "the provider did not accept the sign-in's code",
            status=502,
            hint=error_of(response),
        )
    given = given_tokens(response)
    if not given.id_token:
        raise ProtocolError("id_token_missing", "the provider sent no ID token", status=502)
    return given


def given_tokens(response: HttpResponse) -> Tokens:
    """The tokens in a successful answer. Raises :class:`ProviderUnavailable` (also ``token_response_invalid``)."""
    document = json_object(response, "token_response_invalid")
    kind = document.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ProviderUnavailable("the provider sent another kind of token", code="token_response_invalid")

    def text(name: str) -> str:
        value = document.get(name)
        return value if isinstance(value, str) else ""

    return Tokens(
        id_token=text("id_token"),
        access_token=text("access_token"),
        refresh_token=text("refresh_token"),
        expires_in=_seconds(document.get("expires_in")),
    )


RENEW_BEFORE = 60
"""Seconds before its end that an access token is renewed; for one that lives less than four minutes, a quarter of
its lifetime."""
RENEW_UNSAID = 300
"""After how many seconds one is renewed whose lifetime the issuer does not say."""


def as_kept(given: Tokens, now: float) -> dict[str, Any]:
    """The tokens as a session keeps them, sealed; ``now`` is when they were asked for."""
    kept: dict[str, Any] = {
        name: token for name, token in (("id_token", given.id_token), ("refresh_token", given.refresh_token)) if token
    }
    if given.access_token:
        at, lifetime = int(now), given.expires_in
        kept["access_token"] = given.access_token
        kept["expires_at"] = at + lifetime if lifetime else None
        kept["renew_at"] = at + (lifetime - min(RENEW_BEFORE, lifetime // 4) if lifetime else RENEW_UNSAID)
    return kept


def state_of(kept: Mapping[str, Any], now: float) -> Literal["good", "ending", "over", "none"]:
    """What an access token that was kept is good for.

    ``good``: for the app. ``ending``: still, but it is time for a new one. ``over``: nothing any more. Without a
    refresh token it is good up to its end, because nothing else is to be had.
    """
    if not kept.get("access_token"):
        return "none"
    expires_at, renew_at = kept.get("expires_at"), kept.get("renew_at", 0)
    if not kept.get("refresh_token"):
        return "good" if expires_at is None or now < expires_at else "over"
    if now < renew_at:
        return "good"
    # A sixth of the time that was left for renewing it (ten seconds) is for the app's own call.
    return "ending" if expires_at is None or now < expires_at - (expires_at - renew_at) / 6 else "over"


def _seconds(value: Any) -> int:
    """``expires_in``, which some providers send as a text; what is absurd counts as not said."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9 else 0


def is_refusal(response: HttpResponse) -> bool:
    """Whether the issuer refused what it was asked, as opposed to failing at it."""
    return 400 <= response.status < 500 and response.status != 429


def error_of(response: HttpResponse) -> str:
    """The error that an answer names, and its description (RFC 6749 §5.2)."""
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    return ": ".join(str(document[name]) for name in ("error", "error_description") if document.get(name))


__all__ = [
    "ProviderUnavailable",
    "Tokens",
    "as_kept",
    "check_token_response",
    "client_request",
    "error_of",
    "given_tokens",
    "is_refusal",
    "state_of",
    "token_request",
]
