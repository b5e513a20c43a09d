"""When a sign-in falls due: the seed's examples with a clock that is set by hand, and the rules behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules.conditional_access.ca_support import DAY, EVERY_TIME, HOUR, HOURLY, MFA, MIDNIGHT, policy

from kmsi_middleware.idp.primary_refresh_token import (
    LIFETIME,
    Event,
    Join,
    PrimaryRefreshToken,
    prt_auth_time,
    prt_refreshed,
    prt_satisfies,
)
from kmsi_middleware.rules.conditional_access.evaluate import Controls, merged
from kmsi_middleware.rules.conditional_access.facts import Proofs
from kmsi_middleware.rules.conditional_access.frequency import (
    BACKGROUND_GRACE,
    TOLERANCE,
    UNUSED,
    Due,
    answered,
    deferred,
    due,
    max_age,
)
from kmsi_middleware.rules.conditional_access.policy import Policy, SignInFrequency

MINUTE = 60
ALONE = SignInFrequency(HOUR, second_factor_only=True)
ALONE_EVERY_TIME = SignInFrequency(None, second_factor_only=True)
NO_CONTROLS = merged(())


def at(clock: str) -> int:
    """``02:45`` of the day of the examples."""
    hours, minutes = clock.split(":")
    return MIDNIGHT + int(hours) * HOUR + int(minutes) * MINUTE


def wanting(*frequencies: SignInFrequency) -> Controls:
    return merged(policy(str(number), frequency=frequency) for number, frequency in enumerate(frequencies))


def signed_in(clock: str, **more: Any) -> Proofs:
    """The proofs of a session after a sign-in with a password."""
    return Proofs(**{"first_factor_at": at(clock), "asked_at": at(clock), "last_used_at": at(clock)} | more)


def is_prompted(controls: Controls, proofs: Proofs, clock: str) -> bool:
    return due(controls, proofs, at(clock)).is_due(at(clock))


# The seed's examples ---------------------------------------------------------------------------------------


def test_example_1_an_hour_of_work_on_the_same_document() -> None:
    session = signed_in("00:00")
    assert not due(wanting(HOURLY), session, at("00:59") + 59).is_due(at("00:59") + 59)
    assert is_prompted(wanting(HOURLY), session, "01:00")


def test_example_2_a_background_upload_goes_on_until_the_person_is_back() -> None:
    session = signed_in("00:00")
    fell_due = due(wanting(HOURLY), session, at("00:00")).at
    assert fell_due == at("01:00")

    def becomes(kind: Any, clock: str, refused: int | None = None) -> str:
        return deferred(
            kind,
            fell_due_at=at("01:00"),
            last_refused_navigation_at=refused,
            has_auth_context=False,
            now=at(clock),
        )

    assert becomes("background", "00:10") == "go on"
    assert becomes("background", "01:00") == "go on"
    assert becomes("background", "02:44") == "go on"
    assert becomes("navigation", "02:45") == "sign in"
    assert becomes("background", "02:46", refused=at("02:45")) == "refuse"


def device(join: Join, clock: str = "00:00") -> PrimaryRefreshToken:
    return PrimaryRefreshToken(join, at(clock))


def prompts_on(prt: PrimaryRefreshToken, clock: str) -> bool:
    """Whether somebody who goes to the app then is asked: the app's session fell due, and the device's sign-in is
    too old for the issuer as well."""
    session = Proofs(first_factor_at=at("00:00"), asked_at=at("00:00"))
    if not is_prompted(wanting(HOURLY), session, clock):
        return False
    age = max_age(wanting(HOURLY))
    if not prt_satisfies(prt, at(clock), max_age=age):
        return True
    renewed = Proofs(first_factor_at=prt_auth_time(prt, at(clock)), asked_at=at(clock))
    assert answered(wanting(HOURLY), renewed, at(clock)) == "satisfied"
    return is_prompted(wanting(HOURLY), renewed, clock)


@pytest.mark.parametrize("join", ["joined", "hybrid"])
def test_example_3_scenario_1_the_person_returns_within_the_cycle(join: Join) -> None:
    prt = prt_refreshed(device(join), "unlock", at("00:45"))
    assert prt == device(join)
    assert not prompts_on(prt, "00:59")
    assert prompts_on(prt, "01:00")


@pytest.mark.parametrize("join", ["joined", "hybrid"])
def test_example_3_scenario_2_the_person_returns_outside_the_cycle(join: Join) -> None:
    prt = prt_refreshed(device(join), "unlock", at("04:45"))
    assert prt.refreshed_at == at("04:45")
    assert not prompts_on(prt, "04:46")
    assert not prompts_on(prt, "05:44")
    assert prompts_on(prt, "05:45")


def test_on_a_registered_device_unlocking_satisfies_nothing() -> None:
    prt = prt_refreshed(device("registered"), "unlock", at("04:45"))
    assert prompts_on(prt, "04:46")


@pytest.mark.parametrize(
    ("join", "event", "clock", "renewed"),
    [
        ("joined", "unlock", "03:59", False),
        ("joined", "unlock", "04:00", True),
        ("joined", "device_sign_in", "03:59", False),
        ("joined", "device_sign_in", "04:00", True),
        ("hybrid", "unlock", "03:59", False),
        ("hybrid", "unlock", "04:00", True),
        ("hybrid", "device_sign_in", "04:00", True),
        ("registered", "unlock", "23:00", False),
        ("registered", "device_sign_in", "23:00", False),
        ("registered", "native_app_sign_in", "00:10", True),
        ("joined", "native_app_sign_in", "00:10", True),
        ("hybrid", "native_app_sign_in", "00:10", True),
    ],
)
def test_what_renews_a_primary_refresh_token(join: Join, event: Event, clock: str, renewed: bool) -> None:
    prt = prt_refreshed(device(join), event, at(clock))
    assert prt.refreshed_at == (at(clock) if renewed else at("00:00"))


def test_a_renewal_keeps_the_claim_of_a_second_factor_and_may_bring_it() -> None:
    plain = device("joined")
    assert prt_refreshed(plain, "unlock", at("05:00")).mfa is False
    assert prt_refreshed(plain, "unlock", at("05:00"), mfa=True).mfa is True
    assert prt_refreshed(replace(plain, mfa=True), "unlock", at("05:00")).mfa is True
    assert prt_refreshed(plain, "unlock", at("00:10"), mfa=True).mfa is False


def test_a_primary_refresh_token_that_nobody_renews_dies_after_14_days() -> None:
    prt = device("joined")
    assert prt_auth_time(prt, MIDNIGHT + LIFETIME - 1) == MIDNIGHT
    assert prt_auth_time(prt, MIDNIGHT + LIFETIME) is None
    assert not prt_satisfies(prt, MIDNIGHT + LIFETIME, max_age=None)
    assert prt_satisfies(prt, MIDNIGHT + LIFETIME - 1, max_age=None)
    assert LIFETIME == 14 * DAY


def test_every_time_asks_again_after_five_minutes_and_not_before() -> None:
    assert not is_prompted(wanting(EVERY_TIME), signed_in("10:00"), "10:04")
    assert due(wanting(EVERY_TIME), signed_in("10:00"), at("10:00")).at == at("10:05")
    assert is_prompted(wanting(EVERY_TIME), signed_in("10:00"), "10:05")


def test_prompt_tolerance_however_many_policies_want_it() -> None:
    many = wanting(EVERY_TIME, ALONE_EVERY_TIME, HOURLY, EVERY_TIME, ALONE)
    session = signed_in("10:00", second_factor_at=at("10:00"))
    assert not is_prompted(many, session, "10:04")
    assert is_prompted(many, session, "10:05")


def test_by_default_a_session_that_was_not_used_for_90_days_signs_in_again() -> None:
    session = signed_in("00:00", last_used_at=MIDNIGHT)
    assert due(NO_CONTROLS, session, MIDNIGHT) == Due(unused=MIDNIGHT + 90 * DAY)
    assert not due(NO_CONTROLS, session, MIDNIGHT).is_due(MIDNIGHT + 90 * DAY - 1)
    assert due(NO_CONTROLS, session, MIDNIGHT).is_due(MIDNIGHT + 90 * DAY)
    used = replace(session, last_used_at=MIDNIGHT + 89 * DAY)
    assert not due(NO_CONTROLS, used, MIDNIGHT + 90 * DAY).is_due(MIDNIGHT + 90 * DAY)
    assert UNUSED == 90 * DAY


def test_the_default_stays_beside_a_policy_that_is_looser() -> None:
    yearly = wanting(SignInFrequency(365 * DAY))
    found = due(yearly, signed_in("00:00"), MIDNIGHT)
    assert (found.at, found.policy) == (MIDNIGHT + UNUSED, None)


def test_a_policy_that_is_as_strict_as_the_default_is_named() -> None:
    found = due(wanting(SignInFrequency(90 * DAY)), signed_in("00:00"), MIDNIGHT)
    assert found.first == found.unused
    assert found.policy is not None


def test_with_no_policy_and_no_known_use_nothing_falls_due() -> None:
    assert due(NO_CONTROLS, Proofs(), MIDNIGHT) == Due()
    assert Due().at is None
    assert not Due().is_due(MIDNIGHT)


# Factors and policies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequencies", "first", "second", "expected"),
    [
        ((HOURLY,), "10:00", None, ("11:00", None)),
        ((HOURLY,), "10:00", "09:30", ("11:00", "10:30")),
        ((ALONE,), "08:00", "10:00", (None, "11:00")),
        ((HOURLY, ALONE_EVERY_TIME), "10:00", "10:00", ("11:00", "10:05")),
        ((SignInFrequency(8 * HOUR), HOURLY), "10:00", None, ("11:00", None)),
        ((SignInFrequency(2 * DAY),), "00:00", None, ("48:00", None)),
        ((SignInFrequency(60),), "10:00", None, ("10:05", None)),  # nothing goes below the tolerance
    ],
)
def test_which_factor_falls_due_when(
    frequencies: tuple[SignInFrequency, ...], first: str, second: str | None, expected: tuple[str | None, str | None]
) -> None:
    proofs = Proofs(first_factor_at=at(first), second_factor_at=at(second) if second else None)
    found = due(wanting(*frequencies), proofs, at("10:00"))
    assert (found.first, found.second) == tuple(at(clock) if clock else None for clock in expected)
    assert found.at == min(instant for instant in (found.first, found.second) if instant is not None)


def test_the_policy_behind_it_is_named() -> None:
    lax, strict = policy("lax", frequency=SignInFrequency(DAY)), policy("strict", frequency=ALONE)
    proofs = Proofs(first_factor_at=at("10:00"), second_factor_at=at("10:00"))
    assert due(merged((lax, strict)), proofs, at("10:00")).policy is strict


@pytest.mark.parametrize(
    ("frequency", "proofs"),
    [
        (HOURLY, Proofs()),
        (HOURLY, Proofs(second_factor_at=at("10:00"))),
        (ALONE, Proofs(first_factor_at=at("10:00"))),
        (HOURLY, Proofs(first_factor_at=at("10:00") + TOLERANCE + 1)),
        (ALONE, Proofs(first_factor_at=at("10:00"), second_factor_at=at("23:00"))),
        (ALONE, Proofs(first_factor_at=at("10:00"), asked_at=at("10:00"))),
    ],
)
def test_a_proof_that_is_missing_or_not_of_this_time_is_due_at_once(frequency: SignInFrequency, proofs: Proofs) -> None:
    assert due(wanting(frequency), proofs, at("10:00")).at == 0
    assert due(wanting(frequency), proofs, at("10:00")).is_due(at("10:00"))


def test_an_issuer_whose_clock_is_a_little_ahead_is_believed() -> None:
    ahead = Proofs(first_factor_at=at("10:00") + TOLERANCE)
    assert due(wanting(HOURLY), ahead, at("10:00")).at == at("11:05")


# Two clocks ------------------------------------------------------------------------------------------------


def test_an_issuer_whose_clock_is_behind_does_not_make_us_ask_within_five_minutes() -> None:
    session = Proofs(first_factor_at=at("09:59"), asked_at=at("10:00"))
    assert due(wanting(EVERY_TIME), session, at("10:00"), clock_skew=60).at == at("10:05")


def test_a_silent_sign_in_is_not_being_asked() -> None:
    session = Proofs(first_factor_at=at("09:56"), asked_at=at("10:00"))
    assert due(wanting(EVERY_TIME), session, at("10:00"), clock_skew=60).at == at("10:01")
    hourly = Proofs(first_factor_at=at("09:02"), asked_at=at("10:00"))
    assert due(wanting(HOURLY), hourly, at("10:00"), clock_skew=60).at == at("10:02")


def test_a_sign_in_that_is_past_due_on_arrival_does_not_go_round_in_circles() -> None:
    """The issuer's clock is half a minute behind: it calls 59:40 what is more than an hour to us."""
    sent, back = at("11:00") + 10, at("11:00") + 12
    proofs = Proofs(first_factor_at=at("10:00"), asked_at=back, verified_max_age=HOUR)
    assert answered(wanting(HOURLY), proofs, sent, clock_skew=60) == "satisfied"
    assert due(wanting(HOURLY), proofs, back, clock_skew=60).at == back + TOLERANCE


