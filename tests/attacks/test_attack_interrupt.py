"""Attacks on "Stay signed in?": answering in another browser, answering twice, answering after the sign-out, and
letting somebody click what they don't see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.attacks.attack_support import always, weakened
from tests.flows.flow_support import (
    ALICE,
    BOB,
    NAVIGATION,
    ORIGIN,
    Browser,
    World,
    location,
    play_between,
    query_of,
)
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import HOME, HTML, Page
from tests.shells.shell_support import World as RealWorld

from kmsi_middleware.edges import pages
from kmsi_middleware.edges.stores import MemoryStore
from kmsi_middleware.flows import dispatch
from kmsi_middleware.rules import cookies
from kmsi_middleware.rules.seals import Seals, encode

SIBLING = "https://evil.example.com"
_named = cookies.named
_directive = pages._directive


def ticket_of(at: str) -> str:
    return query_of(at)["ticket"]


def answered(browser: Browser, ticket: str, answer: str = "yes", headers: dict[str, str] | None = None) -> Any:
    return browser.post("/.auth/kmsi", {"ticket": ticket, "answer": answer}, headers)


# Swapping --------------------------------------------------------------------------------------------------------


def without_the_browsers_cookie(began: Browser) -> Callable[..., str]:
    """A waiting sign-in that is known by its ticket alone: here, as whoever began it has its cookie, from there."""

    def named(header: str, site: Any, suffix: str) -> str:
        return _named(header, site, suffix) or _named(began.cookie_header(), site, suffix)

    return named


def answers_with_the_others_ticket(whose: Browser) -> bool:
    """One person's sign-in waits for the answer; it is given in another's browser."""
    by = Browser(whose.world)
    ticket = ticket_of(whose.to_interrupt(BOB))
    by.to_interrupt(ALICE)
    answered(by, ticket)
    return by.session is not None and by.session.subject == "bob"


def test_swapping_the_interrupt_fails_on_the_cookie_of_the_browser_that_signed_in() -> None:
    """Both ways: the attacker's question put to the victim, and the victim's answered by the attacker."""
    whose = Browser(World())
    with weakened("kmsi_middleware.rules.cookies.named", without_the_browsers_cookie(whose)):
        assert answers_with_the_others_ticket(whose)
    assert not answers_with_the_others_ticket(whose)


def is_answered_from_elsewhere(world: World, origin: str, fetch_site: str) -> bool:
    """A page of a neighbour, where cookies do come along, answers Yes with the ticket that it has seen."""
    victim = Browser(world)
    ticket = ticket_of(victim.to_interrupt())
    said = {**NAVIGATION, "origin": origin, "sec-fetch-site": fetch_site}
    answered(victim, ticket, "yes", {name: value for name, value in said.items() if value})
    return victim.session is not None and victim.persistent


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        (SIBLING, "same-site"),
        (SIBLING, ""),
        ("https://evil.example", "cross-site"),
        ("null", "cross-site"),
        ("null", ""),
        (f"{ORIGIN}.evil.example", ""),
        (f"{ORIGIN}:8443", ""),
        ("http://app.example.com", ""),
        (ORIGIN, "same-site"),
        ("", ""),
    ],
)
def test_swapping_the_interrupt_fails_on_the_origin_of_the_form(origin: str, fetch_site: str) -> None:
    with weakened("kmsi_middleware.flows.interrupt.is_from_this_origin", always):
        assert is_answered_from_elsewhere(World(), origin, fetch_site)
    assert not is_answered_from_elsewhere(World(), origin, fetch_site)


# Replay of a ticket ----------------------------------------------------------------------------------------------


def makes_two_sessions_of_one_sign_in(world: World) -> bool:
    """Two answers at the very same time, No by the person and Yes by who has a copy of the browser's profile."""
    victim = Browser(world)
    ticket = ticket_of(victim.to_interrupt())
    said = {**NAVIGATION, "sec-fetch-site": "same-origin", "origin": ORIGIN}
    said["content-type"] = "application/x-www-form-urlencoded"
    forms = [f"ticket={ticket}&answer={answer}".encode() for answer in ("no", "yes")]
    requests = [victim.request("POST", "/.auth/kmsi", said, body=form) for form in forms]
    play_between(world, [dispatch.answer(world.app, request, world.now) for request in requests], [0, 1] * 20)
    return len(world.live()) > 1


