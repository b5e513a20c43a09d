"""Verifying an ID token's signature, with keys that may have to be fetched."""

from __future__ import annotations

from typing import Any

from ..rules.oidc import id_token
from ..rules.oidc.discovery import Provider
from ..vocabulary.effects import Flow, GetKeys
from ..vocabulary.errors import ProtocolError
from .deployment import Deployment

KEY_UNKNOWN = "id_token_key_unknown"
"""The code of an error that says nothing about the token: its key may not have been published yet."""


def verified(app: Deployment, provider: Provider, token: str) -> Flow[dict[str, Any]]:
    """The verified claims; a key that we don't know may be new, so the set is fetched once more."""
    algorithms = app.settings.id_token_algorithms
    jwks = yield GetKeys(provider.jwks_uri)
    try:
        return id_token.verified_claims(token, jwks, algorithms)
    except id_token.UnknownKey:
        jwks = yield GetKeys(provider.jwks_uri, unknown_kid=True)
    try:
        return id_token.verified_claims(token, jwks, algorithms)
    except id_token.UnknownKey:
        raise ProtocolError(
            KEY_UNKNOWN, "the ID token is signed by a key that the provider does not publish", status=502
        ) from None