@pytest.mark.parametrize("verified", [None, HOUR + 1])
def test_a_sign_in_that_was_not_asked_for_that_age_is_due_on_arrival(verified: int | None) -> None:
    """Else any silent sign-in would pass for a fresh one."""
    back = at("11:00") + 12
    proofs = Proofs(first_factor_at=at("10:00"), asked_at=back, verified_max_age=verified)
    assert due(wanting(HOURLY), proofs, back, clock_skew=60).is_due(back)


def test_a_policy_that_comes_later_is_not_put_off_by_an_old_sign_in() -> None:
    old = Proofs(first_factor_at=at("02:00"), asked_at=at("08:00"))
    assert due(wanting(HOURLY), old, at("12:00")).is_due(at("12:00"))


# What is asked of the issuer, and its answer ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("frequencies", "seconds"),
    [
        ((), None),
        ((HOURLY,), HOUR),
        ((ALONE,), HOUR),
        ((HOURLY, SignInFrequency(DAY)), HOUR),
        ((SignInFrequency(DAY), ALONE), HOUR),
        ((EVERY_TIME,), TOLERANCE),
        ((HOURLY, ALONE_EVERY_TIME), TOLERANCE),
    ],
)
def test_max_age(frequencies: tuple[SignInFrequency, ...], seconds: int | None) -> None:
    assert max_age(wanting(*frequencies)) == seconds


