"""The table that says whether "Stay signed in?" is asked: one row, one test row."""

from __future__ import annotations

from typing import Any

import pytest

from kmsi_middleware.rules.kmsi import TABLE, Decision, Situation, decide
from kmsi_middleware.vocabulary.settings import Settings
from kmsi_middleware.vocabulary.signals import SignInSignals

T0 = 1_700_000_000
ASKED = Decision(ask=True, persistent=False, reason="asked")
AD_FS = "http://schemas.microsoft.com/ws/2008/06/identity/authenticationmethod"


def situation(
    claims: dict[str, Any] | None = None,
    *,
    settings: dict[str, Any] | None = None,
    signals: dict[str, Any] | None = None,
    **more: Any,
) -> Situation:
    return Situation(
        settings=Settings(**settings or {}),
        claims={"sub": "ada", **(claims or {})},
        signals=SignInSignals(**signals or {}),
        started_at=T0,
        **more,
    )


def test_a_plain_sign_in_is_asked() -> None:
    assert decide(situation()) == ASKED


# row, what makes it fit
ROWS: dict[str, dict[str, Any]] = {
    "policy": {"decided": False},
    "option_off": {"settings": {"show_option_to_remain_signed_in": False}},
    "keeping_off": {"settings": {"keep_me_signed_in_days": 0}},
    "asked_by_idp": {"settings": {"kmsi_asked_by": "idp"}},
    "guest": {"claims": {"acct": 1}},
    "high_risk": {"signals": {"risk": "high"}},
    "shared_device": {"signals": {"shared_device": True}},
    "consent": {"prompt": "consent"},
    "unchanged": {"previous": False},
    "asked_again": {"unanswered": True, "claims": {"amr": ["wia"]}},
    "silent": {"claims": {"amr": ["wia"]}},
    "remembered_answer": {"remembered": "no"},
    "said_yes_at_issuer": {"claims": {"signin_state": ["kmsi"]}},
}


def test_every_row_is_tested_in_its_place() -> None:
    assert list(ROWS) == [name for name, _, _ in TABLE]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_fits_is_not_asked_but_for_one_and_says_its_name(row: str) -> None:
    decision = decide(situation(**ROWS[row]))
    assert decision == Decision(ask=row == "asked_again", persistent=row == "said_yes_at_issuer", reason=row)


@pytest.mark.parametrize("later", ROWS)
@pytest.mark.parametrize("earlier", ROWS)
def test_of_two_rows_that_fit_the_first_decides(earlier: str, later: str) -> None:
    both: dict[str, Any] = {}
    for row in (ROWS[earlier], ROWS[later]):
        for name, value in row.items():
            both[name] = {**both.get(name, {}), **value} if isinstance(value, dict) else value
    first = min(earlier, later, key=list(ROWS).index)
    assert decide(situation(**both)).reason == first


@pytest.mark.parametrize("row", [name for name in ROWS if name != "said_yes_at_issuer"])
@pytest.mark.parametrize("yes", [{"signin_state": ["kmsi"]}, {"psso": True}])
def test_a_yes_at_the_issuer_overrules_no_row(row: str, yes: dict[str, Any]) -> None:
    given = dict(ROWS[row])
    given["claims"] = {**given.get("claims", {}), **yes}
    assert decide(situation(**given)) == Decision(ask=row == "asked_again", persistent=False, reason=row)


@pytest.mark.parametrize("yes", [{"remembered": "yes"}, {"claims": {"psso": True}}, {}])
def test_who_could_not_answer_is_asked_again_and_nothing_else_answers_for_them(yes: dict[str, Any]) -> None:
    """Else a link that says so would turn a silent sign-in into a kept one."""
    silent = {"claims": {"amr": ["wia"], **yes.get("claims", {})}}
    assert decide(situation(**{**yes, **silent}, unanswered=True)).ask
    assert not decide(situation(**{**yes, **silent})).persistent


def test_after_a_real_sign_in_it_makes_no_difference_that_a_question_was_left() -> None:
    assert decide(situation(unanswered=True)) == ASKED
    assert decide(situation(unanswered=True, remembered="yes")).reason == "remembered_answer"


@pytest.mark.parametrize(
    ("given", "persistent"),
    [
        ({"decided": True}, True),
        ({"decided": False}, False),
        ({"remembered": "yes"}, True),
        ({"remembered": "no"}, False),
    ],
)
def test_a_policy_and_a_remembered_answer_decide_either_way(given: dict[str, Any], persistent: bool) -> None:
    assert decide(situation(**given)).persistent is persistent
    assert decide(situation(**given)).ask is False


def test_a_policy_decides_even_where_the_option_is_off() -> None:
    decision = decide(situation(settings={"show_option_to_remain_signed_in": False}, decided=True))
    assert decision == Decision(ask=False, persistent=True, reason="policy")


