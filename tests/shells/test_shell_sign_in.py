"""Sign-in, and "Stay signed in?", as a browser meets them."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import DAY, HOME, IDP, MINUTE, Browser, Page, World, query_of


def records(world: World, origin: str = HOME) -> list[tuple[int, str]]:
    """Number and decision of the sign-in log's records, oldest first."""
    found = world.at[origin].parts.services.log.read(now=world.clock.now)
    return [(record["status"]["errorCode"], record["kmsi"]["decision"]) for record in reversed(found)]


def interrupt(page: Answer) -> bool:
    return Page(page.text).buttons.get("answer") == ["no", "yes"]


def test_who_has_no_session_is_taken_to_the_provider_and_back_to_the_page_asked_for(any_world: World) -> None:
    app = any_world.app()
    browser = any_world.browser()
    page = browser.visit("/deep/page?x=1&y=%2F&z=a+b")
    assert app.small.calls == []
    assert page.url.startswith(f"{HOME}/.auth/idp/authorize?")
    assert [hop.status for hop in page.trail] == [303]
    page = browser.submit(page, pick="mia")
    assert interrupt(page)
    assert app.small.calls == []
    page = browser.submit(page, answer="no")
    assert page.url == f"{HOME}/deep/page?x=1&y=%2F&z=a+b"
    assert page.json()["kmsi"] == {"name": "Mia Member", "persistent": False}
    assert page.json()["query"] == "x=1&y=%2F&z=a+b"
    assert app.small.calls == ["GET /deep/page"]


def test_a_session_begins_only_with_the_answer(world: World, browser: Browser) -> None:
    app = world.app()
    page = browser.submit(browser.visit("/"), pick="mia")
    assert interrupt(page)
    assert browser.session_cookie() is None
    assert browser.who() is None
    assert records(world) == [(50140, "")]
    browser.submit(page, answer="yes")
    assert browser.who() == "Mia Member"
    assert records(world) == [(50140, ""), (0, "answered_yes")]
    log = app.parts.services.log.read(now=world.clock.now)
    assert len({record["correlationId"] for record in log}) == 1


def test_an_abandoned_interrupt_leaves_no_session_and_ends_after_ten_minutes(world: World, browser: Browser) -> None:
    world.app()
    page = browser.submit(browser.visit("/page"), pick="mia")
    world.clock.pass_(10 * MINUTE - 1)
    assert interrupt(browser.click(page.url, page))
    world.clock.pass_(1)
    late = browser.submit(page, answer="yes")
    assert late.status == 400
    assert "interrupt_expired" in late.text
    assert browser.who() is None
    assert query_of(Page(late.text).links[0])["post_login_redirect_uri"] == "/page"
    assert len(world.at[HOME].parts.services.log.read(now=world.clock.now, abandoned=True)) == 1


def test_the_interrupt_asks_for_nobody_who_gains_nothing_by_it(world: World, browser: Browser) -> None:
    world.app()
    page = browser.sign_in("gus", answer=None, at="/page")
    assert page.json()["kmsi"] == {"name": "Gus Guest", "persistent": False}
    assert records(world) == [(0, "guest")]


def test_integrated_windows_authentication_is_not_asked(world: World, browser: Browser) -> None:
    world.app()
    assert browser.sign_in("iwa", answer=None).json()["kmsi"]["persistent"] is False
    assert records(world) == [(0, "silent")]


@pytest.mark.parametrize(
    ("setting", "row"),
    [({"show_option_to_remain_signed_in": False}, "option_off"), ({"keep_me_signed_in_days": 0}, "keeping_off")],
)
def test_the_interrupt_can_be_switched_off(world: World, browser: Browser, setting: dict[str, int], row: str) -> None:
    world.app(**setting)
    assert browser.sign_in("mia", answer=None).json()["kmsi"]["persistent"] is False
    assert records(world) == [(0, row)]


def test_a_sign_in_with_consent_is_not_asked(world: World, browser: Browser) -> None:
    world.app()
    page = browser.visit("/.auth/login?prompt=consent&post_login_redirect_uri=/page")
    page = browser.submit(page, pick="mia")
    page = browser.submit(page, consent="allow")
    assert page.url == f"{HOME}/page"
    assert records(world) == [(0, "consent")]


def test_a_denied_consent_is_a_page_and_no_loop(world: World, browser: Browser) -> None:
    world.app()
    page = browser.visit("/.auth/login?prompt=consent&post_login_redirect_uri=/page")
    page = browser.submit(page, pick="mia")
    page = browser.submit(page, consent="deny")
    assert page.status == 403
    log = world.at[HOME].parts.services.log.read(now=world.clock.now)
    assert [record["status"]["errorCode"] for record in log] == [65004]
    for shown in ("access_denied", log[0]["correlationId"], "2027-01-15T08:00:00Z", "Try again"):
        assert shown in page.text, shown
    assert browser.who() is None