SENT = at("12:00")


@pytest.mark.parametrize(
    ("frequencies", "first", "second", "outcome"),
    [
        ((), None, None, "satisfied"),
        ((), SENT - 9 * DAY, None, "satisfied"),
        ((HOURLY,), SENT + 30, None, "satisfied"),
        ((HOURLY,), SENT - HOUR, None, "satisfied"),
        ((HOURLY,), SENT - HOUR - 60, None, "satisfied"),
        ((HOURLY,), SENT - HOUR - 61, None, "too_old"),
        ((HOURLY,), None, None, "no_auth_time"),
        ((HOURLY,), None, SENT, "no_auth_time"),
        ((HOURLY,), SENT, SENT - HOUR - 61, "too_old"),
        ((EVERY_TIME,), SENT - TOLERANCE - 60, None, "satisfied"),
        ((EVERY_TIME,), SENT - TOLERANCE - 61, None, "too_old"),
        ((EVERY_TIME, HOURLY), SENT - HOUR, None, "too_old"),
        ((ALONE,), SENT, None, "no_second_factor"),
        ((ALONE,), None, SENT, "no_auth_time"),
        ((ALONE,), SENT - DAY, SENT, "satisfied"),
        ((ALONE,), SENT, SENT - HOUR - 60, "satisfied"),
        ((ALONE,), SENT, SENT - HOUR - 61, "too_old"),
    ],
)
def test_whether_the_issuers_answer_will_do(
    frequencies: tuple[SignInFrequency, ...], first: int | None, second: int | None, outcome: str
) -> None:
    proofs = Proofs(first_factor_at=first, second_factor_at=second)
    assert answered(wanting(*frequencies), proofs, SENT, clock_skew=60) == outcome


