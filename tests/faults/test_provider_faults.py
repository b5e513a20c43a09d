"""The provider is away, slow, or talks garbage, over real HTTP: 503, and nobody is signed out by it."""

from __future__ import annotations

import pytest
from quick_provider import QuickProvider, sign_in
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import HOME, World

# Under trio, httpx leaves its own generators to the garbage collector when an answer is not read to its end.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MOODS = {
    "slow": "provider_unavailable",
    "error": "provider_unavailable",
    "hangs up": "provider_unavailable",
    "endless": "provider_unavailable",
    "garbage": "",  # the code says which answer it was
    "elsewhere": "",
}


def assert_later(answer: Answer, code: str) -> None:
    """503, as a page or as a problem, with the code in it and when to come back."""
    assert answer.status == 503, answer.text
    assert int(answer.header("retry-after")) > 0
    assert answer.header("cache-control") == "no-store"
    assert code in answer.text


@pytest.mark.parametrize("mood", MOODS)
def test_a_sign_in_cannot_begin_without_the_providers_metadata(
    world: World, provider: QuickProvider, settings: dict[str, object], mood: str
) -> None:
    world.app(**settings)
    provider.mood = mood
    browser = world.browser()
    page = browser.visit("/page")
    assert_later(page, MOODS[mood] or "discovery_invalid")
    assert_later(browser.visit("/page"), MOODS[mood] or "discovery_invalid")
    provider.mood = ""
    provider.released.set()
    world.clock.pass_(60)
    assert sign_in(browser, provider).status == 303
    assert browser.who() == "ada"


@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize(("place", "code"), [("/token", "token_response_invalid"), ("/keys", "jwks_invalid")])
def test_a_sign_in_that_cannot_be_finished_is_no_session_and_can_be_tried_again(
    world: World, provider: QuickProvider, settings: dict[str, object], mood: str, place: str, code: str
) -> None:
    world.app(**settings)
    provider.mood, provider.places = mood, (place,)
    browser = world.browser()
    answer = sign_in(browser, provider)
    assert_later(answer, MOODS[mood] or code)
    assert browser.session_cookie() is None
    provider.mood = ""
    provider.released.set()
    world.clock.pass_(60)
    assert sign_in(browser, provider).status == 303
    assert browser.who() == "ada"


@pytest.mark.parametrize("mood", MOODS)
def test_who_is_signed_in_stays_so_and_can_sign_out(
    world: World, provider: QuickProvider, settings: dict[str, object], mood: str
) -> None:
    server = world.app(**settings)
    browser = world.browser()
    sign_in(browser, provider)
    server.parts.services.provider.renew()  # as a process that has just begun
    world.clock.pass_(3_600)  # a renewal falls due, and the copies of the documents are no longer fresh
    provider.mood = mood
    assert browser.visit("/page").status == 200
    assert browser.who() == "ada"
    page = browser.post("/.auth/logout", {})
    assert page.status == 200
    assert "did not answer" in page.text
    assert browser.who() is None


def test_a_provider_that_nobody_reaches_is_told_of_to_scripts_too(world: World, settings: dict[str, object]) -> None:
    world.app(**settings | {"issuer": "http://127.0.0.1:9"})
    browser = world.browser()
    assert_later(browser.visit(f"{HOME}/page"), "provider_unavailable")
    answer = browser.fetch("/page")
    assert (answer.status, answer.json()["code"]) == (401, "no_session")  # that needs no provider
