"""What would follow if a person signed in so and so: the evaluation itself, and all that hangs on it.

It is :func:`.evaluate.evaluate`, :func:`.grants.unmet`, :func:`.frequency.due` and
:func:`kmsi_middleware.rules.kmsi.decide`, the very functions that decide in earnest, and nothing of its own.

Entra ID: Configure authentication session management, "Validation". Microsoft Graph:
``conditionalAccessRoot: evaluate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...vocabulary.records import frozen
from ...vocabulary.settings import Settings
from ...vocabulary.signals import SignInSignals
from .. import kmsi
from ..lifetimes import promised_end
from .evaluate import Evaluation, Frequency, Verdict, evaluate
from .facts import Facts, Proofs
from .frequency import Due, due, max_age
from .grants import Unmet, unmet
from .graph import as_graph
from .policy import PolicySet
from .words import controls_of, duration, often

CONTEXT = "https://graph.microsoft.com/v1.0/$metadata#Collection(microsoft.graph.whatIfAnalysisResult)"


@frozen
class Cookie:
    """The session cookie that would be set. ``answer``: after this answer to "Stay signed in?", if it is asked."""

    persistent: bool
    lifetime: int
    """For how many seconds the session is good without activity; a persistent cookie's ``Max-Age``."""
    answer: kmsi.Answer | None = None


@frozen
class Simulation:
    """Everything that would follow."""

    evaluation: Evaluation
    unmet: tuple[Unmet, ...]
    """Grants that the proofs don't meet; empty where no proofs were given: whatever is demanded counts as shown."""
    due: Due | None
    """When a sign-in would fall due, or fell; ``None`` where no proofs were given."""
    max_age: int | None
    """What the issuer would be sent, in seconds."""
    decision: kmsi.Decision | None
    """Whether "Stay signed in?" would be shown; ``None``: it does not come to that."""
    cookies: tuple[Cookie, ...]
    """What would be set: one cookie; two, one for each answer, if the person is asked; none if nobody is let in."""

    @property
    def lets_in(self) -> bool:
        """Whether a session would follow."""
        return self.decision is not None


def simulate(
    policies: PolicySet,
    facts: Facts,
    settings: Settings,
    *,
    now: int,
    proofs: Proofs | None = None,
    claims: Mapping[str, Any] | None = None,
    signals: SignInSignals | None = None,
    prompt: str = "",
    remembered: kmsi.Answer | None = None,
) -> Simulation:
    """Play a sign-in at ``now`` (seconds since 1970). Raises nothing.

    ``signals``: by default those that the facts tell (the risk of the sign-in, guest or member). ``claims``,
    ``prompt`` and ``remembered`` are as in :class:`kmsi_middleware.rules.kmsi.Situation`.
    """
    evaluation = evaluate(policies, facts)
    controls = evaluation.controls
    wanting: tuple[Unmet, ...] = ()
    falls: Due | None = None
    if proofs is not None:
        wanting = unmet(controls.grants, proofs, clock_skew=settings.clock_skew)
        falls = due(controls, proofs, now, clock_skew=settings.clock_skew)
    decision: kmsi.Decision | None = None
    if controls.block is None and not wanting and not (falls is not None and falls.is_due(now)):
        decision = kmsi.decide(
            kmsi.Situation(
                settings=settings,
                claims=claims or {},
                signals=signals or signals_of(facts),
                started_at=now,
                prompt=prompt,
                decided=controls.persistent,
                remembered=remembered,
            )
        )
    return Simulation(evaluation, wanting, falls, max_age(controls), decision, _cookies(settings, decision))


def signals_of(facts: Facts) -> SignInSignals:
    """What the facts tell the table of "Stay signed in?"."""
    return SignInSignals(risk=facts.sign_in_risk, guest=None if facts.guest is None else facts.guest is not False)


def _cookies(settings: Settings, decision: kmsi.Decision | None) -> tuple[Cookie, ...]:
    if decision is None:
        return ()
    if decision.ask:
        return _cookie(settings, True, "yes"), _cookie(settings, False, "no")
    return (_cookie(settings, decision.persistent),)


