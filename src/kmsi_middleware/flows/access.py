"""Conditional Access in earnest: what the policies in force make of a sign-in, and of every request after it.

1. The same evaluation decides at the sign-in and at a request. Between them nothing is remembered but what the
   person has shown, and when; so a changed policy, address or risk reaches live sessions at once.
2. A sign-in is measured once, when it comes back. What it lacks is asked for once more, by step-up; lacking it then
   is a page, never a loop.
3. What fell due waits for the person's next interaction: requests in the background go on meanwhile, until a
   navigation was refused or the grace is over, and never where a route has an authentication context.
4. A session that "never persistent" covers loses its persistence at once; none gains it without a sign-in.
5. Without policies nothing of this costs anything.

Entra ID: Configure authentication session management with Conditional Access.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, Literal

from ..rules.conditional_access import known
from ..rules.conditional_access.evaluate import Evaluation, declared_inputs, evaluate, merged
from ..rules.conditional_access.facts import Facts, Proofs
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
from .sessions import SignIn, prospective

NEVER = 2**62
AT_ONCE = 60
"""Seconds within which a session that lacks what its sign-in was asked for is not sent to sign in for it again."""
RISK = frozenset({"sign_in_risk", "user_risk", "device"})
"""What the ``current_risk`` hook may tell."""


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

    @property
    def signature(self) -> str:
        """What is asked for, in a word: a session that came of it and still lacks it is not sent again."""
        parts = (self.max_age, self.context, self.prompt, self.second_factor)
        return "" if self == Ask() else " ".join(str(part) for part in parts)


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
    judged_risk: str | None = None
    """The ``current_risk`` that this was judged with; ``None``: nobody was asked."""
    reported: tuple[str, ...] = ()
    """Policies in report-only mode that would have interrupted or blocked, and had not before."""
    applied: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """What each policy came to, where there is something to report."""
    is_changed: bool = False
    """For ``password``: the demand is met or gone, and may be forgotten."""


def judge(
    app: Deployment,
    request: Request,
    session: Session,
    now: float,
    *,
    context: str | None = None,
    goes_on: bool = False,
) -> Flow[Verdict]:
    """What the policies make of a request with this session. ``context``: one that the app itself asks for.
    ``goes_on``: the request was let in before, and its connection lasts; nobody interacts with it any more."""
    if not app.has_policies:
        return Verdict("pass")
    context = context or app.auth_contexts.of(request.path)
    everything: PolicySet = yield GetPolicies()
    policies = everything.enforced
    signals, judged_risk = yield from _signals(app, policies, session)
    facts = yield from _facts(app, request, everything, session.claims, signals, context)
    evaluation = evaluate(policies, facts)
    controls = evaluation.controls
    proofs = known.proofs_of(
        session.claims,
        app.settings.claims_map,
        signals,
        auth_time=_auth_time(app, session.auth_time, session.started_at),
        second_factor_at=session.second_factor_at,
        asked_at=session.started_at,
        password_change_demanded_at=session.password_change_demanded_at,
        last_used_at=session.renewed_at,
        verified_max_age=session.verified_max_age,
    )
    verdict = _verdict(app, request, session, now, evaluation, proofs, context, goes_on=goes_on)
    is_demanded = any("passwordChange" in demand.grant.controls for demand in controls.grants)
    if len(policies.policies) < len(everything.policies):
        verdict = _with_report(app, evaluate(everything, facts), proofs, session, verdict, now)
    return replace(
        verdict,
        persistent=controls.persistent is not False,
        judged_risk=judged_risk,
        is_changed=session.password_change_demanded_at is not None and not is_demanded,
    )


def _with_report(
    app: Deployment, evaluation: Evaluation, proofs: Proofs, session: Session, verdict: Verdict, now: float
) -> Verdict:
    """What policies in report-only mode would have done: recorded once for each session and policy."""
    skew = app.settings.clock_skew
    applied = applied_policies(evaluation, proofs, now, clock_skew=skew)
    hits = [item["id"] for item in applied if item["result"] in ("reportOnlyInterrupted", "reportOnlyFailure")]
    new = tuple(name for name in hits if name not in session.reported)
    waits = [item.policy for item in evaluation.report_only if item.applies and item.policy.id not in hits]
    falls = due(merged(waits), proofs, now, clock_skew=skew).at
    until = min(verdict.until, falls) if falls is not None and falls > now else verdict.until
    return replace(verdict, until=until, reported=new, applied=applied if new else [])


def _verdict(
    app: Deployment,
    request: Request,
    session: Session,
    now: float,
    evaluation: Evaluation,
    proofs: Proofs,
    context: str | None,
    *,
    goes_on: bool,
) -> Verdict:
    controls = evaluation.controls
    if controls.block is not None:
        return Verdict("blocked", refusal=blocked(controls.block.display_name))
    ask = Ask(max_age=max_age(controls), context=context or "")
    wanting = unmet(controls.grants, proofs, clock_skew=app.settings.clock_skew)
    if _wants(wanting, "mfa"):
        return _demanded(request, session, now, replace(ask, second_factor=True))
    if _wants(wanting, "passwordChange"):
        return Verdict("password", ask=Ask(prompt="login", context=context or ""))
    if wanting:
        return Verdict("blocked", refusal=_device_wanted(wanting))
    if context is not None and _is_wanted(evaluation, context) and not _is_reached(app, context, session.claims):
        return _demanded(request, session, now, ask)
    falls = due(controls, proofs, now, clock_skew=app.settings.clock_skew)
    if not falls.is_due(now):
        return Verdict("pass", until=falls.at if falls.at is not None else NEVER)
    if falls.at == 0:  # a proof is wanting altogether: that is no matter of time
        second = controls.sign_in_frequency_second is not None and proofs.second_factor_at is None
        return _demanded(request, session, now, replace(ask, second_factor=second))
    fell_due_at = falls.at or int(now)
    what = deferred(
        "navigation" if _is_interaction(request) and not goes_on else "background",
        fell_due_at=fell_due_at,
        last_refused_navigation_at=session.refused_at,
        background_grace=app.settings.background_grace,
        has_auth_context=context is not None,
        now=now,
    )
    if what != "go on":
        return _demanded(request, session, now, ask)
    # The next request may be an interaction; a connection stays what it is.
    return Verdict("pass", until=fell_due_at + app.settings.background_grace if goes_on else 0)


def _demanded(request: Request, session: Session, now: float, ask: Ask) -> Verdict:
    """A sign-in first. What is demanded is never put off, unlike what only fell due (rule 3)."""
    if session.asked_for == ask.signature and now < session.started_at + AT_ONCE:
        return Verdict("blocked", refusal=_still_wanting(ask.second_factor, reached=not ask.context))
    return Verdict("due" if _is_navigation(request) else "refuse", ask=ask)


def _is_wanted(evaluation: Evaluation, context: str) -> bool:
    """Whether a policy applies because of the route's authentication context."""
    return any(
        verdict.applies and context in verdict.policy.conditions.applications.auth_contexts
        for verdict in evaluation.verdicts
    )