frequency_st = st.builds(SignInFrequency, st.sampled_from([None, HOUR, 8 * HOUR, DAY]), st.booleans())
instant_st = st.integers(MIDNIGHT - 2 * DAY, MIDNIGHT + 600)


@given(
    st.lists(frequency_st, max_size=4),
    st.none() | instant_st,
    st.none() | instant_st,
    st.integers(0, 1_200),
    st.integers(0, 300),
)
def test_what_was_accepted_is_not_asked_for_again_at_once(
    frequencies: list[SignInFrequency], first: int | None, second: int | None, took: int, clock_skew: int
) -> None:
    """Whatever the clocks say, a sign-in that will do never leads straight into the next: no loop."""
    controls = wanting(*frequencies)
    back = MIDNIGHT + took
    proofs = Proofs(first_factor_at=first, second_factor_at=second, asked_at=back, last_used_at=back)
    if (
        max(first or 0, second or 0) <= back
        and answered(controls, proofs, MIDNIGHT, clock_skew=clock_skew) == "satisfied"
    ):
        assert not due(controls, proofs, back, clock_skew=clock_skew).is_due(back)


@given(st.lists(frequency_st, max_size=4), frequency_st, st.none() | instant_st, st.none() | instant_st, instant_st)
def test_one_more_frequency_never_makes_a_sign_in_fall_due_later(
    frequencies: list[SignInFrequency], more: SignInFrequency, first: int | None, second: int | None, asked: int
) -> None:
    proofs = Proofs(first_factor_at=first, second_factor_at=second, asked_at=asked, last_used_at=asked)
    before, after = wanting(*frequencies), wanting(*frequencies, more)
    earlier = due(before, proofs, MIDNIGHT).at
    later = due(after, proofs, MIDNIGHT).at
    assert later is not None
    assert earlier is not None
    assert later <= earlier
    assert (max_age(after) or 0) <= (max_age(before) or DAY * 999)
    if answered(before, proofs, MIDNIGHT) != "satisfied":
        assert answered(after, proofs, MIDNIGHT) != "satisfied"


