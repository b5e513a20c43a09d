"""What a settled session was judged by, where policies have a say: the fast path compares it.

1. *Under* a generation: the policies in force. A changed file is seen at the next request, within
   ``PolicyBook``'s interval, and unsettles every session at once.
2. *For* the inputs that the policies read of a request: the peer and what its proxies say, the browser's name, the
   route's authentication context, the session's present risk. They are compared raw; the flow interprets them.
3. What this costs does not grow with the number of policies: they were evaluated when the session was settled.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, MutableMapping
from typing import Any

from ..flows.access import RISK
from ..flows.deployment import Deployment
from ..rules.conditional_access.evaluate import declared_inputs
from ..vocabulary.session import Session
from ..vocabulary.settings import CurrentRiskHook
from ..vocabulary.signals import SignInSignals
from .policy_files import PolicyBook

CLOCK_STEP = 60
"""A clock that was set back by more than so many seconds must not keep a changed file from being seen."""

ASK = object()
_ADDRESS = {"address", "country"}
_log = logging.getLogger("kmsi_middleware")


class Watch:
    """The inputs of one process's policies."""

    def __init__(self, book: PolicyBook, deployment: Deployment, current_risk: CurrentRiskHook | None) -> None:
        self.book = book
        self._contexts = deployment.auth_contexts
        self._trusts_proxies = bool(deployment.settings.trusted_proxies)
        self._current_risk = current_risk
        self._generation = -1
        self._declared: frozenset[str] = frozenset()
        self._noted: set[str] = set()

    def generation(self, now: float) -> int:
        """The generation in force; looks for changed files when it is time to."""
        book = self.book
        if not book.next_check_at - CLOCK_STEP <= now < book.next_check_at:
            book.changed(now)
        if book.generation != self._generation:
            generation = book.generation
            self._declared = declared_inputs(book.current(now).enforced)
            self._generation = generation
        return self._generation

    def of_scope(
        self, scope: MutableMapping[str, Any], path: str, session: Session, judged: Hashable = ASK
    ) -> Hashable:
        """The inputs of an ASGI request. ``judged``: the risk that it was judged with; else the hook is asked."""
        declared = self._declared
        peer, told, agent = "", b"", b""
        if declared & _ADDRESS:
            client = scope.get("client")
            peer = client[0] if client else ""
            told = _header(scope, b"x-forwarded-for") if self._trusts_proxies else b""
        if "platform" in declared:
            agent = _header(scope, b"user-agent")
        return peer, told, agent, self._contexts.of(path), self.risk(session) if judged is ASK else judged

    def of_environ(self, environ: dict[str, Any], path: str, session: Session, judged: Hashable = ASK) -> Hashable:
        """The inputs of a WSGI request."""
        declared = self._declared
        peer = told = agent = ""
        if declared & _ADDRESS:
            peer = environ.get("REMOTE_ADDR", "")
            told = environ.get("HTTP_X_FORWARDED_FOR", "") if self._trusts_proxies else ""
        if "platform" in declared:
            agent = environ.get("HTTP_USER_AGENT", "")
        return peer, told, agent, self._contexts.of(path), self.risk(session) if judged is ASK else judged

    def risk(self, session: Session) -> Hashable:
        """The present risk of a session, where the policies read one."""
        if self._current_risk is None or not self._declared & RISK:
            return None
        try:
            return SignInSignals.of(self._current_risk(session)).fingerprint()
        except Exception:
            return object()  # like nothing that was judged before: the flow asks again, and says what went wrong

    def note(self, context: str, now: float) -> None:
        """An app has asked for an authentication context. If no policy names it, that is said once: it guards
        nothing."""
        if context in self._noted:
            return
        self._noted.add(context)
        policies = self.book.current(now).policies
        if not any(context.lower() in policy.conditions.applications.auth_contexts for policy in policies):
            _log.warning("the app asks for the authentication context %s, and no policy names it", context)


def _header(scope: MutableMapping[str, Any], wanted: bytes) -> bytes:
    return b",".join(value for name, value in scope["headers"] if name == wanted)
