"""What a WebSocket is closed with when its session ends: a code of its own for each reason (RFC 6455 §7.4.2: 4000 to
4999 are for applications), and the reason's word beside it, the same as in the problem+json and the log.

A code never changes its meaning. ``docs/long-lived-connections.md`` says what a client should do about each.
"""

from __future__ import annotations

from typing import Literal

from ..vocabulary.session import EndReason

Ending = EndReason | Literal["no_session", "session_unconfirmed", "error"]
"""Why a long-lived connection ends. ``no_session``: the store lost the session without a trace;
``session_unconfirmed``: the issuer was not asked in time whether it still stands (``revalidate_every``); ``error``: it
can't be judged, because a hook of the app's failed."""

CLOSE_CODES: dict[Ending, int] = {
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
    "error": 1011,  # RFC 6455 §7.4.1: an unexpected condition prevented the server from fulfilling the request
}
