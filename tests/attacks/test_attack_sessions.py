"""Attacks on the session's token: giving somebody a known one, and planting one from a neighbouring host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.attacks.attack_support import unchanged, weakened
from tests.flows.flow_support import (
    ALICE,
    BOB,
    COOKIE,
    NAVIGATION,
    ORIGIN,
    Browser,
    World,
    query_of,
)
from tests.shells.shell_support import Browser as RealBrowser
from tests.shells.shell_support import World as RealWorld

from kmsi_middleware.edges.wire import Where
from kmsi_middleware.flows import sessions
from kmsi_middleware.rules import cookies
from kmsi_middleware.rules.oidc import authorization
from kmsi_middleware.vocabulary.messages import Forward, Reply, Site

KNOWN = "A" * 43

# Session fixation ------------------------------------------------------------------------------------------------

_start = sessions.start


def keeping_the_token_that_came(app: Any, request: Any, *args: Any, **more: Any) -> Any:
    """A sign-in that goes on under whatever token the browser came with."""
    came = cookies.session_tokens(request.header("cookie"), request.site)
    return _start(app, request, *args, **more | ({"token": came[0]} if came else {}))


def fixes_the_token(world: World, answer: str) -> bool:
    """The attacker plants a token that they know, waits for the sign-in, and comes with it."""
    victim, attacker = Browser(world), Browser(world)
    planted = {**NAVIGATION, "cookie": f"{COOKIE}={KNOWN}"}
    at = victim.to_interrupt()
    shown = victim.get(at)
    assert isinstance(shown, Reply)
    assert shown.page is not None
    header = f"{COOKIE}={KNOWN}; {victim.cookie_header()}"
    said = {**planted, "cookie": header, "origin": ORIGIN, "sec-fetch-site": "same-origin"}
    form = {"ticket": shown.page.context["ticket"], "answer": answer}
    victim.post("/.auth/kmsi", form, said, cookies=False)
    assert [session.subject for session in world.live()] == ["alice"]
    got = attacker.get("/", planted, cookies=False)
    return isinstance(got, Forward) and got.session is not None


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_session_fixation_by_a_planted_token_gives_the_attacker_nothing(answer: str) -> None:
    with weakened("kmsi_middleware.flows.sessions.start", keeping_the_token_that_came):
        assert fixes_the_token(World(), answer)
    assert not fixes_the_token(World(), answer)


def keeps_a_stolen_token(world: World) -> bool:
    """The attacker has a copy of the cookie; then the person signs in again."""
    victim = Browser(world)
    victim.come_back(victim.begin())
    stolen = victim.token
    victim.come_back(victim.begin("/.auth/login?prompt=login"))
    assert victim.session is not None
    assert victim.token != stolen
    copied = {**NAVIGATION, "cookie": f"{COOKIE}={stolen}"}
    got = Browser(world).get("/", copied, cookies=False)
    return isinstance(got, Forward) and got.session is not None


def test_session_fixation_a_token_from_before_a_fresh_sign_in_is_good_for_nothing() -> None:
    with weakened("kmsi_middleware.edges.stores.memory.MemoryStore.end", unchanged):
        assert keeps_a_stolen_token(World(show_option_to_remain_signed_in=False))
    assert not keeps_a_stolen_token(World(show_option_to_remain_signed_in=False))


# Cookie tossing --------------------------------------------------------------------------------------------------

APP = "https://app.example.com"


def toss(browser: RealBrowser, line: str) -> None:
    """A page on a sibling sets a cookie for the whole domain. What the browser takes goes to the app, too."""
    browser._store(f"{line}; Domain=example.com; Path=/; Secure", "https://evil.example.com/")
    for cookie in list(browser.jar.values()):
        browser.plant(cookie.name, cookie.value, host="app.example.com")


def acts_in_the_attackers_account(world: RealWorld) -> bool:
    """The attacker's own session is planted in the browser of somebody who is not signed in."""
    world.provider(APP)
    world.client(APP, {"behind_tls": True})
    attacker, victim = world.browser(), world.browser()
    attacker.sign_in("mia", "no", at=f"{APP}/")
    (own,) = [cookie for cookie in attacker.jar.values() if cookie.host == "app.example.com"]
    toss(victim, f"{own.name}={own.value}")
    return victim.who(APP) is not None