# Silent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "silent"),
    [
        ({"amr": ["wia"]}, True),
        ({"amr": ["pwd", "WIA"]}, True),
        ({"amr": "wia"}, True),
        ({"amr": ["wiaormfa"]}, True),
        ({"amr": ["pwd", "mfa"]}, False),
        ({"amr": ["fed"]}, False),
        ({"amr": ["wiaa"]}, False),
        ({"amr": []}, False),
        ({"amr": 7}, False),
        ({"amr": [7, None, ["wia"]]}, False),
        ({"amr": {"wia": True}}, False),
        # AD FS, by the names of its own protocols
        ({"amr": ["windows"]}, True),
        ({"authmethod": "urn:federation:authentication:windows"}, True),
        ({"authmethod": f"{AD_FS}/windows"}, True),
        ({"authnmethodsreferences": [f"{AD_FS}/windows", "http://schemas.microsoft.com/claims/wiaormultiauthn"]}, True),
        ({"authmethod": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"}, False),
        ({"authmethod": f"{AD_FS}/password"}, False),
    ],
)
def test_integrated_windows_authentication_is_silent(claims: dict[str, Any], silent: bool) -> None:
    assert (decide(situation(claims)).reason == "silent") is silent


@pytest.mark.parametrize("skew", [0, 60, 300])
def test_an_auth_time_older_than_the_transaction_by_more_than_the_skew_is_silent(skew: int) -> None:
    def asked(auth_time: float) -> bool:
        return decide(situation({"auth_time": auth_time}, settings={"clock_skew": skew})).ask

    edge = T0 - skew
    assert asked(edge)
    assert asked(edge + 1)
    assert asked(T0 + 30)
    assert not asked(edge - 1)
    assert not asked(edge - 0.5)
    assert not asked(1)
    assert decide(situation({"auth_time": edge - 1}, settings={"clock_skew": skew})).reason == "silent"


@pytest.mark.parametrize("unknown", [None, 0, -5, 0.0, "1600000000", True, False, [1], float("nan"), float("inf")])
def test_an_auth_time_that_says_nothing_is_not_silent(unknown: Any) -> None:
    assert decide(situation({"auth_time": unknown})) == ASKED


@pytest.mark.parametrize(
    ("claims", "signal", "silent"),
    [
        ({"amr": ["wia"]}, False, False),
        ({"auth_time": 1}, False, False),
        ({"amr": ["pwd"]}, True, True),
        ({"amr": ["wia"]}, None, True),
    ],
)
def test_the_silent_signal_knows_better_than_the_token(claims: dict[str, Any], signal: Any, silent: bool) -> None:
    assert (decide(situation(claims, signals={"silent": signal})).reason == "silent") is silent


# Guest, risk, device, consent -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acct", "signal", "guest"),
    [
        (1, None, True),
        ("1", None, True),
        (0, None, False),
        ("0", None, False),
        (None, None, False),
        (2, None, False),
        ("guest", None, False),
        ([1], None, False),
        (1, False, False),
        (0, True, True),
        (None, True, True),
    ],
)
def test_who_is_a_guest(acct: Any, signal: bool | None, guest: bool) -> None:
    decision = decide(situation({} if acct is None else {"acct": acct}, signals={"guest": signal}))
    assert (decision.reason == "guest") is guest
    assert decision.ask is not guest


@pytest.mark.parametrize(
    ("risk", "asked"), [(None, True), ("none", True), ("low", True), ("medium", True), ("high", False)]
)
def test_only_a_high_risk_hides_the_question(risk: Any, asked: bool) -> None:
    assert decide(situation(signals={"risk": risk})).ask is asked


@pytest.mark.parametrize(("shared", "asked"), [(None, True), (False, True), (True, False)])
def test_a_shared_device_hides_the_question(shared: bool | None, asked: bool) -> None:
    assert decide(situation(signals={"shared_device": shared})).ask is asked


@pytest.mark.parametrize(
    ("prompt", "signal", "consent"),
    [
        ("", None, False),
        ("consent", None, True),
        ("login consent", None, True),
        ("login", None, False),
        ("select_account", None, False),
        ("consentful", None, False),
        ("", True, True),
        ("", False, False),
        ("consent", False, True),
    ],
)
def test_a_consent_flow_hides_the_question(prompt: str, signal: bool | None, consent: bool) -> None:
    assert (decide(situation(prompt=prompt, signals={"consent": signal})).reason == "consent") is consent


# A Yes that was given at the issuer -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "said_yes"),
    [
        ({"signin_state": ["kmsi"]}, True),
        ({"signin_state": ["dvc_mngd", "KMSI"]}, True),
        ({"signin_state": "kmsi"}, True),
        ({"signin_state": "dvc_mngd kmsi"}, True),
        ({"signin_state": ["dvc_mngd"]}, False),
        ({"signin_state": ["kmsi2"]}, False),
        ({"signin_state": []}, False),
        ({"psso": True}, True),
        ({"psso": "true"}, True),
        ({"psso": "True"}, True),
        ({"psso": "1"}, True),
        ({"psso": False}, False),
        ({"psso": "false"}, False),
        ({"psso": "0"}, False),
        ({"psso": ""}, False),
        ({"psso": None}, False),
        ({"psso": ["true"]}, False),
    ],
)
def test_a_yes_at_the_issuer_is_the_answer_yes(claims: dict[str, Any], said_yes: bool) -> None:
    decision = decide(situation(claims))
    assert decision == (Decision(ask=False, persistent=True, reason="said_yes_at_issuer") if said_yes else ASKED)
    assert decide(situation(claims, settings={"inherit_keep_me_signed_in": False})) == ASKED
