"""How long a session is good: every limit with the second before it, the second itself and the second after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsi_middleware.rules.lifetimes import Due, Good, Over, judge, lifetime, promised_end
from kmsi_middleware.vocabulary.session import EndReason, Session
from kmsi_middleware.vocabulary.settings import DAY, Settings

T0 = 1_700_000_000
HOUR = 3_600
LIFETIME, KEPT = 7_200, 10 * DAY  # two hours, ten days


def settings(**changed: Any) -> Settings:
    return Settings(**{"session_lifetime": LIFETIME, "keep_me_signed_in_days": 10, "session_max_age": 90} | changed)


def session(by: Settings, *, persistent: bool = False, renewed: int = 0, **changed: Any) -> Session:
    """A session that started at T0 and was renewed ``renewed`` seconds later, with what ``by`` promised it."""
    made = Session(
        key=b"k" * 32,
        issuer="https://idp.example",
        subject="ada",
        claims={"sub": "ada"},
        started_at=T0,
        renewed_at=T0 + renewed,
        expires_at=promised_end(by, persistent=persistent, started_at=T0, renewed_at=T0 + renewed),
        persistent=persistent,
        decision="answered_yes" if persistent else "answered_no",
        correlation_id="c-1",
    )
    return replace(made, **changed)


# (expiry, persistent, renewed, session_max_age in days, the end in seconds after the sign-in, the reason)
LIMITS = [
    ("rolling", False, 0, 90, LIFETIME, "idle"),
    ("rolling", False, 5_000, 90, 5_000 + LIFETIME, "idle"),
    ("rolling", False, DAY - LIFETIME - 1, 1, DAY - 1, "idle"),
    ("rolling", False, DAY - LIFETIME, 1, DAY, "absolute"),
    ("rolling", False, DAY - 10, 1, DAY, "absolute"),
    ("rolling", True, 0, 90, KEPT, "idle"),
    ("rolling", True, 5 * DAY, 90, 15 * DAY, "idle"),
    ("rolling", True, 85 * DAY, 90, 90 * DAY, "absolute"),
    ("rolling", True, 0, 7, 7 * DAY, "absolute"),
    ("absolute", False, 0, 90, LIFETIME, "absolute"),
    ("absolute", False, 5_000, 90, LIFETIME, "absolute"),
    ("absolute", True, 0, 90, KEPT, "absolute"),
    ("absolute", True, 5 * DAY, 90, KEPT, "absolute"),
    ("absolute", True, 0, 7, 7 * DAY, "absolute"),
]


@pytest.mark.parametrize(("expiry", "persistent", "renewed", "max_age", "end", "reason"), LIMITS)
def test_a_session_is_good_until_the_second_of_its_end(
    expiry: str, persistent: bool, renewed: int, max_age: int, end: int, reason: EndReason
) -> None:
    by = settings(session_expiry=expiry, session_max_age=max_age)
    one = session(by, persistent=persistent, renewed=renewed)
    assert one.expires_at == T0 + end
    for before in (T0 + end - 1, T0 + end - 0.001):
        assert isinstance(judge(one, by, before), Good | Due)
    for at in (T0 + end, T0 + end + 1, T0 + end + 400 * DAY):
        assert judge(one, by, at) == Over(reason, T0 + end)


@pytest.mark.parametrize(
    ("persistent", "days", "seconds"),
    [(False, 10, LIFETIME), (True, 10, KEPT), (True, 0, LIFETIME), (False, 0, LIFETIME), (True, 90, 90 * DAY)],
)
def test_the_lifetime_is_the_kept_days_only_for_who_keeps(persistent: bool, days: int, seconds: int) -> None:
    assert lifetime(settings(keep_me_signed_in_days=days), persistent=persistent) == seconds


@pytest.mark.parametrize(
    ("expiry", "persistent", "max_age", "end"),
    [
        ("rolling", False, 90, 500 + LIFETIME),
        ("rolling", True, 90, 500 + KEPT),
        ("rolling", True, 10, KEPT),
        ("absolute", False, 90, LIFETIME),
        ("absolute", True, 90, KEPT),
        ("absolute", True, 3, 3 * DAY),
    ],
)
def test_what_is_promised_counts_from_the_renewal_or_from_the_sign_in(
    expiry: str, persistent: bool, max_age: int, end: int
) -> None:
    by = settings(session_expiry=expiry, session_max_age=max_age)
    assert promised_end(by, persistent=persistent, started_at=T0, renewed_at=T0 + 500) == T0 + end


# Renewal --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "persistent", "after"),
    [
        ({}, False, 720),  # a tenth
        ({"session_lifetime": 900}, False, 90),
        ({"session_lifetime": 905}, False, 90),
        ({"session_lifetime": 35_999}, False, 3_599),
        ({"session_lifetime": 36_000}, False, HOUR),
        ({"session_lifetime": 86_400}, False, HOUR),  # an hour at most
        ({"keep_me_signed_in_days": 1}, True, HOUR),
        ({"keep_me_signed_in_days": 89}, True, HOUR),
    ],
)
def test_a_rolling_session_is_renewed_after_a_tenth_and_within_the_hour(
    changed: dict[str, int], persistent: bool, after: int
) -> None:
    by = settings(**changed)
    one = session(by, persistent=persistent)
    for now in (T0, T0 + after - 1, T0 + after - 0.001):
        assert judge(one, by, now) == Good(T0 + after)
    for now in (T0 + after, T0 + after + 1, T0 + after + 0.75):
        due = judge(one, by, now)
        assert isinstance(due, Due)
        assert due.session == replace(
            one,
            renewed_at=int(now),
            expires_at=promised_end(by, persistent=persistent, started_at=T0, renewed_at=int(now)),
        )
        assert judge(due.session, by, now) == Good(int(now) + after)


@pytest.mark.parametrize(("persistent", "after"), [(False, 720), (True, HOUR)])
@pytest.mark.parametrize("max_age", [1, 90])
def test_an_absolute_session_is_noted_as_used_and_never_extended(persistent: bool, after: int, max_age: int) -> None:
    by = settings(session_expiry="absolute", session_max_age=max_age)
    one = session(by, persistent=persistent)
    for now in (T0, T0 + after - 1):
        assert judge(one, by, now) == Good(T0 + after)
    for now in (T0 + after, T0 + after + 0.9, T0 + LIFETIME - 1):
        assert judge(one, by, now) == Due(replace(one, renewed_at=int(now)))
    late = replace(one, renewed_at=one.expires_at - 10)
    assert judge(late, by, one.expires_at - 1) == Good(one.expires_at)
    assert judge(late, by, one.expires_at) == Over("absolute", one.expires_at)


def test_a_loosened_setting_never_reaches_an_absolute_session() -> None:
    one = session(settings(session_expiry="absolute"))
    due = judge(one, settings(session_expiry="absolute", session_lifetime=86_400), T0 + LIFETIME - 1)
    assert due == Due(replace(one, renewed_at=T0 + LIFETIME - 1))


def test_where_the_greatest_age_is_promised_already_the_use_is_noted_and_nothing_else() -> None:
    by = settings(session_max_age=1)
    one = session(by, renewed=DAY - LIFETIME)
    assert judge(one, by, one.renewed_at) == Good(one.renewed_at + 720)
    for now in (one.renewed_at + 720, T0 + DAY - 1):
        assert judge(one, by, now) == Due(replace(one, renewed_at=now))
    almost = session(by, renewed=DAY - LIFETIME - 1)
    due = judge(almost, by, almost.renewed_at + 720)
    assert isinstance(due, Due)
    assert due.session.expires_at == T0 + DAY


@given(
    expiry=st.sampled_from(["rolling", "absolute"]),
    persistent=st.booleans(),
    lifetime=st.sampled_from([900, LIFETIME, 86_400]),
    max_age=st.sampled_from([1, 90]),
    every=st.integers(1, HOUR),
)
def test_the_last_use_is_true_to_about_an_hour_for_every_kind_of_session(
    expiry: str, persistent: bool, lifetime: int, max_age: int, every: int
) -> None:
    by = settings(session_expiry=expiry, session_lifetime=lifetime, session_max_age=max_age)
    one, now = session(by, persistent=persistent), T0
    for _ in range(100):
        verdict = judge(one, by, now)
        if isinstance(verdict, Over):
            break
        one = verdict.session if isinstance(verdict, Due) else one
        assert now - one.renewed_at < HOUR
        now += every


def test_activity_keeps_a_rolling_session_alive_and_the_greatest_age_ends_it() -> None:
    by = settings(session_max_age=1)
    one, now, renewals, notes = session(by), T0, 0, 0
    while not isinstance(verdict := judge(one, by, now), Over):
        if isinstance(verdict, Due):
            notes += 1
            renewals += verdict.session.expires_at > one.expires_at
            one = verdict.session
        now += 60
    assert verdict == Over("absolute", T0 + DAY)
    assert now == T0 + DAY
    assert renewals == (DAY - LIFETIME) // 720
    assert notes == DAY // 720 - 1


# Settings that change -------------------------------------------------------------------------------------

TIGHTENED = [
    ({"session_lifetime": 3_600}, False, 3_600, "idle"),
    ({"session_lifetime": 3_600, "session_expiry": "absolute"}, False, 3_600, "absolute"),
    ({"keep_me_signed_in_days": 1}, True, DAY, "idle"),
    ({"session_max_age": 2}, True, 2 * DAY, "absolute"),
    ({"session_max_age": 2, "session_expiry": "absolute"}, True, 2 * DAY, "absolute"),
]


@pytest.mark.parametrize(("changed", "persistent", "end", "reason"), TIGHTENED)
def test_a_tightened_setting_ends_live_sessions_at_once(
    changed: dict[str, Any], persistent: bool, end: int, reason: EndReason
) -> None:
    one = session(settings(), persistent=persistent)
    assert not isinstance(judge(one, settings(), T0 + end), Over)
    tightened = settings(**changed)
    assert not isinstance(judge(one, tightened, T0 + end - 1), Over)
    assert judge(one, tightened, T0 + end) == Over(reason, T0 + end)
    assert judge(one, tightened, T0 + end + 1) == Over(reason, T0 + end)


def test_switching_to_absolute_counts_from_the_sign_in_again() -> None:
    one = session(settings(), renewed=5_000)
    absolute = settings(session_expiry="absolute")
    assert not isinstance(judge(one, absolute, T0 + LIFETIME - 1), Over)
    assert judge(one, absolute, T0 + LIFETIME) == Over("absolute", T0 + LIFETIME)


@pytest.mark.parametrize(
    "changed", [{"session_lifetime": 86_400}, {"session_lifetime": 86_400, "session_max_age": 400}]
)
@pytest.mark.parametrize("expiry", ["rolling", "absolute"])
def test_a_loosened_setting_reaches_no_session_without_activity(changed: dict[str, int], expiry: str) -> None:
    one = session(settings(session_expiry=expiry))
    loosened = settings(session_expiry=expiry, **changed)
    assert isinstance(judge(one, loosened, T0 + LIFETIME - 1), Good | Due)
    assert isinstance(judge(one, loosened, T0 + LIFETIME), Over)


def test_a_loosened_setting_reaches_a_rolling_session_with_its_next_renewal() -> None:
    loosened = settings(session_lifetime=86_400)
    due = judge(session(settings()), loosened, T0 + HOUR)
    assert isinstance(due, Due)
    assert due.session.expires_at == T0 + HOUR + 86_400


def test_a_loosened_greatest_age_reaches_a_live_session_with_its_next_renewal() -> None:
    one = session(settings(session_max_age=1), renewed=DAY - 1_000)
    assert one.expires_at == T0 + DAY
    due = judge(one, settings(session_max_age=2), T0 + DAY - 1)
    assert isinstance(due, Due)
    assert due.session.expires_at == T0 + DAY - 1 + LIFETIME


def test_keeping_switched_off_makes_kept_sessions_short_and_their_cookies_non_persistent() -> None:
    one = session(settings(), persistent=True)
    off = settings(keep_me_signed_in_days=0)
    due = judge(one, off, T0 + 100)
    assert due == Due(replace(one, persistent=False, expires_at=T0 + LIFETIME))
    assert judge(due.session, off, T0 + 100) == Good(T0 + 720)
    assert isinstance(judge(one, off, T0 + LIFETIME - 1), Due)
    assert judge(one, off, T0 + LIFETIME) == Over("idle", T0 + LIFETIME)


def test_keeping_switched_on_again_makes_no_session_persistent() -> None:
    was_off = judge(session(settings(), persistent=True), settings(keep_me_signed_in_days=0), T0 + 100)
    assert isinstance(was_off, Due)
    on_again = judge(was_off.session, settings(), T0 + 720)
    assert isinstance(on_again, Due)
    assert not on_again.session.persistent
    assert on_again.session.expires_at == T0 + 720 + LIFETIME


def test_a_restored_session_cookie_is_worth_nothing_after_the_lifetime() -> None:
    """A browser that restores its tabs keeps non-persistent cookies for ever; the server's clock does not care."""
    by = settings()
    assert judge(session(by), by, T0 + 300 * DAY) == Over("idle", T0 + LIFETIME)


