"""What a WebSocket is closed with when its session ends."""

from __future__ import annotations

from typing import get_args

from kmsi_middleware.rules.close_codes import CLOSE_CODES
from kmsi_middleware.vocabulary.session import EndReason

PRIVATE_USE = range(4000, 5000)  # RFC 6455 §7.4.2


def test_every_reason_for_an_end_has_a_code_of_its_own() -> None:
    assert set(get_args(EndReason)) <= set(CLOSE_CODES)
    assert len(set(CLOSE_CODES.values())) == len(CLOSE_CODES)


def test_a_code_never_changes_its_meaning() -> None:
    assert CLOSE_CODES == {
        "idle": 4440,
        "absolute": 4441,
        "signed_out": 4442,
        "front_channel": 4443,
        "back_channel": 4444,
        "revoked": 4445,
        "replaced": 4446,
        "sign_in_frequency": 4447,
        "policy": 4448,
        "no_session": 4449,
        "session_unconfirmed": 4450,
        "error": 1011,
    }


def test_all_but_a_failure_are_in_the_range_for_applications() -> None:
    assert [reason for reason, code in CLOSE_CODES.items() if code not in PRIVATE_USE] == ["error"]


def test_a_reason_fits_into_a_close_frame() -> None:
    assert all(len(reason.encode()) <= 123 for reason in CLOSE_CODES)  # RFC 6455 §5.5: 125 bytes with the code