def another_each_time(seals: Seals, _purpose: str, _token: str) -> str:
    return encode(seals._dice(32))


def test_replay_of_a_ticket_at_the_same_time_makes_one_session() -> None:
    with weakened("kmsi_middleware.rules.seals.Seals.same_for", another_each_time):
        assert makes_two_sessions_of_one_sign_in(World())
    assert not makes_two_sessions_of_one_sign_in(World())


def makes_a_second_session_later(world: World) -> bool:
    """The person has answered No; who has a copy of the profile answers Yes, in the minute after."""
    victim = Browser(world)
    ticket = ticket_of(victim.to_interrupt())
    copied = Browser(world, jar=dict(victim.jar))
    answered(victim, ticket, "no")
    world.app.seals.same_for = another_each_time.__get__(world.app.seals)  # type: ignore[method-assign]
    answered(copied, ticket, "yes")
    return len(world.live()) > 1


def not_taken(store: MemoryStore, key: bytes, now: float) -> bytes | None:
    return store.read_ticket(key, now)


def test_replay_of_a_ticket_fails_because_it_is_taken_with_the_answer() -> None:
    """Even if the second answer's session had a token of its own."""
    with weakened("kmsi_middleware.edges.stores.memory.MemoryStore.take_ticket", not_taken):
        assert makes_a_second_session_later(World())
    assert not makes_a_second_session_later(World())


def goes_on_after_the_sign_out(world: World) -> bool:
    """On a shared computer: the question waits in a tab that was left open, the person signs out in another; then
    somebody answers it."""
    victim = Browser(world)
    victim.sign_in()
    ticket = ticket_of(location(victim.come_back(victim.begin("/.auth/login?prompt=login"))))
    copied = Browser(world, jar=dict(victim.jar))
    victim.post("/.auth/logout")
    assert world.live() == []
    answered(copied, ticket)
    return bool(world.live())


def nothing_waits(*_: Any) -> Any:
    return []
    yield


def test_replay_of_a_ticket_after_the_sign_out_signs_nobody_in() -> None:
    with weakened("kmsi_middleware.flows.interrupt.forget_waiting", nothing_waits):
        assert goes_on_after_the_sign_out(World())
    assert not goes_on_after_the_sign_out(World())


# Clickjacking ----------------------------------------------------------------------------------------------------


def may_be_framed(answer: Answer, source: str) -> bool:
    """By what browsers go by: ``frame-ancestors``, and only without it ``X-Frame-Options``."""
    for part in answer.header("content-security-policy").split(";"):
        name, *sources = part.split() or [""]
        if name == "frame-ancestors":
            return "*" in sources or source in sources
    return not answer.header("x-frame-options")


def is_clicked_unseen(world: RealWorld, what: str, source: str) -> bool:
    """A neighbour's page lays ours, in a frame, under something worth clicking. Cookies come along within a site."""
    world.app()
    victim = world.browser()
    page = victim.submit(victim.visit("/"), pick="mia")
    assert "answer" in Page(page.text).buttons
    if what == "sign-out":
        victim.submit(page, answer="yes")
    url = page.url if what == "interrupt" else f"{HOME}/.auth/logout"
    frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("sec-fetch-site", "same-site")]
    answer = victim.request("GET", url, [*frame, ("accept", HTML)])
    assert answer.status == 200
    assert Page(answer.text).action
    return may_be_framed(answer, source)


def framed_by_all(name: str, sources: Any) -> str:
    return "frame-ancestors *" if name == "frame-ancestors" else _directive(name, sources)


@pytest.mark.parametrize("source", ["http://localhost:9000", "https://evil.example", HOME])
@pytest.mark.parametrize("what", ["interrupt", "sign-out"])
def test_clickjacking_fails_because_neither_page_lets_itself_be_framed(
    stage: Any, shell: str, what: str, source: str
) -> None:
    with weakened("kmsi_middleware.edges.pages._directive", framed_by_all):
        assert is_clicked_unseen(stage(shell), what, source)
    assert not is_clicked_unseen(stage(shell), what, source)