def _is_reached(app: Deployment, context: str, claims: Mapping[str, Any]) -> bool:
    """Whether the issuer confirmed the context, where it is asked to."""
    return app.settings.step_up == "max_age" or context in _contexts(claims)


def _is_navigation(request: Request) -> bool:
    return kind_of(request) is Kind.NAVIGATION and not request.websocket


def _is_interaction(request: Request) -> bool:
    """Whether the person does something: a navigation, a posted form, a page that a script fetches for a click."""
    return kind_of(request) in (Kind.NAVIGATION, Kind.PAGE) and not request.websocket


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
    # What has changed is judged at once, as it will be at the first request.
    signals, _ = yield from _signals(app, policies.enforced, prospective(sign_in, now))
    evaluation = evaluate(policies, (yield from _facts(app, request, policies, sign_in.claims, signals, context)))
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
    wanting = _without_password(wanting)
    if wanting and not _wants(wanting, "mfa"):
        return verdict(refusal=_device_wanted(wanting))
    outcome = answered(controls, proofs, sent_at, clock_skew=app.settings.clock_skew)
    # Some issuers say when it was only where max_age is sent (OpenID Connect Core 1.0 §2), so that is tried first.
    if outcome == "no_auth_time" and (asked.again or asked.max_age is not None):
        return verdict(refusal=Refused("auth_time_missing", _NO_AUTH_TIME, status=403))
    reached = context is None or not _is_wanted(evaluation, context) or _is_reached(app, context, sign_in.claims)
    if not wanting and outcome == "satisfied" and reached:
        return verdict()
    if asked.again:
        return verdict(refusal=_still_wanting(bool(wanting) or outcome == "no_second_factor", reached))
    second_factor = bool(wanting) or outcome == "no_second_factor"
    ask = Ask(max_age(controls), asked.context, asked.prompt, second_factor, again=True)
    return verdict(ask=ask)


def _without_password(wanting: tuple[Unmet, ...]) -> tuple[Unmet, ...]:
    """A new password is not a matter of the sign-in: the session begins, and is good for nothing else until then."""
    left = []
    for item in wanting:
        controls = tuple(control for control in item.controls if control != "passwordChange")
        if controls == item.controls or (controls and item.operator == "AND"):
            left.append(replace(item, controls=controls))
    return tuple(left)


_NO_AUTH_TIME = "your organization limits how old a sign-in may be, and your sign-in service does not tell its age"


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
        return Refused("second_factor_missing", "a second factor is wanted, and none was shown", status=403)
    if not reached:
        return Refused("step_up_failed", "your sign-in service did not confirm what this page needs", status=403)
    detail = "your organization wants a fresh sign-in, and your sign-in service answered with an older one"
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


def _signals(app: Deployment, policies: PolicySet, session: Session) -> Flow[tuple[SignInSignals, str | None]]:
    """What the hooks said at the sign-in, and what has changed since; and that in a word, for the fast path."""
    signals = SignInSignals(**session.signals)
    if app.settings.current_risk is None or not RISK & declared_inputs(policies):
        return signals, None
    changed: SignInSignals = yield AskRisk(session)
    return signals.updated(changed), changed.fingerprint()


def _facts(
    app: Deployment,
    request: Request,
    policies: PolicySet,
    claims: Mapping[str, Any],
    signals: SignInSignals,
    context: str | None,
) -> Flow[Facts]:
    country: str | None = None
    if app.settings.country_database is not None and "country" in declared_inputs(policies):
        country = yield GetCountry(request.client_address)
    return known.facts_of(
        claims,
        app.settings.claims_map,
        signals,
        application=app.client_id,
        address=request.client_address,
        user_agent=request.header("user-agent"),
        country=country,
        auth_context=context,
        country_claim=app.settings.country_database is None,
    )
