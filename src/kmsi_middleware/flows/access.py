"""Conditional Access in earnest: what the policies in force make of a sign-in, and of every request after it.

1. The same evaluation decides at the sign-in and at a request. Between them nothing is remembered but what the
   person has shown, and when; so a changed policy, address or risk reaches live sessions at once.
2. A sign-in is measured once, when it comes back. What it lacks is asked for once more, by step-up; lacking it then
   is a page, never a loop.
3. What fell due waits for the person's next interaction: requests in the background go on meanwhile, until a
   navigation was refused or the grace is over, and never where a route has an authentication context.
4. A session that "never persistent" covers loses its persistence at once; none gains it without a sign-in.
5. Without policies nothing of this costs anything.

Seed: Configure authentication session management with Conditional Access.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, Literal

from ..rules.conditional_access import known
from ..rules.conditional_access.evaluate import Evaluation, declared_inputs, evaluate
from ..rules.conditional_access.frequency import answered, deferred, due, max_age
from ..rules.conditional_access.grants import Unmet, unmet
from ..rules.conditional_access.policy import PolicySet
from ..rules.conditional_access.results import applied_policies
from ..rules.navigation import Kind, kind_of
from ..vocabulary.effects import AskRisk, Flow, GetCountry, GetPolicies
from ..vocabulary.errors import Refused
from ..vocabulary.messages import Request
from ..vocabulary.records import frozen
from ..vocabulary.session import Session
from ..vocabulary.signals import SignInSignals
from .deployment import Deployment
from .sessions import SignIn

NEVER = 2**62


@frozen
class Ask:
    """What the issuer is asked for, beyond a plain sign-in."""

    max_age: int | None = None
    context: str = ""
    """An authentication context that the answer must have reached."""
    prompt: str = ""
    second_factor: bool = False
    """Whether a second factor is asked for (``amr`` in the ``claims`` parameter)."""
    again: bool = False
    """Whether this is the second attempt: there is no third (rule 2)."""


@frozen
class Verdict:
    """What becomes of a request.

    ``pass``: it goes on, and until ``until`` so does every request with the same inputs. ``due``: a sign-in first;
    ``refuse``: the same, for a request that can't be sent to sign in. ``password``: a new password first.
    """

    outcome: Literal["pass", "due", "refuse", "blocked", "password"]
    until: int = NEVER
    persistent: bool = True
    """Whether the session may stay persistent (rule 4)."""
    ask: Ask = field(default_factory=Ask)
    refusal: Refused | None = None


def judge(
    app: Deployment, request: Request, session: Session, now: float, *, context: str | None = None
) -> Flow[Verdict]:
    """What the policies make of a request with this session. ``context``: one that the app itself asks for."""
    if not app.has_policies:
        return Verdict("pass")
    context = context or app.auth_contexts.of(request.path)
    policies: PolicySet = yield GetPolicies()
    signals = yield from _signals(policies, session)
    evaluation = yield from _evaluate(app, request, policies, session.claims, signals, context)
    controls = evaluation.controls
    persistent = controls.persistent is not False
    if controls.block is not None:
        return Verdict("blocked", persistent=persistent, refusal=blocked(controls.block.display_name))
    proofs = known.proofs_of(
        session.claims,
        app.settings.claims_map,
        signals,
        auth_time=_auth_time(app, session.auth_time, session.started_at),
        second_factor_at=session.second_factor_at,
        asked_at=session.started_at,
        password_change_demanded_at=session.password_change_demanded_at,
        last_used_at=session.renewed_at,
    )
    ask = Ask(max_age=max_age(controls), context=context or "")
    wanting = unmet(controls.grants, proofs, clock_skew=app.settings.clock_skew)
    if wanting:
        if _wants(wanting, "passwordChange"):
            return Verdict("password", persistent=persistent, ask=Ask(prompt="login", context=context or ""))
        if not _wants(wanting, "mfa"):
            return Verdict("blocked", persistent=persistent, refusal=_device_wanted(wanting))
        ask = replace(ask, second_factor=True)
        # What is demanded is never put off, unlike what only fell due.
        return Verdict("due" if _is_navigation(request) else "refuse", persistent=persistent, ask=ask)
    falls = due(controls, proofs, now, clock_skew=app.settings.clock_skew)
    if not falls.is_due(now):
        return Verdict("pass", until=falls.at if falls.at is not None else NEVER, persistent=persistent)
    return _sign_in(app, request, session, now, persistent, ask, falls.at or int(now), context)


def _is_navigation(request: Request) -> bool:
    return kind_of(request) is Kind.NAVIGATION and not request.websocket


def _sign_in(
    app: Deployment,
    request: Request,
    session: Session,
    now: float,
    persistent: bool,
    ask: Ask,
    fell_due_at: int,
    context: str | None,
) -> Verdict:
    """Rule 3."""
    # A proof that is wanting fell due when the session began, or when the policy came; the grace counts from there.
    fell_due_at = max(fell_due_at, session.started_at)
    what = deferred(
        "navigation" if _is_navigation(request) else "background",
        fell_due_at=fell_due_at,
        last_refused_navigation_at=session.refused_at,
        background_grace=app.settings.background_grace,
        has_auth_context=context is not None,
        now=now,
    )
    if what == "go on":
        return Verdict("pass", until=0, persistent=persistent)
    return Verdict("due" if what == "sign in" else "refuse", persistent=persistent, ask=ask)


@frozen
class SignInVerdict:
    """What the policies make of a sign-in that came back. ``ask``: it is asked for more, once."""

    decided: bool | None = None
    """The persistence that a policy decided; ``None``: none has a say."""
    ask: Ask | None = None
    refusal: Refused | None = None
    applied: list[dict[str, Any]] = field(default_factory=list)
    """For the sign-in log."""
    missing: tuple[str, ...] = ()


def judge_sign_in(
    app: Deployment, request: Request, sign_in: SignIn, signals: SignInSignals, asked: Ask, sent_at: int, now: float
) -> Flow[SignInVerdict]:
    """What the policies make of a checked sign-in, before it becomes a session."""
    if not app.has_policies:
        return SignInVerdict()
    context = asked.context or None
    policies: PolicySet = yield GetPolicies()
    evaluation = yield from _evaluate(app, request, policies, sign_in.claims, signals, context)
    controls = evaluation.controls
    at = int(now)
    auth_time = _auth_time(app, sign_in.auth_time, at)
    proofs = known.proofs_of(
        sign_in.claims,
        app.settings.claims_map,
        signals,
        auth_time=auth_time,
        second_factor_at=known.second_factor_at(sign_in.claims, signals, auth_time or at),
        asked_at=at,
    )
    applied = applied_policies(evaluation, proofs, now, clock_skew=app.settings.clock_skew)

    def verdict(*, ask: Ask | None = None, refusal: Refused | None = None) -> SignInVerdict:
        return SignInVerdict(controls.persistent, ask, refusal, applied, evaluation.missing)

    if controls.block is not None:
        return verdict(refusal=blocked(controls.block.display_name))
    wanting = unmet(controls.grants, proofs, clock_skew=app.settings.clock_skew)
    # A new password is not a matter of the sign-in: the session begins, and is good for nothing else until then.
    wanting = tuple(item for item in wanting if not _wants((item,), "passwordChange"))
    if wanting and not _wants(wanting, "mfa"):
        return verdict(refusal=_device_wanted(wanting))
    outcome = answered(controls, proofs, sent_at, clock_skew=app.settings.clock_skew)
    if outcome == "no_auth_time":
        return verdict(refusal=Refused("auth_time_missing", _NO_AUTH_TIME, status=403))
    reached = not context or app.settings.step_up == "max_age" or context in _contexts(sign_in.claims)
    if not wanting and outcome == "satisfied" and reached:
        return verdict()
    if asked.again:
        return verdict(refusal=_still_wanting(bool(wanting) or outcome == "no_second_factor", reached))
    second_factor = bool(wanting) or outcome == "no_second_factor"
    ask = Ask(max_age(controls), asked.context, asked.prompt, second_factor, again=True)
    return verdict(ask=ask)


_NO_AUTH_TIME = "your organization limits how old a sign-in may be, and your provider does not say when you signed in"


def blocked(policy: str) -> Refused:
    """53003."""
    return Refused("blocked_by_policy", f"a policy of your organization ({policy}) does not let you in", status=403)


def _device_wanted(wanting: tuple[Unmet, ...]) -> Refused:
    controls = {control for item in wanting for control in item.controls}
    if "compliantDevice" in controls:
        return Refused("device_not_compliant", "your organization wants a compliant device for this", status=403)
    return Refused("device_not_joined", "your organization wants a device that is joined to its domain", status=403)


def _still_wanting(second_factor: bool, reached: bool) -> Refused:
    if second_factor:
        return Refused("second_factor_missing", "a second factor is wanted, and your provider showed none", status=403)
    if not reached:
        return Refused("step_up_failed", "your provider did not confirm what this page needs", status=403)
    detail = "your organization wants a fresh sign-in, and your provider answered with an older one"
    return Refused("sign_in_too_old", detail, status=403)


def _wants(wanting: tuple[Unmet, ...], control: str) -> bool:
    return any(control in item.controls for item in wanting)


def _contexts(claims: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for name in ("acrs", "acr"):
        value = claims.get(name)
        found |= set(value.split()) if isinstance(value, str) else set()
        found |= {item for item in value if isinstance(item, str)} if isinstance(value, list) else set()
    return found


def _auth_time(app: Deployment, auth_time: int | None, signed_in_at: int) -> int | None:
    if auth_time is None and app.settings.missing_auth_time == "trust_sign_in":
        return signed_in_at
    return auth_time


def _signals(policies: PolicySet, session: Session) -> Flow[SignInSignals]:
    """What the hooks said at the sign-in, and what has changed since."""
    signals = SignInSignals(**session.signals)
    if {"sign_in_risk", "user_risk", "device"} & declared_inputs(policies):
        now: SignInSignals = yield AskRisk(session)
        signals = signals.updated(now)
    return signals


def _evaluate(
    app: Deployment,
    request: Request,
    policies: PolicySet,
    claims: Mapping[str, Any],
    signals: SignInSignals,
    context: str | None,
) -> Flow[Evaluation]:
    country: str | None = None
    if app.settings.country_database is not None and "country" in declared_inputs(policies):
        country = yield GetCountry(request.client_address)
    facts = known.facts_of(
        claims,
        app.settings.claims_map,
        signals,
        application=app.client_id,
        address=request.client_address,
        user_agent=request.header("user-agent"),
        country=country,
        auth_context=context,
    )
    return evaluate(policies, facts)
