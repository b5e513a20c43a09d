"""Whether "Stay signed in?" is asked after a sign-in, and what holds when it is not.

One table, read from the top; the first row that fits decides, and its name is recorded with the sign-in.
Entra ID, "Manage the 'Stay signed in?' prompt", section "Troubleshoot": the prompt is shown only when it can
benefit the user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..vocabulary.records import frozen
from ..vocabulary.settings import Settings
from ..vocabulary.signals import SignInSignals

Answer = Literal["yes", "no"]


@frozen
class Situation:
    """Everything that the table reads."""

    settings: Settings
    claims: Mapping[str, Any]
    signals: SignInSignals
    started_at: int
    """When this app sent the browser to the issuer."""
    prompt: str = ""
    """The ``prompt`` that this app asked the issuer for."""
    decided: bool | None = None
    """The persistence that a policy decided; ``None`` while no policy has a say."""
    previous: bool | None = None
    """Whether the live session of the same person is persistent, where a policy only asked for a fresher sign-in."""
    remembered: Answer | None = None
    """The answer that this person gave in this browser together with "Don't show this again"."""
    unanswered: bool = False
    """Whether the person was asked at the last sign-in, and could not answer in time."""


@frozen
class Decision:
    """``ask``: show the interrupt. Otherwise ``persistent`` holds. ``reason`` is the row's name."""

    ask: bool
    persistent: bool
    reason: str


# AD FS says how a person signed in with the names of its own protocols.
_INTEGRATED = {
    "wia",
    "wiaormfa",
    "windows",
    "urn:federation:authentication:windows",
    "http://schemas.microsoft.com/ws/2008/06/identity/authenticationmethod/windows",
}


def _words(value: object) -> set[str]:
    if isinstance(value, str):
        return set(value.lower().split())
    if isinstance(value, list | tuple):
        return {item.lower() for item in value if isinstance(item, str)}
    return set()


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() in ("true", "1"))


def _is_silent(situation: Situation) -> bool:
    if situation.signals.silent is not None:
        return situation.signals.silent
    claims = situation.claims
    if any(_words(claims.get(name)) & _INTEGRATED for name in ("amr", "authmethod", "authnmethodsreferences")):
        return True
    auth_time = claims.get("auth_time")
    if isinstance(auth_time, bool) or not isinstance(auth_time, int | float) or auth_time <= 0:
        return False  # not known, so not silent
    return auth_time < situation.started_at - situation.settings.clock_skew


def _is_guest(situation: Situation) -> bool:
    if situation.signals.guest is not None:
        return situation.signals.guest
    return situation.claims.get("acct") in (1, "1")


def _inherits(situation: Situation) -> bool:
    claims = situation.claims
    said_yes = "kmsi" in _words(claims.get("signin_state")) or _is_true(claims.get("psso"))
    return situation.settings.inherit_keep_me_signed_in and said_yes


_Row = tuple[str, Callable[[Situation], bool], Callable[[Situation], bool | None]]

TABLE: tuple[_Row, ...] = (
    # name, when it fits, whether the session is then persistent; None: ask
    ("policy", lambda s: s.decided is not None, lambda s: bool(s.decided)),
    ("option_off", lambda s: not (s.settings.show_option_to_remain_signed_in), lambda _: False),
    ("keeping_off", lambda s: s.settings.keep_me_signed_in_days == 0, lambda _: False),
    ("asked_by_idp", lambda s: s.settings.kmsi_asked_by == "idp", lambda _: False),
    ("guest", _is_guest, lambda _: False),
    ("high_risk", lambda s: s.signals.risk == "high", lambda _: False),
    ("shared_device", lambda s: s.signals.shared_device is True, lambda _: False),
    ("consent", lambda s: s.signals.consent is True or "consent" in s.prompt.split(), lambda _: False),
    # A fresh sign-in that a policy wanted changes nothing about an answer that was given before, silent or not.
    ("unchanged", lambda s: s.previous is not None, lambda s: bool(s.previous)),
    # The provider knows the person by now, because of the sign-in that was lost with the answer.
    ("asked_again", lambda s: s.unanswered and _is_silent(s), lambda _: None),
    ("silent", _is_silent, lambda _: False),
    ("remembered_answer", lambda s: s.remembered is not None, lambda s: s.remembered == "yes"),
    ("said_yes_at_issuer", _inherits, lambda _: True),
)


def decide(situation: Situation) -> Decision:
    """The first row that fits; none: ask."""
    for name, fits, decided in TABLE:
        if fits(situation):
            persistent = decided(situation)
            return Decision(ask=persistent is None, persistent=bool(persistent), reason=name)
    return Decision(ask=True, persistent=False, reason="asked")
