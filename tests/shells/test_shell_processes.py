"""Restarts, and several processes on one SQLite file."""

from __future__ import annotations

import sqlite3
import stat

import pytest
from tests.shells.shell_support import HOME, HOUR, JWT, Browser, World


@pytest.fixture
def files(kept_world: World) -> World:
    return kept_world


def restart(world: World, **settings: object) -> None:
    parts = world.at[HOME].parts
    parts.services.close()
    parts.idp.close()
    world.app(**settings)


def settle(browser: Browser) -> None:
    for _ in range(3):
        assert browser.visit("/page").status == 200


def test_a_restart_signs_nobody_out(files: World) -> None:
    files.app()
    browser, waiting = files.browser(), files.browser()
    browser.sign_in("mia", "yes", at="/set?x=1")
    page = waiting.submit(waiting.visit("/page"), pick="mia")
    half = files.browser()
    begun = half.visit("/page")
    restart(files)
    assert browser.visit("/page").json()["data"] == {"x": "1"}
    assert waiting.submit(page, answer="no").url == f"{HOME}/page"  # the question went on waiting
    assert half.submit(begun, pick="gus").url == f"{HOME}/page"  # and so did the provider's page
    browser.close()
    assert browser.who() == "Mia Member"


def test_the_embedded_secret_is_kept_for_its_owner_only(files: World) -> None:
    files.app()
    secret = files.folder / "main" / "secret.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_text()
    assert len(before) >= 32
    restart(files)
    assert secret.read_text() == before
    assert stat.S_IMODE((files.folder / "main").stat().st_mode) == 0o700
    names = {path.name for path in (files.folder / "main").iterdir()}
    assert not [name for name in names if name.startswith(".secret")]


def test_with_given_keys_no_secret_is_kept(files: World) -> None:
    files.app(secret_keys=["k" * 32])
    assert not (files.folder / "main" / "secret.key").exists()


def test_keys_rotate_without_a_sign_out(files: World) -> None:
    files.app(secret_keys=["a" * 32])
    browser, waiting = files.browser(), files.browser()
    browser.sign_in("mia", "yes")
    page = waiting.submit(waiting.visit("/page"), pick="mia")
    begun = files.browser()
    half = begun.visit("/page")
    restart(files, secret_keys=["a" * 32, "b" * 32])
    assert browser.who() == "Mia Member"
    assert waiting.submit(page, answer="yes").url == f"{HOME}/page"
    assert begun.submit(half, pick="gus").url == f"{HOME}/page"
    restart(files, secret_keys=["b" * 32])
    assert browser.who() == "Mia Member"


def test_a_sign_out_in_one_process_is_seen_at_once_in_the_other(files: World) -> None:
    one = files.app()
    two = files.app()
    browser = files.browser()
    browser.sign_in("mia", "yes")
    copy = files.browser(jar=dict(browser.jar))
    settle(copy)
    loads: list[object] = []
    load = two.parts.services.store.load
    two.parts.services.store.load = lambda *args: (loads.append(args), load(*args))[1]
    settle(copy)
    assert loads == []  # the fast path
    files.at[HOME] = one
    browser.sign_out()
    files.at[HOME] = two
    calls = len(two.small.calls)
    assert copy.fetch("/page").json()["reason"] == "signed_out"
    assert copy.who() is None
    assert len(two.small.calls) == calls


def test_a_session_that_ends_while_it_is_loaded_is_not_settled(files: World) -> None:
    one, two = files.app(), files.app()
    browser = files.browser()
    browser.sign_in("mia", "yes")
    settle(browser)
    files.clock.pass_(2 * HOUR)  # to be renewed, and then settled anew
    settled = browser.visit("/page")
    assert settled.status == 200
    store = two.parts.services.store
    load, end = store.load, one.parts.services.store.end
    loaded: list[object] = []

    def slow(key: bytes, now: float) -> object:
        found = load(key, now)
        loaded.append(end(key, "signed_out", now))
        return found

    store.load = slow
    assert browser.visit("/page").status == 200  # it started before the sign-out
    assert loaded == [True]
    store.load = load
    calls = len(two.small.calls)
    assert browser.fetch("/page").json()["reason"] == "signed_out"
    assert len(two.small.calls) == calls


def test_what_one_process_saves_the_other_shows_at_once(files: World) -> None:
    one, two = files.app(), files.app()
    browser = files.browser()
    browser.sign_in()
    settle(browser)
    for number in range(4):
        files.at[HOME] = (one, two)[number % 2]
        settle(browser)
        browser.visit(f"/set?x={number}")
        files.at[HOME] = (two, one)[number % 2]
        assert browser.visit("/page").json()["data"] == {"x": str(number)}


def test_a_sign_in_may_go_through_every_process(files: World) -> None:
    one, two = files.app(), files.app()
    browser = files.browser()
    page = browser.visit("/page")
    files.at[HOME] = one
    page = browser.submit(page, pick="mia")
    files.at[HOME] = two
    before = dict(browser.jar)
    assert browser.submit(page, answer="yes").url == f"{HOME}/page"
    browser.jar = before
    files.at[HOME] = one
    assert browser.submit(page, answer="yes").url == f"{HOME}/page"
    assert browser.who() == "Mia Member"


def test_the_database_holds_nothing_that_signs_in(files: World) -> None:
    files.app()
    browser = files.browser()
    browser.sign_in("mia", "yes")
    cookie = browser.session_cookie()
    assert cookie is not None
    settle(browser)
    at = files.at[HOME].parts
    at.services.close()
    at.idp.close()
    for path in (files.folder / "main").iterdir():
        content = path.read_bytes()
        assert cookie.value.encode() not in content, path
        if path.name == "sessions.sqlite3":
            assert not JWT.search(content)
            with sqlite3.connect(path) as database:
                assert database.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
            database.close()


def test_nothing_opens_before_the_first_use(files: World) -> None:
    files.app(secret_keys=["k" * 32])
    assert not (files.folder / "main" / "sessions.sqlite3").exists()
    assert not (files.folder / "main" / "idp.sqlite3").exists()
    files.browser().fetch("/page")
    files.clock.pass_(HOUR)
    assert not (files.folder / "main" / "sign-ins.sqlite3").exists()
