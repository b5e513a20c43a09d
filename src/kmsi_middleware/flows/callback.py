"""Sign-in, on the way back from the issuer (OpenID Connect Core 1.0 §3.1.2.5 to §3.1.3.7).

1. A callback that matches no transaction is counted and refused; one that does is taken up once, in whatever
   process, and its outcome is a record in the sign-in log.
2. A tab that comes back late, when a session exists, goes to its page.
3. A POST to the callback (``form_post``) comes without our Lax cookies: it decides nothing, and answers with a
   redirect to the GET, its parameters sealed and good for a minute.
4. Opened once more, a callback does nothing, and says what it said: why the sign-in failed, or that it is over. By
   then its cookie is gone, so a missing cookie is a browser's fault only where nobody has taken the callback up.
"""

from __future__ import annotations

import hmac
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from ..rules import cookies, kmsi
from ..rules.conditional_access import known
from ..rules.oidc import authorization, id_token, tokens
from ..rules.oidc.authorization import Secrets, Transaction
from ..rules.oidc.discovery import Provider
from ..rules.seals import key_of
from ..rules.targets import login_url
from ..vocabulary.effects import AskSignals, CountUnmatched, Fetch, Flow, GetProvider, PutTicket, ReadTicket
from ..vocabulary.errors import (
    ProtocolError,
    ProviderUnavailable,
    Refused,
    SignInRevoked,
    StoreUnavailable,
    Unavailable,
)
from ..vocabulary.messages import Reply, Request
from ..vocabulary.session import Session
from ..vocabulary.signals import SignInFacts, SignInSignals
from . import access, confirmation, forms, fresh, id_tokens, interrupt, log, replies, sessions, user_flows
from .deployment import Deployment
from .sign_in import again, begin, failed, redirect_uri, without_cookie

BOUNCE_SECONDS = 60


def callback(app: Deployment, request: Request, now: float) -> Flow[Reply]:
    """``/.auth/callback``: the redirect URI."""
    if request.method == "POST":
        return _bounce(app, request, now)
    parameters, late = _parameters(app, request, now)
    transaction = authorization.opened_state(parameters.get("state", ""), app.seals, now)
    if transaction is None:
        yield CountUnmatched("callback", request.client_address)
        raise late or Refused("state_unknown", "this sign-in was not started here, or too long ago", retry=True)
    found = yield from sessions.find(app, request, now, extend=not transaction.is_forced)
    session = found.session
    if session is not None and confirmation.is_late(session, transaction):  # rule 2
        gone = cookies.clear_cookie(request.site, cookies.TRANSACTION + transaction.cookie_suffix)
        return replies.redirect(transaction.return_to, cookies=(*found.set_cookies, gone))
    used = key_of(f"transaction {transaction.id}")
    secrets = _secrets(app, request, now, transaction)
    if secrets is None or late:
        yield CountUnmatched("callback", request.client_address)
        if (yield ReadTicket(used)) is not None:
            return (yield from _once_more(app, request, now, transaction))
        if late:
            raise late
        return _no_cookies(app, request, now, transaction)
    if not (yield PutTicket(used, b"", int(now) + authorization.TRANSACTION_SECONDS)):
        yield CountUnmatched("callback", request.client_address)
        return (yield from _once_more(app, request, now, transaction))
    try:
        user_flows.check_known(app, transaction)
        if user_flows.is_reset(app, transaction):
            return (yield from _after_reset(app, request, now, transaction, parameters, found))
        return (yield from _complete(app, request, now, transaction, secrets, parameters, found))
    except (Refused, Unavailable) as error:
        if transaction.confirms:
            return (yield from _unconfirmed(app, request, now, transaction, session, error))
        # Who starts sign-ins only to let them fail must not fill the log with it, nor be led round in a circle.
        if (yield CountUnmatched("failed sign-in", request.client_address)):
            yield log.failure(app, request, now, transaction.correlation_id, error)
            turn = user_flows.turn(app, request, transaction, error, signed_in=session is not None)
            if turn is not None:
                return (yield from _turned(app, request, now, transaction, turn))
        return (yield from _failed(app, request, now, transaction, error))


