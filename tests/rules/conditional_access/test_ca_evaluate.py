"""Which policies apply: every condition, included and excluded, with its fact present, absent and malformed."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules.conditional_access.ca_support import (
    ADA,
    BLOCK,
    EVERY_TIME,
    HOUR,
    HOURLY,
    MFA,
    PLACES,
    device_filter,
    grant,
    policies,
    policy,
)

from kmsi_middleware.rules.conditional_access import evaluate as module
from kmsi_middleware.rules.conditional_access.evaluate import (
    Demand,
    Evaluation,
    Frequency,
    declared_inputs,
    evaluate,
    merged,
)
from kmsi_middleware.rules.conditional_access.facts import CHANGING, Facts, Proofs
from kmsi_middleware.rules.conditional_access.grants import unmet
from kmsi_middleware.rules.conditional_access.policy import (
    ALL,
    ALL_TRUSTED,
    GUESTS,
    NONE,
    Applications,
    Guests,
    GuestType,
    Locations,
    Platforms,
    Policy,
    PolicySet,
    SignInFrequency,
    Users,
)

APPLIES = "notSet"


def judged(conditions: dict[str, Any], facts: Facts) -> tuple[str, tuple[str, ...]]:
    """The reason and the missing facts of one policy with these conditions."""
    [verdict] = evaluate(policies(policy(grant=BLOCK, **conditions)), facts).verdicts
    assert verdict.applies == (verdict.reason == APPLIES)
    return verdict.reason, verdict.missing


def users(**given: Any) -> dict[str, Any]:
    return {"users": Users(**given)}


def everybody_but(**given: Any) -> dict[str, Any]:
    return users(include=(ALL,), **given)


def apps(**given: Any) -> dict[str, Any]:
    return {"applications": Applications(**given)}


def places(*include: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"locations": Locations(include, but)}


def platforms(*include: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"platforms": Platforms(include, but)}


def device(rule: str, mode: Any = "include") -> dict[str, Any]:
    return {"device_filter": device_filter(rule, mode)}


ALL_KINDS: tuple[GuestType, ...] = get_args(GuestType)
COMPLIANT = "device.isCompliant -eq True"
KIND = Guests(("internalGuest", "b2bCollaborationGuest"))
OF_CONTOSO = Guests(("b2bCollaborationGuest",), ("contoso",))

# conditions, facts changed, reason, missing
TABLE: list[tuple[dict[str, Any], dict[str, Any], str, tuple[str, ...]]] = [
    # Users: ids
    (users(include=(ALL,)), {}, APPLIES, ()),
    (users(include=(ALL,)), {"user_ids": frozenset()}, APPLIES, ()),
    (users(include=(NONE,)), {}, "users", ()),
    (users(), {}, APPLIES, ()),  # not configured restricts nothing
    (users(include=("ada-id",)), {}, APPLIES, ()),
    (users(include=("ada-id",)), {"user_ids": frozenset({"Ada-ID"})}, APPLIES, ()),
    (users(include=("bob-id",)), {}, "users", ()),
    (users(include=("bob-id",)), {"user_ids": frozenset()}, APPLIES, ("user_ids",)),
    (users(include=("bob-id",)), {"user_ids": frozenset({7})}, APPLIES, ("user_ids",)),
    (everybody_but(exclude=("ada-id",)), {}, "users", ()),
    (everybody_but(exclude=("bob-id",)), {}, APPLIES, ()),
    (everybody_but(exclude=("ada-id",)), {"user_ids": frozenset()}, APPLIES, ("user_ids",)),
    (users(include=("ada-id",), exclude=("ada@example.com",)), {}, "users", ()),
    # Users: groups
    (users(include_groups=("staff",)), {}, APPLIES, ()),
    (users(include_groups=("staff",)), {"groups": frozenset({"STAFF"})}, APPLIES, ()),
    (users(include_groups=("guards",)), {}, "users", ()),
    (users(include_groups=("guards",)), {"groups": frozenset()}, "users", ()),
    (users(include_groups=("guards",)), {"groups": None}, APPLIES, ("groups",)),
    (users(include_groups=("guards",)), {"groups": "guards"}, APPLIES, ("groups",)),
    (users(include_groups=("guards",)), {"groups": frozenset({1})}, APPLIES, ("groups",)),
    (users(include=("ada-id",), include_groups=("guards",)), {"groups": None}, APPLIES, ()),
    (everybody_but(exclude_groups=("nurses",)), {}, "users", ()),
    (everybody_but(exclude_groups=("guards",)), {}, APPLIES, ()),
    (everybody_but(exclude_groups=("nurses",)), {"groups": None}, APPLIES, ("groups",)),
    (everybody_but(exclude_groups=("nurses",)), {"groups": ["nurses"]}, APPLIES, ("groups",)),
    (everybody_but(exclude=("ada-id",), exclude_groups=("x",)), {"groups": None}, "users", ()),
    (users(include_groups=("staff",), exclude_groups=("nurses",)), {}, "users", ()),
    # Users: roles
    (users(include_roles=("reader",)), {}, APPLIES, ()),
    (users(include_roles=("owner",)), {}, "users", ()),
    (users(include_roles=("owner",)), {"roles": None}, APPLIES, ("roles",)),
    (users(include_roles=("owner",)), {"roles": 7}, APPLIES, ("roles",)),
    (everybody_but(exclude_roles=("reader",)), {}, "users", ()),
    (everybody_but(exclude_roles=("owner",)), {}, APPLIES, ()),
    (everybody_but(exclude_roles=("reader",)), {"roles": None}, APPLIES, ("roles",)),
    # Users: guests
    (users(include=(GUESTS,)), {}, "users", ()),
    (users(include=(GUESTS,)), {"guest": True}, APPLIES, ()),
    (users(include=(GUESTS,)), {"guest": "internalGuest"}, APPLIES, ()),
    (users(include=(GUESTS,)), {"guest": None}, APPLIES, ("guest",)),
    (users(include=(GUESTS,)), {"guest": "stranger"}, APPLIES, ("guest",)),
    (users(include=(GUESTS, "ada-id")), {"guest": None}, APPLIES, ()),
    (everybody_but(exclude=(GUESTS,)), {"guest": True}, "users", ()),
    (everybody_but(exclude=(GUESTS,)), {"guest": False}, APPLIES, ()),
    (everybody_but(exclude=(GUESTS,)), {"guest": None}, APPLIES, ("guest",)),
    (everybody_but(exclude=(GUESTS,)), {"guest": 1}, APPLIES, ("guest",)),
    (users(include_guests=KIND), {}, "users", ()),
    (users(include_guests=KIND), {"guest": "internalGuest"}, APPLIES, ()),
    (users(include_guests=KIND), {"guest": "serviceProvider"}, "users", ()),
    (users(include_guests=KIND), {"guest": True}, APPLIES, ("guest",)),
    (users(include_guests=KIND), {"guest": None}, APPLIES, ("guest",)),
    (users(include_guests=KIND), {"guest": "stranger"}, APPLIES, ("guest",)),
    (users(include_guests=Guests(ALL_KINDS)), {"guest": True}, APPLIES, ()),
    (everybody_but(exclude_guests=KIND), {"guest": "internalGuest"}, "users", ()),
    (everybody_but(exclude_guests=KIND), {"guest": True}, APPLIES, ("guest",)),
    (users(include_guests=OF_CONTOSO), {"guest": "b2bCollaborationGuest", "home_tenant": "Contoso"}, APPLIES, ()),
    (users(include_guests=OF_CONTOSO), {"guest": "b2bCollaborationGuest"}, "users", ()),
    (users(include_guests=OF_CONTOSO), {"guest": "internalGuest", "home_tenant": None}, "users", ()),
    (
        users(include_guests=OF_CONTOSO),
        {"guest": "b2bCollaborationGuest", "home_tenant": None},
        APPLIES,
        ("home_tenant",),
    ),
    (users(include_guests=OF_CONTOSO), {"guest": None, "home_tenant": None}, APPLIES, ("guest", "home_tenant")),
    (
        everybody_but(exclude_guests=OF_CONTOSO),
        {"guest": "b2bCollaborationGuest", "home_tenant": "contoso"},
        "users",
        (),
    ),
    (
        everybody_but(exclude_guests=OF_CONTOSO),
        {"guest": "b2bCollaborationGuest", "home_tenant": None},
        APPLIES,
        ("home_tenant",),
    ),
    # Applications
    (apps(include=(ALL,)), {}, APPLIES, ()),
    (apps(include=(ALL,)), {"application": ""}, APPLIES, ()),
    (apps(include=(NONE,)), {}, "application", ()),
    (apps(include=("shop",)), {}, APPLIES, ()),
    (apps(include=("shop",)), {"application": "Shop"}, APPLIES, ()),
    (apps(include=("bank",)), {}, "application", ()),
    (apps(include=("bank",)), {"application": ""}, APPLIES, ("application",)),
    (apps(include=("bank",)), {"application": None}, APPLIES, ("application",)),
    (apps(include=(ALL,), exclude=("shop",)), {}, "application", ()),
    (apps(include=(ALL,), exclude=("bank",)), {}, APPLIES, ()),
    (apps(include=(ALL,), exclude=("shop",)), {"application": ""}, APPLIES, ("application",)),
    (apps(include=("shop",), exclude=("shop",)), {}, "application", ()),
    (apps(user_actions=("urn:user:registerdevice",)), {}, "userActions", ()),
    (apps(user_actions=("urn:user:registerdevice",)), {"user_action": "urn:user:registerdevice"}, APPLIES, ()),
    (apps(user_actions=("urn:user:registerdevice",)), {"user_action": "dance"}, "userActions", ()),
    (apps(auth_contexts=("c1",)), {}, "authenticationContext", ()),
    (apps(auth_contexts=("c1", "c2")), {"auth_context": "c2"}, APPLIES, ()),
    (apps(auth_contexts=("c1",)), {"auth_context": "c2"}, "authenticationContext", ()),
    # Platforms
    (platforms(ALL), {}, APPLIES, ()),
    (platforms(ALL), {"platform": None}, APPLIES, ()),
    (platforms("windows"), {}, APPLIES, ()),
    (platforms("windows"), {"platform": "Windows"}, APPLIES, ()),
    (platforms("ios"), {}, "devicePlatform", ()),
    (platforms("ios"), {"platform": None}, APPLIES, ("platform",)),
    (platforms("ios"), {"platform": "toaster"}, APPLIES, ("platform",)),
    (platforms("ios"), {"platform": 7}, APPLIES, ("platform",)),
    (platforms(ALL, but=("windows",)), {}, "devicePlatform", ()),
    (platforms(ALL, but=("ios",)), {}, APPLIES, ()),
    (platforms(ALL, but=("windows",)), {"platform": None}, APPLIES, ("platform",)),
    (platforms("windows", but=("windows",)), {}, "devicePlatform", ()),
    # Devices
    (device(COMPLIANT), {}, APPLIES, ()),
    (device(COMPLIANT), {"device": {"isCompliant": False}}, "devices", ()),
    (device(COMPLIANT), {"device": {"isCompliant": None}}, "devices", ()),
    (device(COMPLIANT), {"device": None}, APPLIES, ("device.isCompliant",)),
    (device(COMPLIANT), {"device": {}}, APPLIES, ("device.isCompliant",)),
    (device(COMPLIANT), {"device": {"isCompliant": "perhaps"}}, APPLIES, ("device.isCompliant",)),
    (device(COMPLIANT, "exclude"), {}, "devices", ()),
    (device(COMPLIANT, "exclude"), {"device": {"isCompliant": False}}, APPLIES, ()),
    (device(COMPLIANT, "exclude"), {"device": None}, APPLIES, ("device.isCompliant",)),
    (device(COMPLIANT, "exclude"), {"device": {"isCompliant": []}}, APPLIES, ("device.isCompliant",)),
    (device('device.trustType -ne "AzureAD"', "exclude"), {"device": None}, APPLIES, ("device.trustType",)),
    # Client apps
    ({"client_app_types": (ALL,)}, {"client_app": None}, APPLIES, ()),
    ({"client_app_types": ()}, {}, APPLIES, ()),
    ({"client_app_types": ("browser",)}, {}, APPLIES, ()),
    ({"client_app_types": ("mobileappsanddesktopclients",)}, {}, "clientApps", ()),
    (
        {"client_app_types": ("mobileAppsAndDesktopClients",)},
        {"client_app": "mobileAppsAndDesktopClients"},
        APPLIES,
        (),
    ),
    ({"client_app_types": ("eassupported",)}, {"client_app": "exchangeActiveSync"}, APPLIES, ()),
    ({"client_app_types": ("eassupported",)}, {}, "clientApps", ()),
    ({"client_app_types": ("other",)}, {"client_app": None}, APPLIES, ("client_app",)),
    ({"client_app_types": ("other",)}, {"client_app": "carrier pigeon"}, APPLIES, ("client_app",)),
    # Locations
    (places(ALL), {"address": None, "country": None}, APPLIES, ()),
    (places("office"), {}, APPLIES, ()),
    (places("office"), {"address": "::ffff:192.0.2.7"}, APPLIES, ()),
    (places("lab"), {}, "location", ()),
    (places("lab"), {"address": "2001:db8::7"}, APPLIES, ()),
    (places("lab"), {"address": None}, APPLIES, ("address",)),
    (places("lab"), {"address": "192.0.2"}, APPLIES, ("address",)),
    (places("germany"), {}, APPLIES, ()),
    (places("germany"), {"country": "DE"}, APPLIES, ()),
    (places("germany"), {"country": "fr"}, "location", ()),
    (places("germany"), {"country": None}, APPLIES, ("country",)),
    (places("germany"), {"country": "Frankreich"}, APPLIES, ("country",)),
    (places("germany"), {"country": ""}, "location", ()),
    (places("nowhere"), {"country": ""}, APPLIES, ()),
    (places("nowhere"), {}, "location", ()),
    (places("nowhere"), {"country": None}, APPLIES, ("country",)),
    (places(ALL_TRUSTED), {}, APPLIES, ()),
    (places(ALL_TRUSTED), {"address": "2001:db8::7"}, "location", ()),
    (places(ALL_TRUSTED), {"address": None}, APPLIES, ("address",)),
    (places(ALL, but=(ALL_TRUSTED,)), {}, "location", ()),
    (places(ALL, but=(ALL_TRUSTED,)), {"address": "198.51.100.1"}, APPLIES, ()),
    (places(ALL, but=(ALL_TRUSTED,)), {"address": None}, APPLIES, ("address",)),
    (places(ALL, but=("germany",)), {}, "location", ()),
    (places(ALL, but=("germany",)), {"country": "1"}, APPLIES, ("country",)),
    (places("office", but=("germany",)), {}, "location", ()),
    (places("lab", "germany"), {"address": None}, APPLIES, ()),  # the country settles it
    (places("unheard-of"), {}, APPLIES, ("location unheard-of",)),
    (places(ALL, but=("unheard-of",)), {}, APPLIES, ("location unheard-of",)),
    # Risks
    ({"sign_in_risk_levels": ("low", "high")}, {}, APPLIES, ()),
    ({"sign_in_risk_levels": ("high",)}, {}, "signInRisk", ()),
    ({"sign_in_risk_levels": ("high",)}, {"sign_in_risk": None}, APPLIES, ("sign_in_risk",)),
    ({"sign_in_risk_levels": ("high",)}, {"sign_in_risk": "hidden"}, APPLIES, ("sign_in_risk",)),
    ({"user_risk_levels": ("none",)}, {}, APPLIES, ()),
    ({"user_risk_levels": ("high",)}, {}, "userRisk", ()),
    ({"user_risk_levels": ("high",)}, {"user_risk": None}, APPLIES, ("user_risk",)),
    ({"user_risk_levels": ("high",)}, {"user_risk": ("high",)}, APPLIES, ("user_risk",)),
    # Several
    (
        users(include_groups=("x",)) | {"sign_in_risk_levels": ("high",), "platforms": Platforms(("ios",))},
        {"groups": None, "sign_in_risk": None, "platform": None},
        APPLIES,
        ("groups", "platform", "sign_in_risk"),
    ),
    (
        users(include_groups=("x",)) | {"sign_in_risk_levels": ("high",)},
        {"groups": None},  # what is missing does not matter where another condition fails
        "signInRisk",
        (),
    ),
]


@pytest.mark.parametrize(("conditions", "facts", "reason", "missing"), TABLE)
def test_a_condition_holds_or_says_why_not(
    conditions: dict[str, Any], facts: dict[str, Any], reason: str, missing: tuple[str, ...]
) -> None:
    assert judged(conditions, replace(ADA, **facts)) == (reason, missing)


def test_the_table_has_every_reason_that_a_condition_can_give() -> None:
    assert {row[2] for row in TABLE} == {condition.reason for condition in module.CONDITIONS} | {APPLIES}


def test_nothing_known_at_all_meets_every_policy_that_restricts_by_it() -> None:
    """Only what has no "not known" (user actions, authentication contexts) can spare a stranger."""
    for conditions, _, _, _ in TABLE:
        verdict = judged(conditions, Facts(client_app="?"))
        assert (
            verdict[0] == APPLIES or NONE in str(conditions) or "urn:" in str(conditions) or "'c1'" in str(conditions)
        )


# State -----------------------------------------------------------------------------------------------------


def test_a_disabled_policy_never_applies_and_has_no_effect() -> None:
    outcome = evaluate(policies(policy(grant=BLOCK, state="disabled")), ADA)
    assert [(item.applies, item.reason) for item in outcome.verdicts] == [(False, "policyNotEnabled")]
    assert outcome.controls.block is None


def test_report_only_is_judged_and_has_no_effect() -> None:
    reporting = policy(
        "r", grant=BLOCK, frequency=HOURLY, persistent="never", state="enabledForReportingButNotEnforced"
    )
    outcome = evaluate(policies(policy("e", grant=MFA), reporting), ADA)
    assert [(item.policy.id, item.applies) for item in outcome.report_only] == [("r", True)]
    assert outcome.controls == evaluate(policies(policy("e", grant=MFA)), ADA).controls


def test_a_policy_without_a_control_is_empty() -> None:
    [verdict] = evaluate(policies(policy()), ADA).verdicts
    assert (verdict.applies, verdict.reason) == (False, "emptyPolicy")


def test_verdicts_keep_the_order_of_the_set_and_missing_facts_are_summed_up() -> None:
    outcome = evaluate(
        policies(
            policy("a", grant=MFA, users=Users(include_groups=("x",))),
            policy("b", grant=MFA, state="disabled"),
            policy("c", grant=MFA, users=Users(include_groups=("y",)), user_risk_levels=("high",)),
        ),
        replace(ADA, groups=None, user_risk=None),
    )
    assert [item.policy.id for item in outcome.verdicts] == ["a", "b", "c"]
    assert outcome.missing == ("groups", "user_risk")


def test_no_policies_no_controls() -> None:
    assert evaluate(PolicySet(), Facts()) == Evaluation((), merged(()))


# Merging ---------------------------------------------------------------------------------------------------


def test_every_grant_is_kept_and_a_block_stands_for_itself() -> None:
    first, second, third = policy("a", grant=MFA), policy("b", grant=BLOCK), policy("c", grant=grant("compliantDevice"))
    controls = merged((first, second, third))
    assert controls.block is second
    assert [(demand.policy, demand.grant) for demand in controls.grants] == [(first, MFA), (third, third.grant)]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("wanted", "strictest"), [((HOUR, 8 * HOUR), HOUR), ((HOUR, None), None), ((None, None), None), ((HOUR,), HOUR)]
)
def test_the_strictest_frequency_wins(wanted: tuple[int | None, ...], strictest: int | None, order: int) -> None:
    for second_factor_only in (False, True):
        these = [
            policy(str(number), frequency=SignInFrequency(seconds, second_factor_only))
            for number, seconds in enumerate(wanted)
        ][::order]
        controls = merged(these)
        found = controls.sign_in_frequency_second if second_factor_only else controls.sign_in_frequency_first
        other = controls.sign_in_frequency_first if second_factor_only else controls.sign_in_frequency_second
        assert isinstance(found, Frequency)
        assert found.seconds == strictest
        assert found.policy.sign_in_frequency == SignInFrequency(strictest, second_factor_only)
        assert other is None


@pytest.mark.parametrize("order", [1, -1])
def test_never_persistent_wins_over_always(order: int) -> None:
    always, never = policy("a", persistent="always"), policy("n", persistent="never")
    controls = merged([always, never][::order])
    assert (controls.persistent_browser, controls.persistent_browser_policy) == ("never", never)
    assert controls.persistent is False
    assert merged([always]).persistent is True
    assert merged([]).persistent is None


@pytest.mark.parametrize(
    ("modes", "persistent", "kept"),
    [
        ([], True, True),
        ([], False, False),
        (["always"], True, True),
        (["always"], False, False),  # nothing is widened without a sign-in
        (["never"], True, False),
        (["always", "never"], True, False),
    ],
)
def test_a_live_session_is_narrowed_at_once_and_never_widened(modes: list[Any], persistent: bool, kept: bool) -> None:
    assert merged(policy(mode, persistent=mode) for mode in modes).keeps(persistent) is kept


# What is read ----------------------------------------------------------------------------------------------


class Spy:
    """Facts, or proofs, that remember which of them were read."""

    def __init__(self, facts: Facts | Proofs) -> None:
        self.facts = facts
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.facts, name)


def read_by(these: PolicySet, facts: Facts) -> set[str]:
    spy, shown = Spy(facts), Spy(Proofs())
    for verdict in evaluate(these, spy).verdicts:  # type: ignore[arg-type]
        if verdict.applies and verdict.policy.grant is not None:
            unmet([Demand(verdict.policy, verdict.policy.grant)], shown)  # type: ignore[arg-type]
    proven_by_device = {"compliant_device", "domain_joined_device"} & shown.read
    return spy.read | ({"device"} if proven_by_device else set())


DECLARED: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set()),
    (users(include_groups=("x",), exclude=("y",), include_guests=OF_CONTOSO), set()),
    (apps(include=("shop",)), set()),
    (apps(user_actions=("urn:user:registerdevice",)), {"user_action"}),
    (apps(auth_contexts=("c1",)), {"auth_context"}),
    (platforms("windows"), {"platform"}),
    (device(COMPLIANT), {"device"}),
    ({"client_app_types": ("browser",)}, {"client_app"}),
    ({"client_app_types": (ALL,)}, set()),
    (places(ALL), set()),
    (places("office"), {"address"}),
    (places("germany"), {"country"}),
    (places("nowhere"), {"country"}),
    (places("office", but=("germany",)), {"address", "country"}),
    (places(ALL, but=(ALL_TRUSTED,)), {"address"}),
    ({"sign_in_risk_levels": ("high",)}, {"sign_in_risk"}),
    ({"user_risk_levels": ("high",)}, {"user_risk"}),
]


@pytest.mark.parametrize(("conditions", "inputs"), DECLARED)
def test_what_a_policy_reads_is_declared(conditions: dict[str, Any], inputs: set[str]) -> None:
    these = policies(policy(grant=MFA, **conditions))
    assert declared_inputs(these) == inputs
    assert declared_inputs(policies(policy(grant=MFA, state="disabled", **conditions))) == set()
    reporting = policy(grant=MFA, state="enabledForReportingButNotEnforced", **conditions)
    assert declared_inputs(policies(reporting)) == inputs


@pytest.mark.parametrize("control", ["compliantDevice", "domainJoinedDevice"])
@pytest.mark.parametrize("state", ["enabled", "enabledForReportingButNotEnforced", "disabled"])
def test_a_grant_control_reads_the_device(control: Any, state: Any) -> None:
    these = policies(policy(grant=grant("mfa", control, operator="OR"), state=state))
    assert declared_inputs(these) == read_by(these, ADA) & CHANGING == (set() if state == "disabled" else {"device"})


def test_every_changing_fact_is_declared_by_some_policy_and_is_a_fact() -> None:
    assert set().union(*(inputs for _, inputs in DECLARED)) == CHANGING
    assert {item.name for item in fields(Facts)} > CHANGING


# Any policies at all ---------------------------------------------------------------------------------------

conditions_st = st.lists(st.sampled_from([row[0] for row in TABLE]), max_size=3).map(
    lambda several: {name: value for one in several for name, value in one.items()}
)
policy_st = st.builds(
    lambda name, conditions, **controls: policy(name, **conditions, **controls),
    st.uuids().map(str),
    conditions_st,
    state=st.sampled_from(["enabled", "enabled", "disabled", "enabledForReportingButNotEnforced"]),
    grant=st.sampled_from(
        [None, MFA, BLOCK, grant("mfa", "compliantDevice", operator="OR"), grant("domainJoinedDevice")]
    ),
    frequency=st.none() | st.builds(SignInFrequency, st.sampled_from([None, HOUR, 8 * HOUR]), st.booleans()),
    persistent=st.sampled_from([None, "always", "never"]),
)
policies_st = st.lists(policy_st, max_size=6).map(lambda these: PolicySet(tuple(these), PLACES))
facts_st = st.lists(st.sampled_from([row[1] for row in TABLE]), max_size=5).map(
    lambda several: replace(ADA, **{name: value for one in several for name, value in one.items()})
)


@given(policies_st, facts_st)
def test_nothing_that_is_not_declared_is_read(these: PolicySet, facts: Facts) -> None:
    assert read_by(these, facts) & CHANGING <= declared_inputs(these)


def test_that_an_undeclared_read_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    careless = tuple(replace(condition, reads=lambda _c, _n: set()) for condition in module.CONDITIONS)
    monkeypatch.setattr(module, "CONDITIONS", careless)
    for conditions, inputs in DECLARED:
        these = policies(policy(grant=MFA, **conditions))
        assert bool(read_by(these, ADA) & CHANGING - declared_inputs(these)) == bool(inputs)


@given(policies_st, facts_st, facts_st)
def test_requests_that_agree_in_what_is_declared_have_the_same_outcome(
    these: PolicySet, facts: Facts, other: Facts
) -> None:
    agreed = {name: getattr(facts, name) for name in {item.name for item in fields(Facts)} - CHANGING}
    agreed |= {name: getattr(facts, name) for name in declared_inputs(these)}
    assert evaluate(these, replace(other, **agreed)) == evaluate(these, facts)


def seconds_of(frequency: Frequency | None) -> float:
    return float("inf") if frequency is None else frequency.seconds or 0


@given(policies_st, policy_st, st.integers(0, 6), facts_st)
def test_one_more_policy_never_makes_an_outcome_weaker(
    these: PolicySet, more: Policy, place: int, facts: Facts
) -> None:
    before = evaluate(these, facts).controls
    added = (*these.policies[:place], more, *these.policies[place:])
    after = evaluate(replace(these, policies=added), facts).controls
    assert after.block is not None or before.block is None
    assert [demand for demand in after.grants if demand.policy is not more] == list(before.grants)
    assert seconds_of(after.sign_in_frequency_first) <= seconds_of(before.sign_in_frequency_first)
    assert seconds_of(after.sign_in_frequency_second) <= seconds_of(before.sign_in_frequency_second)
    rank = {None: 0, "always": 0, "never": 1}
    assert rank[after.persistent_browser] >= rank[before.persistent_browser]
    if more.state != "enabled":
        assert after == before


@given(policies_st, facts_st, st.sampled_from([item.name for item in fields(Facts)]))
def test_withholding_a_fact_helps_nobody(these: PolicySet, facts: Facts, name: str) -> None:
    """What is not known never spares a person a policy that the fact would have brought."""
    if name in ("user_action", "auth_context"):
        return  # the app's own, and never withheld
    withheld: dict[str, Any] = {name: frozenset() if name == "user_ids" else "" if name == "application" else None}
    known, unknown = evaluate(these, facts).verdicts, evaluate(these, replace(facts, **withheld)).verdicts
    for one, other in zip(known, unknown, strict=True):
        assert other.applies or not one.applies


def test_every_time_is_stricter_than_any_number() -> None:
    controls = merged([policy("h", frequency=HOURLY), policy("e", frequency=EVERY_TIME)])
    assert controls.sign_in_frequency_first is not None
    assert controls.sign_in_frequency_first.policy.id == "e"
