"""The interrupt: "Stay signed in?"."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.flows.flow_support import (
    ALICE,
    BOB,
    COOKIE,
    CROSS_SITE,
    DAY,
    HOUR,
    IDP_ORIGIN,
    ISSUER,
    MINUTE,
    NAVIGATION,
    NOW,
    ORIGIN,
    SCRIPT,
    SIGN_OUT_ORIGIN,
    Browser,
    Cookie,
    World,
    cleared,
    code_of,
    forwarded,
    headers_of,
    location,
    page_of,
    play_between,
    problem_of,
    query_of,
    ways_of,
)

from kmsi_middleware.flows import dispatch, revocation
from kmsi_middleware.rules.kmsi import TABLE
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import ProviderUnavailable, StoreUnavailable
from kmsi_middleware.vocabulary.messages import Reply
from kmsi_middleware.vocabulary.session import user_key

INTERRUPT = 50140
FORM = {**NAVIGATION, "sec-fetch-site": "same-origin", "origin": ORIGIN}


def ticket_of(at: str) -> str:
    return query_of(at)["ticket"]


def answer_again(browser: Browser, at: str, answer: str = "yes", **more: str) -> Any:
    """Post the form without fetching its page again."""
    return browser.post("/.auth/kmsi", {"ticket": ticket_of(at), "answer": answer, **more})


# The question ----------------------------------------------------------------------------------------------


def test_after_a_sign_in_and_before_the_session_the_question_is_asked(world: World, browser: Browser) -> None:
    outcome = browser.come_back(browser.begin("/orders"))
    at = location(outcome)
    assert world.live() == []
    assert browser.token == ""
    assert world.asked_for(ask.CreateSession) == []
    page = page_of(browser.get(at))
    assert page.name == "kmsi.html"
    assert page.context == {
        "app_name": "Shop",
        "user_name": "Alice (alice@example.com)",
        "action": "/.auth/kmsi",
        "ticket": ticket_of(at),
        "days": 30,
    }
    location(browser.get("/orders"))  # still nobody


def test_the_forms_redirects_may_lead_to_the_provider(browser: Browser) -> None:
    page = page_of(browser.get(browser.to_interrupt()))
    assert page.form_action == ("'self'", IDP_ORIGIN, SIGN_OUT_ORIGIN)
    assert page.frame_ancestors == ("'none'",)


def test_the_question_is_shown_although_the_provider_is_away(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    world.broken[ask.GetProvider] = ProviderUnavailable("gone")
    assert page_of(browser.get(at)).form_action == ("'self'",)
    assert location(answer_again(browser, at)) == "/"


def test_showing_it_writes_50140_and_answering_a_success_under_the_same_correlation_id(
    world: World, browser: Browser
) -> None:
    at = browser.to_interrupt()
    (shown,) = world.log
    assert shown["status"]["errorCode"] == INTERRUPT
    assert (
        shown["status"]["failureReason"]
        == 'This error occurred due to "Keep me signed in" interrupt when the user was signing in.'
    )
    assert shown["userPrincipalName"] == "alice@example.com"
    browser.reply_to(at, "yes")
    assert world.logged() == [
        (INTERRUPT, shown["correlationId"], ""),
        (0, shown["correlationId"], "answered_yes"),
    ]
    assert browser.session is not None
    assert browser.session.correlation_id == shown["correlationId"]


def test_an_abandoned_one_is_a_50140_without_a_success_and_leaves_no_session(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    page_of(browser.get(at))
    world.now += DAY
    assert [number for number, _, _ in world.logged()] == [INTERRUPT]
    assert world.live() == []
    assert browser.cookie_header() == ""
    assert browser.begin("/orders")


def test_it_follows_the_federated_kind_of_sign_in_too(browser: Browser) -> None:
    browser.to_interrupt({**ALICE, "idp": "https://partner.example", "amr": ["fed"]})


# The answer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expiry", ["rolling", "absolute"])
@pytest.mark.parametrize(("answer", "persistent", "seconds"), [("yes", True, 12 * DAY), ("no", False, 2 * HOUR)])
def test_yes_makes_the_cookie_persistent_and_no_does_not(
    expiry: str, answer: str, persistent: bool, seconds: int
) -> None:
    world = World(keep_me_signed_in_days=12, session_lifetime=2 * HOUR, session_expiry=expiry)
    browser = Browser(world)
    outcome = browser.sign_in(answer=answer, target="/orders?page=2")
    assert location(outcome) == "/orders?page=2"
    assert browser.session is not None
    assert browser.session.persistent is persistent
    assert browser.session.decision == f"answered_{answer}"
    assert browser.session.expires_at == NOW + seconds
    assert browser.persistent is persistent
    assert browser.jar[COOKIE].until == (NOW + seconds if persistent else None)
    assert list(browser.jar) == [COOKIE]
    browser.close()
    assert bool(browser.token) is persistent
    browser.world.now += seconds
    assert world.live() == []


def test_a_session_that_begins_ten_minutes_after_the_sign_in_counts_from_the_answer(
    world: World, browser: Browser
) -> None:
    at = browser.to_interrupt()
    world.now += 10 * MINUTE - 1
    browser.reply_to(at, "yes")
    assert browser.session is not None
    assert browser.session.started_at == world.now
    assert browser.session.auth_time == NOW


@pytest.mark.parametrize("step", ["show", "answer"])
@pytest.mark.parametrize(("seconds", "waits"), [(599, True), (600, False), (601, False)])
def test_a_pending_sign_in_waits_ten_minutes_to_the_second(step: str, seconds: int, waits: bool) -> None:
    world = World()
    browser = Browser(world)
    at = browser.to_interrupt(target="/orders")
    world.now += seconds
    outcome = browser.get(at) if step == "show" else answer_again(browser, at)
    if waits:
        assert isinstance(outcome, Reply)
        assert outcome.status == (200 if step == "show" else 303)
        return
    page = page_of(outcome, 400)
    assert page.context["code"] == "interrupt_expired"
    assert query_of(ways_of(page)["Sign in"])["post_login_redirect_uri"] == "/orders"
    assert world.live() == []
    assert [number for number, _, _ in world.logged()] == [INTERRUPT]


@pytest.mark.parametrize("seconds", [599, 600])
def test_the_ten_minutes_are_the_servers_and_not_the_cookies(seconds: int) -> None:
    """A browser that keeps the cookie for longer gains nothing."""
    world = World()
    browser = Browser(world)
    at = browser.to_interrupt()
    for cookie in browser.jar.values():
        cookie.until = None
    world.now += seconds
    outcome = answer_again(browser, at)
    assert (len(world.live()) == 1) is (seconds < 600)
    assert isinstance(outcome, Reply)
    assert outcome.status == (303 if seconds < 600 else 400)


@pytest.mark.parametrize("answer", ["", "YES", "maybe", None])
def test_a_bad_answer_is_refused_and_uses_nothing_up(world: World, browser: Browser, answer: str | None) -> None:
    at = browser.to_interrupt()
    form = {"ticket": ticket_of(at)} | ({"answer": answer} if answer is not None else {})
    assert page_of(browser.post("/.auth/kmsi", form), 400).context["code"] == "bad_answer"
    assert world.live() == []
    assert location(browser.reply_to(at, "yes")) == "/"


OTHER_ORIGINS: list[dict[str, str]] = [
    {**CROSS_SITE, "origin": "https://evil.example"},
    {**NAVIGATION, "sec-fetch-site": "same-site", "origin": "https://other.example.com"},
    {**NAVIGATION, "sec-fetch-site": "same-origin", "origin": "null"},
    {**NAVIGATION, "sec-fetch-site": "cross-site", "origin": ORIGIN},
    {"accept": "text/html", "origin": "https://evil.example"},
    {"accept": "text/html", "origin": "http://app.example.com"},
    {"accept": "text/html"},
]


@pytest.mark.parametrize("headers", OTHER_ORIGINS)
def test_a_form_of_another_site_is_refused_and_uses_nothing_up(
    world: World, browser: Browser, headers: dict[str, str]
) -> None:
    at = browser.to_interrupt()
    outcome = browser.post("/.auth/kmsi", {"ticket": ticket_of(at), "answer": "yes"}, headers)
    assert page_of(outcome, 403).context["code"] == "cross_site_form"
    assert world.live() == []
    assert world.asked == []
    assert location(browser.reply_to(at, "no")) == "/"


def test_an_answer_is_a_posted_form(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    form = {"ticket": ticket_of(at), "answer": "yes"}
    request = browser.request("POST", "/.auth/kmsi", FORM, body=urlencode(form).encode())
    assert page_of(browser.send(request), 415).context["code"] == "bad_form"
    page_of(browser.get(f"{at}&answer=yes"))
    assert world.live() == []


# Whose question it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["show", "answer"])
def test_another_browser_with_the_tickets_address_is_refused(world: World, browser: Browser, step: str) -> None:
    at = browser.to_interrupt()
    other = Browser(world)
    outcome = other.get(at) if step == "show" else answer_again(other, at)
    assert page_of(outcome, 400).context["code"] == "interrupt_expired"
    assert "alice" not in str(outcome)
    assert other.jar == {}
    assert world.live() == []
    assert location(browser.reply_to(at, "yes")) == "/"


def test_another_browser_with_a_question_of_its_own_cannot_answer_this_one(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    mallory = Browser(world)
    mallory.to_interrupt({"sub": "mallory"})
    assert code_of(answer_again(mallory, at)) == "interrupt_expired"
    assert world.live() == []


@pytest.mark.parametrize("ticket", ["", "x", "WyJhIiwiLyJd.AAAA.BBBB"])
def test_a_made_up_ticket_is_refused(world: World, browser: Browser, ticket: str) -> None:
    browser.to_interrupt()
    for outcome in (
        browser.get("/.auth/kmsi?" + urlencode({"ticket": ticket})),
        browser.post("/.auth/kmsi", {"ticket": ticket, "answer": "yes"}),
    ):
        assert page_of(outcome, 400).context["code"] == "interrupt_unknown"
        assert world.asked == []


def test_a_ticket_of_an_older_version_is_refused(world: World, browser: Browser) -> None:
    old = world.app.seals.sign("interrupt", ["name", "/orders"], world.now)
    assert code_of(browser.get(f"/.auth/kmsi?ticket={old}")) == "interrupt_unknown"


def test_a_ticket_of_another_deployment_is_refused(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    world.configure(secret_keys=("another key another key another key",))
    assert code_of(browser.get(at)) == "interrupt_unknown"


def test_a_waiting_sign_in_lies_sealed_in_the_store(world: World, browser: Browser) -> None:
    browser.to_interrupt()
    assert len(world.store._tickets) == 3  # the transaction, the waiting sign-in, and the issuer's name for it
    assert "alice" not in str(world.store._tickets)
    assert "access token" not in str(world.store._tickets)


def test_a_browser_that_refuses_the_questions_cookie_gets_a_page_and_no_loop(world: World, browser: Browser) -> None:
    url = browser.begin("/orders")
    browser.keeps_cookies = False
    outcome = browser.get(location(browser.come_back(url)))
    assert page_of(outcome, 400).context["code"] == "interrupt_expired"


# Again -----------------------------------------------------------------------------------------------------


def test_a_double_click_leads_to_the_same_session(world: World, browser: Browser) -> None:
    """The second request left before the first one's cookies came."""
    at = browser.to_interrupt(target="/orders")
    before = dict(browser.jar)
    outcome = answer_again(browser, at, "yes")
    first, jar = browser.session, dict(browser.jar)
    browser.jar = before
    again = answer_again(browser, at, "yes")
    assert location(outcome) == location(again) == "/orders"
    assert browser.session == first
    assert browser.jar == jar
    assert len(world.live()) == 1
    assert [number for number, _, _ in world.logged()] == [INTERRUPT, 0]


