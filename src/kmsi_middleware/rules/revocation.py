"""What a revocation leaves behind, and which sign-ins are real enough after it.

1. A revocation leaves a mark: sign-ins that were under way become no session any more, and after it the person must
   really sign in at the issuer, whose own session may be in a stranger's hands as well as ours.
2. A sign-in is real if the issuer says that the person signed in after the revocation, by both clocks. Where the
   issuer was asked to let the person sign in anew, and was asked so after the revocation, its answer may lag by the
   clocks' skew.
3. An issuer that does not say when (``auth_time``) is first asked with ``max_age``: then it has to say, and lets
   whoever has really signed in since pass without another password. One that does not say even then is believed
   once it was asked with ``prompt=login``.
4. Who was asked with ``prompt=login`` is not asked again: that would be a loop.

OpenID Connect Core 1.0 §3.1.2.1 (``prompt``, ``max_age``), §2 (``auth_time``).
"""

from __future__ import annotations

from typing import Literal

from ..vocabulary.records import frozen
from ..vocabulary.session import EndReason, Mark
from ..vocabulary.settings import DAY

MARK_SECONDS = 400 * DAY
"""How long a mark is kept: no browser keeps a cookie longer (rfc6265bis §5.5), so neither the issuer's."""


def mark(now: float) -> Mark:
    """Rule 1."""
    return Mark(valid_from=int(now), real_from=int(now))


def prompt_after(reason: EndReason | None) -> str:
    """What a sign-in asks for whose browser comes with a session that ended so: after a revocation a silent one
    would undo it."""
    return "login" if reason == "revoked" else ""


@frozen
class Proof:
    """What a sign-in that came back shows, and what the issuer was asked."""

    auth_time: int | None
    prompt: str
    max_age: int | None
    sent_at: int
    """When the browser was sent to the issuer, by our clock."""


Next = Literal["nothing", "max_age", "login", "give up"]
"""What is asked of the issuer beyond this sign-in."""


def next_step(real_from: int, proof: Proof, *, clock_skew: int) -> Next:
    """Rules 2 to 4, for a sign-in that must be real after an instant; 0: any will do."""
    if not real_from:
        return "nothing"
    is_later = proof.sent_at > real_from
    is_prompted = is_later and "login" in proof.prompt.split()
    if proof.auth_time is None:
        if is_prompted:
            return "nothing"
        return "max_age" if proof.max_age is None else "login"
    asked_anew = is_prompted or (is_later and proof.max_age == 0)
    if proof.auth_time > real_from + clock_skew or (asked_anew and proof.auth_time >= proof.sent_at - clock_skew):
        return "nothing"
    return "give up" if is_prompted else "login"


def max_age_since(real_from: int, now: float, *, clock_skew: int) -> int:
    """The ``max_age`` that asks for a sign-in after an instant."""
    return max(0, int(now) - real_from - clock_skew)