def _parameters(app: Deployment, request: Request, now: float) -> tuple[dict[str, Any], Refused | None]:
    """What the issuer answered, and why it is too late to take it up, if it is."""
    parameters = forms.query(request)
    if "ticket" not in parameters:
        return parameters, None
    late = Refused("sign_in_late", "this sign-in took too long, or was started elsewhere", retry=True)
    opened = app.seals.open("form_post", parameters["ticket"], within=BOUNCE_SECONDS, now=now)
    if opened is not None:
        return opened, None
    within = authorization.TRANSACTION_SECONDS
    return app.seals.open("form_post", parameters["ticket"], within=within, now=now) or {}, late


def _turned(
    app: Deployment, request: Request, now: float, transaction: Transaction, turn: user_flows.Turn
) -> Flow[Reply]:
    gone = cookies.clear_cookie(request.site, cookies.TRANSACTION + transaction.cookie_suffix)
    if not turn.user_flow:
        return replies.redirect(turn.page, cookies=(gone,))
    reply: Reply = yield from begin(
        app, request, now, transaction.return_to, user_flow=turn.user_flow, then=turn.then, named=transaction.forced
    )
    return replace(reply, headers=(*reply.headers, *cookies.as_headers((gone,))))


def _after_reset(
    app: Deployment,
    request: Request,
    now: float,
    transaction: Transaction,
    parameters: dict[str, Any],
    found: sessions.Found,
) -> Flow[Reply]:
    """The password is a new one. Who is signed in goes back, not persistently any more, because a reset keeps nobody
    signed in; everybody else signs in with it. Its code gives nothing, so it is not redeemed."""
    provider: Provider = yield GetProvider(app.authority(request.site, transaction.user_flow))
    authorization.check_response(parameters, provider, request.site)
    session = found.session
    if session is None:
        sign_in = user_flows.Turn(transaction.then or app.settings.user_flows.default)
        return (yield from _turned(app, request, now, transaction, sign_in))
    set_cookies = [cookies.clear_cookie(request.site, cookies.TRANSACTION + transaction.cookie_suffix)]
    if session.persistent:
        session = yield from sessions.change(session, persistent=False)
        set_cookies += sessions.session_cookies(app, request, found.token, session, now)
    return replies.redirect(transaction.return_to, cookies=set_cookies)


def _complete(
    app: Deployment,
    request: Request,
    now: float,
    transaction: Transaction,
    secrets: Secrets,
    parameters: dict[str, Any],
    found: sessions.Found,
) -> Flow[Reply]:
    """Redeem the code, and start the session or ask first. ``found``: the session that there is."""
    sign_in, signals = yield from _redeem(app, request, now, transaction, secrets, parameters)
    live = found.session
    gone = cookies.clear_cookie(request.site, cookies.TRANSACTION + transaction.cookie_suffix)
    if transaction.confirms and live is not None and sessions.is_same_person(live, sign_in):
        yield from confirmation.confirmed(app, live, found.token, sign_in, now)
        return replies.redirect(transaction.return_to, cookies=(gone,))
    sign_in, verdict = yield from _judge(app, request, now, transaction, sign_in, signals)
    if verdict.refusal is not None:
        return (yield from _turned_away(app, request, now, transaction, sign_in, verdict.refusal))
    if verdict.ask is not None:
        back, user_flow, unanswered = transaction.return_to, transaction.user_flow, transaction.unanswered
        return (yield from begin(app, request, now, back, ask=verdict.ask, user_flow=user_flow, unanswered=unanswered))
    situation = kmsi.Situation(
        settings=app.settings_of(transaction.user_flow),
        claims=sign_in.claims,
        signals=signals,
        started_at=transaction.started_at,
        prompt=transaction.prompt,
        decided=verdict.decided,
        previous=live.persistent if transaction.forced and live and sessions.is_same_person(live, sign_in) else None,
        remembered=interrupt.remembered_answer(app, request, now, sign_in),
        unanswered=transaction.unanswered,
    )
    decision = kmsi.decide(situation)
    if decision.ask:
        return (yield from interrupt.suspend(app, request, now, sign_in, gone))
    try:
        session, set_cookies = yield from sessions.start(
            app, request, now, sign_in, persistent=decision.persistent, decision=decision.reason
        )
    except SignInRevoked:
        return (yield from _turned_away(app, request, now, transaction, sign_in, fresh.revoked()))
    yield log.success(app, request, now, session, sign_in)
    return replies.redirect(sign_in.return_to, cookies=(*set_cookies, gone))