def test_two_answers_at_the_same_time_make_one_session_and_both_lead_to_it() -> None:
    """Whichever way the effects of the one are played between those of the other."""
    for order in itertools.product((0, 1), repeat=7):
        _answer_twice(order)


def _answer_twice(order: tuple[int, ...]) -> None:
    """After ``order``, the two take turns."""
    world = World()
    browser = Browser(world)
    at = browser.to_interrupt(target="/orders")
    form = urlencode({"ticket": ticket_of(at), "answer": "yes"}).encode()
    headers = {**FORM, "content-type": "application/x-www-form-urlencoded"}
    request = browser.request("POST", "/.auth/kmsi", headers, body=form)
    outcomes = play_between(world, [dispatch.answer(world.app, request, world.now) for _ in range(2)], order)
    assert [location(outcome) for outcome in outcomes] == ["/orders", "/orders"], order
    (session,) = world.live()
    for outcome in outcomes:
        other = Browser(world)
        other.take(outcome)
        assert other.session == session
    assert [number for number, _, _ in world.logged()] == [INTERRUPT, 0]


def test_reload_and_back_button_after_the_answer_lead_to_the_page(world: World, browser: Browser) -> None:
    at = browser.to_interrupt(target="/orders")
    browser.reply_to(at, "yes")
    token, sessions = browser.token, world.live()
    for outcome in (browser.get(at), answer_again(browser, at, "yes")):
        assert location(outcome) == "/orders"
        assert browser.token == token
        assert browser.persistent
        assert world.live() == sessions


