"""The issuer's tokens of a session: an access token for the app, and a new one by the refresh token.

1. Once at a time, over all processes: whoever asks the issuer holds a lease in the store, named after the session.
   It is had only where the store can be written, and ends by itself if its holder dies.
2. From then on the refresh token may be used up. So what came back is saved first, and again and again while others
   save the session, of whose changes nothing is lost. If the store fails just then, the result waits in this
   process, sealed as in the store, and is saved before the issuer is asked anything more.
3. The issuer's own word ends the session (:mod:`..rules.oidc.refresh`), and nothing else does.
4. The session's token stays: nobody has signed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..rules import cookies
from ..rules.oidc import id_token, refresh
from ..rules.oidc.discovery import Provider
from ..rules.oidc.tokens import Tokens, as_kept, state_of
from ..rules.seals import encode, key_of, open_under, seal_under
from ..vocabulary.effects import (
    EndSession,
    Fetch,
    Flow,
    GetKeys,
    GetProvider,
    LoadSession,
    MayAsk,
    PutAside,
    PutTicket,
    ReadAside,
    ReadMark,
    ReadTicket,
    SaveSession,
    TakeTicket,
    Tell,
    ToTheEnd,
)
from ..vocabulary.errors import (
    KMSIError,
    NoAccessToken,
    ProtocolError,
    ProviderUnavailable,
    SessionEnded,
    SessionRequired,
    StoreConflict,
    StoreUnavailable,
)
from ..vocabulary.messages import Busy, Request
from ..vocabulary.session import Mark, Session, Tombstone, sid_key
from . import id_tokens, log, sessions
from .deployment import Deployment

POLL_SECONDS = 0.05
REVOKE_WITHIN = 2.0
"""Seconds that giving tokens back may take. It is a courtesy, and nobody waits longer for it."""
NEEDS_SESSION = ("there is no access token", "asking for it")


def lease_seconds(app: Deployment) -> int:
    """How long a lease lasts: longer than its holder can need, for the exchange and for keys that are new."""
    return 2 * app.settings.http_timeout + 5


def most_attempts(app: Deployment) -> int:
    """After how many attempts nobody waits any more for whoever holds the lease."""
    return int(app.settings.http_timeout / POLL_SECONDS)


def access_token(
    app: Deployment, request: Request, shown: Session | None, now: float, attempt: int = 0
) -> Flow[str | Busy]:
    """An access token of the session that the app was shown for this request. Never extends it.

    ``attempt`` counts those that came to :class:`Busy`. Raises :class:`SessionRequired`, :class:`SessionEnded`,
    :class:`NoAccessToken`, :class:`Unavailable` or :class:`ProtocolError`.
    """
    tokens = cookies.session_tokens(request.header("cookie"), request.site)
    token = next((token for token in tokens if shown is not None and key_of(token) == shown.key), None)
    if token is None:
        raise SessionRequired(*NEEDS_SESSION)
    found = yield from sessions.find_by(app, request, token, now)
    if found.session is None:
        raise SessionEnded(found.ended)
    kept = sessions.tokens_of(found.session, token)
    state = state_of(kept, now)
    if state == "good":
        return str(kept["access_token"])
    if not kept.get("refresh_token"):
        raise _nothing(state)
    try:
        renewed = yield from _renewed(app, request, found.session, token, now, attempt)
    except (ProviderUnavailable, StoreUnavailable, ProtocolError) as error:
        # An answer that came and can't be accepted is no reason to go on as if there had been none.
        harmless = ("refresh_refused", id_tokens.KEY_UNKNOWN)
        is_bad_answer = isinstance(error, ProtocolError) and error.code not in harmless
        if state != "ending" or is_bad_answer:
            raise
        return str(kept["access_token"])
    if isinstance(renewed, Busy):
        return str(kept["access_token"]) if state == "ending" else renewed
    kept = sessions.tokens_of(renewed, token)
    if state_of(kept, now) in ("over", "none"):
        raise _nothing(state_of(kept, now))
    return str(kept["access_token"])


def _nothing(state: str) -> NoAccessToken:
    if state == "none":
        return NoAccessToken("no_access_token", "the provider gave the app no access token")
    detail = "it is over, and there is no refresh token to get another one with: add offline_access to the scope"
    return NoAccessToken("access_token_expired", detail)


def _renewed(
    app: Deployment, request: Request, session: Session, token: str, now: float, attempt: int
) -> Flow[Session | Busy]:
    if not attempt and not (yield MayAsk()):
        raise ProviderUnavailable("the provider did not answer just now")
    outcome: Session | Busy = yield ToTheEnd(renew(app, request, session, token, now))
    if isinstance(outcome, Busy) and attempt >= most_attempts(app):
        raise ProviderUnavailable("another process waits for the provider's answer")
    return outcome


# Once at a time ---------------------------------------------------------------------------------------------


def renew(app: Deployment, request: Request, session: Session, token: str, now: float) -> Flow[Session | Busy]:
    """Ask the issuer with the session's refresh token (rules 1 to 3); to be played to the end.

    Answer: the session with what came of it, whoever it was that asked. Raises as :func:`access_token` does.
    """
    late = yield from _saved_late(app, session, token)
    if late is not None:
        if state_of(sessions.tokens_of(late, token), now) == "good":
            return late
        session = late
    lease, holder = key_of(f"lease {encode(session.key)}"), app.dice(8)
    if (yield ReadTicket(lease)) is not None:
        return Busy(POLL_SECONDS)
    provider: Provider = yield GetProvider(app.authority(request.site, session.user_flow))
    yield GetKeys(provider.jwks_uri)  # without them the answer could not be checked, and the refresh token is used up
    if not (yield PutTicket(lease, holder, int(now) + lease_seconds(app))):
        return Busy(POLL_SECONDS)
    try:
        outcome = yield from _exchanged(app, request, provider, session, token, now)
    except StoreUnavailable:
        raise  # the lease stays: as long as it does, nobody else asks with a token that is used up
    except KMSIError:
        yield from _release(lease, holder)
        raise
    yield from _release(lease, holder)
    return outcome


def _release(lease: bytes, holder: bytes) -> Flow[None]:
    try:
        if (yield ReadTicket(lease)) == holder:
            yield TakeTicket(lease)
    except StoreUnavailable:
        return  # it ends by itself


def _exchanged(
    app: Deployment, request: Request, provider: Provider, session: Session, token: str, now: float
) -> Flow[Session]:
    current: Session | Tombstone | None = yield LoadSession(session.key)
    if not isinstance(current, Session):
        raise SessionEnded(current.reason if current else None)
    kept = sessions.tokens_of(current, token)
    if current.sealed != session.sealed:
        return current  # somebody else was faster
    if not kept.get("refresh_token"):
        return (yield from sessions.change(current, refreshable=False))
    asked = refresh.refresh_request(
        provider, app.settings, client_id=app.client_id, refresh_token=kept["refresh_token"]
    )
    given = refresh.check_refresh_response((yield Fetch(asked)))
    if isinstance(given, refresh.Ended):
        return (yield from _ended(app, request, current, given.hint, now))
    changes: dict[str, Any] = {"confirmed_at": int(now)}
    sids: tuple[str, ...] = ()
    if given.id_token:
        try:
            claims = yield from _checked(app, provider, given, current, now)
        except (ProviderUnavailable, ProtocolError) as error:
            if isinstance(error, ProviderUnavailable) or error.code == id_tokens.KEY_UNKNOWN:
                only = as_kept(refresh.only_the_refresh_token(given), now)
                yield from _keep(app, current, token, only, (), {})
            raise
        changes["claims"] = refresh.claims_after(claims, current.claims, signed_in=False)
        sids = id_token.sids_of(claims, "")
    saved = yield from _keep(app, current, token, as_kept(given, now), sids, changes)
    if saved is None:
        yield from give_back(app, provider, as_kept(given, now))
        gone: Session | Tombstone | None = yield LoadSession(session.key)
        raise SessionEnded(gone.reason if isinstance(gone, Tombstone) else None)
    return saved


def _checked(app: Deployment, provider: Provider, given: Tokens, session: Session, now: float) -> Flow[dict[str, Any]]:
    claims, settings = (yield from id_tokens.verified(app, provider, given.id_token)), app.settings
    before, client_id = session.claims, app.client_id
    refresh.check_refreshed(claims, before, provider, settings, client_id=client_id, now=now, given=given)
    if session.user_flow:
        id_token.check_user_flow(claims, session.user_flow)
    return claims


def _ended(app: Deployment, request: Request, session: Session, hint: str, now: float) -> Flow[Session]:
    """Rule 3. The issuer refused a refresh token, unless it was one that somebody else had used up meanwhile."""
    current = yield LoadSession(session.key)
    if isinstance(current, Session) and current.sealed != session.sealed:
        return current
    yield from end(app, request, session, hint, now)
    raise SessionEnded("revoked")


def end(app: Deployment, request: Request, session: Session, hint: str, now: float) -> Flow[None]:
    """The issuer does not stand behind a session any more; ``hint``: what it said."""
    yield EndSession(session.key, "revoked", by="issuer")
    detail = "the provider does not stand behind the session any more"
    yield log.unconfirmed(app, request, now, session, ProtocolError("session_revoked", detail, hint=hint))


# Never lost ---------------------------------------------------------------------------------------------------


def _keep(
    app: Deployment,
    session: Session,
    token: str,
    tokens: Mapping[str, Any],
    sids: tuple[str, ...],
    changes: Mapping[str, Any],
) -> Flow[Session | None]:
    """:func:`take_up`, and where the store fails at it, put aside what is to be taken up (rule 2)."""
    try:
        return (yield from take_up(app, session, token, tokens, sids, changes))
    except StoreUnavailable:
        replaces = sessions.tokens_of(session, token).get("refresh_token", "")
        late = {"tokens": dict(tokens), "sids": list(sids), "changes": dict(changes), "replaces": replaces}
        yield PutAside(session.key, seal_under(token, late, app.dice))
        raise


def _saved_late(app: Deployment, session: Session, token: str) -> Flow[Session | None]:
    """What was put aside, taken up now; ``None`` if there is nothing, or nothing to save it in."""
    payload = yield ReadAside(session.key)
    late = open_under(token, payload)
    saved: Session | None = None
    if late and sessions.tokens_of(session, token).get("refresh_token", "") == late["replaces"]:
        saved = yield from take_up(app, session, token, late["tokens"], tuple(late["sids"]), late["changes"])
    if payload:
        yield PutAside(session.key, b"")
    return saved


def take_up(
    app: Deployment,
    session: Session,
    token: str,
    tokens: Mapping[str, Any],
    sids: tuple[str, ...],
    changes: Mapping[str, Any],
) -> Flow[Session | None]:
    """Save what the issuer gave in place of what the session has; ``None`` if it has ended meanwhile.

    ``sids``: its names for its own session now, which join the older ones. ``changes``: fields of the session.
    """
    current: Session | Tombstone | None = session
    while isinstance(current, Session):
        kept = {**sessions.tokens_of(current, token), **tokens}
        changed = replace(
            current,
            **changes,
            sids=sessions.all_sids(current.sids, sids),
            sealed=seal_under(token, kept, app.dice),
            refreshable=bool(kept.get("refresh_token")),
            put_off_until=None,
            version=current.version + 1,
        )
        try:
            yield SaveSession(changed)
        except StoreConflict:
            current = yield LoadSession(session.key)
            continue
        return (yield from _unless_signed_out(changed, current.sids))
    return None


def _unless_signed_out(session: Session, before: tuple[str, ...]) -> Flow[Session | None]:
    """A sign-out at the issuer that named a ``sid`` before we knew it has left a mark."""
    new = [sid_key(session.issuer, sid) for sid in session.sids if sid not in before]
    mark: Mark = (yield ReadMark(new)) if new else Mark()
    if not mark.stops(session.begun_at):
        return session
    yield EndSession(session.key, "back_channel")
    return None


def give_back(app: Deployment, provider: Provider, kept: Mapping[str, Any]) -> Flow[None]:
    """Revoke tokens that nobody needs any more, where the issuer has a place for it (RFC 7009)."""
    requests = refresh.revocation_requests(provider, app.settings, client_id=app.client_id, tokens=kept)
    if requests and (yield MayAsk()):
        yield Tell(requests, REVOKE_WITHIN)
