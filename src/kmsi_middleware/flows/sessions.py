"""Finding the session of a request, keeping it alive, and starting a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any

from ..rules import cookies, lifetimes
from ..rules.app_data import merged
from ..rules.seals import decode, encode, key_of, open_under, seal_under
from ..rules.sign_in_log import LONGEST_USER_AGENT, clean_text
from ..vocabulary.addresses import tenant_issuer
from ..vocabulary.effects import CreateSession, EndSession, Flow, GetCountry, LoadSession, SaveSession
from ..vocabulary.errors import StoreConflict, Unavailable
from ..vocabulary.messages import Request
from ..vocabulary.records import frozen
from ..vocabulary.session import EndReason, Session, Tombstone
from ..vocabulary.settings import DAY
from .deployment import Deployment

MOST_ATTEMPTS = 4
SIGN_OUT_SEAL = "front_channel_logout"
MOST_SIDS = 8


@frozen
class Left:
    """What is left of a session that is over."""

    id: str
    tombstone: Tombstone
    session: Session | None = None
    """Of one that ran out and that nobody ended."""


@frozen
class Found:
    """What a request's cookies lead to: a session, or what is left of one."""

    session: Session | None = None
    token: str = field(default="", repr=False)
    until: int = 0
    set_cookies: tuple[str, ...] = field(default=(), repr=False)
    left: Left | None = None

    @property
    def ended(self) -> EndReason | None:
        """Why there is no session any more, if there was one."""
        return None if self.left is None else self.left.tombstone.reason


def find(app: Deployment, request: Request, now: float, *, extend: bool = True) -> Flow[Found]:
    """The session of this request. ``extend=False`` looks and changes nothing."""
    left: Left | None = None
    for token in cookies.session_tokens(request.header("cookie"), request.site):
        found = yield from _one(app, request, token, now, extend=extend)
        if found.session is not None:
            return found
        left = left or found.left
    return Found(left=left)


def find_by(app: Deployment, request: Request, token: str, now: float) -> Flow[Found]:
    """The session of one token. Looks and changes nothing."""
    return (yield from _one(app, request, token, now, extend=False))


def _one(app: Deployment, request: Request, token: str, now: float, *, extend: bool) -> Flow[Found]:
    key = key_of(token)
    for _ in range(MOST_ATTEMPTS):
        stored = yield LoadSession(key)
        if stored is None:
            return Found()
        if not isinstance(stored, Session):
            return Found(left=Left(key.hex(), stored))
        match lifetimes.judge(stored, app.settings_of(stored.user_flow), now):
            case lifetimes.Over(reason, at):
                return Found(left=Left(key.hex(), Tombstone(reason, at, stored.correlation_id), stored))
            case lifetimes.Good(until=until):
                return Found(stored, token, until)
            case lifetimes.Due(session=due):
                if not extend:
                    return Found(stored, token)
                due = replace(due, version=stored.version + 1)
                try:
                    yield SaveSession(due)
                except StoreConflict:
                    continue  # somebody else was faster: what they saved may be all that is needed
                is_told = _as_kept(stored) != _as_kept(due)
                return Found(due, token, 0, session_cookies(app, request, token, due, now) if is_told else ())
    return Found(stored, token)


def _as_kept(session: Session) -> int | None:
    """Until when the browser keeps the session's cookie; ``None``: until it closes."""
    return session.expires_at if session.persistent else None


def session_cookies(app: Deployment, request: Request, token: str, session: Session, now: float) -> tuple[str, ...]:
    """The Set-Cookie of a session, persistent or non-persistent; and by ``front_channel_logout_cookie`` of the one that
    can end it, which names its key and not its token."""
    until = _as_kept(session)
    its_own = cookies.set_cookie(request.site, "", token, until=until, now=now)
    if not (app.settings.front_channel_logout_cookie and request.site.secure):
        return (its_own,)
    named = app.seals.seal(SIGN_OUT_SEAL, {"key": encode(session.key)}, now)
    return (its_own, cookies.set_cookie(request.site, cookies.SIGN_OUT, named, until=until, now=now))


def clear_cookies(request: Request) -> tuple[str, ...]:
    """Removes them."""
    gone = cookies.clear_cookie(request.site, "")
    if not cookies.named(request.header("cookie"), request.site, cookies.SIGN_OUT):
        return (gone,)
    return (gone, cookies.clear_cookie(request.site, cookies.SIGN_OUT))


def named_for_sign_out(app: Deployment, request: Request, now: float) -> Flow[Session | None]:
    """The session that this request may end, and only that, by :data:`..rules.cookies.SIGN_OUT`."""
    if not app.settings.front_channel_logout_cookie:
        return None
    value = cookies.named(request.header("cookie"), request.site, cookies.SIGN_OUT)
    within = app.settings.session_max_age * DAY
    named = app.seals.open(SIGN_OUT_SEAL, value, within=within, now=now) if value else None
    if named is None:
        return None
    session = yield LoadSession(decode(named["key"]))
    return session if isinstance(session, Session) else None


