"""``POST /.auth/backchannel-logout``: the issuer tells us, server to server, that a session ended (OpenID Connect
Back-Channel Logout 1.0).

1. A token that fails any check is a 400, and ends nothing. What it names and we don't know is a success: it is
   over already, and a 400 could leave the person stranded at the issuer.
2. ``sid``: the sessions that the issuer knows by it, now or before. Without it: all sessions of (issuer, subject).
   Where only the subject tells (a ``sid`` may equal it), a session that the issuer made after the token is a newer
   one, and stays.
3. It may come before the sign-in that it ends has arrived here. So it leaves a mark first, which stops what began
   before it, and then ends what it finds; a question that waits for its answer waits no more.
4. Its ``jti`` is noted last. If something fails in between, the issuer's next attempt does the rest; once all is
   done, the token is good for nothing more.
5. The issuer's tokens of such a session are deleted with it. They are sealed under its cookie, which is not here,
   so they can't be revoked at the issuer.
"""

from __future__ import annotations

import json
from typing import Any

from ..rules.oidc import logout_token, signed
from ..rules.oidc.authorization import TRANSACTION_SECONDS
from ..rules.oidc.discovery import Provider
from ..rules.oidc.logout_token import LogoutNotice
from ..rules.seals import key_of
from ..vocabulary.effects import (
    EndSessions,
    FindSessions,
    FindUserSessions,
    Flow,
    GetKeys,
    GetProvider,
    PutMark,
    PutTicket,
    ReadTicket,
)
from ..vocabulary.errors import ProtocolError, ProviderUnavailable, Refused
from ..vocabulary.messages import Reply, Request
from ..vocabulary.session import Mark, Session, sid_key, user_key
from . import forms, interrupt, replies, words
from .deployment import Deployment

MARK_SECONDS = TRANSACTION_SECONDS + interrupt.WAITS_SECONDS
"""How long after its beginning a sign-in can still become a session."""


def back_channel(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """200 with an empty body, 400 (RFC 6749 §5.2), or 503."""
    try:
        token = forms.form(request).get("logout_token", "")
        if not token:
            raise Refused("logout_token_missing", "there is no logout_token")
        notice = yield from _checked(app, request, token, now)
        used = key_of("logout token " + json.dumps([notice.issuer, notice.jti]))
        if (yield ReadTicket(used)) is not None:
            raise Refused("logout_token_used", "this logout token was used before")
    except Refused as error:
        return _refused(error)
    yield from _end(notice, now)
    yield PutTicket(used, b"", notice.good_until)
    return Reply(200, (replies.NO_STORE,))


def _checked(app: Deployment, request: Request, token: str, now: float) -> Flow[LogoutNotice]:
    algorithms = app.settings.id_token_algorithms
    provider: Provider = yield from _documents(GetProvider(request.site.issuer))
    jwks = yield from _documents(GetKeys(provider.jwks_uri))
    try:
        claims = logout_token.verified_claims(token, jwks, algorithms)
    except logout_token.UnknownKey:
        jwks = yield from _documents(GetKeys(provider.jwks_uri, unknown_kid=True))
        try:
            claims = logout_token.verified_claims(token, jwks, algorithms)
        except logout_token.UnknownKey:
            raise logout_token.KIND.refuse("key_unknown", "is signed by a key that is not published") from None
    return logout_token.check(token, claims, provider, app.settings, client_id=app.client_id, now=now)


def _documents(effect: GetProvider | GetKeys) -> Flow[Any]:
    """The provider's documents. Where they are not in order, that is no fault of the token's."""
    try:
        return (yield effect)
    except ProtocolError as error:
        raise ProviderUnavailable(error.detail) from error


def _end(notice: LogoutNotice, now: float) -> Flow[None]:
    """Rules 2 and 3."""
    is_user_wide = notice.sid is None
    key = user_key(notice.issuer, notice.subject or "") if is_user_wide else sid_key(notice.issuer, notice.sid or "")
    yield PutMark(key, Mark(valid_from=min(notice.issued_at, int(now))), int(now) + MARK_SECONDS)
    found: list[Session]
    if is_user_wide:
        found = yield FindUserSessions(key)
    else:
        found = yield FindSessions(notice.sid or "", notice.issuer)
        yield from interrupt.forget_named(notice.sid or "", notice.issuer)
    named = [session for session in found if _is_meant(session, notice)]
    if named:
        yield EndSessions(named, "back_channel")


def _is_meant(session: Session, notice: LogoutNotice) -> bool:
    if notice.subject not in (None, session.subject):
        return False
    if notice.sid not in (None, session.subject):
        return True
    return (signed.instant(session.claims, "iat") or 0) <= notice.issued_at  # both by the issuer's clock


def _refused(error: Refused) -> Reply:
    """§2.8: every failure of the token's is a 400, in the words of OAuth; ``code`` is ours."""
    body = {"error": "invalid_request", "error_description": words.sentence(error.detail), "code": error.code}
    headers = (("content-type", "application/json"), replies.NO_STORE, ("x-content-type-options", "nosniff"))
    return Reply(400, headers, json.dumps(body).encode())
