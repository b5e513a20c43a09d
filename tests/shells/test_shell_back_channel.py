"""Back-channel logout: from the provider's server to the apps', whatever the browser does."""

from __future__ import annotations

from tests.shells.shell_support import HOME, IDP, World

FAR = "http://app.localhost:8002"


def test_signing_out_of_one_app_signs_out_of_the_other_although_no_frame_is_loaded(any_world: World) -> None:
    any_world.provider(HOME, FAR, back_channel=True)
    any_world.client(HOME)
    any_world.client(FAR, store=any_world.store_of("far"))
    browser = any_world.browser()
    browser.sign_in("mia", "yes")
    browser.sign_in(at=FAR + "/", user="mia", answer="yes")
    assert browser.who(FAR) == "Mia Member"
    page = browser.post(f"{HOME}/.auth/logout", {})  # and the tab is closed: nothing on the provider's page loads
    assert page.url.startswith(IDP)
    any_world.settle()
    assert browser.who(FAR) is None
    assert browser.fetch(f"{FAR}/page", source=FAR).json()["reason"] == "back_channel"


def test_a_sign_out_reaches_the_session_in_another_browser_of_the_same_provider_session(any_world: World) -> None:
    any_world.provider(HOME, back_channel=True)
    any_world.client(HOME)
    browser = any_world.browser()
    browser.sign_in("mia", "yes")
    copy = any_world.browser(jar={key: kept for key, kept in browser.jar.items() if key[0] == "localhost"})
    somebody_else = any_world.browser()
    somebody_else.sign_in("mia", "yes")
    assert copy.who() == "Mia Member"
    browser.submit(browser.visit(f"{IDP}/end-session"), sign_out="yes")  # at the provider itself
    any_world.settle()
    assert copy.who() is None
    assert somebody_else.who() == "Mia Member"


def test_whatever_is_no_logout_token_is_a_bad_request(any_world: World) -> None:
    any_world.provider(HOME, back_channel=True)
    server = any_world.client(HOME)
    any_world.browser().sign_in("mia", "yes")
    form = [("content-type", "application/x-www-form-urlencoded")]
    for body in (b"", b"logout_token=", b"logout_token=a.b.c", b"\xff\xfe", b"logout_token=" + b"x" * 60_000):
        answer = server("POST", f"{HOME}/.auth/backchannel-logout", form, body)
        assert answer.status == 400
        assert answer.header("cache-control") == "no-store"
        assert answer.json()["error"] == "invalid_request"
    answer = server("POST", f"{HOME}/.auth/backchannel-logout", form, b"x" * 70_000)
    assert answer.status == 413
