"""What a flow may ask for. A driver performs it and sends the answer back; a failure is raised in the flow.

Whoever performs an effect turns library errors into ours (:mod:`.errors`), and sees to it that what must
happen once at a time (discovery, the fetching of keys) does.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol, TypeVar

from .messages import HttpRequest
from .records import frozen
from .session import EndReason, Mark, Revoker, Session, Tombstone
from .signals import SignInFacts

T = TypeVar("T")


class Effect:
    """Base of all effects."""

    __slots__ = ()


Flow = Generator[Effect, Any, T]
"""A flow yields effects, is sent their answers, and returns its outcome."""


# The session store ---------------------------------------------------------------------------------------


@frozen
class LoadSession(Effect):
    """Answer: :class:`Session`, :class:`Tombstone` if it ended within 24 hours, or ``None``."""

    key: bytes


@frozen
class ReadVersion(Effect):
    """Answer: the ``version`` of the session that the store holds now, or ``None`` if it holds none."""

    key: bytes


@frozen
class CreateSession(Effect):
    """Answer: ``None``. Raises ``StoreConflict`` for a taken key, ``SignInRevoked`` where a mark forbids it."""

    session: Session


@frozen
class SaveSession(Effect):
    """Save ``session`` over the version before it (``session.version - 1``). Raises ``StoreConflict``."""

    session: Session


@frozen
class EndSession(Effect):
    """Delete a session and leave a tombstone. Answer: whether it was there. An end is written to the log."""

    key: bytes
    reason: EndReason
    by: Revoker = ""


@frozen
class EndSessions(Effect):
    """Delete several sessions and leave tombstones. Answer: how many there were. Each end is written to the log."""

    sessions: Sequence[Session]
    reason: EndReason
    by: Revoker = ""


@frozen
class FindSessions(Effect):
    """Answer: the live sessions (a list) that the issuer knows by ``sid``; of any issuer if ``issuer`` is None."""

    sid: str
    issuer: str | None


@frozen
class FindUserSessions(Effect):
    """Answer: the live sessions (a list) of a user, by one of ``Session.user_keys``."""

    user: bytes


@frozen
class ListSessions(Effect):
    """Answer: about ``limit`` live sessions (a list), and the cursor of the next page; an empty one at the end.

    It begins with ``b""``. What lives from the first page to the last is on one of them, at least once.
    """

    cursor: bytes
    limit: int


@frozen
class ReadMark(Effect):
    """Answer: the :class:`Mark` for any of these (``Session.mark_keys``), or for everybody: of each instant the
    latest."""

    keys: Sequence[bytes]


@frozen
class PutMark(Effect):
    """Keep a mark (or one for ``EVERYBODY``) until an instant; of an older one the later instants stay."""

    key: bytes
    mark: Mark
    until: int


@frozen
class PutTicket(Effect):
    """Keep a small payload until an instant. Answer: False if the key is taken, and then nothing changes."""

    key: bytes
    payload: bytes
    expires_at: int


@frozen
class ReadTicket(Effect):
    """Answer: the payload, or ``None`` if it is not there or late. Changes nothing."""

    key: bytes


@frozen
class TakeTicket(Effect):
    """As :class:`ReadTicket`, and of all who ask, in whatever process, exactly one gets it."""

    key: bytes


# The identity provider ------------------------------------------------------------------------------------


@frozen
class GetProvider(Effect):
    """Answer: the issuer's checked metadata (``rules.oidc.discovery.Provider``), from the cache if fresh."""

    issuer: str


@frozen
class GetKeys(Effect):
    """Answer: the JWKS as parsed JSON. ``unknown_kid``: a key that the cached set lacked; then it is fetched
    again, at a bounded rate."""

    jwks_uri: str
    unknown_kid: bool = False


@frozen
class Fetch(Effect):
    """Answer: :class:`HttpResponse`, whatever its status. Raises ``ProviderUnavailable``, after ``within`` seconds if
    that is less than the setting ``http_timeout``."""

    request: HttpRequest
    within: float | None = None


@frozen
class MayAsk(Effect):
    """Answer: whether it is worth while to ask the issuer for what one can do without just now. After a failure it
    is not for some seconds; then it is for one caller, and for all once the issuer has answered again."""


@frozen
class Tell(Effect):
    """Send requests that need no answer, one after the other, for ``within`` seconds altogether. Answer: ``None``;
    what fails is logged."""

    requests: Sequence[HttpRequest]
    within: float


@frozen
class ToTheEnd(Effect):
    """Answer: the outcome of ``flow``, which is played to its end even if who waits for it has gone."""

    flow: Flow[Any]


@frozen
class PutAside(Effect):
    """Keep something in this process because the store can't, or with ``b""`` forget it. Answer: ``None``."""

    key: bytes
    payload: bytes = field(repr=False)


@frozen
class ReadAside(Effect):
    """Answer: what was put aside under a key in this process; ``b""`` for nothing."""

    key: bytes


# The rest -------------------------------------------------------------------------------------------------


@frozen
class AskSignals(Effect):
    """Answer: :class:`SignInSignals` from the app's ``sign_in_signals`` hook."""

    facts: SignInFacts


@frozen
class GetPolicies(Effect):
    """Answer: the Conditional Access policies in force (``rules.conditional_access.policy.PolicySet``)."""


