"""What a person is shown of their own sessions."""

from __future__ import annotations

import re

import pytest
from tests.stores.store_actors import DAY, NOW, key_of, session

from kmsi_middleware.rules.own_sessions import MOST, rows
from kmsi_middleware.vocabulary.session import Session

HOUR = 3_600
AT = int(NOW)
MINE = session("mine", key=key_of("mine"))


def shown(*others: Session, now: float = NOW) -> list[dict[str, object]]:
    every = (*others, MINE)
    return rows(every, MINE, {each.key: each.expires_at for each in every}, now)


def test_this_one_comes_first_and_then_the_last_used() -> None:
    others = [session(name, key=key_of(name), renewed_at=AT - ago) for name, ago in (("a", 50), ("b", 10), ("c", 90))]
    found = shown(*others)
    assert [row["id"] for row in found] == [key_of(name).hex() for name in ("mine", "b", "a", "c")]
    assert [row["is_this"] for row in found] == [True, False, False, False]


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (-5, "Within the last hour"),
        (0, "Within the last hour"),
        (HOUR - 1, "Within the last hour"),
        (HOUR, "1 hour ago"),
        (2 * HOUR - 1, "1 hour ago"),
        (23 * HOUR, "23 hours ago"),
        (47 * HOUR, "47 hours ago"),
        (2 * DAY, "2 days ago"),
        (30 * DAY, "30 days ago"),
    ],
)
def test_the_last_use_is_said_as_exactly_as_it_is_known(ago: int, said: str) -> None:
    other = session("other", key=key_of("other"), renewed_at=AT - ago)
    mine, row = shown(other, now=NOW + 0.9)
    assert row["last_used"] == said
    assert mine["last_used"] == "Now"


@pytest.mark.parametrize(
    ("country", "address", "place"),
    [("DE", "192.0.2.7", "DE, 192.0.2.7"), (None, "192.0.2.7", "192.0.2.7"), ("DE", "", "DE"), (None, "", "")],
)
def test_the_place_is_said_as_far_as_it_is_known(country: str | None, address: str, place: str) -> None:
    _, row = shown(session("other", key=key_of("other"), country=country, address=address))
    assert row["place"] == place


def test_instants_are_utc_for_people_and_for_machines() -> None:
    row, _ = shown(session("other", key=key_of("other")))
    assert row["signed_in"] == "2023-11-14, 22:13 UTC"
    assert row["signed_in_at"] == "2023-11-14T22:13:20Z"
    assert row["ends"] == "2023-11-15, 22:13 UTC"
    assert all(re.fullmatch(r"[\d-]+T[\d:]+Z", str(row[name])) for name in ("last_used_at", "ends_at"))


@pytest.mark.parametrize(
    ("user_agent", "kind", "name"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_7) Version/26.1 Mobile Safari/604.1", "phone", "Safari on iPhone"),
        ("curl/8", "unknown", "Unknown browser"),
        ("", "unknown", "Unknown browser"),
    ],
)
def test_a_device_is_named_or_said_to_be_unknown(user_agent: str, kind: str, name: str) -> None:
    _, row = shown(session("other", key=key_of("other"), user_agent=user_agent))
    assert (row["kind"], row["name"]) == (kind, name)


def test_a_page_has_an_end() -> None:
    others = [session(number, key=key_of(number)) for number in range(MOST + 20)]
    assert len(shown(*others)) == MOST
    assert shown(*others)[0]["is_this"] is True