# Properties -----------------------------------------------------------------------------------------------

any_settings = st.builds(
    settings,
    session_lifetime=st.integers(900, 86_400),
    session_expiry=st.sampled_from(["rolling", "absolute"]),
    session_max_age=st.integers(1, 400),
    keep_me_signed_in_days=st.integers(0, 90),
)


@st.composite
def lives(draw: st.DrawFn) -> tuple[Session, Settings, float]:
    """A session that one deployment promised, the settings in force by now, and an instant of its life."""
    promised_by, in_force = draw(any_settings), draw(any_settings)
    if draw(st.booleans()):
        in_force = promised_by
    renewed = draw(st.integers(0, promised_by.session_max_age * DAY))
    one = session(promised_by, persistent=draw(st.booleans()), renewed=renewed)
    life = max(1, one.expires_at - one.renewed_at)
    return one, in_force, one.renewed_at + draw(st.floats(0, 1.2 * life))


@given(lives())
def test_no_session_outlives_its_promise_or_the_greatest_age(life: tuple[Session, Settings, float]) -> None:
    one, by, now = life
    verdict = judge(one, by, now)
    limit = min(one.expires_at, T0 + by.session_max_age * DAY)
    if now >= limit:
        assert isinstance(verdict, Over)
    match verdict:
        case Good(until):
            assert now < until <= limit
        case Due(due):
            assert now < due.expires_at <= T0 + by.session_max_age * DAY
            assert due.expires_at <= now + lifetime(by, persistent=due.persistent)
            again = judge(due, by, now)
            if isinstance(again, Due):  # a renewal on top of the end of its persistence, and then nothing more
                assert one.persistent
                assert not due.persistent
                assert isinstance(judge(again.session, by, now), Good)
        case Over(_, at):
            assert at <= now
            assert at <= limit


