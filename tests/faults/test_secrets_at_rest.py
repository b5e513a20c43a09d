"""A copy of everything that is kept on disk signs nobody in and reveals no token; keys rotate, and nobody notices."""

from __future__ import annotations

import sqlite3
from base64 import urlsafe_b64encode
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from quick_provider import NAVIGATION, QuickProvider, sign_in
from tests.shells.shell_support import SECRET, World

OTHER = "fedcba9876543210fedcba9876543210"


def kept(world: World) -> bytes:
    """All bytes in all files: databases, logs of writes, counters, the sign-in log."""
    return b"\n".join(path.read_bytes() for path in sorted(Path(world.folder / "main").rglob("*")) if path.is_file())


def test_a_copy_of_the_database_reveals_no_token(
    world: World, provider: QuickProvider, settings: dict[str, object]
) -> None:
    world.app(**settings, store=world.store_of("main"))
    browsers = {name: world.browser() for name in ("ada", "grace", "barbara")}
    for name, browser in browsers.items():
        sign_in(browser, provider, name)
    browsers["grace"].post("/.auth/logout", {})
    world.app(**settings | {"keep_me_signed_in_days": 30})
    waiting = world.browser()
    sign_in(waiting, provider, "dorothy")  # at the question “Stay signed in?”
    begun = world.browser()
    there = begun.request("GET", "/page", NAVIGATION)
    disk = kept(world)
    assert b"ada" in disk  # this is the file that is meant
    secrets = [part for token in provider.issued for part in token.split(".")]
    secrets += [cookie.value for browser in (*browsers.values(), waiting, begun) for cookie in browser.jar.values()]
    secrets += [dict(parse_qsl(urlsplit(there.header("location")).query))["nonce"], SECRET]
    assert len(secrets) > 20
    for secret in secrets:
        assert secret.encode() not in disk


def test_what_the_database_holds_is_no_ones_cookie(
    world: World, provider: QuickProvider, settings: dict[str, object]
) -> None:
    world.app(**settings)
    browser = world.browser()
    sign_in(browser, provider)
    with closing(sqlite3.connect(world.folder / "main" / "sessions.sqlite3")) as copy:
        (row,) = copy.execute("SELECT * FROM sessions").fetchall()
    values = [value.encode() if isinstance(value, str) else value for value in row if isinstance(value, bytes | str)]
    thief = world.browser()
    for value in [*values, *(urlsafe_b64encode(value).rstrip(b"=") for value in values)]:
        for text in (value.decode("latin-1"), value.hex()):
            if text.isascii() and text.isprintable() and ";" not in text:
                thief.plant("kmsi-8000", text[:43])
                assert thief.who() is None
    assert browser.who() == "ada"


def test_keys_rotate_and_nobody_is_signed_out(
    world: World, provider: QuickProvider, settings: dict[str, object]
) -> None:
    world.app(**settings)
    browser, half = world.browser(), world.browser()
    sign_in(browser, provider)
    there = half.request("GET", "/page", NAVIGATION)
    world.app(**settings | {"secret_keys": [SECRET, OTHER]})
    assert browser.who() == "ada"
    back = half.request("GET", provider.authorize(there.header("location"), "grace"), NAVIGATION)
    assert back.status == 303  # what was begun under the old key is finished under both
    assert half.who() == "grace"
    world.app(**settings | {"secret_keys": [OTHER]})
    assert (browser.who(), half.who()) == ("ada", "grace")
    page = browser.post("/.auth/logout", {})
    assert page.status == 200
    assert browser.who() is None


def test_what_was_begun_under_a_key_that_is_gone_is_begun_again(
    world: World, provider: QuickProvider, settings: dict[str, object]
) -> None:
    world.app(**settings)
    browser = world.browser()
    there = browser.request("GET", "/page", NAVIGATION)
    world.app(**settings | {"secret_keys": [OTHER]})
    page = browser.request("GET", provider.authorize(there.header("location"), "ada"), NAVIGATION)
    assert page.status == 400
    assert "state_unknown" in page.text
    assert sign_in(browser, provider).status == 303
    assert browser.who() == "ada"
