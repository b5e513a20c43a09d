"""What each policy came to in a sign-in, as Graph's ``appliedConditionalAccessPolicies`` tells it.

==========================  =============================================================================
notEnabled                  the policy is disabled
notApplied                  its conditions were not met
success                     its controls were met
failure                     it blocked, or something it wants was not shown
reportOnlyNotApplied        the same as the four above, for a policy in report-only mode: what it would
reportOnlySuccess           have done
reportOnlyFailure
reportOnlyInterrupted       the person would have been asked for something: a second factor, a new
                            password, a fresh sign-in
==========================  =============================================================================

Microsoft Graph: ``appliedConditionalAccessPolicy``; Entra ID, "Conditional Access insights and reporting".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .evaluate import REPORT_ONLY, Evaluation, Verdict, merged
from .facts import Proofs
from .frequency import due
from .grants import Unmet, unmet
from .policy import Control, Policy

Result = Literal[
    "success",
    "failure",
    "notApplied",
    "notEnabled",
    "reportOnlySuccess",
    "reportOnlyFailure",
    "reportOnlyNotApplied",
    "reportOnlyInterrupted",
]

GRANT_NAMES: Mapping[Control, str] = {
    "block": "Block",
    "mfa": "Mfa",
    "compliantDevice": "RequireCompliantDevice",
    "domainJoinedDevice": "RequireDomainJoinedDevice",
    "passwordChange": "MfaAndChangePassword",
}
"""How Entra's sign-in log spells the grant controls."""
_BY_THE_PERSON: frozenset[Control] = frozenset({"mfa", "passwordChange"})


def result(verdict: Verdict, proofs: Proofs, now: float, *, clock_skew: int = 0) -> Result:
    """What one policy came to, by itself, for a person who has shown ``proofs``."""
    reporting = verdict.policy.state == REPORT_ONLY
    if verdict.reason == "policyNotEnabled":
        return "notEnabled"
    if not verdict.applies:
        return "reportOnlyNotApplied" if reporting else "notApplied"
    controls = merged((verdict.policy,))
    wanting = unmet(controls.grants, proofs, clock_skew=clock_skew)
    if controls.block is not None or not all(_can_be_shown(item) for item in wanting):
        return "reportOnlyFailure" if reporting else "failure"
    frequent = controls.sign_in_frequency_first or controls.sign_in_frequency_second
    if wanting or (frequent and due(controls, proofs, now, clock_skew=clock_skew).is_due(now)):
        return "reportOnlyInterrupted" if reporting else "failure"
    return "reportOnlySuccess" if reporting else "success"


def _can_be_shown(item: Unmet) -> bool:
    """Whether the person can do something about it, there and then."""
    decide = any if item.operator == "OR" else all
    return decide(control in _BY_THE_PERSON for control in item.controls)


def applied_policies(
    evaluation: Evaluation, proofs: Proofs, now: float, *, clock_skew: int = 0
) -> list[dict[str, Any]]:
    """Every policy of an evaluation, for the sign-in log."""
    return [
        {
            "id": verdict.policy.id,
            "displayName": verdict.policy.display_name,
            "enforcedGrantControls": grant_names(verdict.policy),
            "enforcedSessionControls": session_names(verdict.policy),
            "result": result(verdict, proofs, now, clock_skew=clock_skew),
        }
        for verdict in evaluation.verdicts
    ]


def grant_names(policy: Policy) -> list[str]:
    """A policy's grant controls, as Entra's sign-in log spells them."""
    return [GRANT_NAMES[control] for control in policy.grant.controls] if policy.grant else []


def session_names(policy: Policy) -> list[str]:
    """The same for its session controls."""
    names = ["SignInFrequency"] if policy.sign_in_frequency else []
    return names + (["PersistentBrowserSessionMode"] if policy.persistent_browser else [])
