"""The logout token (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6; ASVS 10.5.5).

1. Signed as an ID token is, by the same keys and algorithms; never ``none``, never encrypted.
2. It can't be taken for an ID token, nor an ID token for it: it has the event, and no ``nonce``.
3. ``exp`` says until when it is good, a day at most; one without is good for ten minutes from its ``iat``.
4. Unknown claims are ignored. ``typ`` may be ``logout+jwt``, ``JWT`` or missing, as providers have it;
   ``require_logout_token_type`` wants the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from ...vocabulary.records import frozen
from ...vocabulary.settings import DAY, Settings
from . import signed
from .discovery import Provider
from .signed import Kind, UnknownKey, instant, is_text

__all__ = ["EVENT", "KIND", "LogoutNotice", "UnknownKey", "check", "verified_claims"]

KIND = Kind("logout_token", "logout token", 400)
EVENT = "http://schemas.openid.net/event/backchannel-logout"
LONGEST_NAME = 2_048
WITHOUT_EXPIRY = 600
"""Seconds that a token without ``exp`` is good from its ``iat``."""


@frozen
class LogoutNotice:
    """What a checked logout token says: which session of the issuer ended, or that all of a user's did."""

    issuer: str
    subject: str | None = field(repr=False)
    sid: str | None = field(repr=False)
    jti: str = field(repr=False)
    issued_at: int
    good_until: int
    """The instant from which the token is refused anyway, so that its ``jti`` may be forgotten."""


def verified_claims(token: str, jwks: Mapping[str, Any], algorithms: Sequence[str]) -> dict[str, Any]:
    """The claims of a logout token whose signature is good. Raises as :func:`.signed.verified_claims` does."""
    return signed.verified_claims(token, jwks, algorithms, KIND)


def check(
    token: str, claims: Mapping[str, Any], provider: Provider, settings: Settings, *, client_id: str, now: float
) -> LogoutNotice:
    """§2.6, one step after the other, on the claims of a token whose signature is good.

    Raises :class:`~kmsi_middleware.errors.ProtocolError`, ``logout_token_…``.
    """
    kind = signed.header_of(token, KIND).get("typ")
    accepted = ("logout+jwt",) if settings.require_logout_token_type else ("logout+jwt", "jwt", None)
    # RFC 7515 §4.1.9: media types are compared without regard to case, and may say "application/".
    if (kind.lower().removeprefix("application/") if isinstance(kind, str) else kind) not in accepted:
        raise KIND.refuse("typ", "is of another type")
    signed.check_issuer(claims, provider, settings, KIND)
    signed.check_audience(claims, client_id, KIND)
    issued_at, good_until = _times(claims, settings.clock_skew, now)
    subject, sid = claims.get("sub"), claims.get("sid")
    if subject is None and sid is None:
        raise KIND.refuse("empty", "names neither a session nor a user")
    if not all(value is None or is_text(value, LONGEST_NAME) for value in (subject, sid)):
        raise KIND.refuse("malformed", "names its session or user by what is no text")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise KIND.refuse("events", "does not tell of a logout")
    if "nonce" in claims:
        raise KIND.refuse("nonce", "has a nonce, as only ID tokens may")
    jti = claims.get("jti")
    if not is_text(jti, LONGEST_NAME):
        raise KIND.refuse("jti", "has no name of its own")
    return LogoutNotice(str(claims["iss"]), subject, sid, str(jti), issued_at, good_until)


def _times(claims: Mapping[str, Any], skew: int, now: float) -> tuple[int, int]:
    """``iat``, and until when the token is good (rule 3)."""
    issued_at, expires = instant(claims, "iat"), instant(claims, "exp")
    if issued_at is None or issued_at > now + skew:
        raise KIND.refuse("iat", "does not say when it was made, or was made in the future")
    if expires is None and "exp" in claims:
        raise KIND.refuse("expired", "does not say until when it is good")
    if expires is None:
        expires = issued_at + WITHOUT_EXPIRY
    if not now - skew < expires <= now + DAY + skew:
        raise KIND.refuse("expired", "is no longer good, or would be for longer than a day")
    return int(issued_at), int(expires) + skew + 1
