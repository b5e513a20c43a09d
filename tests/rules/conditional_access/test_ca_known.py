"""What claims and signals tell, and what they don't."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kmsi_middleware.rules.conditional_access.facts import Facts
from kmsi_middleware.rules.conditional_access.known import facts_of, proofs_of
from kmsi_middleware.vocabulary.signals import SignInSignals


def facts(claims: dict[str, Any], claims_map: dict[str, str] | None = None, **more: Any) -> Facts:
    given: dict[str, Any] = {
        "application": "Shop",
        "address": "192.0.2.7",
        "user_agent": "",
        "country": None,
        "auth_context": None,
    }
    return facts_of(claims, claims_map or {}, SignInSignals(), **given | more)


@pytest.mark.parametrize(
    ("value", "guest"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        ("1", True),
        ("0", False),
        ("Guest", True),
        ("true", True),
        ("Member", False),
        ("false", False),
        ("yes", None),
        ("external", None),
        ("", None),
        (2, None),
        (1.0, None),
        (["guest"], None),
    ],
)
def test_whether_one_is_a_guest(value: Any, guest: bool | None) -> None:
    assert facts({"acct": value}).guest is guest
    assert facts({"kind": value}, {"guest": "kind"}).guest is guest


@pytest.mark.parametrize("fact", ["groups", "roles"])
@pytest.mark.parametrize(
    ("value", "known"),
    [
        (["A", "b"], {"a", "b"}),
        ("A", {"a"}),
        ([], set()),
        (None, None),
        (["a", 7], None),
        (["a", None], None),
        (["a", True], None),
        (["a", {"name": "b"}], None),
        (["a", ["b"]], None),
        ({"a": "b"}, None),
        (7, None),
    ],
)
def test_groups_and_roles_are_known_as_a_whole_or_not_at_all(fact: str, value: Any, known: set[str] | None) -> None:
    assert getattr(facts({"mine": value}, {fact: "mine"}), fact) == known


def test_app_roles_tell_nothing_of_directory_roles() -> None:
    assert facts({"roles": ["reader"]}).roles is None
    assert facts({"roles": ["reader"], "wids": ["62E90394"]}).roles == frozenset({"62e90394"})
    assert facts({"roles": ["Reader"], "wids": ["62e90394"]}, {"roles": "roles"}).roles == frozenset({"reader"})


def test_a_name_that_people_choose_themselves_is_no_id() -> None:
    claims = {"oid": "O-1", "sub": "s-1", "upn": "Ada@Example.com", "preferred_username": "boss@example.com"}
    assert facts(claims).user_ids == {"o-1", "s-1", "ada@example.com"}
    assert facts(claims, {"user": "preferred_username"}).user_ids == {"boss@example.com"}
    assert facts({"number": 17}, {"user": "number"}).user_ids == {"17"}
    assert facts({"number": True}, {"user": "number"}).user_ids == set()


def test_a_country_is_told_by_a_claim_only_where_one_is_named_and_nothing_is_looked_up() -> None:
    mapped = {"country": "ctry"}
    assert facts({"ctry": "DE"}).country is None
    assert facts({"ctry": "DE"}, mapped).country == "DE"
    assert facts({"ctry": 49}, mapped).country is None
    assert facts({"ctry": "DE"}, mapped, country="FR").country == "FR"
    assert facts({"ctry": "DE"}, mapped, country="").country == ""
    assert facts({"ctry": "DE"}, mapped, country_claim=False).country is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("5", 5),
        ("5.9", 5),
        ("1e999", None),
        ("-1e999", None),
        ("Infinity", None),
        ("NaN", None),
        ("true", None),
        ('"5"', None),
    ],
)
def test_when_a_password_was_changed_is_an_instant_or_not_known(text: str, at: int | None) -> None:
    proofs = proofs_of(
        {"changed": json.loads(text)},
        {"password_changed_at": "changed"},
        SignInSignals(),
        auth_time=None,
        second_factor_at=None,
        asked_at=1,
    )
    assert proofs.password_changed_at == at
