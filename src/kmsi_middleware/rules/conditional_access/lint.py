"""What a careful administrator would be told about a set of policies. Every finding says what to do.

===========================  ==============================================================================
break_glass                  a policy for all users that can lock out, and excludes nobody
persistence_scope            a persistent browser session that is not for all applications
persistence_conflict         "always" and "never" for the same people: never wins
frequencies_differ           different frequencies for apps that share one session at the issuer
persistence_pointless        "always persistent" beside a frequency that ends the session sooner than a closed
                             browser would
remembered_second_factor     the issuer remembers the second factor, beside a frequency that limits its age
lifetime_beyond_nist         a session may last longer than NIST SP 800-63B-4 says for the assurance level
inactivity_beyond_nist       the same without activity
empty_policy                 a policy without a control
===========================  ==============================================================================

Disabled policies are not looked at; those in report-only mode are, because they are meant to be switched on.

Entra ID: Configure authentication session management. NIST SP 800-63B-4 §2.1.3, §2.2.3, §2.3.3. Entra ID, "Manage
emergency access accounts".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Literal

from ...vocabulary.records import frozen
from ...vocabulary.settings import DAY, Settings
from ..lifetimes import promised_end
from .frequency import TOLERANCE
from .policy import ALL, GUESTS, Applications, Policy, PolicySet, Users
from .words import duration, often

AssuranceLevel = Literal[1, 2, 3]

OVERALL = {1: 30 * DAY, 2: DAY, 3: 12 * 3_600}
"""The overall timeout by assurance level, in seconds."""
INACTIVITY = {2: 3_600, 3: 900}
"""The inactivity timeout by assurance level, in seconds; level 1 has none."""
_PARAGRAPHS = {1: "2.1.3", 2: "2.2.3", 3: "2.3.3"}


@frozen
class Finding:
    """One finding. ``policy``: whose, or ``None`` if it is about the settings. ``code`` never changes its meaning."""

    code: str
    policy: Policy | None
    text: str
    what_to_do: str


def lint(
    policies: PolicySet,
    settings: Settings,
    *,
    assurance_level: AssuranceLevel | None = None,
    issuer_remembers_second_factor: bool | None = None,
) -> tuple[Finding, ...]:
    """All findings, policy by policy in the order of the set, then those about the settings. Raises nothing.

    ``assurance_level``: NIST's; by default 2 if an enabled policy wants a second factor of everybody, else 1.
    ``issuer_remembers_second_factor``: whether "Remember MFA on trusted devices" is on at the issuer; ``None``: not
    known, and then one is told to look.
    """
    looked_at = [policy for policy in policies.policies if policy.state != "disabled"]
    found: list[Finding] = []
    for policy in looked_at:
        found += _alone(policy, settings)
        if issuer_remembers_second_factor is not False:
            found += _remembered(policy, issuer_remembers_second_factor is True)
    for one, other in combinations(looked_at, 2):
        found += _together(one, other, settings)
    order = {id(policy): place for place, policy in enumerate(looked_at)}
    found.sort(key=lambda finding: order[id(finding.policy)])
    return (*found, *_lifetimes(looked_at, settings, assurance_level or _level(looked_at)))


# One policy ----------------------------------------------------------------------------------------------


def _alone(policy: Policy, settings: Settings) -> Iterator[Finding]:
    users = policy.conditions.users
    excluded = users.exclude or users.exclude_groups or users.exclude_roles
    if policy.grant is None and policy.sign_in_frequency is None and policy.persistent_browser is None:
        yield Finding("empty_policy", policy, "it has no control, so it does nothing", "give it one, or delete it")
    if _is_for_everyone(users) and not excluded and (policy.grant or policy.sign_in_frequency):
        yield Finding(
            "break_glass",
            policy,
            "it is for all users and excludes nobody: a mistake in it, or an outage of what it needs, locks out all",
            "exclude your emergency access (break-glass) accounts, or a group of them (excludeUsers, excludeGroups)",
        )
    if policy.persistent_browser is not None and not _is_for_all_apps(policy.conditions.applications):
        yield Finding(
            "persistence_scope",
            policy,
            "it decides on a persistent browser session, but not for all apps: all tabs share one session, and so "
            "its persistence",
            'give includeApplications ["All"] and exclude none',
        )
    if policy.persistent_browser == "always":
        yield from _pointless(policy, policy, settings)


def _remembered(policy: Policy, certain: bool) -> Iterator[Finding]:
    frequency = policy.sign_in_frequency
    if frequency is None:
        return
    wants_second = policy.grant is not None and bool({"mfa", "passwordChange"} & set(policy.grant.controls))
    if frequency.second_factor_only or wants_second:
        yield Finding(
            "remembered_second_factor",
            policy,
            "it limits the age of the second factor, and the issuer "
            + ("remembers it on trusted devices" if certain else "may remember it on trusted devices")
            + ": people are then asked when they don't expect it, or not when they should be",
            "switch “Remember MFA on trusted devices” off at the issuer"
            + ("" if certain else ", if it is on; say that it is off, and this finding goes away"),
        )


# Two policies --------------------------------------------------------------------------------------------


def _together(one: Policy, other: Policy, settings: Settings) -> Iterator[Finding]:
    if not _may_meet(one.conditions.users, other.conditions.users):
        return
    modes = {one.persistent_browser, other.persistent_browser}
    if modes == {"always", "never"}:
        always, never = (one, other) if one.persistent_browser == "always" else (other, one)
        yield Finding(
            "persistence_conflict",
            always,
            f"it wants browsers to stay signed in, and {never.display_name!r} forbids it to some of the same people: "
            "there, never wins",
            "exclude from it those whom the other policy is for, so that each person has one rule",
        )
    for always, frequent in ((one, other), (other, one)):
        if always.persistent_browser == "always":
            yield from _pointless(always, frequent, settings)
    yield from _differ(one, other)


def _pointless(always: Policy, frequent: Policy, settings: Settings) -> Iterator[Finding]:
    frequency = frequent.sign_in_frequency
    if frequency is None or frequency.second_factor_only or not _is_for_every_visit(frequent):
        return
    if frequency.seconds is not None and frequency.seconds > settings.session_lifetime:
        return
    whose = "its own" if always is frequent else f"{frequent.display_name!r}'s"
    yield Finding(
        "persistence_pointless",
        always,
        f"it keeps browsers signed in, but {whose} sign-in frequency ({often(frequency.seconds)}) asks again sooner "
        "than a session that is not kept would end: the cookie outlives what it is good for",
        f"lengthen the frequency beyond {settings.session_lifetime // 3_600} hours, or take “always” away",
    )


def _differ(one: Policy, other: Policy) -> Iterator[Finding]:
    first, second = one.sign_in_frequency, other.sign_in_frequency
    if first is None or second is None or first.seconds is None or second.seconds is None:
        return  # "every time" is meant to differ
    if first.seconds == second.seconds or first.second_factor_only != second.second_factor_only:
        return
    apps = one.conditions.applications, other.conditions.applications
    if apps[0] == apps[1] or any(item.auth_contexts or item.user_actions for item in apps):
        return
    yield Finding(
        "frequencies_differ",
        other,
        f"it asks {often(second.seconds)}, {one.display_name!r} {often(first.seconds)}, for other apps of the same "
        "people: the apps share one session at the issuer, so signing in to one moves the other's turn",
        "give apps that are used together the same frequency, or an authentication context to what needs a shorter one",
    )


# The settings --------------------------------------------------------------------------------------------


def _level(policies: list[Policy]) -> AssuranceLevel:
    for policy in policies:
        wants_second = policy.grant is not None and "mfa" in policy.grant.controls
        only_way = policy.grant is not None and (policy.grant.operator == "AND" or policy.grant.controls == ("mfa",))
        everybody = _is_for_everyone(policy.conditions.users) and _is_for_every_visit(policy)
        if policy.state == "enabled" and wants_second and only_way and everybody:
            return 2
    return 1


def _lifetimes(policies: list[Policy], settings: Settings, level: AssuranceLevel) -> Iterator[Finding]:
    for_all = [
        policy
        for policy in policies
        if policy.state == "enabled" and _is_for_every_visit(policy) and _is_for_everyone(policy.conditions.users)
    ]
    frequencies = [policy.sign_in_frequency for policy in for_all if policy.sign_in_frequency is not None]
    asked = [item.seconds or TOLERANCE for item in frequencies if not item.second_factor_only]
    persistent = not any(policy.persistent_browser == "never" for policy in for_all)
    idle = promised_end(settings, persistent=persistent, started_at=0, renewed_at=0)
    overall = settings.session_max_age * DAY if settings.session_expiry == "rolling" else idle
    overall, idle = min([overall, *asked]), min([idle, *asked])
    source = f"NIST SP 800-63B-4 §{_PARAGRAPHS[level]}"
    if overall > OVERALL[level]:
        yield Finding(
            "lifetime_beyond_nist",
            None,
            f"a session may last {duration(overall)} without a new sign-in; {source} says {duration(OVERALL[level])} "
            f"at most for assurance level {level}",
            f"give a sign-in frequency of {duration(OVERALL[level])} or less for all users and all apps, or lower "
            "session_max_age",
        )
    if level in INACTIVITY and idle > INACTIVITY[level]:
        yield Finding(
            "inactivity_beyond_nist",
            None,
            f"a session lasts {duration(idle)} without activity; {source} says {duration(INACTIVITY[level])} at most "
            f"for assurance level {level}",
            f"set session_lifetime to {INACTIVITY[level]} with session_expiry=rolling, and keep nobody signed in: "
            "keep_me_signed_in_days=0, or a policy for all users with the persistent browser session “never”",
        )


# What a policy is for ------------------------------------------------------------------------------------


def _is_for_everyone(users: Users) -> bool:
    return ALL in users.include


def _is_for_all_apps(applications: Applications) -> bool:
    return ALL in applications.include and not applications.exclude


def _is_for_every_visit(policy: Policy) -> bool:
    """Whether nothing but the person decides that the policy applies."""
    conditions = policy.conditions
    return (
        _is_for_all_apps(conditions.applications)
        and not (conditions.sign_in_risk_levels or conditions.user_risk_levels)
        and not (conditions.platforms or conditions.locations or conditions.device_filter)
        and ALL in conditions.client_app_types
    )


def _may_meet(one: Users, other: Users) -> bool:
    """Whether there may be a person whom both are for. Groups, roles and guests may hold anybody, unless the one is
    for them alone and the other excludes them."""
    for users, against in ((one, other), (other, one)):
        only_groups = not (users.include or users.include_roles or users.include_guests)
        only_ids = not (_is_open_ended(users))
        if only_groups and users.include_groups and set(users.include_groups) <= set(against.exclude_groups):
            return False
        if only_ids and set(users.include) <= set(against.exclude):
            return False
    return _is_open_ended(one) or _is_open_ended(other) or bool(set(one.include) & set(other.include))


def _is_open_ended(users: Users) -> bool:
    named = {ALL, GUESTS} & set(users.include)
    return bool(named or users.include_groups or users.include_roles or users.include_guests)
