"""What is left when the browser closes, by whether people answered Yes or No, and how it opens again."""

from __future__ import annotations

from collections.abc import Callable

from examples.demo_servers import Demo
from tests.browser.browser import Browser
from tests.browser.demos import pass_time
from tests.browser.kinds import played_in

Install = Callable[..., Browser]
# Eve signs in where a session is to last: nothing in the demo's policies is for her.
SESSION_LIFETIME = 24 * 3_600
KEPT, NOT_KEPT = "kept when the browser closes", "ends when the browser closes"


def test_a_persistent_cookie_survives_the_browser_and_another_does_not(
    install: Install, demo: Demo, notebook: str, tea: str
) -> None:
    first = install()
    first.sign_in(notebook, "Notebook", answer="Yes")
    first.open(tea)
    first.sees("Stay signed in?")
    first.press("No")
    first.is_at(tea, "Tea counter")
    cookies = first.cookies()
    assert cookies[f"kmsi-{demo.starlette.port}"].persistent
    assert not cookies[f"kmsi-{demo.flask.port}"].persistent
    first.quit()

    again = install()
    assert set(again.cookies()) == {f"kmsi-{demo.starlette.port}"}
    again.open(notebook)
    again.is_at(notebook, "Notebook")
    assert KEPT in again.text
    again.open(tea)
    again.sees("Sign in")


def test_a_restored_browser_has_its_session_again_and_the_lifetime_holds(
    install: Install, demo: Demo, notebook: str
) -> None:
    """Browsers that open with the tabs of the last time keep every cookie, as if they had never been closed. So it is
    the server that ends a session after a No."""
    first = install(restore=True)
    first.start_over(keep=True)
    first.sign_in(notebook, "Notebook", user="eve", answer="No")
    held = first.cookies()[f"kmsi-{demo.starlette.port}"]
    assert not held.persistent
    first.quit()

    again = install(restore=True)
    again.go_to_page(notebook)
    again.sees("Notebook")
    assert NOT_KEPT in again.text
    assert again.cookies()[held.name] == held
    pass_time(again, demo, SESSION_LIFETIME)
    again.reload()
    again.sees("Your session has ended")
    assert "You were away for a while" in again.text


# Chromium writes its cookies down every 30 seconds, so what a killed one has kept is a matter of luck.
@played_in("firefox-partitioned")
def test_a_browser_that_crashed_has_its_session_again(install: Install, demo: Demo, notebook: str) -> None:
    """Also where it opens with an empty page otherwise: Firefox resumes from a crash."""
    first = install()
    first.sign_in(notebook, "Notebook", user="eve", answer="No")
    held = first.cookies()[f"kmsi-{demo.starlette.port}"]
    first.crash()

    again = install()
    again.wait("The cookie", lambda: again.cookies()[held.name] == held)
    again.open(notebook)
    again.is_at(notebook, "Notebook")
    pass_time(again, demo, SESSION_LIFETIME)
    again.reload()
    again.sees("Your session has ended")
    assert "You were away for a while" in again.text