def without_a_prefix(name: str, **_: Any) -> str:
    return name


def test_cookie_tossing_fails_on_the_host_prefix_of_the_session_cookie(stage: Any, shell: str) -> None:
    """Browsers take a cookie of such a name only from its own host, for all paths, over TLS."""
    with weakened("kmsi_middleware.edges.wire.session_cookie_name", without_a_prefix):
        assert acts_in_the_attackers_account(stage(shell))
    assert not acts_in_the_attackers_account(stage(shell))


def every_kind_is_taken(stage: Any, site: Site) -> bool:
    """The cookies of sign-ins under way, of waiting ones, and of remembered answers begin with the same name."""
    browser = stage("wsgi").browser()
    for suffix in (f"{cookies.TRANSACTION}abcdefgh", f"{cookies.PENDING}abcdefgh", cookies.REMEMBERED):
        toss(browser, cookies.set_cookie(site, suffix, KNOWN).partition(";")[0])
    return len(browser.names("app.example.com")) == 3


def test_cookie_tossing_fails_on_the_host_prefix_of_every_other_cookie(stage: Any) -> None:
    where = Where(World().app.settings)
    with weakened("kmsi_middleware.edges.wire.session_cookie_name", without_a_prefix):
        assert every_kind_is_taken(stage, where.site("https", "", None, ""))
    assert not every_kind_is_taken(stage, where.site("https", "", None, ""))


def the_first(header: str, site: Site) -> list[str]:
    return [value for name, value in cookies.ours(header, site) if name == site.cookie_name]


def acts_for_the_attacker(world: World, kind: Callable[[str], str]) -> bool:
    """Where cookies have no such prefix, on plain http: the attacker's own session is planted for a longer path, so
    that what the victim does there, they do in the attacker's account."""
    victim, attacker = Browser(world), Browser(world)
    victim.sign_in(ALICE)
    attacker.sign_in(BOB)
    header = f"{COOKIE}={kind(attacker.token)}; {COOKIE}={victim.token}"
    got = victim.get("/pay", {**NAVIGATION, "cookie": header}, cookies=False)
    return isinstance(got, Forward) and got.session is not None and got.session.subject == "bob"


@pytest.mark.parametrize("spelled", [str, lambda token: f'"{token}"'], ids=["plain", "quoted"])
def test_cookie_tossing_for_a_longer_path_does_not_go_before_our_own(spelled: Callable[[str], str]) -> None:
    with weakened("kmsi_middleware.rules.cookies.session_tokens", the_first):
        assert acts_for_the_attacker(World(), spelled)
    assert not acts_for_the_attacker(World(), spelled)


def test_cookie_tossing_of_a_made_up_transaction_starts_nothing() -> None:
    """The cookies of a sign-in under way are signed, so that a planted one must be one that we made."""
    with weakened("kmsi_middleware.rules.seals.Seals.unsign", _unsigned):
        assert goes_on_with_a_made_up_transaction(World(show_option_to_remain_signed_in=False))
    assert not goes_on_with_a_made_up_transaction(World(show_option_to_remain_signed_in=False))


SEED = "a seed that the attacker chose"


def _unsigned(_seals: Any, _purpose: str, text: str, **_: Any) -> Any:
    return text.split("|") if text else None


def goes_on_with_a_made_up_transaction(world: World) -> bool:
    """The attacker makes the cookie for a state of their own, with a seed that gives their own nonce and verifier."""
    attacker, victim = Browser(world), Browser(world)
    url = attacker.begin()
    transaction = authorization.opened_state(query_of(url)["state"], world.app.seals, world.now)
    assert transaction is not None
    secrets = authorization.Secrets(SEED)
    forged = url.replace(query_of(url)["nonce"], secrets.nonce)
    forged = forged.replace(query_of(url)["code_challenge"], secrets.challenge)
    answer = world.idp.sign_in(forged, BOB, world.now)
    name = f"{COOKIE}{cookies.TRANSACTION}{transaction.cookie_suffix}"
    said = {**NAVIGATION, "cookie": f"{name}={transaction.id}|{SEED}|0"}
    victim.get(f"/.auth/callback?code={answer['code']}&state={answer['state']}", said, cookies=False)
    return victim.session is not None
