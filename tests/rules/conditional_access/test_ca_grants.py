"""Grant controls: what was shown, and what is wanting; and what each policy came to in the sign-in log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from tests.rules.conditional_access.ca_support import (
    ADA,
    BLOCK,
    HOUR,
    HOURLY,
    MFA,
    MIDNIGHT,
    grant,
    policies,
    policy,
)

from kmsi_middleware.rules.conditional_access.evaluate import Demand, evaluate, merged
from kmsi_middleware.rules.conditional_access.facts import Proofs
from kmsi_middleware.rules.conditional_access.grants import Unmet, device_proofs, shows_second_factor, unmet
from kmsi_middleware.rules.conditional_access.policy import Applications, Control, GrantControls, SignInFrequency
from kmsi_middleware.rules.conditional_access.results import GRANT_NAMES, applied_policies


@pytest.mark.parametrize(
    ("amr", "shown"),
    [
        (["mfa"], True),
        (["pwd", "mfa"], True),
        (["pwd", "MFA"], True),
        (["ngcmfa"], True),
        (["pwd", "otp"], True),
        (["pwd", "hwk"], True),
        (["hwk", "fpt"], True),
        (["pin", "swk"], True),
        (("pwd", "otp"), True),
        ("pwd otp", True),
        (["pwd"], False),
        (["hwk"], False),
        (["pwd", "pin"], False),
        (["otp", "sms"], False),
        (["wiaormfa"], False),
        (["pwd", "wia"], False),
        ([], False),
        (None, False),
        (7, False),
        ({"mfa": True}, False),
        ([["mfa"], 7], False),
    ],
)
def test_two_factors_are_two_kinds_of_proof(amr: object, shown: bool) -> None:
    assert shows_second_factor(amr) is shown


@pytest.mark.parametrize(
    ("device", "proofs"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"isCompliant": True, "trustType": "ServerAD"}, (True, True)),
        ({"IsCompliant": False, "TrustType": "AzureAD"}, (False, False)),
        ({"isCompliant": "True", "trustType": True}, (None, None)),
    ],
)
def test_what_a_device_proves(device: dict[str, Any] | None, proofs: tuple[bool | None, bool | None]) -> None:
    assert device_proofs(device) == proofs


CHANGED = Proofs(first_factor_at=300, password_changed_at=200, password_change_demanded_at=100)
SHOWN: dict[Control, Proofs] = {
    "mfa": Proofs(second_factor_at=1),
    "compliantDevice": Proofs(compliant_device=True),
    "domainJoinedDevice": Proofs(domain_joined_device=True),
    "passwordChange": CHANGED,
}


def wants(grant: GrantControls, proofs: Proofs, **more: Any) -> list[tuple[str, tuple[Control, ...]]]:
    return [(item.operator, item.controls) for item in unmet(merged([policy(grant=grant)]).grants, proofs, **more)]


@pytest.mark.parametrize("control", SHOWN)
def test_a_control_is_met_by_its_own_proof_and_no_other(control: Control) -> None:
    for other, proofs in SHOWN.items():
        assert wants(grant(control), proofs) == ([] if other == control else [("AND", (control,))])


def test_not_known_is_not_met() -> None:
    for control in SHOWN:
        assert wants(grant(control), Proofs(compliant_device=False, domain_joined_device=False)) != []
        assert wants(grant(control), Proofs()) != []


@pytest.mark.parametrize(
    ("changed", "met"),
    [
        ({}, True),
        ({"password_changed_at": 100}, True),
        ({"password_changed_at": 99}, False),  # before it was asked for
        ({"password_changed_at": None}, False),
        ({"password_change_demanded_at": None}, False),
        ({"first_factor_at": 200}, True),
        ({"first_factor_at": 199}, False),  # not signed in since
        ({"first_factor_at": None}, False),
    ],
)
def test_a_new_password_and_then_a_fresh_sign_in(changed: dict[str, Any], met: bool) -> None:
    assert (wants(grant("passwordChange"), replace(CHANGED, **changed)) == []) is met


def test_the_issuers_clock_may_be_behind() -> None:
    late = replace(CHANGED, password_changed_at=70)
    assert wants(grant("passwordChange"), late, clock_skew=30) == []
    assert wants(grant("passwordChange"), late, clock_skew=29) != []


def test_nothing_meets_a_block() -> None:
    everything = replace(CHANGED, second_factor_at=1, compliant_device=True, domain_joined_device=True)
    assert [item.controls for item in unmet([Demand(policy(), BLOCK)], everything)] == [("block",)]


def test_and_wants_all_and_says_which_are_wanting() -> None:
    both = grant("mfa", "compliantDevice")
    assert wants(both, Proofs(second_factor_at=1, compliant_device=True)) == []
    assert wants(both, Proofs(second_factor_at=1)) == [("AND", ("compliantDevice",))]
    assert wants(both, Proofs()) == [("AND", ("mfa", "compliantDevice"))]


def test_or_wants_one_and_offers_all() -> None:
    either = grant("mfa", "compliantDevice", operator="OR")
    assert wants(either, Proofs(second_factor_at=1)) == []
    assert wants(either, Proofs(compliant_device=True)) == []
    assert wants(either, Proofs()) == [("OR", ("mfa", "compliantDevice"))]


def test_each_policy_is_met_by_itself() -> None:
    one, other = policy("a", grant=MFA), policy("b", grant=grant("mfa", "compliantDevice", operator="OR"))
    third = policy("c", grant=grant("domainJoinedDevice"))
    found = unmet(merged([one, other, third]).grants, Proofs(compliant_device=True))
    assert found == (Unmet(one, "AND", ("mfa",)), Unmet(third, "AND", ("domainJoinedDevice",)))


# The sign-in log -------------------------------------------------------------------------------------------

REPORT_ONLY = "enabledForReportingButNotEnforced"
FRESH = Proofs(first_factor_at=MIDNIGHT)
ELSEWHERE = Applications(include=("elsewhere",))


@pytest.mark.parametrize(
    ("given", "proofs", "enforced", "reported"),
    [
        ({"grant": BLOCK, "applications": ELSEWHERE}, FRESH, "notApplied", "reportOnlyNotApplied"),
        ({"grant": BLOCK}, FRESH, "failure", "reportOnlyFailure"),
        ({"grant": MFA}, FRESH, "failure", "reportOnlyInterrupted"),
        ({"grant": MFA}, replace(FRESH, second_factor_at=1), "success", "reportOnlySuccess"),
        ({"grant": grant("compliantDevice")}, FRESH, "failure", "reportOnlyFailure"),
        ({"grant": grant("compliantDevice", "mfa")}, FRESH, "failure", "reportOnlyFailure"),
        ({"grant": grant("compliantDevice", "mfa", operator="OR")}, FRESH, "failure", "reportOnlyInterrupted"),
        ({"grant": grant("mfa", "passwordChange")}, FRESH, "failure", "reportOnlyInterrupted"),
        ({"frequency": HOURLY}, FRESH, "success", "reportOnlySuccess"),
        ({"frequency": HOURLY}, Proofs(first_factor_at=MIDNIGHT - HOUR), "failure", "reportOnlyInterrupted"),
        ({"frequency": SignInFrequency(HOUR, True)}, FRESH, "failure", "reportOnlyInterrupted"),
        ({"persistent": "never"}, Proofs(last_used_at=0), "success", "reportOnlySuccess"),
    ],
)
def test_what_a_policy_came_to(given: dict[str, Any], proofs: Proofs, enforced: str, reported: str) -> None:
    states = {"enabled": enforced, REPORT_ONLY: reported, "disabled": "notEnabled"}
    for state, expected in states.items():
        [entry] = applied_policies(evaluate(policies(policy(state=state, **given)), ADA), proofs, MIDNIGHT)
        assert entry["result"] == expected


def test_an_entry_has_graphs_members() -> None:
    one = policy("a", grant=grant("mfa", "compliantDevice"), frequency=HOURLY, persistent="never")
    two = policy("b", grant=BLOCK, state="disabled")
    assert applied_policies(evaluate(policies(one, two), ADA), Proofs(), MIDNIGHT) == [
        {
            "id": "a",
            "displayName": "Policy a",
            "enforcedGrantControls": ["Mfa", "RequireCompliantDevice"],
            "enforcedSessionControls": ["SignInFrequency", "PersistentBrowserSessionMode"],
            "result": "failure",
        },
        {
            "id": "b",
            "displayName": "Policy b",
            "enforcedGrantControls": ["Block"],
            "enforcedSessionControls": [],
            "result": "notEnabled",
        },
    ]


def test_every_control_has_its_name() -> None:
    assert set(GRANT_NAMES) == set(get_args(Control))
