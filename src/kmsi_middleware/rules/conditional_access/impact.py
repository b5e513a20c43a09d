"""What the policies came to, summed up from sign-in records: whom a policy in report-only mode would have touched.

1. A sign-in is one correlation id; its newest record that tells of policies counts. A record without a correlation
   id counts by itself.
2. A person is a ``userId``. Where nobody is known, the sign-in counts, and no person.
3. Records are read as they are: what is not of Graph's shape tells of no policy.

Entra ID: "Conditional Access insights and reporting". Microsoft Graph: ``appliedConditionalAccessPolicy``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, get_args

from ...vocabulary.records import frozen
from .results import Result

RESULTS: tuple[Result, ...] = get_args(Result)
NOT_APPLIED = frozenset({"notApplied", "notEnabled", "reportOnlyNotApplied"})


@frozen
class Count:
    """How many sign-ins, and of how many people."""

    sign_ins: int = 0
    users: int = 0


@frozen
class Impact:
    """One policy's. ``results``: for each result of :data:`.results.Result` that came about."""

    id: str
    display_name: str
    """As the newest record has it."""
    applied: Count
    """Its conditions were met: every result but the three that say "not"."""
    results: Mapping[Result, Count] = field(default_factory=dict)

    def of(self, result: Result) -> Count:
        return self.results.get(result, Count())

    @property
    def would_interrupt(self) -> Count:
        """Report-only: the person would have been asked for something."""
        return self.of("reportOnlyInterrupted")

    @property
    def would_block(self) -> Count:
        """Report-only: it would have blocked."""
        return self.of("reportOnlyFailure")


@frozen
class Impacts:
    """A period's. ``policies``: those with most sign-ins to which they applied come first."""

    sign_ins: Count
    """All of the period that tell of policies."""
    policies: tuple[Impact, ...]


def summed_up(records: Iterable[Mapping[str, Any]]) -> Impacts:
    """The impact of every policy that the records, newest first, tell of. Raises nothing."""
    seen: set[str] = set()
    total, tallies, names = _Tally(), dict[str, dict[Result, _Tally]](), dict[str, str]()
    for record in records:
        told = list(_told(record))
        correlation = record.get("correlationId")
        if not told or (correlation and correlation in seen):
            continue
        if isinstance(correlation, str):
            seen.add(correlation)
        user = record.get("userId")
        total.add(user)
        for policy, name, result in told:
            names.setdefault(policy, name)
            tallies.setdefault(policy, {}).setdefault(result, _Tally()).add(user)
    impacts = [_impact(policy, names[policy], results) for policy, results in tallies.items()]
    impacts.sort(key=lambda impact: (-impact.applied.sign_ins, impact.display_name, impact.id))
    return Impacts(total.count, tuple(impacts))


class _Tally:
    __slots__ = ("sign_ins", "users")

    def __init__(self) -> None:
        self.sign_ins = 0
        self.users: set[str] = set()

    def add(self, user: object) -> None:
        self.sign_ins += 1
        if isinstance(user, str) and user:
            self.users.add(user)

    @property
    def count(self) -> Count:
        return Count(self.sign_ins, len(self.users))


def _told(record: Mapping[str, Any]) -> Iterator[tuple[str, str, Result]]:
    """Id, name and result of each policy; each policy once."""
    listed = record.get("appliedConditionalAccessPolicies")
    found: dict[str, tuple[str, str, Result]] = {}
    for item in listed if isinstance(listed, list) else ():
        if not isinstance(item, Mapping):
            continue
        policy, name, result = item.get("id"), item.get("displayName"), item.get("result")
        if isinstance(policy, str) and policy and isinstance(result, str) and result in RESULTS:
            found.setdefault(policy, (policy, name if isinstance(name, str) and name else policy, result))
    yield from found.values()


def _impact(policy: str, name: str, results: Mapping[Result, _Tally]) -> Impact:
    applied = _Tally()
    for result, tally in results.items():
        if result not in NOT_APPLIED:
            applied.sign_ins += tally.sign_ins
            applied.users |= tally.users
    return Impact(
        policy, name, applied.count, {result: results[result].count for result in RESULTS if result in results}
    )