@pytest.mark.parametrize("tab", ["the same", "another", "another, sent before the first came back"])
def test_a_no_after_a_yes_to_the_same_question_holds(world: World, browser: Browser, tab: str) -> None:
    """In the other tab the question still stood there, and who says No must not stay signed in."""
    at = browser.to_interrupt(target="/orders")
    page_of(browser.get(at))
    before = dict(browser.jar)
    browser.reply_to(at, "yes", dont_show_again="1")
    token = browser.token
    if tab != "another":
        browser.jar |= before
    if tab == "another, sent before the first came back":
        browser.jar = dict(before)
    outcome = answer_again(browser, at, "no")
    assert location(outcome) == "/orders"
    assert browser.token == token
    assert not browser.persistent
    (session,) = world.live()
    assert (session.persistent, session.decision) == (False, "answered_no")
    assert [decision for _, _, decision in world.logged()] == ["", "answered_yes", "answered_no"]
    assert len({correlation_id for _, correlation_id, _ in world.logged()}) == 1
    assert world.log[-1]["kmsi"]["persistent"] is False
    assert world.log[-1]["userPrincipalName"] == "alice@example.com"
    location(answer_again(browser, at, "no"))
    assert len(world.log) == 3
    browser.close()
    world.now += MINUTE
    assert browser.begin()  # signed out
    assert [name for name in browser.jar if name.endswith(".r")] == []  # and the Yes is not remembered