def test_a_double_click_on_the_answer_is_harmless(any_world: World) -> None:
    any_world.app()
    browser = any_world.browser()
    page = browser.submit(browser.visit("/page"), pick="mia")
    before = dict(browser.jar)
    first = browser.submit(page, answer="yes")
    one = browser.session_cookie()
    browser.jar = before  # the second click left before the first one's answer was there
    second = browser.submit(page, answer="yes")
    assert first.url == second.url == f"{HOME}/page"
    assert browser.session_cookie() == one
    assert records(any_world) == [(50140, ""), (0, "answered_yes")]


def test_the_back_button_and_a_reload_are_harmless(world: World, browser: Browser) -> None:
    world.app()
    page = browser.submit(browser.visit("/page"), pick="mia")
    assert interrupt(browser.click(page.url, page))  # a reload
    browser.submit(page, answer="yes")
    kept = browser.session_cookie()
    assert browser.click(page.url, page).url == f"{HOME}/page"  # back to the question
    assert browser.submit(page, answer="yes").url == f"{HOME}/page"  # and the answer once more
    callback = next(hop.url for hop in page.trail if "/callback?" in hop.url)
    assert browser.visit(callback).url == f"{HOME}/page"  # and back once more
    assert browser.session_cookie() == kept
    assert browser.who() == "Mia Member"


def test_a_no_in_another_tab_holds_over_the_yes(world: World, browser: Browser) -> None:
    world.app()
    page = browser.submit(browser.visit("/page"), pick="mia")
    browser.submit(page, answer="yes")
    kept = browser.session_cookie()
    assert browser.submit(page, answer="no").url == f"{HOME}/page"
    left = browser.session_cookie()
    assert kept is not None
    assert left is not None
    assert (left.value, left.until is None, kept.until is None) == (kept.value, True, False)
    assert browser.who() == "Mia Member"
    assert browser.submit(page, answer="yes").url == f"{HOME}/page"  # which changes nothing any more
    assert browser.session_cookie() == left


def test_the_answer_counts_only_from_this_origin_and_this_browser(world: World, browser: Browser) -> None:
    world.app()
    page = browser.submit(browser.visit("/page"), pick="mia")
    ticket = Page(page.text).fields["ticket"]
    form = {"ticket": ticket, "answer": "yes"}
    assert browser.post("/.auth/kmsi", form, source="http://localhost:9999/").status == 403
    assert browser.post("/.auth/kmsi", form, source="https://evil.example/").status == 403
    other = world.browser()
    assert other.post("/.auth/kmsi", form, source=page.url).status == 400
    assert other.who() is None
    assert browser.who() is None
    assert browser.submit(page, answer="no").url == f"{HOME}/page"


@pytest.mark.parametrize("form", [{}, {"answer": "yes"}, {"ticket": "x", "answer": "yes"}, {"ticket": "x"}])
def test_a_made_up_answer_is_refused(world: World, browser: Browser, form: dict[str, str]) -> None:
    world.app()
    assert browser.post("/.auth/kmsi", form).status == 400
    assert browser.names() == []


def test_do_not_show_this_again_keeps_the_answer_for_this_person_in_this_browser(
    world: World, browser: Browser
) -> None:
    world.app()
    browser.sign_in("mia", "no", dont_show_again="1")
    browser.sign_out()
    assert browser.sign_in("mia", answer=None).json()["kmsi"]["persistent"] is False
    assert records(world)[-1] == (0, "remembered_answer")
    browser.sign_out()
    browser.sign_in("rita", "yes")  # somebody else is asked


