"""Sign-in records: Graph's shape, the numbers, and text that comes from outside."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kmsi_middleware.rules import sign_in_log
from kmsi_middleware.rules.sign_in_log import (
    INTERRUPT,
    INTERRUPT_CODE,
    INTERRUPT_REASON,
    NUMBERS,
    PROVIDER_NUMBERS,
    SUCCESS,
    UNSPECIFIED,
    clean_text,
    number_of,
    sign_in_record,
)

CLAIMS = {
    "sub": "s-1",
    "oid": "26be570a-ae82-4189-b4e2-a37c6808512d",
    "name": "Ada Lovelace",
    "preferred_username": "ada@example.com",
    "email": "ada@mail.example",
}
GIVEN: dict[str, Any] = {
    "at": 1_700_000_000.1239,
    "record_id": "r-1",
    "correlation_id": "c-1",
    "claims": CLAIMS,
    "app_id": "app-1",
    "app_name": "Payroll",
    "client_address": "192.0.2.7",
    "user_agent": "Mozilla/5.0",
}


def test_a_success_has_the_shape_of_graphs_sign_in() -> None:
    record = sign_in_record(**GIVEN, decision="answered_yes", persistent=True)
    assert record == {
        "id": "r-1",
        "createdDateTime": "2023-11-14T22:13:20.123Z",
        "userDisplayName": "Ada Lovelace",
        "userPrincipalName": "ada@example.com",
        "userId": "26be570a-ae82-4189-b4e2-a37c6808512d",
        "appId": "app-1",
        "appDisplayName": "Payroll",
        "ipAddress": "192.0.2.7",
        "clientAppUsed": "Browser",
        "userAgent": "Mozilla/5.0",
        "correlationId": "c-1",
        "conditionalAccessStatus": "notApplied",
        "isInteractive": True,
        "riskDetail": "hidden",
        "riskLevelAggregated": "hidden",
        "riskLevelDuringSignIn": "hidden",
        "riskState": "none",
        "riskEventTypes": [],
        "riskEventTypes_v2": [],
        "resourceDisplayName": "Payroll",
        "resourceId": "app-1",
        "status": {"errorCode": 0, "failureReason": None, "additionalDetails": None},
        "deviceDetail": {
            "deviceId": "",
            "displayName": None,
            "operatingSystem": "",
            "browser": "",
            "isCompliant": None,
            "isManaged": None,
            "trustType": None,
        },
        "location": {
            "city": None,
            "state": None,
            "countryOrRegion": None,
            "geoCoordinates": {"altitude": None, "latitude": None, "longitude": None},
        },
        "appliedConditionalAccessPolicies": [],
        "kmsi": {"code": "", "decision": "answered_yes", "persistent": True},
    }
    assert json.loads(json.dumps(record)) == record


def test_the_interrupt_is_50140_in_the_seeds_words() -> None:
    record = sign_in_record(**GIVEN, code=INTERRUPT_CODE, failure_reason="something else")
    assert record["status"] == {
        "errorCode": 50140,
        "failureReason": 'This error occurred due to "Keep me signed in" interrupt when the user was signing in.',
        "additionalDetails": "kmsi_interrupt",
    }
    assert record["kmsi"] == {"code": "kmsi_interrupt", "decision": "", "persistent": None}
    assert record["status"]["failureReason"] == INTERRUPT_REASON


@pytest.mark.parametrize(
    ("code", "hint", "number"),
    [
        ("", "", 0),
        ("kmsi_interrupt", "", 50140),
        ("access_denied", "", 65004),
        ("id_token_nonce", "", 50027),
        ("id_token_of_tomorrow", "", 50027),
        ("id_token_signature", "", 50006),
        ("provider_error", "", 40008),
        ("provider_unavailable", "", 40010),
        ("no_cookies", "", 50058),
        ("interrupt_expired", "", 50089),
        ("store_unavailable", "", 90033),
        ("a_code_of_tomorrow", "", 50000),
        # The provider says it more exactly …
        ("provider_error", "login_required", 50058),
        ("provider_error", "temporarily_unavailable: try later", 40010),
        ("token_refused", "invalid_client: wrong secret", 70002),
        ("provider_error", "an_error_of_tomorrow: x", 40008),
        ("provider_error", "kmsi_interrupt: x", 40008),
        ("provider_error", ": x", 40008),
        # … Entra ID still more …
        ("access_denied", "AADSTS50105: The signed in user is not assigned to a role", 50105),
        ("access_denied", "access_denied: AADSTS53003: Access has been blocked", 53003),
        ("provider_error", "AADSTS7000215: Invalid client secret", 7000215),
        # … and can say neither that it went well nor that we asked.
        ("access_denied", "AADSTS50140: nice try", 65004),
        ("access_denied", "AADSTS0: nice try", 65004),
        ("access_denied", "AADSTS00000: nice try", 65004),
        ("access_denied", "AADSTS99999999999: no number of theirs", 65004),
        ("", "AADSTS50105", 0),
        ("kmsi_interrupt", "AADSTS50105", 50140),
    ],
)
def test_codes_and_numbers(code: str, hint: str, number: int) -> None:
    assert number_of(code, hint) == number
    record = sign_in_record(**GIVEN, code=code, hint=hint)
    assert record["status"]["errorCode"] == number
    assert record["kmsi"]["code"] == code
    assert (record["status"]["additionalDetails"] or "").startswith(code)


def test_no_failure_has_the_number_of_a_success_or_of_the_interrupt() -> None:
    for code, number in [*NUMBERS.items(), *(("provider", number) for number in PROVIDER_NUMBERS.values())]:
        assert (number == SUCCESS) == (code == "")
        assert (number == INTERRUPT) == (code == INTERRUPT_CODE)
    assert UNSPECIFIED not in (SUCCESS, INTERRUPT)


def test_a_failure_says_why_in_our_words_and_in_the_providers() -> None:
    record = sign_in_record(
        **GIVEN | {"claims": None},
        code="access_denied",
        failure_reason="The sign-in was cancelled.",
        hint="access_denied: the person said no",
    )
    assert record["status"] == {
        "errorCode": 65004,
        "failureReason": "The sign-in was cancelled.",
        "additionalDetails": "access_denied: access_denied: the person said no",
    }
    assert (record["userId"], record["userPrincipalName"], record["userDisplayName"]) == ("", "", "")
    assert sign_in_record(**GIVEN, code="odd")["status"]["failureReason"] == "odd"


@pytest.mark.parametrize(
    ("claims", "user_id", "principal"),
    [
        ({"sub": "s", "oid": "o"}, "o", ""),
        ({"sub": "s"}, "s", ""),
        ({"sub": "s", "oid": " "}, "s", ""),
        ({"sub": "s", "oid": 7}, "s", ""),
        ({"sub": "s", "upn": "u@x", "email": "e@x"}, "s", "u@x"),
        ({"sub": "s", "email": "e@x"}, "s", "e@x"),
        ({"sub": "s", "preferred_username": ["a"], "email": "e@x"}, "s", "e@x"),
        ({}, "", ""),
        (None, "", ""),
    ],
)
def test_who_it_was(claims: dict[str, Any] | None, user_id: str, principal: str) -> None:
    record = sign_in_record(**GIVEN | {"claims": claims})
    assert (record["userId"], record["userPrincipalName"]) == (user_id, principal)


@pytest.mark.parametrize(
    ("risk", "level", "state", "detail"),
    [
        (None, "hidden", "none", "hidden"),
        ("none", "none", "none", "none"),
        ("low", "low", "atRisk", "none"),
        ("high", "high", "atRisk", "none"),
    ],
)
def test_risk_is_hidden_unless_it_is_known(risk: Any, level: str, state: str, detail: str) -> None:
    record = sign_in_record(**GIVEN, risk=risk)
    assert (record["riskLevelDuringSignIn"], record["riskState"], record["riskDetail"]) == (level, state, detail)


@pytest.mark.parametrize(
    "hostile",
    [
        "a\nb",
        "a\r\nb",
        "a\tb",
        "a\x00b",
        "a\x1b[2Jb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "a\u202eb",
        "a\u2066b",
        "a\ud800b",
    ],
)
def test_no_text_from_outside_breaks_a_line_or_steers_a_terminal(hostile: str) -> None:
    record = sign_in_record(
        **GIVEN
        | {
            "claims": {"sub": hostile, "name": hostile, "email": hostile},
            "client_address": hostile,
            "user_agent": hostile,
            "correlation_id": hostile,
        },
        code="provider_error",
        failure_reason=hostile,
        hint=hostile,
    )
    texts = [text for text in _texts(record) if "a" in text and "b" in text and "\ufffd" in text]
    assert len(texts) == 8
    for text in _texts(record):
        assert not sign_in_log._UNSAFE.search(text)
        text.encode()


def test_texts_are_bounded() -> None:
    long = "x" * 100_000
    record = sign_in_record(
        **GIVEN | {"claims": {"sub": long, "name": long, "email": long}, "user_agent": long, "client_address": long},
        code=long,
        failure_reason=long,
        hint=long,
        decision=long,
    )
    assert len(record["userAgent"]) == 512
    assert len(record["userDisplayName"]) == len(record["status"]["failureReason"]) == 256
    assert record["userId"].endswith("…")
    assert len(json.dumps(record)) < 6_000


def test_what_people_are_called_stays_as_it_is() -> None:
    for name in ("Søren Kierkegaard", "李小龍", "نیما یوشیج", "می\u200cخواهم", "👩\u200d💻"):
        assert clean_text(name) == name


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    return [value] if isinstance(value, str) else []