@pytest.mark.parametrize("limit", [{"session_max_age": 1}, {"keep_me_signed_in_days": 1}])
def test_a_limit_that_was_lowered_is_written_down_with_the_next_use(limit: dict[str, int]) -> None:
    before = {"session_expiry": "absolute", "keep_me_signed_in_days": 5}
    one = session(settings(**before), persistent=True)
    assert one.expires_at == T0 + 5 * DAY
    verdict = judge(one, settings(**{**before, **limit}), T0 + HOUR)
    assert isinstance(verdict, Due)
    assert verdict.session.expires_at == T0 + DAY


@given(lives(), st.floats(0, 1, exclude_max=True))
def test_until_means_that_nothing_happens_before(life: tuple[Session, Settings, float], share: float) -> None:
    one, by, now = life
    verdict = judge(one, by, now)
    if isinstance(verdict, Good):
        later = now + (verdict.until - now) * share
        if later < verdict.until:
            assert judge(one, by, later) == verdict
        assert judge(one, by, verdict.until) != verdict


@given(lives())
def test_what_is_over_stays_over(life: tuple[Session, Settings, float]) -> None:
    one, by, now = life
    verdict = judge(one, by, now)
    if isinstance(verdict, Over):
        assert judge(one, by, now + 0.5) == judge(one, by, now + DAY) == verdict