@frozen
class SignIn:
    """A sign-in whose ID token was checked: all that a session is made from. JSON-able, to wait in a ticket."""

    issuer: str
    claims: Mapping[str, Any] = field(repr=False)
    sids: tuple[str, ...] = field(repr=False)
    auth_time: int | None
    tokens: Mapping[str, Any] = field(repr=False)
    return_to: str
    correlation_id: str
    begun_at: int = 0
    """When the browser was sent to the issuer."""
    user_flow: str = ""
    second_factor_at: int | None = None
    signals: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the app's hook said, as :meth:`SignInSignals.known` has it."""
    asked_for: str = ""
    verified_max_age: int | None = None
    applied: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """What each policy came to, for the sign-in log."""
    missing: tuple[str, ...] = ()
    """Facts that policies needed and nobody told."""

    @property
    def subject(self) -> str:
        return str(self.claims["sub"])

    def to_json(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "claims": dict(self.claims),
            "sids": list(self.sids),
            "auth_time": self.auth_time,
            "tokens": dict(self.tokens),
            "return_to": self.return_to,
            "correlation_id": self.correlation_id,
            "begun_at": self.begun_at,
            "user_flow": self.user_flow,
            "second_factor_at": self.second_factor_at,
            "signals": dict(self.signals),
            "asked_for": self.asked_for,
            "verified_max_age": self.verified_max_age,
            "applied": list(self.applied),
            "missing": list(self.missing),
        }

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> SignIn:
        return cls(**{**payload, "sids": tuple(payload["sids"]), "missing": tuple(payload["missing"])})


def is_same_person(one: SignIn | Session, other: SignIn | Session) -> bool:
    """Whether two sign-ins are of one person, through whatever user flow."""
    return one.subject == other.subject and tenant_issuer(one.issuer) == tenant_issuer(other.issuer)


def prospective(sign_in: SignIn, now: float) -> Session:
    """The session that a sign-in would become, without key and promise, for who must judge it before."""
    at = int(now)
    return Session(
        key=b"",
        issuer=sign_in.issuer,
        subject=sign_in.subject,
        claims=sign_in.claims,
        sids=sign_in.sids,
        auth_time=sign_in.auth_time,
        second_factor_at=sign_in.second_factor_at,
        signals=sign_in.signals,
        asked_for=sign_in.asked_for,
        verified_max_age=sign_in.verified_max_age,
        begun_at=sign_in.begun_at,
        user_flow=sign_in.user_flow,
        started_at=at,
        renewed_at=at,
        expires_at=at,
        persistent=False,
        decision="",
        correlation_id=sign_in.correlation_id,
    )


def start(
    app: Deployment,
    request: Request,
    now: float,
    sign_in: SignIn,
    *,
    persistent: bool,
    decision: str,
    token: str | None = None,
) -> Flow[tuple[Session, tuple[str, ...]]]:
    """Begin a session under a new token, and end those that this browser had (ASVS 7.2.4).

    The app's data and the issuer's older ``sid``s live on where the same person signs in again.
    """
    token = token or encode(app.dice(32))
    at = int(now)
    settings = app.settings_of(sign_in.user_flow)
    persistent = persistent and settings.keep_me_signed_in_days > 0  # a question may outlast the setting
    session = replace(
        prospective(sign_in, now),
        key=key_of(token),
        expires_at=lifetimes.promised_end(settings, persistent=persistent, started_at=at, renewed_at=at),
        persistent=persistent,
        decision=decision,
        user_agent=clean_text(request.header("user-agent"), LONGEST_USER_AGENT),
        address=request.client_address,
        country=(yield GetCountry(request.client_address)) if app.settings.country_database else None,
        sealed=seal_under(token, sign_in.tokens, app.dice),
        refreshable=bool(sign_in.tokens.get("refresh_token")),
    )
    older = []
    for old_token in cookies.session_tokens(request.header("cookie"), request.site):
        old = yield LoadSession(key_of(old_token))
        if not isinstance(old, Session) or old.key == session.key:
            continue
        older.append(old)
        over = isinstance(lifetimes.judge(old, app.settings_of(old.user_flow), now), lifetimes.Over)
        if not over and is_same_person(old, session):
            session = replace(
                session,
                data=old.data,
                sids=all_sids(old.sids, session.sids),
                password_change_demanded_at=old.password_change_demanded_at,
            )
    yield CreateSession(session)
    for old in older:
        yield EndSession(old.key, "replaced")
    return session, session_cookies(app, request, token, session, now)


def change(session: Session, **changes: Any) -> Flow[Session]:
    """Change fields of a session. Where somebody else was faster, their change stands, and the next request sees."""
    changed = replace(session, **changes, version=session.version + 1)
    try:
        yield SaveSession(changed)
    except StoreConflict:
        return replace(session, **changes)
    return changed


def end_persistence(session: Session, **changes: Any) -> Flow[Session | None]:
    """Make a session non-persistent, whoever else writes to it meanwhile. ``None``: it has ended."""
    return (yield from _save(session, lambda current: replace(current, persistent=False, **changes)))


def save_data(session: Session, written: dict[str, Any], removed: frozenset[str]) -> Flow[Session | None]:
    """Apply one request's changes to the app's data. ``None``: the session ended meanwhile, nothing was saved."""
    return (yield from _save(session, lambda current: replace(current, data=merged(current.data, written, removed))))


def _save(session: Session, change: Callable[[Session], Session]) -> Flow[Session | None]:
    """Save a change that holds whoever else writes meanwhile: it is made to what they have written."""
    current: object = session
    for _ in range(MOST_ATTEMPTS):
        if not isinstance(current, Session):
            return None
        changed = replace(change(current), version=current.version + 1)
        try:
            yield SaveSession(changed)
        except StoreConflict:
            current = yield LoadSession(session.key)
        else:
            return changed
    raise Unavailable("the session changes too quickly to be saved")


def all_sids(older: tuple[str, ...], newer: tuple[str, ...]) -> tuple[str, ...]:
    """The issuer's names for its session, newest last; a logout may name an older one."""
    return tuple(dict.fromkeys((*older, *newer)))[-MOST_SIDS:]


def tokens_of(session: Session, token: str) -> dict[str, Any]:
    """The issuer's tokens of a session, which only its own token opens."""
    return open_under(token, session.sealed)
