"""Asking the issuer again with a refresh token, and giving tokens back (OpenID Connect Core 1.0 §12; RFC 6749 §6;
RFC 7009).

1. Only an answer that says so ends a session: ``invalid_grant``, or one of the errors that tell to ask the person
   (:data:`ENDS`). Whatever else goes wrong is the network's, the issuer's or the settings' trouble.
2. A refreshed ID token is checked like the first one, and must be of the same issuer and person (§12.2). It has no
   nonce, or the first one's.
3. What it says of the person replaces what was known. What the first one said of the sign-in itself (when, how, in
   which context) stays, because nobody has signed in anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...vocabulary.errors import ProtocolError, ProviderUnavailable
from ...vocabulary.messages import HttpRequest, HttpResponse
from ...vocabulary.records import frozen
from ...vocabulary.settings import Settings
from . import id_token
from .discovery import Provider
from .tokens import Tokens, client_request, error_of, given_tokens, is_refusal

ENDS = frozenset({"invalid_grant", "interaction_required", "login_required", "consent_required"})
"""Errors of the token endpoint after which only the person can go on. The last three are authorization errors;
Entra ID sends them from here, too."""
ENDS_SILENTLY = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required", "access_denied"}
)
"""The same for ``prompt=none`` (OpenID Connect Core 1.0 §3.1.2.6), where nobody but the issuer can have denied."""
_TRANSIENT = frozenset({"server_error", "temporarily_unavailable", "slow_down"})

OF_THE_SIGN_IN = ("auth_time", "iat", "nonce", "amr", "acr", "acrs")
"""Claims that tell of a sign-in, and not of the person. A logout token is held against ``iat``."""
_NAMES_THE_USER = ("tid", "oid")
# fmt: off
_PROFILE = frozenset((
    "name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
    "website", "email", "email_verified", "gender", "birthdate", "zoneinfo", "locale", "phone_number",
    "phone_number_verified", "address", "updated_at", "login_hint",
))
# fmt: on
"""§5.1. Some issuers leave them out of a refreshed ID token; that takes no right from anybody."""


@frozen
class Ended:
    """The issuer does not stand behind the session any more. ``hint``: what it said."""

    hint: str


def refresh_request(provider: Provider, settings: Settings, *, client_id: str, refresh_token: str) -> HttpRequest:
    """RFC 6749 §6. Without ``scope``: what was granted at the sign-in."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return client_request(provider, settings, provider.token_endpoint, form, client_id=client_id)


def check_refresh_response(response: HttpResponse) -> Tokens | Ended:
    """Its answer; a refresh token is in it only if there is a new one.

    Raises :class:`ProtocolError` (``refresh_refused``), or :class:`ProviderUnavailable` (also
    ``token_response_invalid``).
    """
    if is_refusal(response):
        hint = error_of(response)
        error = hint.partition(":")[0]
        if error in ENDS:
            return Ended(hint)
        if error in _TRANSIENT:
            raise ProviderUnavailable(f"the provider answered {error}")
        raise ProtocolError("refresh_refused", "the provider did not accept the request", status=502, hint=hint)
    given = given_tokens(response)
    if not given.access_token:
        raise ProviderUnavailable("the provider sent no access token", code="token_response_invalid")
    return given


def check_refreshed(
    claims: Mapping[str, Any],
    before: Mapping[str, Any],
    provider: Provider,
    settings: Settings,
    *,
    client_id: str,
    now: float,
    given: Tokens,
) -> None:
    """§12.2, for verified ``claims``; ``before``: the claims that the session has. Raises :class:`ProtocolError`."""
    id_token.check_claims(
        claims,
        provider,
        settings,
        client_id=client_id,
        nonce=None,
        now=now,
        access_token=given.access_token,
        algorithm=id_token.algorithm_of(given.id_token),
    )
    if claims.get("nonce") is not None:
        id_token.check_nonce(claims, str(before.get("nonce", "")))
    if not is_same_user(claims, before):
        raise ProtocolError("id_token_sub", "the refreshed ID token is of another person or issuer", status=502)


def is_same_user(claims: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether two ID tokens are of the same person, by every name that both have for them."""
    if (claims.get("iss"), claims.get("sub")) != (before.get("iss"), before.get("sub")):
        return False
    return all(claims[name] == before[name] for name in _NAMES_THE_USER if name in claims and name in before)


def claims_after(claims: Mapping[str, Any], before: Mapping[str, Any], *, signed_in: bool) -> dict[str, Any]:
    """Rule 3: a session's claims after the issuer spoke of the person again.

    ``signed_in``: whether it spoke in an authentication response, which may tell of a later sign-in.
    """
    after = {name: value for name, value in claims.items() if name not in (*OF_THE_SIGN_IN, *_NAMES_THE_USER)}
    for name in OF_THE_SIGN_IN:
        source = claims if signed_in and name in claims else before
        if name in source:
            after[name] = source[name]
    # A store finds a user's sessions by these names, which must not change.
    after |= {name: before[name] for name in _NAMES_THE_USER if name in before}
    return {name: value for name, value in before.items() if name in _PROFILE} | after


def revocation_requests(
    provider: Provider, settings: Settings, *, client_id: str, tokens: Mapping[str, Any]
) -> tuple[HttpRequest, ...]:
    """RFC 7009 §2.1, for the tokens of a session that is over; none where the issuer has no place for it.

    The refresh token goes first: with it most issuers revoke all that came of it.
    """
    url = provider.revocation_endpoint
    if url is None:
        return ()
    return tuple(
        client_request(provider, settings, url, {"token": tokens[kind], "token_type_hint": kind}, client_id=client_id)
        for kind in ("refresh_token", "access_token")
        if tokens.get(kind)
    )


def only_the_refresh_token(given: Tokens) -> Tokens:
    """What may be kept of an answer that can't be verified just now: it is good for nothing but to ask again."""
    return replace(given, id_token="", access_token="", expires_in=0)
