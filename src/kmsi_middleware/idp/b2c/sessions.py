"""The sessions of a tenant: how far each is shared, how long it lasts, and its cookie.

1. A browser holds one session for each scope that it signed in to: the tenant, an app, or a user flow (single sign-on
   configuration). Which one counts follows from the user flow in use, and the cookie's name tells it.
2. Suppressed: what there is serves the sign-out only, and signs nobody in.
3. Whether a session is still good is judged by the user flow in use, and no later than what the last one promised.
   Rolling: from the last use. Absolute: from its beginning.
4. Kept (KMSI): the flow's days count instead of its minutes, and the cookie is persistent. A flow without days makes
   it a session like any other, for good.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from starlette.requests import Request

from ...vocabulary.user_flows import UserFlow
from ..config import User
from ..site import Site, Visit
from ..store import BrowserSession, Store

DAY = 86_400
DEFAULT_MINUTES = 1_440
"""What a user flow of B2C's has that says nothing else."""
_PREFIX = "sso."


@dataclass(frozen=True, slots=True)
class Span:
    """When a session began and was last used, in seconds, and whether it is kept."""

    began: float
    used: float
    kept: bool


def scope_of(name: str, flow: UserFlow, client_id: str) -> str:
    """Rule 1: what a session of this flow and app is shared by, as part of a cookie's name."""
    if flow.single_sign_on == "tenant":
        return f"{_PREFIX}tenant"
    what = client_id if flow.single_sign_on == "application" else name.casefold()
    return f"{_PREFIX}{flow.single_sign_on}.{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def kept_seconds(flow: UserFlow) -> int:
    """How long a kept session lasts; 0 where nobody is kept signed in."""
    return (flow.keep_me_signed_in_days or 0) * DAY


def end_of(flow: UserFlow, span: Span) -> float:
    """Until when a session is good for a flow (rules 3 and 4)."""
    start = span.began if flow.session_expiry == "absolute" else span.used
    minutes = flow.session_lifetime_minutes or DEFAULT_MINUTES
    return start + ((span.kept and kept_seconds(flow)) or minutes * 60)


class Spans:
    """Kept in the provider's one file."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, session: BrowserSession) -> Span | None:
        with self._store.reading() as db:
            row = db.execute("SELECT began, used, kept FROM flow_sessions WHERE session = ?", (session.id,)).fetchone()
        return Span(row[0], row[1], bool(row[2])) if row else None

    def put(self, session: BrowserSession, span: Span, end: float) -> None:
        """Notes the span, and until when the session is good."""
        with self._store.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO flow_sessions VALUES (?, ?, ?, ?)",
                (session.id, span.began, span.used, int(span.kept)),
            )
            db.execute("UPDATE sessions SET expires = ? WHERE id = ?", (end, session.id))


class FlowVisit(Visit):
    """One browser in a user flow. Who is signed in is known once :meth:`enter` has said to which app."""

    def __init__(self, site: Site, request: Request) -> None:
        super().__init__(site, request)
        self.session = None
        self._request = request
        self._spans = Spans(site.store)
        self._held: BrowserSession | None = None
        self._span: Span | None = None

    @property
    def flow(self) -> UserFlow:
        return self.site.config.user_flows[self.site.user_flow]

    def enter(self, client_id: str) -> None:
        """Looks for the session that counts for this flow and app."""
        self._session_cookie = scope_of(self.site.user_flow, self.flow, client_id)
        self._held, self._span, self.session = self._find(self._session_cookie)[0], None, None
        if self._held is None:
            return
        self._span = self._spans.find(self._held)
        is_good = self._span is not None and self.site.clock() < end_of(self.flow, self._span)
        if is_good and self.flow.single_sign_on != "suppressed":
            self.session = self._held

    def resume(self) -> None:
        """Goes on with the sign-in that this browser is in the midst of, in a suppressed flow too."""
        if self._span is not None and self.site.clock() < end_of(self.flow, self._span):
            self.session = self._held

    def _find(self, purpose: str) -> tuple[BrowserSession | None, str]:
        cookie = self._request.cookies.get(self.site.cookie_name(purpose), "")
        session = self.site.store.find_session(cookie) if cookie else None
        return (session, cookie) if session and self.site.config.active(session.username) else (None, cookie)

    def begin(self, user: User, *, kept: bool = False, auth_time: float | None = None) -> None:
        """``user`` has just signed in; ``kept``: and wants to stay signed in."""
        now = self.site.clock()
        span = Span(now, now, kept and kept_seconds(self.flow) > 0)
        self._put(user.username, user.amr, span, auth_time)

    def add_second_factor(self) -> None:
        """Whoever is signed in has shown it."""
        assert self.session is not None
        assert self._span is not None
        amr = tuple(dict.fromkeys((*self.session.amr, "otp", "mfa")))
        self._put(self.session.username, amr, self._span, self.session.auth_time)

    def _put(self, username: str, amr: tuple[str, ...], span: Span, auth_time: float | None) -> None:
        cookie = self.site.store.begin_session(username, amr, replaces=self._held, auth_time=auth_time)
        self.session = self._held = self.site.store.find_session(cookie)
        assert self.session is not None
        self._keep(cookie, span)

    def use(self) -> None:
        """A cookie-based authentication, which extends a rolling session."""
        if self.session is None or self._span is None:
            return
        was_kept = self._span.kept
        kept = was_kept and kept_seconds(self.flow) > 0
        used = self._span.used if self.flow.session_expiry == "absolute" else self.site.clock()
        span = replace(self._span, used=used, kept=kept)
        if was_kept:  # the browser's copy lasts as long, or is kept no more
            self._keep(self._find(self._session_cookie)[1], span)
        else:
            self._spans.put(self.session, span, end_of(self.flow, span))

    def _keep(self, cookie: str, span: Span) -> None:
        assert self.session is not None
        end = end_of(self.flow, span)
        self._span = span
        self._spans.put(self.session, span, end)
        self._set[self._session_cookie] = cookie
        self._lasting.pop(self._session_cookie, None)
        if span.kept:
            self._lasting[self._session_cookie] = int(end - self.site.clock())

    def sign_out_of(self, client_id: str | None) -> list[BrowserSession]:
        """Forgets the session that counts for this flow and app, and answers it; where no app is named, that of every
        app."""
        clients = [app.client_id for app in self.site.config.apps] if client_id is None else [client_id]
        ended = []
        for purpose in dict.fromkeys(scope_of(self.site.user_flow, self.flow, client) for client in clients):
            session, cookie = self._find(purpose)
            if cookie:
                self._set[purpose] = ""
            if session is not None:
                ended.append(session)
        return ended
