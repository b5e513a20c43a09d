"""Where a person is signed in, and signing out elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.flows.flow_support import (
    ALICE,
    BOB,
    COOKIE,
    DAY,
    HOUR,
    IDP_ORIGIN,
    ISSUER,
    MINUTE,
    NAVIGATION,
    ORIGIN,
    SCRIPT,
    SIGN_OUT_ORIGIN,
    Browser,
    World,
    code_of,
    forwarded,
    location,
    page_of,
    problem_of,
    query_of,
    set_cookies,
)

from kmsi_middleware.flows.fresh import RECENT
from kmsi_middleware.rules.seals import key_of
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.session import Mark, Session, user_key

PAGE = "/.auth/sessions"
ALICE_KEY = user_key(ISSUER, "alice")
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36"


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    browser.sign_in()
    return browser


def another(world: World, person: dict[str, Any] = ALICE, **more: Any) -> Browser:
    browser = Browser(world)
    browser.sign_in(person, **more)
    return browser


def shown(outcome: Any) -> dict[str, Any]:
    page = page_of(outcome)
    assert page.name == "sessions.html"
    context: dict[str, Any] = page.context
    return context


def id_of(browser: Browser) -> str:
    assert browser.session is not None
    return browser.session.id


# The page --------------------------------------------------------------------------------------------------


def test_every_session_of_the_person_is_shown_and_nobody_elses(world: World, signed_in: Browser) -> None:
    kept, gone = another(world, answer="yes"), another(world)
    another(world, BOB)
    gone.post("/.auth/logout")
    context = shown(signed_in.get(PAGE))
    assert [row["id"] for row in context["sessions"]] == [id_of(signed_in), id_of(kept)]
    assert [row["is_this"] for row in context["sessions"]] == [True, False]
    assert [row["persistent"] for row in context["sessions"]] == [False, True]
    assert context["others"] == 1
    assert context["user_name"] == "Alice (alice@example.com)"
    assert context["ended"] is None


def test_it_shows_from_where_and_with_what(world: World, signed_in: Browser) -> None:
    other = Browser(world, address="198.51.100.9")
    headers = {**NAVIGATION, "user-agent": CHROME, "origin": ORIGIN, "sec-fetch-site": "same-origin"}
    ticket = query_of(other.to_interrupt())["ticket"]
    other.post("/.auth/kmsi", {"ticket": ticket, "answer": "yes"}, headers)
    world.now += 5 * MINUTE
    _, row = shown(signed_in.get(PAGE))["sessions"]
    assert (row["name"], row["kind"], row["place"]) == ("Chrome on Windows", "computer", "198.51.100.9")
    assert row["signed_in"] == "2027-01-15, 08:00 UTC"
    assert row["ends"] == "2027-02-14, 08:00 UTC"


def test_the_last_use_is_noted_without_extending_an_absolute_session() -> None:
    world = World(session_expiry="absolute")
    here, other = another(world), another(world)
    world.now += 3 * HOUR
    other.get("/")
    world.now += 90 * MINUTE
    here = another(world)
    rows = {row["id"]: row for row in shown(here.get(PAGE))["sessions"]}
    assert rows[id_of(other)]["last_used"] == "1 hour ago"
    assert rows[id_of(other)]["ends"] == "2027-01-16, 08:00 UTC"


def test_what_a_tightened_setting_ended_is_not_shown(world: World) -> None:
    another(world)
    world.now += HOUR
    cut = another(world)
    world.now += HOUR
    world.configure(session_lifetime=2 * HOUR)
    here = another(world)
    context = shown(here.get(PAGE))
    assert [row["id"] for row in context["sessions"]] == [id_of(here), id_of(cut)]
    assert context["others"] == 1
    assert [row["ends"] for row in context["sessions"]] == ["2027-01-15, 12:00 UTC", "2027-01-15, 11:00 UTC"]


def test_the_page_lets_its_forms_lead_to_the_issuer(signed_in: Browser) -> None:
    """To sign out there, or for a fresh sign-in."""
    page = page_of(signed_in.get(PAGE))
    assert set(page.form_action) == {"'self'", IDP_ORIGIN, SIGN_OUT_ORIGIN}
    assert page.frame_ancestors == ("'none'",)
    assert page.context["sign_out_action"] == "/.auth/logout"


def test_an_app_that_is_mounted_somewhere_keeps_its_root() -> None:
    world = World(base_url=f"{ORIGIN}/shop", show_option_to_remain_signed_in=False)
    browser = Browser(world)
    assert location(browser.come_back(browser.begin(f"/shop{PAGE}"))) == f"/shop{PAGE}"
    context = shown(browser.get(f"/shop{PAGE}"))
    assert (context["action"], context["home_url"]) == (f"/shop{PAGE}", "/shop/")


# Who may see it --------------------------------------------------------------------------------------------


def test_who_is_not_signed_in_signs_in_and_gets_there(world: World, browser: Browser) -> None:
    asking = location(browser.come_back(browser.begin(PAGE)))
    assert location(browser.reply_to(asking, "no")) == PAGE
    assert shown(browser.get(PAGE))["others"] == 0


@pytest.mark.parametrize("settings", [{"protect": "none"}, {"public_paths": ("/*",)}])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_is_never_public(settings: dict[str, Any], method: str) -> None:
    world = World(**settings)
    browser = Browser(world)
    outcome = browser.get(PAGE) if method == "GET" else browser.post(PAGE, {"others": "1"})
    if method == "GET":
        assert location(browser.reply_to(location(browser.come_back(location(outcome), ALICE)), "no")) == PAGE
        browser = Browser(world)
    else:
        page_of(outcome, 401)
    assert problem_of(browser.get(PAGE, SCRIPT), 401)["code"] == "no_session"


def test_whose_session_ended_is_told_why(world: World, signed_in: Browser) -> None:
    assert signed_in.session is not None
    world.store.end(signed_in.session.key, "revoked", world.now)
    page = page_of(signed_in.get(PAGE), 401)
    assert page.context["reason"] == "revoked"
    assert query_of(page.context["login_url"])["post_login_redirect_uri"] == PAGE
    assert page_of(signed_in.post(PAGE, {"others": "1"}), 401).context["reason"] == "revoked"


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (RECENT + MINUTE, True), (RECENT + MINUTE + 1, False)])
def test_it_needs_a_sign_in_of_the_last_minutes(world: World, signed_in: Browser, age: int, fresh: bool) -> None:
    """Ten, and as much as the clocks may differ."""
    world.now += age
    outcome = signed_in.get(PAGE)
    if fresh:
        assert shown(outcome)
        return
    asked = query_of(location(outcome))
    assert asked["max_age"] == str(RECENT // 2)
    assert asked["login_hint"] == "alice@example.com"
    assert "prompt" not in asked


def test_after_a_fresh_sign_in_the_page_is_there(world: World, signed_in: Browser) -> None:
    world.now += HOUR
    outcome = signed_in.come_back(location(signed_in.get(PAGE)))
    assert location(outcome) == PAGE
    assert shown(signed_in.get(PAGE))


def test_a_silent_answer_with_a_recent_sign_in_will_do(world: World, signed_in: Browser) -> None:
    """At the issuer the person may have signed in a moment ago, for another app."""
    world.now += HOUR
    url = location(signed_in.get(PAGE))
    signed_in.come_back(url, {**ALICE, "auth_time": int(world.now) - RECENT // 2})
    assert shown(signed_in.get(PAGE))


def test_an_issuer_that_ignores_max_age_is_asked_with_prompt_login_and_then_it_is_a_page(
    world: World, signed_in: Browser
) -> None:
    old = {**ALICE, "auth_time": int(world.now)}
    world.now += HOUR
    signed_in.come_back(location(signed_in.get(PAGE)), old)
    again = signed_in.get(PAGE)
    assert query_of(location(again))["prompt"] == "login"
    signed_in.come_back(location(again), old)
    page = page_of(signed_in.get(PAGE), 403)
    assert page.context["code"] == "fresh_sign_in_required"
    assert page_of(signed_in.get(PAGE), 403)
    world.now += 2 * MINUTE
    assert "prompt" not in query_of(location(signed_in.get(PAGE)))


@pytest.mark.parametrize("missing", ["refuse", "trust_sign_in"])
def test_an_issuer_without_auth_time_is_held_to_the_setting(missing: str) -> None:
    world = World(missing_auth_time=missing)
    silent = {**ALICE, "auth_time": None}
    browser = another(world, silent)
    if missing == "trust_sign_in":
        assert shown(browser.get(PAGE))
        world.now += HOUR
        browser.come_back(location(browser.get(PAGE)), silent)
        assert shown(browser.get(PAGE))
        return
    browser.come_back(location(browser.get(PAGE)), silent)
    browser.come_back(location(browser.get(PAGE)), silent)
    assert code_of(browser.get(PAGE)) == "auth_time_missing"
    assert code_of(browser.post(PAGE, {"others": "1"})) == "auth_time_missing"


def test_one_that_says_it_when_it_is_asked_with_max_age_will_do(world: World, browser: Browser) -> None:
    browser.sign_in({**ALICE, "auth_time": None})
    browser.come_back(location(browser.get(PAGE)), ALICE)
    assert shown(browser.get(PAGE))


def test_a_script_that_asks_too_late_gets_the_way_to_a_fresh_sign_in(world: World, signed_in: Browser) -> None:
    world.now += HOUR
    document = problem_of(signed_in.get(PAGE, {**SCRIPT, "referer": ORIGIN + PAGE}), 401)
    assert document["code"] == "insufficient_user_authentication"
    asked = query_of(location(signed_in.get(document["login_url"])))
    assert asked["max_age"] == str(RECENT // 2)


def test_a_store_that_fails_is_said_to(world: World, signed_in: Browser) -> None:
    world.broken[ask.FindUserSessions] = StoreUnavailable("away")
    assert code_of(signed_in.get(PAGE)) == "store_unavailable"


# Signing out elsewhere -------------------------------------------------------------------------------------


def after(browser: Browser, outcome: Any) -> Any:
    """What the page says after a form."""
    assert location(outcome).startswith(f"{PAGE}?done=")
    return shown(browser.get(location(outcome)))["ended"]


def test_one_is_signed_out_and_no_other(world: World, signed_in: Browser) -> None:
    lost, other = another(world, answer="yes"), another(world)
    session = lost.session
    assert session is not None
    assert after(signed_in, signed_in.post(PAGE, {"session": session.id})) == 1
    assert problem_of(lost.get("/", SCRIPT), 401)["reason"] == "revoked"
    assert forwarded(signed_in.get("/", SCRIPT))
    assert forwarded(other.get("/", SCRIPT))
    assert world.store.read_mark([ALICE_KEY], world.now) == Mark()
    # And it does not come back without a word, nine days later and without our cookie.
    world.now += 9 * DAY
    lost.jar.clear()
    silent = {**ALICE, "auth_time": session.auth_time, "sid": session.sids[0]}
    assert query_of(location(lost.come_back(lost.begin(), silent)))["prompt"] == "login"


def test_all_others_are_signed_out_and_this_one_stays(world: World, signed_in: Browser) -> None:
    others = [another(world) for _ in range(3)]
    bob = another(world, BOB)
    assert after(signed_in, signed_in.post(PAGE, {"others": "1"})) == 3
    for browser in others:
        assert problem_of(browser.get("/", SCRIPT), 401)["reason"] == "revoked"
    assert forwarded(signed_in.get("/", SCRIPT))
    assert forwarded(bob.get("/", SCRIPT))
    assert shown(signed_in.get(PAGE))["others"] == 0


def test_so_is_a_sign_in_that_is_under_way_elsewhere(world: World, signed_in: Browser) -> None:
    other = Browser(world)
    url = other.begin()
    assert after(signed_in, signed_in.post(PAGE, {"others": "1"})) == 0
    assert code_of(other.come_back(url)) == "sign_in_revoked"


def test_the_log_says_that_it_was_the_persons_own_page(
    world: World, signed_in: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "kmsi_middleware.sessions")
    signed_in.post(PAGE, {"session": id_of(another(world))})
    another(world)
    signed_in.post(PAGE, {"others": "1"})
    assert caplog.text.count('"by":"page"') == 2


def test_nobody_elses_session_is_ended_whatever_id_is_sent(world: World, signed_in: Browser) -> None:
    bob = another(world, BOB)
    assert after(signed_in, signed_in.post(PAGE, {"session": id_of(bob)})) == 0
    assert forwarded(bob.get("/", SCRIPT))


def test_what_is_gone_already_is_as_good_as_ended(world: World, signed_in: Browser) -> None:
    other = another(world)
    session = id_of(other)
    other.post("/.auth/logout")
    assert after(signed_in, signed_in.post(PAGE, {"session": session})) == 0
    assert after(signed_in, signed_in.post(PAGE, {"session": "00" * 32})) == 0
    assert world.tombstones() == ["signed_out"]


@pytest.mark.parametrize(
    "form",
    [
        *({}, {"session": ""}, {"session": "zz"}, {"session": "00" * 31}),
        *({"session": "00" * 32, "others": "1"}, {"others": "1", "ask_again": "1"}),
    ],
)
def test_a_form_that_does_not_say_which_is_refused(world: World, signed_in: Browser, form: dict[str, str]) -> None:
    other = another(world)
    assert code_of(signed_in.post(PAGE, form)) == "bad_session"
    assert forwarded(other.get("/", SCRIPT))


def test_who_ticked_dont_show_again_can_have_the_question_back(world: World, browser: Browser) -> None:
    for person, answer in ((BOB, "no"), (ALICE, "yes")):
        at = location(browser.come_back(browser.begin("/.auth/login?prompt=login"), person))
        browser.reply_to(at, answer, dont_show_again="1")
    context = shown(browser.get(PAGE))
    assert (context["keeps_answer"], context["asks_again"]) == (True, False)
    outcome = browser.post(PAGE, {"ask_again": "1"})
    context = shown(browser.get(location(outcome)))
    assert (context["keeps_answer"], context["asks_again"], context["ended"]) == (False, True, None)
    assert browser.persistent  # of this session nothing changes
    url = browser.begin("/.auth/login?prompt=login")
    assert location(browser.come_back(url, ALICE)).startswith("/.auth/kmsi?")
    assert location(browser.come_back(browser.begin("/.auth/login?prompt=login"), BOB)) == "/"
    # Bob's own answer is another one.
    assert shown(browser.get(PAGE))["keeps_answer"]
    assert not shown(another(world, BOB).get(PAGE))["keeps_answer"]


def test_the_question_is_given_back_after_a_fresh_sign_in_only_and_on_no_other_sites_word(
    world: World, browser: Browser
) -> None:
    browser.sign_in(answer="yes", dont_show_again="1")
    kept = browser.jar[COOKIE + ".r"]
    evil = {**NAVIGATION, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert code_of(browser.post(PAGE, {"ask_again": "1"}, evil)) == "cross_site_form"
    world.now += HOUR
    assert location(browser.post(PAGE, {"ask_again": "1"})) == PAGE
    assert browser.jar[COOKIE + ".r"] == kept


def test_this_browsers_own_session_is_not_ended_here(signed_in: Browser) -> None:
    assert code_of(signed_in.post(PAGE, {"session": id_of(signed_in)})) == "bad_session"
    assert forwarded(signed_in.get("/", SCRIPT))


@pytest.mark.parametrize(
    "headers",
    [
        {**NAVIGATION, "origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {**NAVIGATION, "origin": "https://other.example.com", "sec-fetch-site": "same-site"},
        {**NAVIGATION, "origin": "null", "sec-fetch-site": "same-origin"},
        {"accept": "text/html"},
    ],
)
def test_a_form_of_another_site_is_refused(world: World, signed_in: Browser, headers: dict[str, str]) -> None:
    other = another(world)
    assert code_of(signed_in.post(PAGE, {"others": "1"}, headers)) == "cross_site_form"
    assert forwarded(other.get("/", SCRIPT))


def test_a_form_that_comes_too_late_ends_nothing_and_leads_to_a_fresh_sign_in(world: World, signed_in: Browser) -> None:
    other = another(world)
    shown(signed_in.get(PAGE))
    world.now += RECENT + 2 * MINUTE
    assert location(signed_in.post(PAGE, {"others": "1"})) == PAGE
    assert query_of(location(signed_in.get(PAGE)))["max_age"] == str(RECENT // 2)
    assert forwarded(other.get("/", SCRIPT))


@pytest.mark.parametrize("ended", ["7", "x", ""])
def test_what_was_ended_is_said_on_our_word_only_and_for_a_minute(signed_in: Browser, ended: str) -> None:
    assert shown(signed_in.get(f"{PAGE}?done={ended}"))["ended"] is None
    outcome = signed_in.post(PAGE, {"others": "1"})
    signed_in.world.now += 3 * MINUTE
    assert shown(signed_in.get(location(outcome)))["ended"] is None


def test_the_use_of_the_page_renews_the_session(world: World) -> None:
    world.configure(missing_auth_time="trust_sign_in")
    browser = another(world, answer="yes")
    session = browser.session
    assert session is not None
    fresh = replace(session, auth_time=int(world.now) + HOUR, version=session.version + 1)
    world.store.save(fresh, world.now)
    world.now += HOUR
    assert len(set_cookies(browser.get(PAGE))) == 1
    kept = world.store.load(key_of(browser.token), world.now)
    assert isinstance(kept, Session)
    assert kept.renewed_at == world.now