@frozen
class GetCountry(Effect):
    """Answer: the country of an address, two letters in upper case; ``""``: it belongs to none; ``None``: not known."""

    address: str


@frozen
class AskRisk(Effect):
    """Answer: :class:`SignInSignals` from the app's ``current_risk`` hook: what has changed since the sign-in."""

    session: Session


@frozen
class AppendSignIn(Effect):
    """Write a record to the sign-in log. Answer: ``None``; a failing log is logged and stops nobody."""

    record: Mapping[str, Any] = field(repr=False)


@frozen
class NoteSession(Effect):
    """Write a record of what became of a session (``rules.session_log``) to the log. Answer: ``None``."""

    record: Mapping[str, Any] = field(repr=False)


@frozen
class NoteLongTarget(Effect):
    """Write to the log that a page was too long to return to, without the page. Answer: ``None``."""

    characters: int


@frozen
class CountUnmatched(Effect):
    """A request that matched nothing (a callback without a transaction, a logout for an unknown ``sid``).

    Counted by kind and address, never stored. Answer: whether this address may try again now.
    """

    kind: str
    address: str


@frozen
class MayTry(Effect):
    """Answer: whether an address has so few unmatched requests of a kind that one more is looked at."""

    kind: str
    address: str


# What the stores owe ---------------------------------------------------------------------------------------


SLOTS = 65_536


def slot_of(key: bytes) -> int:
    """Which of the store's counters a session belongs to: the first two bytes of its key."""
    return key[0] << 8 | key[1]


class SessionStore(Protocol):
    """The contract of a store; ``tests/stores`` runs one suite against every one.

    * Every method raises ``StoreUnavailable`` when the store failed; "not found" is an answer.
    * A store reads no clock: time is the caller's ``now``, in seconds since 1970.
    * A session stays until ``TOMBSTONE_SECONDS`` after its ``expires_at``, so ``load`` answers an expired one
      too; whether it is still good, and why not, is for the rules to say. ``find``, ``find_user`` and ``page``
      answer only sessions that have not expired. A tombstone stays ``TOMBSTONE_SECONDS`` from its end. After that
      the key counts as never used, whether or not the store has swept it yet.
    * ``create`` fails with ``StoreConflict`` where the key has a session or a tombstone; and with ``SignInRevoked``
      where a mark for one of its ``mark_keys``, or for everybody, stops what began at its ``begun_at``. Whoever
      puts a mark and then finds the sessions has found all that began before it: none is created after.
    * ``save`` fails with ``StoreConflict`` unless the store holds the session with ``session.version - 1``.
      Afterwards ``find`` knows it by the ``sids`` it has now, and by no others. Its user keys never change.
    * ``end`` answers whether there was a session, expired or not, and leaves a tombstone in the same step. What
      has ended already keeps its first reason. ``end_many`` does so for each key, and answers for how many; if it
      fails, some of them may have ended.
    * A ticket is there while ``now < expires_at``; then its key is free again. Of all who take it, one gets it.
      A mark is there while ``now < until``.
    * A write is visible to every process before it is answered.
    * Nothing opens before the first use, and a forked child opens its own. ``counters`` is asked anew for every
      request: it answers ``None`` until a load has opened the store, and after it was closed.
    """

    inline: bool
    """Whether reads (``load``, ``find``, ``read_ticket``, …) are quick enough for an event loop's thread."""
    inline_writes: bool
    """Whether everything else is, too."""

    @property
    def asynchronous(self) -> Any | None:
        """The same store for asyncio, where it has a way of its own there (``edges.stores.AsyncSessionStore``);
        else its methods run on a thread."""
        ...

    def load(self, key: bytes, now: float) -> Session | Tombstone | None: ...

    def create(self, session: Session, now: float) -> None: ...

    def save(self, session: Session, now: float) -> None: ...

    def end(self, key: bytes, reason: EndReason, now: float) -> bool: ...

    def end_many(self, keys: Sequence[bytes], reason: EndReason, now: float) -> int: ...

    def find(self, sid: str, issuer: str | None, now: float) -> list[Session]: ...

    def find_user(self, user: bytes, now: float) -> list[Session]: ...

    def page(self, cursor: bytes, limit: int, now: float) -> tuple[list[Session], bytes]: ...

    def read_mark(self, keys: Sequence[bytes], now: float) -> Mark: ...

    def put_mark(self, key: bytes, mark: Mark, until: int, now: float) -> None: ...

    def put_ticket(self, key: bytes, payload: bytes, expires_at: int, now: float) -> bool: ...

    def read_ticket(self, key: bytes, now: float) -> bytes | None: ...

    def take_ticket(self, key: bytes, now: float) -> bytes | None: ...

    def counters(self) -> Sequence[int] | None:
        """Counts that every write of a session changes, by slot (:func:`slot_of`); in memory, shared by all
        processes. Read before a load and unchanged after it, a count vouches for what was loaded for as long
        as it stays the same. Odd: a write is under way, so load. ``None``: this store can't tell, so ask
        ``version``, or load.
        """
        ...

    reads_versions: bool
    """Whether ``version`` costs less than ``load``, so that where ``counters`` can't tell it is asked instead."""

    def version(self, key: bytes) -> int | None:
        """The ``version`` of the session that the store holds now; ``None`` if it holds none."""
        ...

    def close(self) -> None: ...
