"""Requests that match nothing are counted, limited and forgotten; never stored."""

from __future__ import annotations

import logging

import pytest

from kmsi_middleware.edges.unmatched import UnmatchedCounter


def test_an_address_may_miss_sixty_times_a_minute() -> None:
    counter = UnmatchedCounter()
    assert all(counter.hit("callback", "192.0.2.1", 0.0) for _ in range(60))
    assert not counter.hit("callback", "192.0.2.1", 59.9)
    assert counter.hit("callback", "192.0.2.2", 59.9), "another address"
    assert counter.hit("logout", "192.0.2.1", 59.9), "another kind"
    assert counter.hit("callback", "192.0.2.1", 60.0), "the next minute"
    assert counter.totals() == {"callback": 63, "logout": 1}


def test_asking_first_counts_nothing() -> None:
    counter = UnmatchedCounter(limit=2)
    for _ in range(5):
        assert counter.allows("logout", "192.0.2.1", 0.0)
    assert counter.totals() == {}
    assert counter.hit("logout", "192.0.2.1", 0.0)
    assert counter.allows("logout", "192.0.2.1", 0.0)
    assert counter.hit("logout", "192.0.2.1", 0.0)
    assert not counter.allows("logout", "192.0.2.1", 59.9)
    assert counter.allows("callback", "192.0.2.1", 59.9)
    assert counter.allows("logout", "192.0.2.1", 60.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", False),
        ("not an address", "not an address", True),
        ("not an address", "nor this", False),
    ],
)
def test_who_counts_as_one_address(one: str, other: str, same: bool) -> None:
    counter = UnmatchedCounter(limit=1)
    assert counter.hit("callback", one, 0.0)
    assert counter.hit("callback", other, 0.0) is not same


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    counter = UnmatchedCounter(limit=1)
    assert counter.hit("callback", "192.0.2.1", 1_000.0)
    assert counter.hit("callback", "192.0.2.1", 10.0)


def test_what_is_tracked_is_bounded_and_the_longest_quiet_goes() -> None:
    counter = UnmatchedCounter(limit=1, tracked=2)
    assert counter.hit("callback", "192.0.2.1", 0.0)
    assert counter.hit("callback", "192.0.2.2", 0.0)
    assert not counter.hit("callback", "192.0.2.1", 0.0)
    assert counter.hit("callback", "192.0.2.3", 0.0)  # 192.0.2.2 goes
    assert not counter.hit("callback", "192.0.2.1", 0.0)
    assert counter.hit("callback", "192.0.2.2", 0.0)
    for last in range(10_000):
        counter.hit("callback", f"10.0.{last >> 8}.{last & 255}", 0.0)
    assert len(counter._windows) == 2
    assert counter.totals()["callback"] == 10_006


def test_one_warning_a_minute_without_line_breaks(caplog: pytest.LogCaptureFixture) -> None:
    counter = UnmatchedCounter(limit=2)
    with caplog.at_level(logging.WARNING, logger="kmsi_middleware"):
        counter.hit("callback", "evil\naddress", 0.0)
        assert caplog.messages == []
        for _ in range(100):
            counter.hit("callback", "evil\naddress", 1.0)
            counter.hit("logout", "192.0.2.1", 1.0)
        assert caplog.messages == [
            "2 or more unmatched requests (callback) within a minute from evil\ufffdaddress; "
            "since the start: callback 2"
        ]
        counter.hit("logout", "192.0.2.1", 60.9)
        assert len(caplog.messages) == 1
        counter.hit("logout", "192.0.2.1", 61.0)
        counter.hit("logout", "192.0.2.1", 61.0)
        assert len(caplog.messages) == 2


def test_requests_without_an_address_are_counted_and_warned_about_but_never_limited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counter = UnmatchedCounter(limit=2)
    assert all(counter.hit("logout", "", 0.0) and counter.allows("logout", "", 0.0) for _ in range(10))
    assert counter.totals() == {"logout": 10}
    assert [("an unknown address" in message) for message in caplog.messages] == [True]
