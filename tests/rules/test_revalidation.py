"""When the issuer is asked whether a session still stands, and what becomes of requests meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from kmsi_middleware.rules.revalidation import NEVER, Step, answer_due_at, next_step
from kmsi_middleware.vocabulary.session import Session
from kmsi_middleware.vocabulary.settings import Settings

T0 = 1_700_000_000
EVERY, GRACE = 900, 7_200
DUE = T0 + EVERY
LAST = DUE + GRACE


def session(**changed: Any) -> Session:
    whole: dict[str, Any] = {
        "key": b"k" * 32,
        "issuer": "https://idp.example",
        "subject": "ada",
        "claims": {},
        "started_at": T0,
        "renewed_at": T0,
        "expires_at": T0 + 10**7,
        "persistent": True,
        "decision": "",
        "correlation_id": "",
    }
    return Session(**whole | changed)


def step(at: int, *, navigates: bool = True, every: int = EVERY, grace: int = GRACE, **changed: Any) -> Step:
    settings = Settings(revalidate_every=every, background_grace=grace)
    return next_step(session(**changed), settings, at, navigates=navigates)


def test_switched_off_nothing_is_ever_due() -> None:
    assert step(T0 + 10**6, every=0) == Step("stands", NEVER)


@pytest.mark.parametrize(
    ("at", "confirmed_at", "expected"),
    [
        (T0, None, Step("stands", DUE)),
        (DUE - 1, None, Step("stands", DUE)),
        (DUE, None, Step("silent")),
        (DUE + 99, T0 + 100, Step("stands", DUE + 100)),
        (DUE + 100, T0 + 100, Step("silent")),
        (T0, 0, Step("silent")),
    ],
)
def test_due_is_counted_from_when_the_issuer_last_spoke(at: int, confirmed_at: int | None, expected: Step) -> None:
    assert step(at, confirmed_at=confirmed_at) == expected


@pytest.mark.parametrize("navigates", [True, False])
def test_with_a_refresh_token_we_ask_at_whatever_request_comes(navigates: bool) -> None:
    for at in (DUE, LAST, LAST + 10**6):
        assert step(at, navigates=navigates, refreshable=True) == Step("refresh")


@pytest.mark.parametrize(
    ("at", "put_off_until", "navigation", "background"),
    [
        (DUE, None, "silent", "go_on"),
        (DUE, DUE - 1, "silent", "go_on"),  # put off for what was due before
        (DUE + 10, DUE + 10, "silent", "go_on"),  # asked once, not answered: once more
        (LAST - 1, None, "silent", "go_on"),
        (LAST - 1, LAST - 5, "silent", "go_on"),
        (LAST, None, "silent", "refuse"),  # the first navigation after a long absence
        (LAST, DUE - 1, "silent", "refuse"),
        (LAST, DUE, "sign_in", "refuse"),  # the answer was owed, and never came
        (LAST + 10**6, LAST, "sign_in", "refuse"),
    ],
)
def test_without_one_the_browser_asks(at: int, put_off_until: int | None, navigation: str, background: str) -> None:
    assert step(at, put_off_until=put_off_until).name == navigation
    assert step(at, put_off_until=put_off_until, navigates=False).name == background


@pytest.mark.parametrize("refreshable", [True, False])
@pytest.mark.parametrize("navigates", [True, False])
@pytest.mark.parametrize("at", [DUE, LAST, LAST + 10**6])
def test_what_is_put_off_stands_until_then(at: int, navigates: bool, refreshable: bool) -> None:
    expected = Step("stands", at + 1)
    assert step(at, navigates=navigates, refreshable=refreshable, put_off_until=at + 1) == expected


@pytest.mark.parametrize(
    ("at", "grace", "until"),
    [
        (DUE, GRACE, DUE + 300),
        (LAST - 100, GRACE, LAST),  # no longer than the grace
        (LAST, GRACE, LAST),
        (LAST + 50, GRACE, LAST + 50),
        (DUE, 0, DUE),
    ],
)
def test_how_long_an_answer_is_waited_for(at: int, grace: int, until: int) -> None:
    settings = Settings(revalidate_every=EVERY, background_grace=grace)
    assert answer_due_at(session(), settings, at + 0.5) == until


def test_who_never_brings_an_answer_is_let_through_no_longer_than_the_grace() -> None:
    """A stolen cookie, in a browser that is not signed in at the issuer: it is sent there, and just comes again."""
    settings = Settings(revalidate_every=EVERY, background_grace=GRACE)
    put_off_until: int | None = None
    passed = []
    for at in range(T0, T0 + 10 * GRACE, 50):
        current = session(put_off_until=put_off_until)
        found = next_step(current, settings, at, navigates=True)
        if found.name == "silent":
            put_off_until = answer_due_at(current, settings, at)
        elif found.name == "stands":
            passed.append(at)
    assert max(passed) < LAST
    assert next_step(session(put_off_until=put_off_until), settings, T0 + 10**7, navigates=True).name == "sign_in"


def test_without_grace_it_is_asked_once_and_then_signed_in() -> None:
    """Never two silent attempts in a row that nobody answered."""
    first = step(DUE + 5, grace=0)
    assert first.name == "silent"
    settings = Settings(revalidate_every=EVERY, background_grace=0)
    asked = session(put_off_until=answer_due_at(session(), settings, DUE + 5))
    assert next_step(asked, settings, DUE + 5, navigates=True).name == "sign_in"
