"""The lint of a set of policies: each finding where it belongs, and not beside it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from tests.rules.conditional_access.ca_support import (
    BLOCK,
    DAY,
    EVERY_TIME,
    HOUR,
    HOURLY,
    MFA,
    grant,
    policies,
    policy,
)

from kmsi_middleware.rules.conditional_access import lint as module
from kmsi_middleware.rules.conditional_access.lint import lint
from kmsi_middleware.rules.conditional_access.policy import ALL, Applications, Locations, Policy, SignInFrequency, Users
from kmsi_middleware.vocabulary.settings import Settings

BUT_GLASS = Users(include=(ALL,), exclude_groups=("break-glass",))
STRICT = Settings(session_lifetime=900, session_expiry="rolling", session_max_age=1, keep_me_signed_in_days=0)
SHOP, BANK = Applications(include=("shop",)), Applications(include=("bank",))
REPORT_ONLY = "enabledForReportingButNotEnforced"


def found(*these: Policy, settings: Settings = STRICT, **more: Any) -> list[tuple[str, str | None]]:
    """Code and policy of every finding. The issuer remembers nothing, unless a test says so."""
    findings = lint(policies(*these), settings, **{"issuer_remembers_second_factor": False} | more)
    for finding in findings:
        assert finding.text
        assert finding.what_to_do
    return [(finding.code, finding.policy.id if finding.policy else None) for finding in findings]


def safe(name: str = "p", **given: Any) -> Policy:
    """A policy that has a break-glass exclusion."""
    return policy(name, **{"users": BUT_GLASS} | given)


def test_a_careful_set_has_no_findings() -> None:
    assert (
        found(
            safe("a", grant=MFA, frequency=HOURLY),
            safe("b", persistent="never"),
            safe("c", grant=BLOCK, applications=BANK),
        )
        == []
    )
    assert found() == []


def test_disabled_policies_are_not_looked_at_and_those_in_report_only_mode_are() -> None:
    for state, expected in (("disabled", []), ("enabled", ["break_glass"]), (REPORT_ONLY, ["break_glass"])):
        assert [code for code, _ in found(policy(grant=BLOCK, state=state))] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"grant": BLOCK}, True),
        ({"grant": MFA}, True),
        ({"frequency": HOURLY}, True),
        ({"persistent": "never"}, False),  # locks nobody out
        ({"grant": BLOCK, "users": BUT_GLASS}, False),
        ({"grant": BLOCK, "users": Users(include=(ALL,), exclude=("glass-id",))}, False),
        ({"grant": BLOCK, "users": Users(include=(ALL,), exclude_roles=("glass",))}, False),
        ({"grant": BLOCK, "users": Users(include_groups=("interns",))}, False),
    ],
)
def test_break_glass(given: dict[str, Any], expected: bool) -> None:
    assert (("break_glass", "p") in found(policy(**given))) is expected


@pytest.mark.parametrize(
    ("applications", "expected"),
    [
        (Applications(include=(ALL,)), False),
        (SHOP, True),
        (Applications(include=(ALL,), exclude=("bank",)), True),
        (Applications(auth_contexts=("c1",)), True),
    ],
)
@pytest.mark.parametrize("mode", ["always", "never"])
def test_persistence_for_not_all_apps(mode: Any, applications: Applications, expected: bool) -> None:
    assert (("persistence_scope", "p") in found(safe(persistent=mode, applications=applications))) is expected


def test_an_empty_policy() -> None:
    assert found(safe()) == [("empty_policy", "p")]


# Two policies ----------------------------------------------------------------------------------------------


def staff(name: str, **given: Any) -> Policy:
    return policy(name, **{"users": Users(include_groups=("staff",))} | given)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {}, True),
        ({"users": Users(include=("ada",))}, {"users": Users(include=("bob",))}, False),
        ({"users": Users(include=("ada",))}, {"users": Users(include=("ada", "bob"))}, True),
        ({"users": Users(include=("ada",))}, {"users": Users(include=(ALL,), exclude=("ada",))}, False),
        ({"users": Users(include_groups=("x",))}, {"users": Users(include=(ALL,), exclude_groups=("x",))}, False),
        ({"users": Users(include_groups=("x",))}, {"users": Users(include=(ALL,), exclude_groups=("y",))}, True),
        ({"users": Users(include_groups=("x",))}, {"users": Users(include_groups=("y",))}, True),
        ({"users": Users(include=("guestsorexternalusers",))}, {"users": Users(include=("ada",))}, True),
    ],
)
def test_always_beside_never_for_the_same_people(one: dict[str, Any], other: dict[str, Any], expected: bool) -> None:
    for first, second in ((one, other), (other, one)):
        codes = found(staff("a", persistent="always", **first), staff("n", persistent="never", **second))
        assert (("persistence_conflict", "a") in codes) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {}, True),
        ({}, {"frequency": HOURLY}, False),  # the same
        ({}, {"frequency": EVERY_TIME}, False),  # meant to differ
        ({}, {"frequency": SignInFrequency(DAY, second_factor_only=True)}, False),
        ({}, {"applications": SHOP}, False),  # the same apps: the strictest wins
        ({}, {"applications": Applications(include=(ALL,))}, True),
        ({}, {"applications": Applications(auth_contexts=("c1",))}, False),
        ({"users": Users(include=("ada",))}, {"users": Users(include=("bob",))}, False),
    ],
)
def test_different_frequencies_for_apps_that_share_a_session(
    one: dict[str, Any], other: dict[str, Any], expected: bool
) -> None:
    hourly = staff("shop", **{"frequency": HOURLY, "applications": SHOP} | one)
    daily = staff("bank", **{"frequency": SignInFrequency(DAY), "applications": BANK} | other)
    assert (("frequencies_differ", "bank") in found(hourly, daily)) is expected


DAYTIME = Settings(session_lifetime=8 * HOUR, session_max_age=1, keep_me_signed_in_days=30)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"frequency": HOURLY}, True),
        ({"frequency": EVERY_TIME}, True),
        ({"frequency": SignInFrequency(8 * HOUR)}, True),
        ({"frequency": SignInFrequency(9 * HOUR)}, False),
        ({"frequency": SignInFrequency(HOUR, second_factor_only=True)}, False),
        ({"frequency": HOURLY, "applications": SHOP}, False),
        ({"frequency": HOURLY, "sign_in_risk_levels": ("high",)}, False),
        ({"frequency": HOURLY, "locations": Locations((ALL,), ("office",))}, False),
        ({"frequency": HOURLY, "client_app_types": ("browser",)}, False),
        ({"grant": MFA}, False),
    ],
)
def test_always_persistent_beside_a_frequency_that_makes_it_pointless(given: dict[str, Any], expected: bool) -> None:
    beside = found(safe("a", persistent="always"), safe("f", **given), settings=DAYTIME)
    assert (("persistence_pointless", "a") in beside) is expected
    itself = found(safe("a", persistent="always", **given), settings=DAYTIME)
    assert (("persistence_pointless", "a") in itself) is expected
    assert ("persistence_pointless", "n") not in found(safe("n", persistent="never", **given), settings=DAYTIME)


# The issuer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembers", [True, None, False])
@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"frequency": SignInFrequency(HOUR, second_factor_only=True)}, True),
        ({"frequency": HOURLY, "grant": MFA}, True),
        ({"frequency": HOURLY, "grant": grant("mfa", "passwordChange")}, True),
        ({"frequency": HOURLY}, False),
        ({"grant": MFA}, False),
    ],
)
def test_an_issuer_that_remembers_the_second_factor(
    given: dict[str, Any], limits: bool, remembers: bool | None
) -> None:
    codes = found(safe(**given), issuer_remembers_second_factor=remembers)
    assert (("remembered_second_factor", "p") in codes) is (limits and remembers is not False)


def test_one_is_told_to_look_where_it_is_not_known() -> None:
    [certain] = lint(policies(safe(frequency=HOURLY, grant=MFA)), STRICT, issuer_remembers_second_factor=True)
    [perhaps] = lint(policies(safe(frequency=HOURLY, grant=MFA)), STRICT)
    assert "may remember" in perhaps.text
    assert "may remember" not in certain.text


# NIST ------------------------------------------------------------------------------------------------------

LIFE, IDLE = "lifetime_beyond_nist", "inactivity_beyond_nist"


@pytest.mark.parametrize(
    ("level", "settings", "expected"),
    [
        (1, {"session_max_age": 30}, set()),
        (1, {"session_max_age": 31}, {LIFE}),
        (1, {"session_max_age": 90, "session_expiry": "absolute"}, set()),
        (1, {"session_max_age": 90, "session_expiry": "absolute", "keep_me_signed_in_days": 31}, {LIFE}),
        (2, {"session_max_age": 1, "session_lifetime": HOUR}, set()),
        (2, {"session_max_age": 2, "session_lifetime": HOUR}, {LIFE}),
        (2, {"session_max_age": 1, "session_lifetime": HOUR + 1}, {IDLE}),
        (2, {"session_max_age": 1, "session_lifetime": HOUR, "keep_me_signed_in_days": 1}, {IDLE}),
        (3, {"session_max_age": 1, "session_lifetime": 900}, {LIFE}),
        (3, {"session_expiry": "absolute", "session_lifetime": 900}, set()),
        (3, {"session_expiry": "absolute", "session_lifetime": 901}, {IDLE}),
    ],
)
def test_lifetimes_beyond_nist(level: Any, settings: dict[str, Any], expected: set[str]) -> None:
    codes = found(settings=Settings(**{"keep_me_signed_in_days": 0} | settings), assurance_level=level)
    assert {code for code, whose in codes if whose is None} == expected


LONG = Settings(session_lifetime=2 * HOUR, session_max_age=90, keep_me_signed_in_days=90)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"frequency": HOURLY}, set()),
        ({"frequency": EVERY_TIME}, set()),
        ({"frequency": SignInFrequency(DAY)}, {IDLE}),
        ({"frequency": SignInFrequency(2 * DAY)}, {LIFE, IDLE}),
        ({"frequency": HOURLY, "state": REPORT_ONLY}, {LIFE, IDLE}),
        ({"frequency": HOURLY, "applications": SHOP}, {LIFE, IDLE}),
        ({"frequency": HOURLY, "users": Users(include_groups=("x",))}, {LIFE, IDLE}),
        ({"frequency": SignInFrequency(HOUR, second_factor_only=True)}, {LIFE, IDLE}),
        ({"persistent": "never"}, {LIFE, IDLE}),
    ],
)
def test_a_frequency_for_all_shortens_a_session(given: dict[str, Any], expected: set[str]) -> None:
    codes = found(safe(**given), settings=LONG, assurance_level=2)
    assert {code for code, whose in codes if whose is None} == expected


def test_never_persistent_for_all_leaves_the_shorter_lifetime() -> None:
    short = Settings(session_lifetime=HOUR, session_max_age=1, keep_me_signed_in_days=30)
    assert found(settings=short, assurance_level=2) == [(IDLE, None)]
    assert found(safe(persistent="never"), settings=short, assurance_level=2) == []


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"grant": MFA}, 2),
        ({"grant": grant("mfa", "compliantDevice")}, 2),
        ({"grant": grant("mfa", "compliantDevice", operator="OR")}, 1),
        ({"grant": grant("mfa", operator="OR")}, 2),
        ({"grant": grant("compliantDevice")}, 1),
        ({"grant": MFA, "applications": SHOP}, 1),
        ({"grant": MFA, "state": REPORT_ONLY}, 1),
        ({"grant": MFA, "users": Users(include_groups=("x",))}, 1),
    ],
)
def test_the_level_follows_from_the_policies(given: dict[str, Any], level: int) -> None:
    [overall] = [item for item in lint(policies(safe(**given)), LONG) if item.code == LIFE]
    assert f"level {level}" in overall.text


# All of them -----------------------------------------------------------------------------------------------


def test_findings_come_policy_by_policy_and_then_the_settings() -> None:
    order = found(
        policy("b", grant=BLOCK), policy("a", grant=MFA, persistent="always", applications=SHOP), settings=LONG
    )
    assert [whose for _, whose in order] == ["b", "a", "a", None]


def test_every_code_is_in_the_modules_table() -> None:
    source = inspect.getsource(module)
    made = set(re.findall(r'Finding\(\s*"(\w+)"', source))
    assert made == set(re.findall(r"^([a-z_]+)  +\S", module.__doc__ or "", re.MULTILINE))
    assert len(made) == 9
