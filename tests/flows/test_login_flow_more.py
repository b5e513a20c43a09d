"""``/.auth/login`` for whoever can't be taken through a sign-in, and from other sites; and how many failures of one
address are written down."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from tests.flows.flow_support import (
    ALICE,
    BOB,
    CROSS_SITE,
    FRAME,
    ISSUER,
    MINUTE,
    NAVIGATION,
    ORIGIN,
    PREFETCH,
    SCRIPT,
    Browser,
    World,
    code_of,
    headers_of,
    location,
    page_of,
    problem_of,
    query_of,
    set_cookies,
)

from kmsi_middleware.edges.unmatched import UnmatchedCounter
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import ProviderUnavailable
from kmsi_middleware.vocabulary.messages import Reply

LOGIN = "/.auth/login?post_login_redirect_uri=/orders"
HTMX = {**SCRIPT, "hx-request": "true", "hx-current-url": f"{ORIGIN}/page?x=1"}
FETCH_OF_HTML = {**SCRIPT, "accept": "text/html"}
SAME_SITE_FRAME = {**FRAME, "sec-fetch-site": "same-origin"}
JQUERY = {"accept": "*/*", "x-requested-with": "XMLHttpRequest"}
CURL = {"accept": "*/*", "user-agent": "curl"}
NO_NAVIGATION = {
    "script": SCRIPT,
    "htmx": HTMX,
    "fetch of html": FETCH_OF_HTML,
    "frame": FRAME,
    "own frame": SAME_SITE_FRAME,
    "jquery": JQUERY,
    "curl": CURL,
}


# Who can't be redirected -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", "&prompt=login", "&prompt=none"])
@pytest.mark.parametrize("kind", NO_NAVIGATION)
@pytest.mark.parametrize("signed_in", [False, True])
def test_login_sends_nobody_to_the_provider_who_could_not_come_back(
    world: World, browser: Browser, kind: str, prompt: str, signed_in: bool
) -> None:
    if signed_in:
        browser.sign_in()
    token, sessions = browser.token, world.live()
    outcome = browser.get(LOGIN + prompt, NO_NAVIGATION[kind])
    assert isinstance(outcome, Reply)
    assert outcome.status == 401
    said = headers_of(outcome)
    assert "location" not in said
    assert said["www-authenticate"].startswith("Cookie ")
    assert set_cookies(outcome) == ()
    assert world.asked == [], "nothing is looked up, and nothing begins"
    assert (browser.token, world.live()) == (token, sessions)


IMAGE = {"accept": "image/*", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image", "sec-fetch-site": "same-site"}


@pytest.mark.parametrize("headers", [*NO_NAVIGATION.values(), IMAGE], ids=[*NO_NAVIGATION, "image"])
@pytest.mark.parametrize("signed_in", [False, True])
def test_nor_does_what_a_third_party_starts(
    world: World, browser: Browser, headers: dict[str, str], signed_in: bool
) -> None:
    """Else a page of a sibling subdomain's could begin sessions behind a person's back (ASVS 7.6.2)."""
    if signed_in:
        browser.sign_in()
    token, sessions = browser.token, world.live()
    outcome = browser.get("/.auth/initiate-login?" + urlencode({"iss": ISSUER, "target_link_uri": "/orders"}), headers)
    assert isinstance(outcome, Reply)
    assert outcome.status == 401
    assert set_cookies(outcome) == ()
    assert world.asked == []
    assert (browser.token, world.live()) == (token, sessions)


def test_a_script_is_told_where_a_person_can_sign_in(browser: Browser) -> None:
    problem = problem_of(browser.get(LOGIN, {**SCRIPT, "referer": f"{ORIGIN}/page?x=1"}), 401)
    assert problem["code"] == "no_session"
    assert query_of(problem["login_url"]) == {"post_login_redirect_uri": "/page?x=1"}


def test_htmx_is_sent_to_the_login_by_its_own_header(browser: Browser) -> None:
    outcome = browser.get(LOGIN, HTMX)
    assert problem_of(outcome, 401)["code"] == "no_session"
    assert query_of(headers_of(outcome)["hx-redirect"]) == {"post_login_redirect_uri": "/page?x=1"}
    assert headers_of(outcome)["hx-redirect"].startswith("/.auth/login?")


@pytest.mark.parametrize("kind", [kind for kind in NO_NAVIGATION if kind != "htmx"])
def test_nobody_but_htmx_is_sent_its_header(browser: Browser, kind: str) -> None:
    outcome = browser.get(LOGIN, NO_NAVIGATION[kind])
    assert "hx-redirect" not in headers_of(outcome)


@pytest.mark.parametrize("kind", ["frame", "own frame", "fetch of html"])
def test_a_frame_shows_a_page_with_a_link_and_only_this_app_may_frame_it(browser: Browser, kind: str) -> None:
    page = page_of(browser.get(LOGIN, NO_NAVIGATION[kind]), 401)
    assert page.name == "session_ended.html"
    assert page.context["code"] == "no_session"
    assert page.frame_ancestors == ("'self'",)
    assert page.context["login_url"].startswith("/.auth/login?")


def test_the_login_that_a_script_is_told_of_is_never_told_to_return_to_itself(browser: Browser) -> None:
    problem = problem_of(browser.get(LOGIN, {**SCRIPT, "referer": f"{ORIGIN}{LOGIN}"}), 401)
    assert ".auth" not in query_of(problem["login_url"])["post_login_redirect_uri"]


def test_a_prefetched_login_begins_nothing(world: World, browser: Browser) -> None:
    assert code_of(browser.get(LOGIN, PREFETCH)) == "prefetch_refused"
    assert world.asked == []


def test_a_bad_target_or_prompt_is_refused_before_anything_else(browser: Browser) -> None:
    assert browser.get("/.auth/login?post_login_redirect_uri=//evil.example.com", SCRIPT).status == 400  # type: ignore[union-attr]
    assert browser.get(f"{LOGIN}&prompt=nobody", SCRIPT).status == 400  # type: ignore[union-attr]


# Other sites' links ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", "none", "login", "select_account", "consent", "create"])
def test_another_sites_link_replaces_no_session(world: World, browser: Browser, prompt: str) -> None:
    browser.sign_in()
    token, sessions, jar = browser.token, world.live(), dict(browser.jar)
    outcome = browser.get(f"{LOGIN}&prompt={prompt}", CROSS_SITE)
    assert location(outcome) == "/orders"
    assert set_cookies(outcome) == ()
    assert [type(effect) for effect in world.asked] == [ask.LoadSession]
    assert (browser.token, world.live(), browser.jar) == (token, sessions, jar)
    assert world.tombstones() == []


@pytest.mark.parametrize("word", ["cross-site", "Cross-Site", "CROSS-SITE"])
def test_how_the_browser_spells_it_makes_no_difference(browser: Browser, word: str) -> None:
    browser.sign_in()
    assert location(browser.get(f"{LOGIN}&prompt=none", {**NAVIGATION, "sec-fetch-site": word})) == "/orders"


@pytest.mark.parametrize("word", ["none", "same-origin", "same-site"])
def test_the_apps_own_link_with_a_prompt_does_ask_again(browser: Browser, word: str) -> None:
    browser.sign_in()
    url = browser.begin(f"{LOGIN}&prompt=none", {**NAVIGATION, "sec-fetch-site": word})
    assert query_of(url)["prompt"] == "none"


def test_another_sites_link_may_start_a_sign_in_where_there_is_no_session(world: World, browser: Browser) -> None:
    url = browser.begin(f"{LOGIN}&prompt=none", CROSS_SITE)
    assert query_of(url)["prompt"] == "none"
    assert world.live() == []


def test_another_sites_link_starts_a_sign_in_where_the_session_is_over(world: World, browser: Browser) -> None:
    browser.sign_in()
    assert browser.session is not None
    world.now = browser.session.expires_at
    browser.begin(f"{LOGIN}&prompt=login", CROSS_SITE)


def test_a_sign_in_that_another_site_began_before_there_was_a_session_leaves_the_session_alone(
    world: World, browser: Browser
) -> None:
    planted = browser.begin(LOGIN, CROSS_SITE)
    browser.sign_in(ALICE)
    token = browser.token
    assert location(browser.come_back(planted, BOB)) == "/orders"
    assert browser.token == token
    assert [session.subject for session in world.live()] == ["alice"]


# How many failures are written down --------------------------------------------------------------------------


def fail(browser: Browser) -> str:
    """A sign-in that the provider refuses. Answer: the code on the page."""
    state = query_of(browser.begin())["state"]
    return code_of(browser.get("/.auth/callback?" + urlencode({"error": "server_error", "state": state}), CROSS_SITE))


@pytest.fixture
def counted(world: World) -> World:
    """With the limit that is in force outside the tests."""
    world.unmatched = UnmatchedCounter()
    return world


def test_of_one_address_sixty_failed_sign_ins_a_minute_are_written_down(counted: World) -> None:
    codes = {fail(Browser(counted)) for _ in range(61)}
    assert len(codes) == 1, "who fails is told why, written down or not"
    assert len(counted.log) == 60
    fail(Browser(counted, address="192.0.2.2"))
    assert len(counted.log) == 61, "another address has its own sixty"
    counted.now += MINUTE - 1
    fail(Browser(counted))
    assert len(counted.log) == 61
    counted.now += 1
    fail(Browser(counted))
    assert len(counted.log) == 62


def test_who_has_a_whole_ipv6_network_has_one_address(counted: World) -> None:
    for number in range(61):
        fail(Browser(counted, address=f"2001:db8::{number:x}"))
    assert len(counted.log) == 60


def test_a_good_sign_in_after_many_failures_is_let_in_and_written_down(counted: World) -> None:
    for _ in range(61):
        fail(Browser(counted))
    browser = Browser(counted)
    browser.sign_in()
    assert browser.session is not None
    assert [record["status"]["errorCode"] for record in counted.log[60:]] == [50140, 0]


def test_while_the_provider_is_away_sixty_of_an_address_are_written_down(counted: World) -> None:
    counted.broken[ask.GetProvider] = ProviderUnavailable("away")
    for _ in range(61):
        assert code_of(Browser(counted).get("/")) == "provider_unavailable"
    assert len(counted.log) == 60


def test_callbacks_that_match_nothing_are_never_written_down(counted: World) -> None:
    for _ in range(61):
        assert code_of(Browser(counted).get("/.auth/callback?code=x&state=unknown", CROSS_SITE)) == "state_unknown"
    assert counted.log == []
    assert counted.unmatched.totals() == {"callback": 61}
