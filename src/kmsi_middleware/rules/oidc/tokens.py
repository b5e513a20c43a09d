"""The token request and its answer (OpenID Connect Core 1.0 §3.1.3.1 to §3.1.3.4; RFC 6749 §2.3.1)."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import field
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


def token_request(
    provider: Provider, settings: Settings, *, client_id: str, redirect_uri: str, code: str, verifier: str
) -> HttpRequest:
    """Redeem an authorization code, with the client authentication that settings and metadata agree on."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
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
    return HttpRequest("POST", provider.token_endpoint, headers, form)


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
    if 400 <= response.status < 500 and response.status != 429:
        raise ProtocolError(
            "token_refused",
            "the provider did not accept the sign-in's code",
            status=502,
            hint=_error_of(response),
        )
    document = json_object(response, "token_response_invalid")
    kind = document.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ProviderUnavailable("the provider sent another kind of token", code="token_response_invalid")
    id_token = document.get("id_token")
    if not isinstance(id_token, str) or not id_token:
        raise ProtocolError("id_token_missing", "the provider sent no ID token", status=502)

    def text(name: str) -> str:
        value = document.get(name)
        return value if isinstance(value, str) else ""

    expires_in = document.get("expires_in")
    return Tokens(
        id_token=id_token,
        access_token=text("access_token"),
        refresh_token=text("refresh_token"),
        expires_in=expires_in if isinstance(expires_in, int) and expires_in > 0 else 0,
    )


def _error_of(response: HttpResponse) -> str:
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    return ": ".join(str(document[name]) for name in ("error", "error_description") if document.get(name))


__all__ = ["ProviderUnavailable", "Tokens", "check_token_response", "token_request"]
