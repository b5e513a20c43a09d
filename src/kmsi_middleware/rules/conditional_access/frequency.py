"""Sign-in frequency: when a sign-in falls due, what is asked of the issuer, and whether its answer will do.

1. A sign-in falls due when the factor's last proof is as old as the strictest policy allows, at that very second.
2. A frequency over both factors limits the age of the first, and of the second where one was shown. One over the
   second factor alone limits the second, and asks for one where none was shown. Whichever falls due first decides.
3. A proof that is not known, or that lies in the future by more than :data:`TOLERANCE`, is none: due at once.
4. "Every time" is five minutes (:data:`TOLERANCE`): nobody is asked twice within them, whatever number of policies
   want it. The five minutes count from the proof. They count from when the sign-in was taken up (``asked_at``)
   where the person was really asked in it, within the clocks' skew; and where it was past due on arrival although the
   issuer was asked for that very age and its answer held (``verified_max_age``), which two clocks can bring about
   (else the browser would go round in circles between two clocks).
5. The issuer is sent ``max_age``: the strictest number of seconds, five minutes for "every time", so that a sign-in
   which another app asked for a moment ago counts.
6. The ``auth_time`` that comes back is measured against the instant at which the browser was *sent*, not against
   now: typing a password takes time. It may be older than allowed by the clocks' skew, and no more.
7. By default, whatever the policies say, a session that was not used for 90 days signs in again.
8. In a browser, what fell due waits for the person's next interaction: requests in the background go on until the
   first navigation is refused, and for two hours at most. Never on routes with an authentication context.

Entra ID: Configure authentication session management, "User sign-in frequency" (default, examples 1 to 3), "Require
reauthentication every time", "Prompt tolerance". OpenID Connect Core 1.0 §3.1.2.1 (``max_age``), §2 (``auth_time``).
"""

from __future__ import annotations

from typing import Literal

from ...vocabulary.records import frozen
from ...vocabulary.settings import DAY
from .evaluate import Controls, Frequency
from .facts import Proofs
from .policy import Policy

TOLERANCE = 300
"""Seconds within which nobody is asked twice (section "Prompt tolerance")."""
UNUSED = 90 * DAY
"""The default sign-in frequency: a rolling window."""
BACKGROUND_GRACE = 7_200

Outcome = Literal["satisfied", "too_old", "no_auth_time", "no_second_factor"]


@frozen
class Due:
    """When a sign-in falls due (seconds since 1970). ``None``: never. 0: a proof is wanting, so at once."""

    first: int | None = None
    second: int | None = None
    unused: int | None = None
    """Rule 7."""
    policy: Policy | None = None
    """The policy behind the earliest of them; ``None`` for rule 7."""

    @property
    def at(self) -> int | None:
        """The earliest of them."""
        return min((at for at in (self.first, self.second, self.unused) if at is not None), default=None)

    def is_due(self, now: float) -> bool:
        """Rule 1."""
        return self.at is not None and now >= self.at


def due(controls: Controls, proofs: Proofs, now: float, *, clock_skew: int = 0) -> Due:
    """Rules 1 to 4 and 7. ``clock_skew``: by how many seconds the issuer's clock may differ from ours."""
    both, alone = controls.sign_in_frequency_first, controls.sign_in_frequency_second
    limits: list[tuple[int, Literal["first", "second"], Frequency]] = []
    if both is not None:
        limits.append((_falls_due(both, proofs.first_factor_at, proofs, now, clock_skew), "first", both))
        if proofs.second_factor_at is not None:
            limits.append((_falls_due(both, proofs.second_factor_at, proofs, now, clock_skew), "second", both))
    if alone is not None:
        limits.append((_falls_due(alone, proofs.second_factor_at, proofs, now, clock_skew), "second", alone))
    first = min((at for at, factor, _ in limits if factor == "first"), default=None)
    second = min((at for at, factor, _ in limits if factor == "second"), default=None)
    unused = None if proofs.last_used_at is None else proofs.last_used_at + UNUSED
    earliest = min(limits, key=lambda limit: limit[0], default=None)
    wins = earliest is not None and (unused is None or earliest[0] <= unused)
    return Due(first, second, unused, earliest[2].policy if earliest is not None and wins else None)


def _limit(frequency: Frequency) -> int:
    return TOLERANCE if frequency.seconds is None else max(frequency.seconds, TOLERANCE)


def _falls_due(frequency: Frequency, proof: int | None, proofs: Proofs, now: float, clock_skew: int) -> int:
    if proof is None or proof > now + TOLERANCE:
        return 0
    at = proof + _limit(frequency)
    asked, verified = proofs.asked_at, proofs.verified_max_age
    if asked is None:
        return at
    held = verified is not None and verified <= _limit(frequency)
    if proof >= asked - clock_skew or (held and at <= asked):
        return max(at, asked + TOLERANCE)
    return at


# What is asked of the issuer, and its answer -------------------------------------------------------------


def max_age(controls: Controls) -> int | None:
    """Rule 5: the ``max_age`` of the authorization request, in seconds; ``None``: send none."""
    wanted = (controls.sign_in_frequency_first, controls.sign_in_frequency_second)
    return min((_limit(frequency) for frequency in wanted if frequency is not None), default=None)


def answered(controls: Controls, proofs: Proofs, sent_at: float, *, clock_skew: int = 0) -> Outcome:
    """Whether a sign-in that just came back will do (rule 6).

    ``proofs`` are those of the ID token that came back; ``sent_at``: when the browser was sent to the issuer.

    * ``satisfied``;
    * ``too_old``: the issuer let an older sign-in pass. With ``max_age`` in the request it has no business to; a
      request without it is sent again, with it, once;
    * ``no_auth_time``: the issuer does not say when the person signed in, although a policy limits it;
    * ``no_second_factor``: a policy limits the second factor's age, and none was shown.
    """
    both, alone = controls.sign_in_frequency_first, controls.sign_in_frequency_second
    if (both is not None or alone is not None) and proofs.first_factor_at is None:
        return "no_auth_time"
    if alone is not None and proofs.second_factor_at is None:
        return "no_second_factor"
    checks = [
        (both, proofs.first_factor_at),
        (both, proofs.second_factor_at),
        (alone, proofs.second_factor_at),
    ]
    for frequency, proof in checks:
        if frequency is not None and proof is not None and proof < sent_at - _limit(frequency) - clock_skew:
            return "too_old"
    return "satisfied"


# Deferred enforcement ------------------------------------------------------------------------------------


def deferred(
    request_kind: Literal["navigation", "background"],
    *,
    fell_due_at: int,
    last_refused_navigation_at: int | None,
    background_grace: int = BACKGROUND_GRACE,
    has_auth_context: bool,
    now: float,
) -> Literal["go on", "sign in", "refuse"]:
    """Rule 8: what becomes of a request. Instants in seconds since 1970, ``background_grace`` in seconds.

    ``last_refused_navigation_at``: when a navigation of this session was last answered by a sign-in; one that lies
    before ``fell_due_at`` says nothing about this time. ``refuse``: 401 ``sign_in_frequency``.
    """
    if now < fell_due_at:
        return "go on"
    if request_kind == "navigation":
        return "sign in"
    told = last_refused_navigation_at is not None and last_refused_navigation_at >= fell_due_at
    late = now >= fell_due_at + background_grace
    return "refuse" if has_auth_context or told or late else "go on"
