"""What If: the same answers as in earnest, as Graph's JSON and as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules.conditional_access.ca_support import (
    ADA,
    BLOCK,
    DAY,
    EVERY_TIME,
    HOUR,
    HOURLY,
    MFA,
    MIDNIGHT,
    PLACES,
    device_filter,
    grant,
    policies,
    policy,
)

from kmsi_middleware.rules import kmsi
from kmsi_middleware.rules.conditional_access.evaluate import evaluate
from kmsi_middleware.rules.conditional_access.facts import Facts, Proofs
from kmsi_middleware.rules.conditional_access.frequency import due
from kmsi_middleware.rules.conditional_access.grants import unmet
from kmsi_middleware.rules.conditional_access.graph import as_graph
from kmsi_middleware.rules.conditional_access.load import load_policies
from kmsi_middleware.rules.conditional_access.policy import (
    ALL,
    ALL_TRUSTED,
    GUESTS,
    Applications,
    Conditions,
    Guests,
    Locations,
    Platforms,
    Policy,
    PolicySet,
    SignInFrequency,
    Users,
)
from kmsi_middleware.rules.conditional_access.what_if import (
    CONTEXT,
    OUTCOME_COLUMNS,
    POLICY_COLUMNS,
    Cookie,
    as_json,
    outcome_rows,
    policy_rows,
    signals_of,
    simulate,
)
from kmsi_middleware.vocabulary.settings import Settings
from kmsi_middleware.vocabulary.signals import SignInSignals

REPORT_ONLY = "enabledForReportingButNotEnforced"
SETTINGS = Settings(session_lifetime=8 * HOUR, keep_me_signed_in_days=30)
FRESH = Proofs(first_factor_at=MIDNIGHT, asked_at=MIDNIGHT, last_used_at=MIDNIGHT)
YES_OR_NO = (Cookie(True, 30 * DAY, "yes"), Cookie(False, 8 * HOUR, "no"))


def played(*these: Policy, facts: Facts = ADA, settings: Settings = SETTINGS, **more: Any) -> Any:
    return simulate(policies(*these), facts, settings, now=MIDNIGHT, **more)


def test_without_policies_the_person_is_asked_and_either_cookie_may_follow() -> None:
    found = played()
    assert found.decision == kmsi.Decision(ask=True, persistent=False, reason="asked")
    assert found.cookies == YES_OR_NO
    assert found.lets_in


def test_block() -> None:
    found = played(policy(grant=BLOCK), policy("n", persistent="never"))
    assert (found.lets_in, found.decision, found.cookies) == (False, None, ())


@pytest.mark.parametrize(
    ("modes", "cookie"),
    [
        (["always"], Cookie(True, 30 * DAY)),
        (["never"], Cookie(False, 8 * HOUR)),
        (["always", "never"], Cookie(False, 8 * HOUR)),
    ],
)
def test_a_policy_on_persistence_decides_and_nobody_is_asked(modes: list[Any], cookie: Cookie) -> None:
    found = played(*(policy(mode, persistent=mode) for mode in modes))
    assert found.decision == kmsi.Decision(ask=False, persistent=cookie.persistent, reason="policy")
    assert found.cookies == (cookie,)


def test_always_can_keep_nobody_where_keeping_is_off() -> None:
    off = Settings(session_lifetime=8 * HOUR, keep_me_signed_in_days=0)
    assert played(policy(persistent="always"), settings=off).cookies == (Cookie(False, 8 * HOUR),)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"facts": replace(ADA, sign_in_risk="high")}, "high_risk"),
        ({"facts": replace(ADA, guest=True)}, "guest"),
        ({"facts": replace(ADA, guest="internalGuest")}, "guest"),
        ({"signals": SignInSignals(shared_device=True)}, "shared_device"),
        ({"claims": {"amr": ["wia"]}}, "silent"),
        ({"prompt": "consent"}, "consent"),
        ({"remembered": "yes"}, "remembered_answer"),
        ({"settings": Settings(show_option_to_remain_signed_in=False)}, "option_off"),
    ],
)
def test_every_other_row_of_the_table_has_its_say(changed: dict[str, Any], reason: str) -> None:
    found = played(**changed)
    assert found.decision.reason == reason
    assert len(found.cookies) == 1


def test_what_is_not_known_is_no_signal() -> None:
    assert signals_of(Facts()) == SignInSignals()
    assert signals_of(replace(ADA, guest=False)).guest is False


def test_proofs_say_whether_the_demands_are_met() -> None:
    mfa = policy(grant=MFA)
    assert played(mfa).lets_in
    wanting = played(mfa, proofs=FRESH)
    assert (wanting.lets_in, [item.controls for item in wanting.unmet]) == (False, [("mfa",)])
    assert played(mfa, proofs=replace(FRESH, second_factor_at=MIDNIGHT)).lets_in


def test_proofs_that_are_too_old_let_nobody_in() -> None:
    old = replace(FRESH, first_factor_at=MIDNIGHT - HOUR, asked_at=None)
    found = played(policy(frequency=HOURLY), proofs=old)
    assert (found.lets_in, found.due.at, found.max_age) == (False, MIDNIGHT, HOUR)
    assert played(policy(frequency=HOURLY), proofs=FRESH).lets_in


# As JSON ---------------------------------------------------------------------------------------------------


def test_graphs_answer() -> None:
    these = (
        policy("a", grant=MFA, frequency=HOURLY),
        policy("b", grant=BLOCK, user_risk_levels=("high",)),
        policy("c", persistent="never", state="enabledForReportingButNotEnforced"),
        policy("d", grant=BLOCK, state="disabled"),
    )
    answer = as_json(played(*these))
    assert answer["@odata.context"] == CONTEXT
    assert [
        (item["id"], item["state"], item["policyApplies"], item["analysisReasons"]) for item in answer["value"]
    ] == [
        ("a", "enabled", True, "notSet"),
        ("b", "enabled", False, "userRisk"),
        ("c", "enabledForReportingButNotEnforced", True, "notSet"),
        ("d", "disabled", False, "policyNotEnabled"),
    ]
    assert [item["id"] for item in as_json(played(*these), applied_only=True)["value"]] == ["a", "c"]


def test_a_policy_as_graph_writes_it() -> None:
    assert as_graph(
        policy(
            "p",
            users=Users(include=(ALL,), exclude=(GUESTS, "ada-id"), exclude_guests=Guests(("internalGuest",), ("t",))),
            grant=grant("mfa", "compliantDevice", operator="OR"),
            frequency=SignInFrequency(4 * HOUR),
            persistent="never",
            platforms=Platforms((ALL,), ("ios", "macos")),
            locations=Locations((ALL,), (ALL_TRUSTED, "office")),
            client_app_types=("mobileappsanddesktopclients",),
            device_filter=device_filter("device.isCompliant -eq True", "exclude"),
        )
    ) == {
        "id": "p",
        "displayName": "Policy p",
        "state": "enabled",
        "conditions": {
            "userRiskLevels": [],
            "signInRiskLevels": [],
            "clientAppTypes": ["mobileAppsAndDesktopClients"],
            "applications": {
                "includeApplications": ["All"],
                "excludeApplications": [],
                "includeUserActions": [],
                "includeAuthenticationContextClassReferences": [],
            },
            "users": {
                "includeUsers": ["All"],
                "excludeUsers": ["GuestsOrExternalUsers", "ada-id"],
                "includeGroups": [],
                "excludeGroups": [],
                "includeRoles": [],
                "excludeRoles": [],
                "includeGuestsOrExternalUsers": None,
                "excludeGuestsOrExternalUsers": {
                    "guestOrExternalUserTypes": "internalGuest",
                    "externalTenants": {
                        "@odata.type": "#microsoft.graph.conditionalAccessEnumeratedExternalTenants",
                        "membershipKind": "enumerated",
                        "members": ["t"],
                    },
                },
            },
            "platforms": {"includePlatforms": ["all"], "excludePlatforms": ["iOS", "macOS"]},
            "locations": {"includeLocations": ["All"], "excludeLocations": ["AllTrusted", "office"]},
            "devices": {"deviceFilter": {"mode": "exclude", "rule": "device.isCompliant -eq True"}},
        },
        "grantControls": {"operator": "OR", "builtInControls": ["mfa", "compliantDevice"]},
        "sessionControls": {
            "persistentBrowser": {"mode": "never", "isEnabled": True},
            "signInFrequency": {
                "value": 4,
                "type": "hours",
                "isEnabled": True,
                "frequencyInterval": "timeBased",
                "authenticationType": "primaryAndSecondaryAuthentication",
            },
        },
    }


def test_every_time_as_graph_writes_it() -> None:
    controls = as_graph(policy(frequency=SignInFrequency(None, True)))["sessionControls"]
    assert controls["persistentBrowser"] is None
    assert controls["signInFrequency"] == {
        "value": None,
        "type": None,
        "isEnabled": True,
        "frequencyInterval": "everyTime",
        "authenticationType": "secondaryAuthentication",
    }


ids = st.lists(st.sampled_from(["one", "two", "three"]), unique=True, max_size=2).map(tuple)
users_st = st.builds(
    Users,
    include=st.sampled_from([(ALL,), (GUESTS, "one"), ("two",), ("none",)]),
    exclude=st.sampled_from([(), ("one",), (GUESTS,)]),
    include_groups=ids,
    exclude_groups=ids,
    include_roles=ids,
    exclude_roles=ids,
    include_guests=st.none() | st.builds(Guests, st.sampled_from([("internalGuest", "serviceProvider")]), ids),
    exclude_guests=st.none() | st.builds(Guests, st.sampled_from([("otherExternalUser",)]), ids),
)
applications_st = st.sampled_from(
    [
        Applications(include=(ALL,)),
        Applications(include=(ALL,), exclude=("office365",)),
        Applications(include=("shop", "bank"), exclude=("bank",)),
        Applications(include=("microsoftadminportals",)),
        Applications(user_actions=("urn:user:registerdevice",)),
        Applications(auth_contexts=("c1", "c25")),
    ]
)
conditions_st = st.builds(
    Conditions,
    users_st,
    applications_st,
    client_app_types=st.sampled_from([(ALL,), ("browser",), ("exchangeactivesync", "eassupported", "other")]),
    sign_in_risk_levels=st.sampled_from([(), ("high",), ("none", "low")]),
    user_risk_levels=st.sampled_from([(), ("medium",)]),
    platforms=st.sampled_from([None, Platforms(("windowsphone", "ios")), Platforms((ALL,), ("linux",))]),
    locations=st.sampled_from([None, Locations(("office",), ("germany",)), Locations((ALL,), (ALL_TRUSTED,))]),
    device_filter=st.sampled_from(
        [None, device_filter('device.trustType -eq "AzureAD"'), device_filter("device.isCompliant -ne True", "exclude")]
    ),
)
whole_policy_st = st.builds(
    Policy,
    id=st.uuids().map(str),
    display_name=st.just("A policy"),
    state=st.sampled_from(["enabled", "disabled", "enabledForReportingButNotEnforced"]),
    conditions=conditions_st,
    grant=st.sampled_from([None, MFA, BLOCK, grant("mfa", "domainJoinedDevice", operator="OR")]),
    sign_in_frequency=st.none()
    | st.builds(SignInFrequency, st.sampled_from([None, HOUR, 23 * HOUR, DAY, 365 * DAY]), st.booleans()),
)


@given(whole_policy_st)
def test_what_graph_would_be_shown_loads_as_the_same_policy(one: Policy) -> None:
    places = {
        "namedLocations": [
            {"id": "office", "displayName": "The office", "ipRanges": [{"cidrAddress": "192.0.2.0/24"}]},
            {"id": "germany", "displayName": "Germany", "countriesAndRegions": ["DE"]},
        ]
    }
    loaded = load_policies([("f.json", {"policies": [as_graph(one)], **places})])
    assert loaded.policies == (replace(one, source="f.json"),)


@pytest.mark.parametrize("mode", ["always", "never"])
def test_a_persistent_browser_session_loads_as_well(mode: Any) -> None:
    one = policy(persistent=mode)
    assert load_policies([("f.json", as_graph(one))]).policies == (replace(one, source="f.json"),)


# In earnest ------------------------------------------------------------------------------------------------

facts_st = st.sampled_from(
    [ADA, Facts(), replace(ADA, guest=None), replace(ADA, auth_context="c1"), replace(ADA, sign_in_risk="high")]
)
proofs_st = st.none() | st.builds(
    Proofs,
    first_factor_at=st.none() | st.integers(MIDNIGHT - DAY, MIDNIGHT),
    second_factor_at=st.none() | st.integers(MIDNIGHT - DAY, MIDNIGHT),
    domain_joined_device=st.none() | st.booleans(),
    last_used_at=st.none() | st.integers(MIDNIGHT - 100 * DAY, MIDNIGHT),
)


@given(st.lists(whole_policy_st, max_size=4), st.sampled_from([None, "always", "never"]), facts_st, proofs_st)
def test_what_if_and_earnest_agree(these: list[Policy], mode: Any, facts: Facts, proofs: Proofs | None) -> None:
    whole = PolicySet((*these, policy("mode", persistent=mode)), PLACES)
    found = simulate(whole, facts, SETTINGS, now=MIDNIGHT, proofs=proofs)
    earnest = evaluate(whole, facts)
    assert found.evaluation == earnest
    assert [(item["id"], item["policyApplies"], item["analysisReasons"]) for item in as_json(found)["value"]] == [
        (verdict.policy.id, verdict.applies, verdict.reason) for verdict in earnest.verdicts
    ]
    shown = proofs is None or not (
        unmet(earnest.controls.grants, proofs, clock_skew=60)
        or due(earnest.controls, proofs, MIDNIGHT, clock_skew=60).is_due(MIDNIGHT)
    )
    assert found.lets_in == (earnest.controls.block is None and shown)
    assert bool(found.cookies) == found.lets_in
    if found.decision is not None and mode is not None:
        assert (found.decision.reason, found.decision.persistent) == ("policy", mode == "always")
    assert len(policy_rows(found)) == len(whole.policies)
    assert {len(row) for row in outcome_rows(found)} <= {len(OUTCOME_COLUMNS)}


# As tables -------------------------------------------------------------------------------------------------


def test_the_table_of_policies() -> None:
    rows = policy_rows(
        played(
            policy("off", grant=BLOCK, state="disabled"),
            policy("not", grant=BLOCK, user_risk_levels=("high",)),
            policy("on", grant=grant("mfa", "compliantDevice", operator="OR"), users=Users(include_groups=("x",))),
            policy(
                "try",
                frequency=SignInFrequency(DAY, True),
                persistent="never",
                state="enabledForReportingButNotEnforced",
            ),
            facts=replace(ADA, groups=None),
        )
    )
    assert rows == [
        ("Policy on", "on", "yes", "", "groups", "mfa OR compliantDevice"),
        ("Policy try", "report-only", "yes", "", "", "sign in every 1 day (second factor); persistent browser: never"),
        ("Policy off", "off", "no", "policyNotEnabled", "", "block"),
        ("Policy not", "on", "no", "userRisk", "", "block"),
    ]
    assert {len(row) for row in rows} == {len(POLICY_COLUMNS)}


def test_the_table_of_what_would_follow() -> None:
    these = (
        policy("g", grant=grant("mfa", "compliantDevice")),
        policy("f", frequency=EVERY_TIME),
        policy("s", frequency=SignInFrequency(8 * HOUR, True)),
        policy("n", persistent="never"),
    )
    always = [
        ("sign-in frequency", "every time", "Policy f"),
        ("sign-in frequency, second factor", "every 8 hours", "Policy s"),
        ("persistent browser", "never", "Policy n"),
    ]
    end = [
        ("“Stay signed in?”", "not shown", "policy"),
        ("cookie", "non-persistent; session of 8 hours", ""),
    ]
    assert outcome_rows(played(*these)) == [("grant", "mfa AND compliantDevice", "Policy g"), *always, *end]
    wanting = replace(FRESH, second_factor_at=MIDNIGHT)
    assert outcome_rows(played(*these, proofs=wanting)) == [
        ("grant", "mfa AND compliantDevice (wanting: compliantDevice)", "Policy g"),
        *always,
    ]
    shown = replace(wanting, compliant_device=True)
    assert outcome_rows(played(*these, proofs=shown)) == [
        ("grant", "mfa AND compliantDevice (granted)", "Policy g"),
        *always,
        *end,
    ]
    assert outcome_rows(played(*these, proofs=replace(shown, first_factor_at=None)))[1] == (
        "access",
        "sign in again",
        "Policy f",
    )


def test_the_table_of_what_would_follow_for_whoever_is_blocked_or_asked() -> None:
    assert outcome_rows(played(policy("b", grant=BLOCK))) == [("access", "blocked", "Policy b")]
    assert outcome_rows(played()) == [
        ("“Stay signed in?”", "shown", "asked"),
        ("cookie", f"persistent, Max-Age={30 * DAY}; session of 30 days", "answer Yes"),
        ("cookie", "non-persistent; session of 8 hours", "answer No"),
    ]
    unused = Proofs(last_used_at=MIDNIGHT - 90 * DAY)
    assert outcome_rows(played(proofs=unused)) == [("access", "sign in again", "default")]
