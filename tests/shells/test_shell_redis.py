"""Redis under the shells: what a passing request costs, what other processes see, and what a failure looks like."""

from __future__ import annotations

from typing import Any

import pytest
from tests.redis_support import RedisServer
from tests.shells.shell_servers import SHELLS
from tests.shells.shell_support import HOME, HOUR, JWT, SECRET, Browser, World, overheard

from kmsi_middleware.vocabulary.errors import StoreUnavailable


@pytest.fixture(params=SHELLS)
def world(request: pytest.FixtureRequest, stage: Any) -> World:
    made: World = stage(request.param, "redis")
    return made


def settled(world: World, **settings: Any) -> Browser:
    """A browser that is signed in, and whose session is at hand in the app that serves it."""
    world.app(secret_keys=[SECRET], **settings)
    browser = world.browser()
    browser.sign_in("mia", "yes")
    for _ in range(3):
        assert browser.visit("/page").status == 200
    return browser


def asked(server: RedisServer) -> dict[str, int]:
    """How often the server was asked what, since the last time."""
    with server.client() as client:
        found = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in client.info("commandstats").items()}
        client.config_resetstat()
    ours = ("get", "getrange", "evalsha", "eval", "set", "zrangebyscore", "scan")
    return {name: calls for name, calls in found.items() if name in ours}


def test_a_passing_request_asks_for_the_version_and_nothing_else(world: World, redis_server: RedisServer) -> None:
    browser = settled(world)
    asked(redis_server)
    for _ in range(5):
        assert browser.visit("/page").status == 200
    assert asked(redis_server) == {"getrange": 5}


def test_who_has_no_cookie_asks_nothing(world: World, redis_server: RedisServer) -> None:
    settled(world)
    asked(redis_server)
    assert world.browser().fetch("/page").status == 401
    assert asked(redis_server) == {}


def test_a_sign_out_in_one_process_is_seen_at_once_in_the_other(world: World) -> None:
    browser = settled(world)
    one = world.at[HOME]
    two = world.app(secret_keys=[SECRET])
    copy = world.browser(jar=dict(browser.jar))
    for _ in range(3):
        assert copy.visit("/page").status == 200
    world.at[HOME] = one
    browser.sign_out()
    world.at[HOME] = two
    calls = len(two.small.calls)
    assert copy.fetch("/page").json()["reason"] == "signed_out"
    assert copy.who() is None
    assert len(two.small.calls) == calls


def test_what_one_process_saves_the_other_shows_at_once(world: World) -> None:
    browser = settled(world)
    one, two = world.at[HOME], world.app(secret_keys=[SECRET])
    for number in range(4):
        for _ in range(2):
            browser.visit("/page")
        world.at[HOME] = (one, two)[number % 2]
        browser.visit(f"/set?x={number}")
        world.at[HOME] = (two, one)[number % 2]
        assert browser.visit("/page").json()["data"] == {"x": str(number)}


def test_a_store_that_is_away_signs_nobody_out_and_lets_nobody_pass(world: World, redis_server: RedisServer) -> None:
    browser = settled(world)
    calls = len(world.at[HOME].small.calls)
    store = world.at[HOME].parts.services.store

    def failing(*_: Any) -> None:
        raise StoreUnavailable("away")

    with overheard(store, "version", before=failing), overheard(store, "load", before=failing):
        answer = browser.fetch("/page")
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.header("retry-after")
        assert answer.cookies == []
    assert len(world.at[HOME].small.calls) == calls
    with overheard(store, "version", before=failing):  # the flow may still find what it needs
        assert browser.visit("/page").status == 200
    assert browser.visit("/page").status == 200


def test_a_renewal_is_saved_and_at_hand_again(world: World, redis_server: RedisServer) -> None:
    browser = settled(world)
    world.clock.pass_(2 * HOUR)
    for _ in range(3):
        assert browser.visit("/page").status == 200
    asked(redis_server)
    assert browser.visit("/page").status == 200
    assert asked(redis_server) == {"getrange": 1}


def test_policies_have_their_say_all_the_same(world: World) -> None:
    """A settled session is still compared with the policies' inputs."""
    policy = {
        "displayName": "Not from abroad",
        "state": "enabled",
        "conditions": {
            "users": {"includeUsers": ["All"]},
            "applications": {"includeApplications": ["All"]},
            "clientAppTypes": ["all"],
            "locations": {"includeLocations": ["All"], "excludeLocations": ["home"]},
        },
        "grantControls": {"operator": "OR", "builtInControls": ["block"]},
    }
    home = {
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": "home",
        "displayName": "Home",
        "isTrusted": False,
        "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "127.0.0.0/8"}],
    }
    browser = settled(world, policies=[home, policy])
    browser.address = "203.0.113.9"
    assert browser.fetch("/page").status == 403
    browser.address = "127.0.0.1"
    assert browser.fetch("/page").status == 200


def test_the_server_holds_nothing_that_signs_in(world: World, redis_server: RedisServer) -> None:
    browser = settled(world)
    cookie = browser.session_cookie()
    assert cookie is not None
    with redis_server.client() as client:
        texts = [key + client.get(key) for key in client.scan_iter(_type="string")]
        names = list(client.scan_iter(_type="zset"))
    assert texts
    assert names
    for value in texts + names:
        assert cookie.value.encode() not in value
        assert not JWT.search(value)
