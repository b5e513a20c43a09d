"""Which sign-ins are real enough after a revocation, and what is asked of the issuer where they are not."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsi_middleware.rules.revocation import MARK_SECONDS, Proof, mark, max_age_since, next_step, prompt_after
from kmsi_middleware.vocabulary.session import Mark

REVOKED = 1_700_000_000
SKEW = 60
BEFORE, AFTER = REVOKED - 600, REVOKED + 600

# (auth_time, prompt, max_age, when the browser was sent to the issuer, what follows)
STEPS = [
    # The issuer says when: after the revocation by both clocks, or not.
    (REVOKED + SKEW + 1, "", None, AFTER, "nothing"),
    (REVOKED + SKEW, "", None, AFTER, "login"),
    (REVOKED + 1, "", None, AFTER, "login"),
    (BEFORE, "", None, AFTER, "login"),
    (BEFORE, "consent", None, AFTER, "login"),
    (BEFORE, "none", None, AFTER, "login"),
    (REVOKED + SKEW + 1, "none", None, AFTER, "nothing"),
    # It was asked for a fresh sign-in a moment after the revocation: its clock may be behind.
    (REVOKED - 40, "login", None, REVOKED + 5, "nothing"),
    (REVOKED + 5 - SKEW, "login", None, REVOKED + 5, "nothing"),
    (REVOKED + 4 - SKEW, "login", None, REVOKED + 5, "give up"),
    (REVOKED - 40, "select_account login", None, REVOKED + 5, "nothing"),
    (REVOKED - 40, "", 0, REVOKED + 5, "nothing"),
    (REVOKED - 40, "", 1, REVOKED + 5, "login"),
    # Before the revocation, or in the very second of it, asking for one says nothing.
    (REVOKED - 40, "login", None, REVOKED, "login"),
    (REVOKED - 40, "", 0, REVOKED, "login"),
    (BEFORE, "login", None, BEFORE, "login"),
    (REVOKED + SKEW + 1, "login", None, BEFORE, "nothing"),
    # Asked for it after the revocation, the issuer answers with an older one: no loop.
    (BEFORE, "login", None, AFTER, "give up"),
    (BEFORE, "login", 600, AFTER, "give up"),
    (BEFORE, "", 600, AFTER, "login"),
    # It does not say when: it is asked with max_age, and then it has to.
    (None, "", None, AFTER, "max_age"),
    (None, "none", None, AFTER, "max_age"),
    (None, "login", None, REVOKED, "max_age"),
    (None, "", 600, AFTER, "login"),
    (None, "", 0, AFTER, "login"),
    (None, "login", 600, REVOKED, "login"),
    (None, "login", None, REVOKED + 1, "nothing"),
    (None, "login", 600, AFTER, "nothing"),
]


@pytest.mark.parametrize(("auth_time", "prompt", "max_age", "sent_at", "follows"), STEPS)
def test_what_follows_a_sign_in_after_a_revocation(
    auth_time: int | None, prompt: str, max_age: int | None, sent_at: int, follows: str
) -> None:
    assert next_step(REVOKED, Proof(auth_time, prompt, max_age, sent_at), clock_skew=SKEW) == follows


def test_without_a_revocation_every_sign_in_will_do() -> None:
    for auth_time, prompt, max_age in itertools.product((None, 0, BEFORE), ("", "none", "login"), (None, 0, 600)):
        assert next_step(0, Proof(auth_time, prompt, max_age, AFTER), clock_skew=SKEW) == "nothing"


@given(
    auth_times=st.lists(st.one_of(st.none(), st.integers(REVOKED - 9_000, REVOKED + 9_000)), min_size=4, max_size=4),
    skew=st.integers(0, 300),
    delay=st.integers(1, 300),
)
def test_whatever_the_issuer_answers_it_is_asked_three_times_at_most(
    auth_times: list[int | None], skew: int, delay: int
) -> None:
    """Plainly, with max_age, with prompt=login: then it is good, or it is a page."""
    prompt, max_age, now = "", None, REVOKED + 1
    for count, auth_time in enumerate(auth_times, 1):
        step = next_step(REVOKED, Proof(auth_time, prompt, max_age, now), clock_skew=skew)
        now += delay
        if step == "max_age":
            max_age = max_age_since(REVOKED, now, clock_skew=skew)
        elif step == "login":
            prompt = "login"
        else:
            assert count <= 3
            return
    raise AssertionError("a loop")


@pytest.mark.parametrize(
    ("now", "seconds"), [(REVOKED, 0), (REVOKED + SKEW, 0), (REVOKED + SKEW + 1, 1), (REVOKED + 3_660.9, 3_600)]
)
def test_the_max_age_reaches_back_to_the_revocation_and_not_behind_it(now: float, seconds: int) -> None:
    assert max_age_since(REVOKED, now, clock_skew=SKEW) == seconds


def test_a_mark_holds_from_now_on_for_as_long_as_any_cookie() -> None:
    assert mark(REVOKED + 0.9) == Mark(valid_from=REVOKED, real_from=REVOKED)
    assert MARK_SECONDS == 400 * 86_400


@pytest.mark.parametrize(
    ("reason", "prompt"), [("revoked", "login"), ("idle", ""), ("signed_out", ""), ("back_channel", ""), (None, "")]
)
def test_only_after_a_revocation_is_the_next_sign_in_a_real_one(reason: str | None, prompt: str) -> None:
    assert prompt_after(reason) == prompt  # type: ignore[arg-type]