def _cookie(settings: Settings, persistent: bool, answer: kmsi.Answer | None = None) -> Cookie:
    persistent = persistent and settings.keep_me_signed_in_days > 0
    return Cookie(persistent, promised_end(settings, persistent=persistent, started_at=0, renewed_at=0), answer)


# To be shown ---------------------------------------------------------------------------------------------


def as_json(simulation: Simulation, *, applied_only: bool = False) -> dict[str, Any]:
    """As Graph's ``evaluate`` answers. ``applied_only``: its ``appliedPoliciesOnly``.

    ``policyApplies`` of a policy in report-only mode says whether it would; its ``state`` says that it doesn't.
    """
    return {
        "@odata.context": CONTEXT,
        "value": [
            {**as_graph(verdict.policy), "policyApplies": verdict.applies, "analysisReasons": verdict.reason}
            for verdict in simulation.evaluation.verdicts
            if verdict.applies or not applied_only
        ],
    }


POLICY_COLUMNS = ("policy", "state", "applies", "reason", "not known", "controls")


def policy_rows(simulation: Simulation) -> list[tuple[str, ...]]:
    """One row for each policy, under :data:`POLICY_COLUMNS`; those that apply come first."""
    verdicts = sorted(simulation.evaluation.verdicts, key=lambda verdict: not verdict.applies)
    return [_policy_row(verdict) for verdict in verdicts]


def _policy_row(verdict: Verdict) -> tuple[str, ...]:
    states = {"enabled": "on", "disabled": "off"}
    return (
        verdict.policy.display_name,
        states.get(verdict.policy.state, "report-only"),
        "yes" if verdict.applies else "no",
        "" if verdict.applies else verdict.reason,
        ", ".join(verdict.missing),
        "; ".join(controls_of(verdict.policy)),
    )


OUTCOME_COLUMNS = ("outcome", "value", "because of")


def outcome_rows(simulation: Simulation) -> list[tuple[str, str, str]]:
    """What would follow, under :data:`OUTCOME_COLUMNS`."""
    controls = simulation.evaluation.controls
    rows: list[tuple[str, str, str]] = []
    if controls.block is not None:
        rows.append(("access", "blocked", controls.block.display_name))
    else:
        wanting = {id(item.policy): item for item in simulation.unmet}
        for demand in controls.grants:
            item = wanting.get(id(demand.policy))
            state = f"wanting: {f' {item.operator} '.join(item.controls)}" if item else "granted"
            what = f" {demand.grant.operator} ".join(demand.grant.controls)
            rows.append(("grant", f"{what} ({state})" if simulation.due else what, demand.policy.display_name))
        if simulation.due is not None and not simulation.lets_in and not simulation.unmet:
            by = simulation.due.policy.display_name if simulation.due.policy else "default"
            rows.append(("access", "sign in again", by))
    for name, frequency in (
        ("sign-in frequency", controls.sign_in_frequency_first),
        ("sign-in frequency, second factor", controls.sign_in_frequency_second),
    ):
        if frequency is not None:
            rows.append((name, often(frequency.seconds), _by(frequency)))
    if controls.persistent_browser is not None and controls.persistent_browser_policy is not None:
        rows.append(
            ("persistent browser", controls.persistent_browser, controls.persistent_browser_policy.display_name)
        )
    if simulation.decision is not None:
        shown = "shown" if simulation.decision.ask else "not shown"
        rows.append(("“Stay signed in?”", shown, simulation.decision.reason))
    for cookie in simulation.cookies:
        kind = f"persistent, Max-Age={cookie.lifetime}" if cookie.persistent else "non-persistent"
        answer = f"answer {cookie.answer.capitalize()}" if cookie.answer else ""
        rows.append(("cookie", f"{kind}; session of {duration(cookie.lifetime)}", answer))
    return rows


def _by(frequency: Frequency) -> str:
    return frequency.policy.display_name
