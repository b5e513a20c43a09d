"""Which policies apply to a sign-in or a request, which don't and why, and the controls that result.

1. A policy applies if every one of its conditions holds (:mod:`.conditions`). The reason why it doesn't is the first
   one that fails, by Graph's name.
2. A fact that is not known counts against the person. The verdict names it, so that it can be logged.
3. Of all enabled policies that apply, every control holds: one block blocks; each grant must be met by itself; the
   shortest sign-in frequency wins, over the first factor and over the second; never persistent wins over always.
   So one more policy never makes an outcome weaker.
4. Policies in report-only mode are judged by the same rules, and change nothing.

Entra ID: Configure authentication session management with Conditional Access. Microsoft Graph:
``whatIfAnalysisResult``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ...vocabulary.records import frozen
from .conditions import CONDITIONS, Known, Reason
from .facts import CHANGING, Facts
from .policy import GrantControls, Policy, PolicySet

REPORT_ONLY = "enabledForReportingButNotEnforced"
_OF_DEVICES = {"compliantDevice", "domainJoinedDevice"}


@frozen
class Verdict:
    """Whether one policy applies. ``missing``: the facts that were needed and not known (rule 2)."""

    policy: Policy
    applies: bool
    reason: Reason
    missing: tuple[str, ...] = ()


@frozen
class Demand:
    """Grant controls that must be met, and the policy that wants them."""

    policy: Policy
    grant: GrantControls


@frozen
class Frequency:
    """How old a sign-in may be, in seconds; ``None``: every time. And the policy that wants it."""

    seconds: int | None
    policy: Policy


@frozen
class Controls:
    """What all policies that apply come to (rule 3)."""

    block: Policy | None = None
    grants: tuple[Demand, ...] = ()
    """Each must be met."""
    sign_in_frequency_first: Frequency | None = None
    """The strictest over first and second factor (``primaryAndSecondaryAuthentication``)."""
    sign_in_frequency_second: Frequency | None = None
    """The strictest over the second factor alone (``secondaryAuthentication``)."""
    persistent_browser: Literal["always", "never"] | None = None
    persistent_browser_policy: Policy | None = None

    @property
    def persistent(self) -> bool | None:
        """``persistent_browser`` as :class:`kmsi_middleware.rules.kmsi.Situation` takes it (``decided``)."""
        return None if self.persistent_browser is None else self.persistent_browser == "always"

    def keeps(self, persistent: bool) -> bool:
        """Whether a live session that is ``persistent`` stays so: "never" ends it at once, "always" widens nothing."""
        return persistent and self.persistent_browser != "never"


@frozen
class Evaluation:
    """The whole outcome: a verdict for every policy, in the order of the set, and what the enabled ones come to."""

    verdicts: tuple[Verdict, ...]
    controls: Controls

    @property
    def report_only(self) -> tuple[Verdict, ...]:
        """The verdicts of policies in report-only mode (rule 4)."""
        return tuple(verdict for verdict in self.verdicts if verdict.policy.state == REPORT_ONLY)

    @property
    def missing(self) -> tuple[str, ...]:
        """All facts that were needed and not known, for the log (rule 2)."""
        return tuple(dict.fromkeys(name for verdict in self.verdicts for name in verdict.missing))


def evaluate(policies: PolicySet, facts: Facts) -> Evaluation:
    """Judge every policy, and merge the controls of the enabled ones that apply. Raises nothing."""
    known = Known(facts, policies.locations)
    verdicts = tuple(_judged(policy, known) for policy in policies.policies)
    return Evaluation(verdicts, merged(item.policy for item in verdicts if item.applies and is_enforced(item.policy)))


def is_enforced(policy: Policy) -> bool:
    """Whether a policy has an effect: it is neither disabled nor in report-only mode."""
    return policy.state == "enabled"


def merged(policies: Iterable[Policy]) -> Controls:
    """Rule 3, for policies that apply. On a tie the first in order is named."""
    block: Policy | None = None
    grants: list[Demand] = []
    first: Frequency | None = None
    second: Frequency | None = None
    persistence: dict[Literal["always", "never"], Policy] = {}
    for policy in policies:
        if policy.grant is not None:
            if "block" in policy.grant.controls:
                block = block or policy
            elif policy.grant.controls:
                grants.append(Demand(policy, policy.grant))
        if policy.sign_in_frequency is not None:
            wanted = Frequency(policy.sign_in_frequency.seconds, policy)
            if policy.sign_in_frequency.second_factor_only:
                second = _strictest(second, wanted)
            else:
                first = _strictest(first, wanted)
        if policy.persistent_browser is not None:
            persistence.setdefault(policy.persistent_browser, policy)
    mode: Literal["always", "never"] | None = "never" if "never" in persistence else "always" if persistence else None
    return Controls(block, tuple(grants), first, second, mode, persistence[mode] if mode else None)


def declared_inputs(policies: PolicySet) -> frozenset[str]:
    """Which facts that may change from request to request (:data:`.facts.CHANGING`) the policies in force read.

    :func:`evaluate` and the grant controls read no other of them, so that two requests of a session which agree in
    these have the same outcome. Policies in report-only mode count, disabled ones don't.
    """
    named = {location.id: location for location in policies.locations}
    inputs: set[str] = set()
    for policy in policies.policies:
        if policy.state != "disabled":
            for condition in CONDITIONS:
                inputs |= condition.reads(policy.conditions, named)
            if policy.grant is not None and _OF_DEVICES & set(policy.grant.controls):
                inputs.add("device")
    return frozenset(inputs & CHANGING)


def _strictest(one: Frequency | None, other: Frequency) -> Frequency:
    if one is None:
        return other
    shorter = (other.seconds or 0) < (one.seconds or 0)
    return other if shorter else one


def _judged(policy: Policy, known: Known) -> Verdict:
    if policy.state == "disabled":
        return Verdict(policy, False, "policyNotEnabled")
    if policy.grant is None and policy.sign_in_frequency is None and policy.persistent_browser is None:
        return Verdict(policy, False, "emptyPolicy")
    missing: tuple[str, ...] = ()
    for condition in CONDITIONS:
        answer = condition.holds(policy.conditions, known)
        if answer is False:
            return Verdict(policy, False, condition.reason)
        missing += answer
    return Verdict(policy, True, "notSet", tuple(dict.fromkeys(missing)))
