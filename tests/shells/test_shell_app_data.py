"""The app's own data: ``request.session``, ``environ["kmsi.session"]``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.shells.shell_support import HOME, Browser, World, overheard

from kmsi_middleware.vocabulary.errors import StoreUnavailable


def meanwhile(work: Callable[[], Any]) -> Callable[[], None]:
    """``work`` in another thread, from begin to end: another request of the same person's."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    def start() -> None:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    return start


def data(browser: Browser) -> Any:
    return browser.visit("/page").json()["data"]


def test_data_is_kept_across_requests(any_world: World) -> None:
    any_world.app()
    browser, other = any_world.browser(), any_world.browser()
    browser.sign_in()
    other.sign_in()  # the same person in another browser has a session of their own
    assert browser.visit("/set?colour=blue&size=3").json()["data"] == {"colour": "blue", "size": "3"}
    for _ in range(3):
        assert data(browser) == {"colour": "blue", "size": "3"}
    browser.visit("/remove?name=size")
    browser.visit("/set?colour=red")
    for _ in range(3):
        assert data(browser) == {"colour": "red"}
    assert data(other) == {}


def test_a_change_inside_a_stored_value_counts(any_world: World) -> None:
    any_world.app()
    browser = any_world.browser()
    browser.sign_in()
    browser.visit("/append?item=1")
    for item in "234":
        browser.visit(f"/nest?item={item}")
        assert data(browser) == data(browser)
    assert data(browser) == {"items": ["1", "2", "3", "4"]}


def test_reading_writes_nothing(any_world: World) -> None:
    app = any_world.app()
    browser = any_world.browser()
    browser.sign_in(at="/append?item=1")
    saves: list[Any] = []
    with overheard(app.parts.services.store, "save", before=lambda *args: saves.append(args)):
        for _ in range(3):
            data(browser)
        assert saves == []
        browser.visit("/nest?item=2")
    assert len(saves) == 1


def test_of_two_requests_at_the_same_time_both_keep_their_changes(any_world: World) -> None:
    app = any_world.app()
    browser = any_world.browser()
    browser.sign_in(at="/set?same=0&gone=0")
    data(browser)  # settled
    app.small.during = meanwhile(lambda: browser.visit("/set?same=theirs&theirs=1"))
    browser.visit("/wait?same=mine&mine=1")
    assert data(browser) == {"same": "mine", "gone": "0", "theirs": "1", "mine": "1"}
    app.small.during = meanwhile(lambda: browser.visit("/remove?name=gone"))
    browser.visit("/wait?mine=2")
    assert data(browser) == {"same": "mine", "theirs": "1", "mine": "2"}


def test_what_is_written_after_a_sign_out_meanwhile_brings_no_session_back(any_world: World) -> None:
    app = any_world.app()
    browser = any_world.browser()
    browser.sign_in()
    copy = any_world.browser(jar=dict(browser.jar))
    app.small.during = meanwhile(browser.sign_out)
    assert copy.visit("/wait?x=1").status == 200
    assert copy.who() is None
    assert copy.fetch("/page").status == 401


def test_writing_without_a_session_raises(world: World, browser: Browser) -> None:
    world.app(public_paths=["/set", "/page"])
    answer = browser.visit("/set?x=1")
    assert (answer.status, answer.json()) == (409, {"code": "session_required"})
    assert data(browser) == {}


def test_what_can_not_be_kept_fails_the_request_and_keeps_nothing(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in(at="/set?x=1")
    with pytest.raises(TypeError, match=r"session\['thing'\] can't be kept, it is no JSON: Object of type object"):
        browser.visit("/unjson")
    assert data(browser) == {"x": "1"}


def test_data_is_saved_before_the_response_starts(any_world: World) -> None:
    app = any_world.app()
    browser = any_world.browser()
    browser.sign_in()
    with overheard(app.parts.services.store, "save", after=lambda *_: app.events.append("saved")):
        for path in ("/set?x=1", "/stream?x=2", "/set?x=3"):
            app.events.clear()
            browser.visit(path)
            assert app.events == ["saved", ("start", 200)]


def test_what_is_changed_after_the_response_has_started_is_lost_and_said_to_be(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    world.app()
    browser.sign_in(at="/stream?x=1")
    browser.visit("/set?x=2")
    assert "response had started" not in caplog.text
    assert browser.visit("/late").text == "one two three"
    assert [text for text in caplog.messages if "response had started" in text] == [
        "session['late'] was changed after the response had started: such changes are not kept"
    ]
    assert data(browser) == {"x": "2"}


def test_an_app_that_starts_its_response_late_is_not_late(wsgi_world: World, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        environ["kmsi.session"]["n"] = environ["kmsi.session"].get("n", 0) + 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield str(environ["kmsi.session"]["n"]).encode()

    wsgi_world.serve(wsgi_world.middleware(app))
    browser = wsgi_world.browser()
    assert browser.sign_in().text == "1"
    assert [browser.visit("/").text for _ in range(2)] == ["2", "3"]
    assert "response had started" not in caplog.text


@pytest.mark.parametrize("path", ["/set?x=1", "/stream?x=1"])
def test_a_store_that_fails_to_save_makes_it_a_503_without_the_apps_body(any_world: World, path: str) -> None:
    app = any_world.app()
    browser = any_world.browser()
    browser.sign_in(at="/set?x=0")

    def failing(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    for _ in range(2):  # as a first request and as one that passes
        with overheard(app.parts.services.store, "save", before=failing):
            answer = browser.visit(path)
            assert answer.status == 503
            assert answer.header("retry-after")
            assert "store_unavailable" in answer.text
            for body in ("one two", '"data"'):
                assert body not in answer.text
            assert answer.cookies == []
            assert browser.request("HEAD", path).status == 503  # and no body
            script = browser.fetch(path)
            assert (script.status, script.json()["code"]) == (503, "store_unavailable")
        assert data(browser) == {"x": "0"}
    assert browser.visit(path).status == 200


def test_a_store_that_fails_to_load_signs_nobody_out(any_world: World) -> None:
    app = any_world.app()
    browser = any_world.browser()
    browser.sign_in()
    any_world.clock.pass_(7_200)  # no longer settled
    calls = len(app.small.calls)

    def failing(*_: Any) -> None:
        raise StoreUnavailable("the disk is gone")

    with overheard(app.parts.services.store, "load", before=failing):
        page, script = browser.visit("/page"), browser.fetch("/page")
        me, out = browser.fetch("/.auth/me"), browser.post("/.auth/logout", {})
        for answer in (page, script, me, out):
            assert answer.status == 503
            assert answer.header("retry-after")
            assert answer.cookies == []
            assert answer.trail == []
        assert script.json()["code"] == "store_unavailable"
        assert "store_unavailable" in page.text
        assert len(app.small.calls) == calls
        assert any_world.browser().fetch("/page").status == 401  # who has no cookie needs no store
    assert browser.visit("/page").status == 200
    assert browser.who() == "Mia Member"


def test_a_store_that_fails_during_a_sign_in_signs_nobody_in(any_world: World) -> None:
    app = any_world.app()
    browser = any_world.browser()

    def failing(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    with overheard(app.parts.services.store, "create", before=failing):
        page = browser.submit(browser.visit("/page"), pick="gus")
        assert page.status == 503
        assert browser.session_cookie() is None
    assert browser.visit(f"{HOME}/page").json()["kmsi"]["name"] == "Gus Guest"