def test_a_no_after_a_yes_can_be_remembered_too(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    browser.reply_to(at, "yes", dont_show_again="1")
    answer_again(browser, at, "no", dont_show_again="1")
    assert location(browser.come_back(browser.begin("/.auth/login?prompt=login"))) == "/"
    assert world.log[-1]["kmsi"] == {"code": "", "decision": "remembered_answer", "persistent": False}


def test_a_no_holds_although_somebody_else_writes_to_the_session_meanwhile(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    browser.reply_to(at, "yes")
    session = browser.session
    assert session is not None
    save = world.store.save

    def slow(changed: Any, now: float) -> None:
        world.store.save = save  # type: ignore[method-assign]
        save(replace(session, data=b'{"a": 1}', version=session.version + 1), now)
        save(changed, now)

    world.store.save = slow  # type: ignore[method-assign]
    location(answer_again(browser, at, "no"))
    (kept,) = world.live()
    assert (kept.persistent, kept.data) == (False, b'{"a": 1}')


def test_a_yes_after_a_no_to_the_same_question_changes_nothing(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    before = dict(browser.jar)
    browser.reply_to(at, "no")
    sessions = world.live()
    for jar in (dict(browser.jar), before | browser.jar, before):
        browser.jar = dict(jar)
        location(answer_again(browser, at, "yes", dont_show_again="1"))
        assert not browser.persistent
        assert list(browser.jar) == [COOKIE]
    assert world.live() == sessions
    assert [number for number, _, _ in world.logged()] == [INTERRUPT, 0]


def test_a_no_to_an_older_question_changes_nothing_about_a_later_sign_in(world: World, browser: Browser) -> None:
    old = browser.to_interrupt()
    browser.reply_to(old, "yes")
    browser.reply_to(location(browser.come_back(browser.begin("/.auth/login?prompt=login"))), "yes")
    sessions = world.live()
    location(answer_again(browser, old, "no"))
    assert world.live() == sessions
    assert browser.persistent


def test_nobody_elses_no_reaches_the_session(world: World, browser: Browser) -> None:
    """The question's address alone is worth nothing, in another browser or on another site."""
    at = browser.to_interrupt()
    browser.reply_to(at, "yes")
    sessions = world.live()
    mallory = Browser(world)
    mallory.sign_in(BOB, "yes")
    answer_again(mallory, at, "no")
    browser.post(
        "/.auth/kmsi", {"ticket": ticket_of(at), "answer": "no"}, {**CROSS_SITE, "origin": "https://evil.example"}
    )
    assert sessions[0] in world.live()
    assert all(session.persistent for session in world.live())


def test_a_reload_of_the_question_shows_it_again(browser: Browser) -> None:
    at = browser.to_interrupt()
    assert page_of(browser.get(at)) == page_of(browser.get(at))


def test_the_back_button_after_signing_out_does_not_sign_in_again(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    before = dict(browser.jar)
    browser.reply_to(at, "yes")
    browser.post("/.auth/logout")
    browser.jar |= before
    for outcome in (browser.get(at), answer_again(browser, at)):
        assert page_of(outcome, 400).context["code"] == "interrupt_expired"
    assert world.live() == []


def test_the_answered_questions_cookie_leads_to_the_session_for_ten_minutes_only(
    world: World, browser: Browser
) -> None:
    at = browser.to_interrupt()
    before = dict(browser.jar)
    browser.reply_to(at, "yes")
    for cookie in before.values():
        cookie.until = None
    thief = Browser(world, jar=before)
    world.now += 10 * MINUTE
    assert code_of(answer_again(thief, at)) == "interrupt_expired"
    assert thief.token == ""


def test_an_answer_after_a_failing_store_can_be_given_again(world: World, browser: Browser) -> None:
    at = browser.to_interrupt()
    for effect in (ask.ReadTicket, ask.CreateSession, ask.TakeTicket):
        world.broken = {effect: StoreUnavailable("busy")}
        outcome = answer_again(browser, at, "yes")
        assert isinstance(outcome, Reply)
        assert outcome.status == 503
        assert headers_of(outcome)["retry-after"] == "5"
    world.broken = {}
    assert location(answer_again(browser, at, "yes")) == "/"
    assert len(world.live()) == 1
    assert forwarded(browser.get("/"))


# Too late --------------------------------------------------------------------------------------------------

SAME_ORIGIN = {**NAVIGATION, "sec-fetch-site": "same-origin"}


def left_too_long(world: World, browser: Browser, *, signed_out: bool = False) -> str:
    """Where the page's button leads after an answer that came too late."""
    at = browser.to_interrupt(target="/orders")
    world.now += 11 * MINUTE
    if signed_out:
        browser.reply_to(browser.to_interrupt(), "no")
        browser.post("/.auth/logout")
    page = page_of(answer_again(browser, at, "yes"), 400)
    ((label, there),) = page.context["ways"]
    assert label == "Sign in"
    assert "more than ten minutes" in page.context["message"]
    assert "signed out meanwhile" in page.context["message"]
    assert page.context["correlation_id"] == world.log[0]["correlationId"]
    return str(there)


@pytest.mark.parametrize("signed_out", [False, True])
def test_whose_answer_came_too_late_is_asked_again_although_the_provider_asks_nothing(
    world: World, browser: Browser, signed_out: bool
) -> None:
    there = left_too_long(world, browser, signed_out=signed_out)
    url = location(browser.get(there, SAME_ORIGIN))
    at = location(browser.come_back(url, {**ALICE, "auth_time": NOW}))
    assert at.startswith("/.auth/kmsi?")
    assert location(browser.reply_to(at, "yes")) == "/orders"
    assert browser.persistent
    # Only this once: the next silent sign-in is silent.
    del browser.jar[COOKIE]
    assert location(browser.come_back(browser.begin(), {**ALICE, "auth_time": NOW})) == "/"
    assert world.log[-1]["kmsi"]["decision"] == "silent"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", ""])
def test_nobody_elses_link_has_a_person_asked(world: World, browser: Browser, site: str) -> None:
    there = left_too_long(world, browser)
    url = location(browser.get(there, {**NAVIGATION, "sec-fetch-site": site}))
    assert location(browser.come_back(url, {**ALICE, "auth_time": NOW})) == "/orders"
    assert not browser.persistent


def test_it_is_still_known_where_more_of_the_sign_in_is_wanted_first(world: World, browser: Browser) -> None:
    """Here after a revocation, of a provider that does not say when the person signed in."""
    there = left_too_long(world, browser)
    world.play(revocation.revoke_user(user_key(ISSUER, "alice"), world.now, "cli"))
    world.now += 10 * MINUTE
    url = location(browser.get(there, SAME_ORIGIN))
    once_more = location(browser.come_back(url, {**ALICE, "auth_time": None}))
    assert query_of(once_more)["max_age"]
    silent = {**ALICE, "auth_time": int(world.now) - 5 * MINUTE}
    assert location(browser.come_back(once_more, silent)).startswith("/.auth/kmsi?")


# Two tabs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last"), [("yes", "no"), ("no", "yes"), ("yes", "yes")])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_tabs_that_answer_differently_the_last_answer_holds_and_one_session_remains(
    first: str, last: str, order: tuple[int, int]
) -> None:
    world = World()
    browser = Browser(world)
    urls = [browser.begin("/one"), browser.begin("/two")]
    tabs = [location(browser.come_back(url)) for url in urls]
    assert location(browser.reply_to(tabs[order[0]], first)) == ("/one", "/two")[order[0]]
    assert location(browser.reply_to(tabs[order[1]], last)) == ("/one", "/two")[order[1]]
    (session,) = world.live()
    assert browser.session == session
    assert session.persistent is browser.persistent is (last == "yes")
    assert world.tombstones() == ["replaced"]


def test_signing_out_forgets_the_question_that_is_still_open_in_another_tab(world: World, browser: Browser) -> None:
    """Else whoever sits down there next is signed in by a click on it."""
    urls = [browser.begin("/one"), browser.begin("/two")]
    tabs = [location(browser.come_back(url)) for url in urls]
    browser.reply_to(tabs[0], "no")
    waiting = dict(browser.jar)
    outcome = browser.post("/.auth/logout")
    assert len([name for name in cleared(outcome) if ".p." in name]) == 1
    for jar in (browser.jar, waiting):
        browser.jar = dict(jar)
        assert code_of(browser.get(tabs[1])) == "interrupt_expired"
        assert code_of(answer_again(browser, tabs[1])) == "interrupt_expired"
    assert world.live() == []


# "Don't show this again" -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "persistent"), [("yes", True), ("no", False)])
def test_dont_show_again_keeps_the_answer_for_this_person_in_this_browser(
    world: World, browser: Browser, answer: str, persistent: bool
) -> None:
    browser.sign_in(answer=answer, dont_show_again="1")
    url = browser.begin("/.auth/login?prompt=login")
    assert location(browser.come_back(url)) == "/"
    assert world.log[-1]["kmsi"] == {"code": "", "decision": "remembered_answer", "persistent": persistent}
    assert browser.persistent is persistent
    url = browser.begin("/.auth/login?prompt=login")
    assert location(browser.come_back(url, BOB)).startswith("/.auth/kmsi?")
    Browser(world).to_interrupt()


def asks(browser: Browser, person: dict[str, Any]) -> bool:
    """Whether a person who really signs in is asked."""
    url = browser.begin("/.auth/login?prompt=login")
    return location(browser.come_back(url, person)).startswith("/.auth/kmsi?")


def test_the_answers_of_several_people_are_kept_side_by_side(world: World, browser: Browser) -> None:
    browser.sign_in(ALICE, "yes", dont_show_again="1")
    at = location(browser.come_back(browser.begin("/.auth/login?prompt=login"), BOB))
    browser.reply_to(at, "no", dont_show_again="1")
    for person, persistent in ((ALICE, True), (BOB, False), (ALICE, True)):
        assert not asks(browser, person)
        assert browser.persistent is persistent
    assert "alice" not in browser.jar[COOKIE + ".r"].value


def test_of_more_people_than_a_browser_keeps_the_one_who_answered_first_is_asked_again(browser: Browser) -> None:
    people = [{**ALICE, "sub": f"person-{number}"} for number in range(6)]
    for person in people:
        at = location(browser.come_back(browser.begin("/.auth/login?prompt=login"), person))
        browser.reply_to(at, "no", dont_show_again="1")
    assert len(browser.jar[COOKIE + ".r"].value) < 260
    assert [asks(browser, person) for person in people] == [True, False, False, False, False, False]


def test_each_answer_has_a_year_of_its_own(world: World, browser: Browser) -> None:
    browser.sign_in(ALICE, "no", dont_show_again="1")
    world.now += 300 * DAY
    browser.reply_to(browser.to_interrupt(BOB), "no", dont_show_again="1")
    world.now += 65 * DAY
    assert [asks(browser, person) for person in (ALICE, BOB)] == [False, False]
    world.now += DAY
    assert [asks(browser, person) for person in (ALICE, BOB)] == [True, False]


def test_a_sign_out_forgets_the_yes_of_that_person_only(browser: Browser) -> None:
    for person in (ALICE, BOB):
        at = location(browser.come_back(browser.begin("/.auth/login?prompt=login"), person))
        browser.reply_to(at, "yes", dont_show_again="1")
    browser.post("/.auth/logout")
    assert [asks(browser, person) for person in (ALICE, BOB)] == [False, True]


def test_a_sign_out_of_nobody_forgets_every_yes_and_no_no(browser: Browser) -> None:
    """Whoever presses it wants to leave nothing behind, and nobody knows who it is."""
    carol = {**ALICE, "sub": "carol"}
    for person, answer in ((ALICE, "yes"), (BOB, "yes"), (carol, "no")):
        at = location(browser.come_back(browser.begin("/.auth/login?prompt=login"), person))
        browser.reply_to(at, answer, dont_show_again="1")
    del browser.jar[COOKIE]
    browser.post("/.auth/logout")
    assert [asks(browser, person) for person in (ALICE, BOB, carol)] == [True, True, False]


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_a_remembered_answer_signs_nobody_in(browser: Browser, answer: str) -> None:
    """It answers one question, after the person has signed in at the provider."""
    browser.sign_in(answer=answer, dont_show_again="1")
    del browser.jar[COOKIE]
    assert list(browser.jar) == [COOKIE + ".r"]
    assert problem_of(browser.get("/", SCRIPT), 401)["code"] == "no_session"
    browser.begin()


def test_without_the_tick_the_question_comes_again(browser: Browser) -> None:
    browser.sign_in(answer="no")
    browser.come_back(browser.begin("/.auth/login?prompt=login"))
    assert [record["status"]["errorCode"] for record in browser.world.log] == [INTERRUPT, 0, INTERRUPT]


@pytest.mark.parametrize(("seconds", "asked"), [(365 * DAY, False), (365 * DAY + 1, True)])
def test_the_answer_is_remembered_for_a_year(world: World, browser: Browser, seconds: int, asked: bool) -> None:
    browser.sign_in(answer="no", dont_show_again="1")
    for cookie in browser.jar.values():
        cookie.until = None
    world.now += seconds
    assert location(browser.come_back(browser.begin())).startswith("/.auth/kmsi?") is asked


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_signing_out_forgets_a_remembered_yes_and_keeps_a_no(world: World, browser: Browser, answer: str) -> None:
    browser.sign_in(answer=answer, dont_show_again="1")
    outcome = browser.post("/.auth/logout")
    assert (COOKIE + ".r" in cleared(outcome)) is (answer == "yes")
    asked = location(browser.come_back(browser.begin())).startswith("/.auth/kmsi?")
    assert asked is (answer == "yes")


@pytest.mark.parametrize("value", ["x", "WyJhIiwieWVzIl0.AAAA.BBBB"])
def test_a_made_up_remembered_answer_does_not_count(browser: Browser, value: str) -> None:
    browser.jar[COOKIE + ".r"] = Cookie(value, None)
    browser.to_interrupt()


def test_an_answer_that_an_older_version_kept_for_one_person_is_asked_for_again(world: World, browser: Browser) -> None:
    old = world.app.seals.sign("remembered", ["a" * 22, "yes"], world.now)
    browser.jar[COOKIE + ".r"] = Cookie(old, None)
    browser.sign_in(answer="yes", dont_show_again="1")
    assert not asks(browser, ALICE)


def test_what_hides_the_question_comes_before_a_remembered_yes(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes", dont_show_again="1")
    url = browser.begin("/.auth/login?prompt=login")
    assert location(browser.come_back(url, {**ALICE, "acct": 1})) == "/"
    assert browser.session is not None
    assert (browser.session.decision, browser.session.persistent) == ("guest", False)
    names = [row[0] for row in TABLE]
    assert names.index("remembered_answer") > names.index("guest")


def test_a_remembered_yes_does_not_outlive_the_switching_off_of_keeping(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes", dont_show_again="1")
    world.configure(keep_me_signed_in_days=0)
    browser.come_back(browser.begin("/.auth/login?prompt=login"))
    assert not browser.persistent


def test_the_question_speaks_to_scripts_in_problems(browser: Browser) -> None:
    browser.to_interrupt()
    outcome = browser.get("/.auth/kmsi?ticket=x", SCRIPT)
    assert code_of(outcome) == "interrupt_unknown"
