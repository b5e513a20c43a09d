"""What the hooks may answer."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import date
from types import MappingProxyType
from typing import Any

import pytest

from kmsi_middleware.vocabulary.errors import KMSIError
from kmsi_middleware.vocabulary.signals import SignInSignals

CIRCLE: dict[str, Any] = {}
CIRCLE["itself"] = CIRCLE


def test_a_device_becomes_plain_data() -> None:
    inner = MappingProxyType({"extensionAttribute1": "x"})
    told = MappingProxyType({"isCompliant": True, "more": OrderedDict(inner=inner), "tags": ("a", "b")})
    signals = SignInSignals.of({"device": told})
    assert signals.device == {"isCompliant": True, "more": {"inner": {"extensionAttribute1": "x"}}, "tags": ["a", "b"]}
    assert type(signals.device) is dict
    assert SignInSignals(**json.loads(json.dumps(signals.known()))) == signals
    assert SignInSignals.of(SignInSignals(device=told)) == signals


@pytest.mark.parametrize(
    "answer",
    [
        {"device": {"since": date(2026, 1, 1)}},
        {"device": {"tags": {"a"}}},
        {"device": {"age": float("nan")}},
        {"device": {("a", "b"): 1}},
        {"device": CIRCLE},
        {"device": ["isCompliant"]},
        {"guest": 1},
        {"second_factor": 1},
        {"silent": 0},
        {"consent": 1.0},
        {"password_changed_at": True},
        {"password_changed_at": 1.5},
    ],
)
def test_anything_else_is_an_error(answer: Any) -> None:
    with pytest.raises(KMSIError, match="sign_in_signals: "):
        SignInSignals.of(answer)
