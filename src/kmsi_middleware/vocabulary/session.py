"""The application session as data, and what is left of an ended one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .addresses import tenant_issuer
from .records import frozen

EndReason = Literal[
    "idle",
    "absolute",
    "signed_out",
    "front_channel",
    "back_channel",
    "replaced",
    "revoked",
    "sign_in_frequency",
    "policy",
]
"""Why a session ended: one word for the page, the JSON, the log and the tombstone."""

Revoker = Literal["", "cli", "python", "page", "issuer"]
"""Who revoked a session, for the log: the command line, a Python call, the person's own page, or the issuer when it
was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An application session: what the app sees as ``scope["kmsi"]``, and what a store keeps.

    Instants are whole seconds since 1970 (UTC). Whether it is still good is for
    :mod:`kmsi_middleware.rules.lifetimes` to say; ``expires_at`` is the latest instant that was promised.
    """

    key: bytes = field(repr=False)
    """SHA-256 of the token in the browser's cookie. The token itself is nowhere but there."""
    issuer: str
    subject: str
    claims: Mapping[str, Any] = field(repr=False)
    """The claims of the ID token that signed the person in."""
    sids: tuple[str, ...] = field(default=(), repr=False)
    """The issuer's names for its session, newest last: ``sid``, older ``sid``s, or ``session_state``."""
    auth_time: int | None = None
    """When the person last really signed in at the issuer, if it said so."""
    begun_at: int = 0
    """When the browser was sent to the issuer for the sign-in that made this session; what was revoked since then
    has stopped it (:class:`Mark`)."""
    started_at: int
    renewed_at: int
    """When its use was last noted: true to about an hour (:mod:`kmsi_middleware.rules.lifetimes`, rule 6)."""
    expires_at: int
    persistent: bool
    """Whether the browser was told to keep the cookie when it closes."""
    decision: str
    """Why it is persistent or not: the row of the table in :mod:`kmsi_middleware.rules.kmsi`."""
    correlation_id: str
    """The sign-in's name in the sign-in log."""
    second_factor_at: int | None = None
    """When the person last showed a second factor, if ``amr`` tells of one."""
    signals: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the app's hook said of the sign-in; the policies go by it for as long as the session lasts."""
    asked_for: str = ""
    """What the sign-in that made this session was asked for by a policy; asked for again at once, it is a page."""
    verified_max_age: int | None = None
    """The ``max_age`` that the sign-in was asked with, and held."""
    reported: tuple[str, ...] = ()
    """Policies in report-only mode that would have interrupted or blocked it, as far as the sign-in log knows."""
    refused_at: int | None = None
    """When a navigation was last answered by a sign-in that fell due."""
    password_change_demanded_at: int | None = None
    """When the person was told to change the password."""
    user_flow: str = ""
    """The user flow that the person came through; ``""`` where the app has none."""
    confirmed_at: int | None = None
    """When the issuer last said, after the sign-in itself, that the session stands."""
    put_off_until: int | None = None
    """Until when the issuer is not asked whether it stands: it could not be, or it was and has not answered."""
    refreshable: bool = False
    """Whether there is a refresh token among the sealed tokens."""
    user_agent: str = field(default="", repr=False)
    """What the browser called itself at the sign-in, bounded."""
    address: str = field(default="", repr=False)
    """The client's address at the sign-in."""
    country: str | None = None
    """The country of that address, as far as known: two letters in upper case."""
    data: bytes = field(default=b"{}", repr=False)
    """The app's own data (``request.session``), as a JSON object."""
    sealed: bytes = field(default=b"", repr=False)
    """The issuer's tokens, sealed under a key that only the browser's token gives."""
    version: int = 1
    """Counts the saves; a save names the version that it read."""

    @property
    def id(self) -> str:
        """What to call the session on the command line, on pages and in logs: its key in hexadecimal. It signs nobody
        in. (Not base64url: that may begin with a hyphen, as an option does.)"""
        return self.key.hex()

    @property
    def user_keys(self) -> tuple[bytes, ...]:
        """The names under which a store finds the sessions of this user: by issuer and subject, and by Entra's
        ``tid`` and ``oid`` where the ID token has them (the ``sub`` of Entra is another one in every app)."""
        names = [(self.issuer, self.subject), (self.claims.get("tid"), self.claims.get("oid"))]
        return tuple(
            user_key(authority, identity)
            for authority, identity in names
            if isinstance(authority, str) and isinstance(identity, str) and authority and identity
        )

    @property
    def mark_keys(self) -> tuple[bytes, ...]:
        """All names under which a mark stops the sign-in: those of the user, and of the issuer's session."""
        return (*self.user_keys, *(sid_key(self.issuer, sid) for sid in self.sids))

    @property
    def name(self) -> str:
        """What to call the person: ``name``, else ``preferred_username``, ``email`` or the subject."""
        for claim in ("name", "preferred_username", "email"):
            value = self.claims.get(claim)
            if isinstance(value, str) and value.strip():
                return value
        return self.subject


@frozen
class Tombstone:
    """What is left of an ended session for 24 hours, so that the person can be told why."""

    reason: EndReason
    ended_at: int
    correlation_id: str = ""
    """The sign-in's name in the sign-in log."""


TOMBSTONE_SECONDS = 86_400


@frozen
class Mark:
    """From when on the sign-ins of a user (as Entra ID's ``signInSessionsValidFromDateTime``), of everybody, or of
    one session of the issuer are good."""

    valid_from: int = 0
    """A sign-in that began at this instant or before becomes no session any more."""
    real_from: int = 0
    """The person must have really signed in at the issuer after this instant."""

    def stops(self, begun_at: int) -> bool:
        """Whether a sign-in that began then becomes no session any more."""
        return 0 < self.valid_from >= begun_at


def later(*marks: Mark) -> Mark:
    """Of each instant the latest."""
    return Mark(max((mark.valid_from for mark in marks), default=0), max((mark.real_from for mark in marks), default=0))


EVERYBODY = bytes(16)
"""The user key of a mark that holds for all users."""


def user_key(authority: str, identity: str) -> bytes:
    """The name of a user in a store: of an issuer and a subject, or of a tenant and an object id. 16 bytes."""
    return _named("user", tenant_issuer(authority), identity)


def sid_key(issuer: str, sid: str) -> bytes:
    """The name of an issuer's session, for a mark that stops the sign-ins of that session. 16 bytes."""
    return _named("sid", issuer, sid)


def _named(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]
