"""The ID token's claims (OpenID Connect Core 1.0 §2, §3.1.3.7; ASVS 10.5); its signature: :mod:`.signed`.

Odd but honest tokens pass: ``aud`` as a list (of several only with ``azp``), no ``typ``, no ``at_hash``, ``auth_time``
as a float or 0.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from ...vocabulary.settings import Settings
from ..seals import encode
from . import signed
from .discovery import Provider
from .signed import Kind, UnknownKey, instant, is_text

KIND = Kind("id_token", "ID token", 502)
LONGEST_SID = 2_048
OTHER_TYPES = frozenset({"at+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt"})
"""Types of what else an issuer signs (RFC 8725 §3.11). An ID token's is ``JWT``, none, or one of the provider's own."""

__all__ = [
    "KIND",
    "LONGEST_SID",
    "UnknownKey",
    "algorithm_of",
    "auth_time_of",
    "check_claims",
    "check_nonce",
    "check_user_flow",
    "sids_of",
    "verified_claims",
]


def verified_claims(token: str, jwks: Mapping[str, Any], algorithms: Sequence[str]) -> dict[str, Any]:
    """The claims of an ID token whose signature is good. Raises as :func:`.signed.verified_claims` does, and
    :class:`ProtocolError` (``id_token_typ``) for a token whose type says that it is for something else."""
    claims = signed.verified_claims(token, jwks, algorithms, KIND)
    kind = signed.header_of(token, KIND).get("typ")
    if isinstance(kind, str) and kind.lower().removeprefix("application/") in OTHER_TYPES:
        raise KIND.refuse("typ", "is a token of another kind")
    return claims


def check_claims(
    claims: Mapping[str, Any],
    provider: Provider,
    settings: Settings,
    *,
    client_id: str,
    nonce: str | None,
    now: float,
    access_token: str = "",
    algorithm: str = "",
) -> None:
    """§3.1.3.7, one row after the other. ``nonce``: what was sent; ``None`` where nothing was, as for a refreshed
    ID token. Raises :class:`ProtocolError`."""
    skew = settings.clock_skew
    signed.check_issuer(claims, provider, settings, KIND)
    signed.check_audience(claims, client_id, KIND)
    audience = claims["aud"]
    has_others = isinstance(audience, list) and any(name != client_id for name in audience)
    if has_others and claims.get("azp") is None:
        raise KIND.refuse("azp", "is for other apps, too, and does not say that it was issued to this one")
    subject = claims.get("sub")
    if not is_text(subject, 255):
        raise KIND.refuse("sub", "does not say who signed in")
    issued_at, expires = instant(claims, "iat"), instant(claims, "exp")
    if issued_at is None or issued_at > now + skew:
        raise KIND.refuse("iat", "does not say when it was made, or was made in the future")
    if expires is None or expires <= now - skew:
        raise KIND.refuse("expired", "is no longer good")
    not_before = instant(claims, "nbf")
    if not_before is not None and not_before > now + skew:
        raise KIND.refuse("nbf", "is not good yet")
    if nonce is not None:
        check_nonce(claims, nonce)
    _check_at_hash(claims, access_token, algorithm)


def check_nonce(claims: Mapping[str, Any], nonce: str) -> None:
    """Whether the ID token belongs to the sign-in that sent this nonce. Raises :class:`ProtocolError`."""
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise KIND.refuse("nonce", "belongs to another sign-in")


def check_user_flow(claims: Mapping[str, Any], user_flow: str) -> None:
    """Azure AD B2C: that the token comes from the user flow that was asked for; its name is in ``tfp`` or ``acr``.
    Raises :class:`ProtocolError`."""
    ran = claims.get("tfp", claims.get("acr"))
    if not isinstance(ran, str):
        raise KIND.refuse("user_flow", "does not name its user flow, in tfp or acr")
    if ran.casefold() != user_flow.casefold():
        raise KIND.refuse("user_flow", "comes from another user flow than the one that was asked for")


_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


def _check_at_hash(claims: Mapping[str, Any], access_token: str, algorithm: str) -> None:
    given = claims.get("at_hash")
    make = _HASHES.get(algorithm[-3:], hashlib.sha512 if algorithm.startswith("Ed") else None)
    if given is None or not access_token or make is None:
        return  # optional in the code flow (§3.1.3.6)
    digest = make(access_token.encode()).digest()
    if not isinstance(given, str) or not hmac.compare_digest(
        given.encode(), encode(digest[: len(digest) // 2]).encode()
    ):
        raise KIND.refuse("at_hash", "and the access token do not belong together")


def algorithm_of(token: str) -> str:
    """The ``alg`` of a token whose signature was checked."""
    return str(signed.header_of(token, KIND).get("alg", ""))


def auth_time_of(claims: Mapping[str, Any]) -> int | None:
    """When the person really signed in, in whole seconds; ``None`` if the issuer does not say (or says 0)."""
    value = instant(claims, "auth_time")
    return int(value) if value else None


def sids_of(claims: Mapping[str, Any], session_state: str) -> tuple[str, ...]:
    """The issuer's name of its session: ``sid``, or the callback's ``session_state`` where there is none."""
    sid = claims.get("sid")
    name = str(sid) if is_text(sid, LONGEST_SID) else session_state
    return (name,) if is_text(name, LONGEST_SID) else ()