def test_signing_out_forgets_a_yes(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in("mia", "yes", dont_show_again="1")
    browser.sign_out()
    assert interrupt(browser.submit(browser.visit("/"), pick="mia"))


def test_ten_tabs_sign_in_at_the_same_time(any_world: World) -> None:
    any_world.app()
    browser = any_world.browser()
    tabs = [browser.visit(f"/tab/{number}") for number in range(10)]
    assert len(browser.names()) == 10
    ends = []
    for number, tab in enumerate(tabs):
        page = browser.submit(tab, pick="mia")
        ends.append((browser.submit(page, answer="yes") if number == 0 else page).url)
    assert ends == [f"{HOME}/tab/{number}" for number in range(10)]
    assert browser.names() == ["kmsi-8000"]


def test_of_two_tabs_with_different_answers_the_last_holds_and_one_session_remains(any_world: World) -> None:
    any_world.app()
    browser = any_world.browser()
    first, second = browser.visit("/one"), browser.visit("/two")
    first, second = browser.submit(first, pick="mia"), browser.submit(second, pick="mia")
    assert interrupt(first)
    assert interrupt(second)
    assert browser.submit(first, answer="yes").json()["kmsi"]["persistent"] is True
    replaced = browser.session_cookie()
    page = browser.submit(second, answer="no")
    assert page.url == f"{HOME}/two"
    assert page.json()["kmsi"]["persistent"] is False
    left = browser.session_cookie()
    assert replaced is not None
    assert left is not None
    assert left.value != replaced.value
    assert left.until is None
    old = any_world.browser()
    old.plant("kmsi-8000", replaced.value)
    answer = old.fetch("/")
    assert (answer.status, answer.json()["reason"]) == (401, "replaced")


def test_outstanding_sign_ins_are_bounded_in_number_and_size(world: World, browser: Browser) -> None:
    world.app(cookie_name="a" * 40)
    tabs = []
    for number in range(40):
        tabs.append(browser.visit(f"/tab/{number}/" + "x" * 900))
        world.clock.pass_(1)
    for tab in tabs[-8:]:
        browser.submit(tab, pick="mia")
    ours = [cookie for cookie in browser.jar.values() if cookie.name.startswith("a" * 40)]
    assert sum(len(f"{cookie.name}={cookie.value}; ") for cookie in ours) <= 4_096
    assert len(ours) > 10
    page = browser.submit(tabs[0], pick="mia")  # the oldest went
    assert page.status == 400
    assert "no_cookies" in page.text


def test_a_tab_that_comes_back_after_an_hour_starts_anew(world: World, browser: Browser) -> None:
    world.app()
    page = browser.visit("/page")
    world.clock.pass_(3_601)
    late = browser.submit(page, pick="mia")
    assert late.status == 400
    assert browser.who() is None


def test_a_callback_is_good_once(world: World, browser: Browser) -> None:
    world.app()
    page = browser.submit(browser.visit("/page"), pick="gus")
    callback = next(hop.url for hop in page.trail if "/callback?" in hop.url)
    stolen = world.browser()
    stolen.jar = {key: cookie for key, cookie in browser.jar.items() if "kmsi-8000" not in key[2]}
    again = stolen.visit(callback)
    assert again.status == 400
    assert stolen.who() is None
    made_up = browser.visit("/.auth/callback?code=x&state=y")
    assert made_up.status == 400
    assert "state_unknown" in made_up.text
    assert browser.who() == "Gus Guest"


def test_a_callback_from_another_browser_is_refused(world: World, browser: Browser) -> None:
    world.app()
    mallory = world.browser()
    callback = mallory.submit(mallory.visit("/page"), pick="gus").trail[-1]
    url = next(hop.url for hop in [callback] if "/callback?" in hop.url)
    assert browser.visit(url).status == 400
    assert browser.who() is None


def test_a_browser_that_keeps_no_cookies_gets_a_page_that_says_so(world: World) -> None:
    world.provider(HOME)
    world.client()
    browser = world.browser(keeps=lambda host: host != "localhost")
    page = browser.submit(browser.visit("/page"), pick="mia")
    assert page.status == 400
    assert "no_cookies" in page.text
    again = browser.click(Page(page.text).links[0], page)  # a person's try, not a loop of the browser's
    assert again.status == 400
    assert "no_cookies" in again.text


def test_form_post_decides_nothing_until_the_browser_comes_back_by_get(any_world: World) -> None:
    any_world.provider(HOME)
    any_world.client(response_mode="form_post")
    browser = any_world.browser()
    page = browser.submit(browser.visit("/page?q=1"), pick="mia")
    assert Page(page.text).action == f"{HOME}/.auth/callback"  # the provider's page that posts the answer
    assert "code" in Page(page.text).fields
    back = browser.submit(page)
    assert [(hop.status, hop.cookies) for hop in back.trail[:1]] == [(303, [])]
    assert "code" not in query_of(back.trail[0].header("location"))
    assert interrupt(back)
    assert browser.submit(back, answer="yes").url == f"{HOME}/page?q=1"


def test_a_form_post_ticket_is_good_for_a_minute(world: World, browser: Browser) -> None:
    world.provider(HOME)
    world.client(response_mode="form_post")
    page = browser.submit(browser.visit("/page"), pick="gus")
    body = urlencode(Page(page.text).fields).encode()
    headers = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-mode", "navigate")]
    bounced = world.at[HOME]("POST", f"{HOME}/.auth/callback", headers, body)
    world.clock.pass_(61)
    late = browser.visit(bounced.header("location"))
    assert late.status == 400
    assert "sign_in_late" in late.text
    assert browser.who() is None


def test_an_unreachable_provider_is_a_page_with_a_code_and_never_a_loop(world: World, browser: Browser) -> None:
    app = world.app(issuer="http://127.0.0.1:1", client_id="app", secret_keys=["0" * 32], base_url=HOME)
    page = browser.visit("/page")
    assert page.status == 503
    assert page.header("retry-after")
    assert "provider_unavailable" in page.text
    assert browser.names() == []
    assert app.small.calls == []
    assert browser.fetch("/page").status == 401  # a script needs no provider


@pytest.mark.parametrize(
    ("asked", "end"),
    [
        ("/page?x=1", "/page?x=1"),
        (f"{HOME}/page", "/page"),
        ("/" + "x" * 2_000, "/"),
        ("/.auth/logout", "/"),
        ("", "/"),
    ],
)
def test_the_return_target_is_a_path_of_this_origin(world: World, browser: Browser, asked: str, end: str) -> None:
    world.app()
    page = browser.visit(f"/.auth/login?post_login_redirect_uri={quote(asked, safe='')}")
    assert browser.submit(page, pick="gus").url == HOME + end


@pytest.mark.parametrize(
    "asked",
    ["//evil.example/", "/\\evil.example", "https://evil.example/", "/\tx", "/x\r\ny", "javascript:alert(1)", "page"],
)
def test_any_other_return_target_is_refused(world: World, browser: Browser, asked: str) -> None:
    world.app()
    page = browser.visit(f"/.auth/login?post_login_redirect_uri={quote(asked, safe='')}")
    assert (page.status, page.trail) == (400, [])
    assert "bad_return_target" in page.text
    assert browser.names() == []


def test_login_goes_straight_to_the_page_where_there_is_a_session(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    page = browser.visit("/.auth/login?post_login_redirect_uri=/page")
    assert (page.url, len(page.trail)) == (f"{HOME}/page", 1)
    assert "/idp/authorize" in browser.visit("/.auth/login?prompt=login").url


def test_signing_in_again_gives_a_new_token_and_the_old_one_stops_working(any_world: World) -> None:
    any_world.app()
    browser = any_world.browser()
    browser.sign_in(at="/set?colour=blue")
    old = browser.session_cookie()
    page = browser.visit("/.auth/login?prompt=login&post_login_redirect_uri=/page")
    page = browser.submit(browser.submit(page, pick="mia"), answer="no")
    assert page.json()["data"] == {"colour": "blue"}  # the same person
    new = browser.session_cookie()
    assert old is not None
    assert new is not None
    assert new.value != old.value
    thief = any_world.browser()
    thief.plant("kmsi-8000", old.value)
    assert thief.who() is None
    page = browser.visit("/.auth/login?prompt=login&post_login_redirect_uri=/page")
    page = browser.submit(page, pick="gus")
    assert page.json()["data"] == {}  # somebody else


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_third_party_can_start_a_sign_in(world: World, browser: Browser, method: str) -> None:
    world.app()
    given = {"iss": f"{HOME}/.auth/idp", "login_hint": "mia", "target_link_uri": f"{HOME}/page"}

    def start() -> Answer:
        if method == "POST":
            return browser.post("/.auth/initiate-login", given, source="https://portal.example/")
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())
        return browser.visit(f"/.auth/initiate-login?{query}", source="https://portal.example/")

    page = start()
    assert query_of(page.url)["login_hint"] == "mia"
    page = browser.submit(browser.submit(page, pick="mia"), answer="yes")
    assert page.url == f"{HOME}/page"
    page = start()
    assert page.url == f"{HOME}/page"
    assert not any("/idp/" in hop.url for hop in page.trail)  # there is a session: straight to the target


@pytest.mark.parametrize("iss", ["https://evil.example", ""])
def test_a_third_party_that_names_another_provider_is_refused(world: World, browser: Browser, iss: str) -> None:
    world.app()
    page = browser.visit(f"/.auth/initiate-login?iss={iss}&target_link_uri=/page")
    assert page.status == 400
    assert "initiate_login_issuer" in page.text


def test_a_second_app_signs_in_by_single_sign_on(world: World, browser: Browser) -> None:
    other = "http://localhost:8001"
    world.provider(HOME, other)
    world.client()
    world.client(other)
    browser.sign_in("mia", "yes")
    world.clock.pass_(DAY // 2)
    page = browser.visit(f"{other}/page")
    assert page.url == f"{other}/page"  # silent: the provider's session is old, and nobody was asked
    assert page.json()["kmsi"] == {"name": "Mia Member", "persistent": False}
    assert records(world, other) == [(0, "silent")]
    assert any(hop.url.startswith(IDP) for hop in page.trail)
    assert browser.who() == "Mia Member"