# Deferred enforcement --------------------------------------------------------------------------------------

DUE = at("01:00")


@pytest.mark.parametrize(
    ("kind", "auth_context", "refused", "now", "outcome"),
    [
        ("navigation", False, None, DUE - 1, "go on"),
        ("background", False, None, DUE - 1, "go on"),
        ("background", True, None, DUE - 1, "go on"),
        ("navigation", False, None, DUE, "sign in"),
        ("navigation", True, None, DUE, "sign in"),
        ("background", False, None, DUE, "go on"),
        ("background", True, None, DUE, "refuse"),
        ("background", False, None, DUE + BACKGROUND_GRACE - 1, "go on"),
        ("background", False, None, DUE + BACKGROUND_GRACE, "refuse"),
        ("background", False, DUE, DUE + 1, "refuse"),
        ("background", False, DUE - 1, DUE + 1, "go on"),
    ],
)
def test_what_fell_due_waits_for_the_person(
    kind: Any, auth_context: bool, refused: int | None, now: int, outcome: str
) -> None:
    found = deferred(kind, fell_due_at=DUE, last_refused_navigation_at=refused, has_auth_context=auth_context, now=now)
    assert found == outcome


def test_the_grace_is_settable() -> None:
    def becomes(grace: int) -> str:
        return deferred(
            "background",
            fell_due_at=DUE,
            last_refused_navigation_at=None,
            background_grace=grace,
            has_auth_context=False,
            now=DUE + 60,
        )

    assert (becomes(0), becomes(60), becomes(61)) == ("refuse", "refuse", "go on")
    assert BACKGROUND_GRACE == 2 * HOUR


def test_without_a_proof_there_is_no_grace() -> None:
    fell_due = due(wanting(HOURLY), Proofs(), at("01:00")).at
    assert fell_due is not None
    outcome = deferred(
        "background", fell_due_at=fell_due, last_refused_navigation_at=None, has_auth_context=False, now=at("01:00")
    )
    assert outcome == "refuse"


def test_a_grant_is_no_frequency() -> None:
    with_grant: Policy = policy(grant=MFA)
    assert due(merged([with_grant]), signed_in("00:00"), MIDNIGHT).first is None
