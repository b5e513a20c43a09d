"""Azure AD B2C's user flows on the way through a sign-in (:mod:`..vocabulary.user_flows`).

1. A flow is asked for by name; a name that the settings don't have is refused.
2. B2C answers ``AADB2C90118`` to who forgot the password: the password-reset flow follows, and then the flow that
   was left for it.
3. B2C answers ``AADB2C90091`` to who cancelled: the person goes back to where they were. That is the sign-in that they
   left to reset a password; or a page that they can see; or, where there is none, the page that says it was
   cancelled, and never one that would send them to sign in again.
4. A password reset is no sign-in: whoever can read somebody's mail would else be in without the second factor that
   the sign-in flow asks for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from ..rules.oidc.authorization import Transaction
from ..rules.targets import return_target
from ..vocabulary.errors import KMSIError, ProtocolError, Refused
from ..vocabulary.messages import Request
from ..vocabulary.records import frozen
from ..vocabulary.session import Session
from .deployment import Deployment

FORGOT_PASSWORD, CANCELLED = "AADB2C90118", "AADB2C90091"


def asked_for(app: Deployment, parameters: Mapping[str, str]) -> str:
    """The flow that a link names; ``""`` for none. Raises :class:`Refused`."""
    given = parameters.get("user_flow", "")
    if not given:
        return ""
    name = app.settings.user_flows.known(given)
    if name is None:
        raise Refused("unknown_user_flow", "this app has no such user flow")
    return name


def is_done(app: Deployment, session: Session, user_flow: str) -> bool:
    """Whether a person who is signed in has nothing more to do in a flow that a link names."""
    if not user_flow:
        return True
    flow = app.settings.user_flows[user_flow]
    return session.user_flow == user_flow and flow.signs_in and flow.single_sign_on != "suppressed"


def of_session(app: Deployment, session: Session) -> str:
    """The flow to sign in by again: the one that the person came through, if that is one to sign in by."""
    flow = app.settings.user_flows.get(session.user_flow)
    return session.user_flow if flow is not None and flow.signs_in else ""


def prompt(app: Deployment, user_flow: str) -> str:
    """What the flow asks for in every request. Suppressed: the whole flow runs, whatever session B2C has."""
    flow = app.settings.user_flows.get(user_flow)
    return "login" if flow is not None and flow.single_sign_on == "suppressed" else ""


def check_known(app: Deployment, transaction: Transaction) -> None:
    """Refuse the answer of a flow that the settings have no more."""
    if transaction.user_flow and transaction.user_flow not in app.settings.user_flows:
        raise Refused("unknown_user_flow", "this app no longer has this user flow")


def is_reset(app: Deployment, transaction: Transaction) -> bool:
    """Rule 4."""
    flow = app.settings.user_flows.get(transaction.user_flow)
    return flow is not None and flow.kind == "password_reset"


def came_from(app: Deployment, request: Request) -> str:
    """The page of this app that the browser comes from, or ``""``."""
    url, origin = request.header("referer"), request.site.origin
    if not app.settings.user_flows or not url.startswith(origin + "/"):
        return ""
    try:
        return return_target(url[len(origin) :], request.site, app.prefix)
    except Refused:
        return ""


@frozen
class Turn:
    """Where an answer of B2C's leads instead of failing: through a flow, or to a page."""

    user_flow: str = ""
    then: str = ""
    page: str = ""


def turn(
    app: Deployment, request: Request, transaction: Transaction, error: KMSIError, *, signed_in: bool
) -> Turn | None:
    """Rules 2 and 3. ``None``: it did fail."""
    hint = error.hint if isinstance(error, ProtocolError) else ""
    found = re.match(r"access_denied: (AADB2C[0-9]{5})(?![0-9])", hint)
    if found is None or not transaction.user_flow:
        return None
    if found[1] == FORGOT_PASSWORD and not is_reset(app, transaction) and app.settings.user_flows.password_reset:
        return Turn(app.settings.user_flows.password_reset, then=transaction.user_flow)
    if found[1] != CANCELLED:
        return None
    if transaction.then:
        return Turn(transaction.then)
    for page in filter(None, (transaction.came_from, transaction.return_to)):
        if signed_in or _is_open(app, request, page, seen=page == transaction.came_from):
            return Turn(page=page)
    return None


def _is_open(app: Deployment, request: Request, page: str, *, seen: bool) -> bool:
    """Whether a page needs no session. With ``protect="none"`` only the app knows; then what was ``seen`` is open."""
    path = unquote(re.split("[?#]", page, maxsplit=1)[0]).removeprefix(request.site.root)
    return path in app.public_paths or (seen and app.is_public(path))
