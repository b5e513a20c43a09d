"""Sign-out at the issuer (OpenID Connect RP-Initiated Logout 1.0 §2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .authorization import with_query
from .discovery import Provider


def end_session_url(
    provider: Provider,
    *,
    client_id: str,
    id_token: str,
    claims: Mapping[str, Any],
    post_logout_redirect_uri: str,
    state: str,
) -> str | None:
    """Where the browser is sent to sign out at the issuer too; ``None`` if the issuer has no such place."""
    if provider.end_session_endpoint is None:
        return None
    parameters = {
        "client_id": client_id,
        "post_logout_redirect_uri": post_logout_redirect_uri,
        "state": state,
    }
    if id_token:
        parameters["id_token_hint"] = id_token
    hint = claims.get("login_hint")
    if isinstance(hint, str) and hint:
        parameters["logout_hint"] = hint
    return with_query(provider.end_session_endpoint, parameters)