def _unconfirmed(
    app: Deployment,
    request: Request,
    now: float,
    transaction: Transaction,
    session: Session | None,
    error: Refused | Unavailable,
) -> Flow[Reply]:
    """The issuer did not confirm the session. Either it said that it does not, and the person signs in; or it failed
    to say anything, and the person goes on."""
    over = yield from confirmation.is_over(app, request, session, error, now)
    gone = cookies.clear_cookie(request.site, cookies.TRANSACTION + transaction.cookie_suffix)
    if not over:
        return replies.redirect(transaction.return_to, cookies=(gone,))
    reply: Reply
    if session is None:
        reply = yield from begin(app, request, now, transaction.return_to)
    else:
        reply = yield from again(app, request, now, transaction.return_to, access.Ask(), session)
    return replace(reply, headers=(*reply.headers, *cookies.as_headers((gone,))))


def _judge(
    app: Deployment,
    request: Request,
    now: float,
    transaction: Transaction,
    sign_in: sessions.SignIn,
    signals: SignInSignals,
) -> Flow[tuple[sessions.SignIn, access.SignInVerdict]]:
    """What the policies make of a checked sign-in, and whether it is fresh enough after a revocation."""
    asked = access.Ask(
        transaction.max_age, transaction.context, transaction.prompt, transaction.second_factor, transaction.again
    )
    sent_at = transaction.started_at
    verdict = yield from access.judge_sign_in(app, request, sign_in, signals, asked, sent_at, now)
    sign_in = replace(
        sign_in,
        applied=verdict.applied,
        missing=verdict.missing,
        asked_for=replace(asked, again=False).signature,
        verified_max_age=transaction.max_age,
    )
    if verdict.refusal is None:
        try:
            ask = yield from fresh.after_revocation(app, sign_in, asked, verdict.ask, sent_at, now)
            verdict = replace(verdict, ask=ask)
        except Refused as error:
            verdict = replace(verdict, refusal=error)
    return sign_in, verdict


def _turned_away(
    app: Deployment, request: Request, now: float, transaction: Transaction, sign_in: sessions.SignIn, error: Refused
) -> Flow[Reply]:
    """A checked sign-in that becomes no session: the record knows the person."""
    yield log.refused(app, request, now, sign_in, error)
    return (yield from _failed(app, request, now, transaction, error, user_name=replies.person(sign_in)))


def _why(transaction: Transaction) -> bytes:
    """The name of the ticket that says why a sign-in failed."""
    return key_of(f"failed transaction {transaction.id}")


def _failed(
    app: Deployment,
    request: Request,
    now: float,
    transaction: Transaction,
    error: Refused | Unavailable,
    *,
    user_name: str = "",
) -> Flow[Reply]:
    """The page that says why. It is kept for rule 4 as long as the transaction, but for the person's name, because
    nobody knows any more whose browser it is."""
    status = error.status if isinstance(error, Refused) else None
    kept = json.dumps([type(error).__name__, error.code, error.detail, status]).encode()
    with suppress(StoreUnavailable):  # a reload then says no more than that it is over
        yield PutTicket(_why(transaction), kept, int(now) + authorization.TRANSACTION_SECONDS)
    return failed(app, request, now, transaction, error, user_name=user_name)


def _error(kind: str, code: str, detail: str, status: int) -> Refused | Unavailable:
    match kind:
        case "ProtocolError":
            return ProtocolError(code, detail, status=status)
        case "Refused":
            return Refused(code, detail, status=status)
        case "ProviderUnavailable":
            return ProviderUnavailable(detail, code=code)
    return StoreUnavailable(detail)


