"""Attacks on who reads the logs: forged lines, steered terminals, and so much that nothing is found."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks.attack_support import always, weakened
from tests.flows.flow_support import ALICE, NAVIGATION, NOW, Browser, World, query_of

from kmsi_middleware.edges.unmatched import UnmatchedCounter
from kmsi_middleware.vocabulary.effects import GetProvider
from kmsi_middleware.vocabulary.errors import ProviderUnavailable

STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
FORGED = [
    "Mallory\n2027-01-15 08:00:00  root  0  persistent",
    "Mallory\r\x1b[2K\x1b[1A",
    "\x9b31mred",
    "\u202egnp.exe",
    "Mallory\u2028second line",
    "\x00",
]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts([*value, *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)


# Log injection ---------------------------------------------------------------------------------------------------


def by_name(world: World, text: str) -> None:
    Browser(world).sign_in({**ALICE, "name": text})


def by_browser(world: World, text: str) -> None:
    browser = Browser(world)
    url = browser.begin()
    answer = world.idp.sign_in(url, ALICE, world.now)
    browser.get(f"/.auth/callback?code={answer['code']}&state={answer['state']}", {**NAVIGATION, "user-agent": text})


def by_error(world: World, text: str) -> None:
    browser = Browser(world)
    query = {"state": query_of(browser.begin())["state"], "error": "server_error", "error_description": text}
    request = browser.request("GET", "/.auth/callback")
    request.query = "&".join(f"{name}={_quoted(value)}" for name, value in query.items())
    browser.send(request)


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def as_it_came(text: object, _limit: int = 0) -> str:
    return text if isinstance(text, str) else ""


WAYS = {"name": by_name, "browser": by_browser, "error": by_error}


def steers_who_reads_the_log(way: str, text: str) -> bool:
    world = World()
    WAYS[way](world, text)
    assert world.log
    return any(STEERING.search(found) for record in world.log for found in texts(dict(record)))


@pytest.mark.parametrize("text", FORGED, ids=range(len(FORGED)))
@pytest.mark.parametrize("way", WAYS)
def test_log_injection_into_the_sign_in_log_is_made_harmless(way: str, text: str) -> None:
    with weakened("kmsi_middleware.rules.sign_in_log.clean_text", as_it_came):
        assert steers_who_reads_the_log(way, text)
    assert not steers_who_reads_the_log(way, text)


def forges_a_line(caplog: pytest.LogCaptureFixture) -> bool:
    """By an address, where a proxy or a socket is free to say what it likes."""
    caplog.clear()
    counter = UnmatchedCounter(limit=1)
    with caplog.at_level(logging.WARNING, "kmsi_middleware"):
        counter.hit("callback", "203.0.113.9\nWARNING all is well", NOW)
    (message,) = caplog.messages
    return "\n" in message


def test_log_injection_by_an_address_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with weakened("kmsi_middleware.edges.unmatched.clean_text", as_it_came):
        assert forges_a_line(caplog)
    assert not forges_a_line(caplog)


# Log filling -----------------------------------------------------------------------------------------------------

TRIES = 50


def fails_on_purpose(world: World) -> None:
    browser = Browser(world)
    for _ in range(TRIES):
        state = query_of(browser.begin())["state"]
        browser.get(f"/.auth/callback?error=access_denied&state={state}")


def finds_the_issuer_away(world: World) -> None:
    world.broken = {GetProvider: ProviderUnavailable("nobody is there")}
    for _ in range(TRIES):
        Browser(world).get("/")


def fills_the_log(way: Any) -> bool:
    """Whether every try from one address is written down."""
    world = World()
    way(world)
    return len(world.log) > TRIES // 2


@pytest.mark.parametrize("way", [fails_on_purpose, finds_the_issuer_away], ids=lambda way: way.__name__)
def test_log_filling_by_sign_ins_that_fail_is_limited(way: Any) -> None:
    with weakened("kmsi_middleware.edges.unmatched.UnmatchedCounter.hit", always):
        assert fills_the_log(way)
    assert not fills_the_log(way)


def fills_the_servers_log(caplog: pytest.LogCaptureFixture) -> bool:
    """By many that each use up their limit within a minute: whether each is worth a line."""
    caplog.clear()
    counter = UnmatchedCounter(limit=1)
    with caplog.at_level(logging.WARNING, "kmsi_middleware"):
        for number in range(200):
            counter.hit("callback", f"203.0.113.{number}", NOW + number / 10)
    return len(caplog.messages) > 100


def test_log_filling_by_requests_that_match_nothing_writes_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with weakened("kmsi_middleware.edges.unmatched._MINUTE", 0):
        assert fills_the_servers_log(caplog)
    assert not fills_the_servers_log(caplog)