def _once_more(app: Deployment, request: Request, now: float, transaction: Transaction) -> Flow[Reply]:
    """Rule 4."""
    kept = yield ReadTicket(_why(transaction))
    if kept is not None:
        return failed(app, request, now, transaction, _error(*json.loads(kept)))
    sign_in = login_url(request.site, app.prefix, transaction.return_to)
    return replies.error_page(
        app,
        request,
        now,
        status=400,
        code="sign_in_used",
        title="This sign-in is over",
        message="It was completed before, and its address is good for once. You can start a new one.",
        correlation_id=transaction.correlation_id,
        retry_url=sign_in,
        ways=[("Sign in", sign_in)],
        cookies=without_cookie(request, transaction),
    )


def _bounce(app: Deployment, request: Request, now: float) -> Reply:
    """Rule 3."""
    parameters = ("code", "state", "iss", "session_state", "error", "error_description")
    kept = {name: value for name, value in forms.form(request).items() if name in parameters}
    ticket = app.seals.seal("form_post", kept, now)
    if len(ticket) > 8_000:
        raise Refused("callback_too_large", "your sign-in service's answer is too long")
    return replies.redirect(f"{request.site.root}{app.prefix}/callback?{urlencode({'ticket': ticket})}")


def _secrets(app: Deployment, request: Request, now: float, transaction: Transaction) -> Secrets | None:
    """The secrets in this browser's cookie, if they are this transaction's."""
    value = cookies.named(request.header("cookie"), request.site, cookies.TRANSACTION + transaction.cookie_suffix)
    payload = app.seals.unsign("transaction", value, within=authorization.TRANSACTION_SECONDS, now=now)
    if payload is None or not hmac.compare_digest(str(payload[0]), transaction.id):
        return None
    return Secrets(str(payload[1]))


def _redeem(
    app: Deployment,
    request: Request,
    now: float,
    transaction: Transaction,
    secrets: Secrets,
    parameters: dict[str, Any],
) -> Flow[tuple[sessions.SignIn, SignInSignals]]:
    """From the response's parameters to a checked sign-in, and what the app knows about it."""
    provider: Provider = yield GetProvider(app.authority(request.site, transaction.user_flow))
    code = authorization.check_response(parameters, provider, request.site)
    answer = yield Fetch(
        tokens.token_request(
            provider,
            app.settings,
            client_id=app.client_id,
            redirect_uri=redirect_uri(app, request),
            code=code,
            verifier=secrets.verifier,
        )
    )
    given = tokens.check_token_response(answer)
    claims = yield from id_tokens.verified(app, provider, given.id_token)
    id_token.check_claims(
        claims,
        provider,
        app.settings,
        client_id=app.client_id,
        nonce=secrets.nonce,
        now=now,
        access_token=given.access_token,
        algorithm=id_token.algorithm_of(given.id_token),
    )
    if transaction.user_flow:
        id_token.check_user_flow(claims, transaction.user_flow)
    facts = SignInFacts(claims, request.client_address, request.header("user-agent"))
    signals: SignInSignals = yield AskSignals(facts)
    sign_in = sessions.SignIn(
        issuer=str(claims["iss"]),
        claims=claims,
        sids=id_token.sids_of(claims, str(parameters.get("session_state", ""))),
        auth_time=id_token.auth_time_of(claims),
        tokens=tokens.as_kept(given, now),
        return_to=transaction.return_to,
        correlation_id=transaction.correlation_id,
        begun_at=transaction.started_at,
        user_flow=transaction.user_flow,
        second_factor_at=known.second_factor_at(claims, signals, id_token.auth_time_of(claims) or int(now)),
        signals=signals.known(),
    )
    return sign_in, signals


def _no_cookies(app: Deployment, request: Request, now: float, transaction: Transaction) -> Reply:
    return replies.error_page(
        app,
        request,
        now,
        status=400,
        code="no_cookies",
        title="Your browser did not keep our cookie",
        message="Signing in needs a cookie that lasts until you come back from your sign-in service. Please allow "
        "cookies for this site, or finish the sign-in in the browser where you started it.",
        correlation_id=transaction.correlation_id,
        retry_to=transaction.return_to,
    )
