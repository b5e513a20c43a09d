"""What each operation of the store asks the server, as generators: they yield commands, are sent the replies, and
return the operation's result. :mod:`.client` drives them with threads, :mod:`.pipe` under asyncio.

Keys, after the prefix: ``s:`` sessions and tombstones, ``t:`` tickets, ``m:`` marks, ``i:`` the sessions of a
``sid``, ``u:`` those of a user. The last two are sorted sets of session keys, by when they expire. Each key has one
name and one slot of a cluster, so between keys nothing is atomic. What holds all the same, and why:

1. **Whoever looks for the sessions of a sid or a user finds all that live.** A session is put into its sets before
   it is written, and taken out only after its tombstone stands, or a day after it expired. A set may name sessions
   that never came to be; the reader drops what does not say itself that it belongs.

2. **Whoever puts a mark and then finds the sessions has found all that began before it.** To create is four
   steps: the sets; the session, *pending*; a look for marks; and if none stops it, the session is there. Pending it
   is nobody's (``load`` and ``version`` don't see it), but ``find``, ``find_user`` and ``page`` do, and ``end`` ends
   it. Let a creator look for marks and see none. Its sets and its pending session were written before that look,
   and the mark after it (one key, so one order); so who looks for sessions after the mark finds it in the set, and
   by its key, and ends it. If that was before the last step, the last step fails. A creator that dies on the way
   leaves a pending session, which the server drops after ``PENDING_SECONDS``.

3. **Of several who create under one key, one does.** Who finds another's pending session finishes it (looks for
   marks, and takes the last step) before it answers that the key is taken. So who is told so finds the session.

4. **Every command may be sent twice.** See :mod:`.scripts`.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable, Sequence
from dataclasses import field
from hashlib import sha256
from typing import Any, TypeVar

from ....vocabulary.errors import SignInRevoked, StoreConflict, StoreUnavailable
from ....vocabulary.records import frozen
from ....vocabulary.session import EVERYBODY, TOMBSTONE_SECONDS, EndReason, Mark, Session, Tombstone, later
from . import scripts, values
from .scripts import Script

T = TypeVar("T")

PENDING_SECONDS = 60
TAKEN_SECONDS = 10
"""For how long a taken ticket is answered again to the very taker whose connection broke."""
STEP = 200
"""Keys that one step asks for at most, so that others' requests come in between."""
MOST_SCANS = 50
"""Steps over the server's keys that one page takes at most, where hardly any of them are ours."""


@frozen
class Command:
    """One command. ``key`` or ``server`` says whom it is for."""

    arguments: tuple[bytes | int | str, ...] = field(repr=False)
    key: bytes = b""
    server: str = ""
    script: Script | None = None
    session: bytes | None = None
    """The session that it may change."""


@frozen
class Servers:
    """Asks for the names of all servers that hold keys, in an order that stays."""


Work = Generator[Sequence[Command] | Servers, Any, T]


class Operations:
    """All operations, under a prefix. Arguments and answers are those of ``SessionStore``."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()
        self.sessions = self.prefix + b"s:"
        """What the keys of sessions begin with."""

    def key_of(self, session: bytes) -> bytes:
        """The key of a session."""
        return self.sessions + session.hex().encode()

    # Sessions ---------------------------------------------------------------------------------------------

    def load(self, key: bytes, now: float) -> Work[Session | Tombstone | None]:
        (held,) = yield [self._get(self.key_of(key))]
        return values.kept_of(key, held, now)

    def begin(self, key: bytes) -> Command:
        """What asks for the version of a session: :func:`.values.version_of` reads it in the reply."""
        at = self.key_of(key)
        return Command(("GETRANGE", at, 0, values.VERSION_ENDS - 1), at)

    def create(self, session: Session, now: float) -> Work[None]:
        name = _name()
        pending = values.pack(session, name, "P")
        yield self._index(session, now)
        (held,) = yield [self._run(scripts.BEGIN, session.key, pending, int(now), PENDING_SECONDS)]
        if held is not None:
            if held[:1] == b"P":
                yield from self._finish(values.session_of(session.key, held), held[1 : values.HEAD], now)
            raise StoreConflict("the key is taken")
        if not (yield from self._finish(session, values.head(session, name)[1:], now)):
            raise SignInRevoked("revoked since the sign-in began")

    def _finish(self, session: Session, head: bytes, now: float) -> Work[bool]:
        """Rule 2's last two steps. Answers whether the session is there now."""
        if (yield from self.read_mark(session.mark_keys, now)).stops(session.begun_at):
            yield [self._run(scripts.DROP, session.key, head)]
            return False
        ttl = values.ttl(values.gone_at(session), now)
        (done,) = yield [self._run(scripts.FINISH, session.key, head, ttl)]
        return bool(done == 1)

    def save(self, session: Session, now: float) -> Work[None]:
        yield self._index(session, now)
        before = f"S{session.version - 1:010}"
        ttl = values.ttl(values.gone_at(session), now)
        packed = values.pack(session, _name())
        (done,) = yield [self._run(scripts.SAVE, session.key, before, packed, int(now), ttl)]
        if not done:
            raise StoreConflict("the session was saved by another or has ended")

    def end(self, key: bytes, reason: EndReason, now: float) -> Work[bool]:
        return (yield from self.end_many((key,), reason, now)) == 1

    def end_many(self, keys: Sequence[bytes], reason: EndReason, now: float) -> Work[int]:
        ended = 0
        until = int(now) + TOMBSTONE_SECONDS
        ttl = values.ttl(until, now)
        for at in range(0, len(keys), STEP):
            step = keys[at : at + STEP]
            heads = [f"T{0:010}{until:012}{_name()}" for _ in step]
            held = yield [
                self._run(scripts.END, key, head, reason, int(now), ttl) for key, head in zip(step, heads, strict=True)
            ]
            ended += sum(each is not None for each in held)
            gone = [(key, each) for key, each in zip(step, held, strict=True) if isinstance(each, bytes)]
            yield [command for key, each in gone for command in self._unindex(key, each)]
        return ended

    def find(self, sid: str, issuer: str | None, now: float) -> Work[list[Session]]:
        found = yield from self._members(self._sid_key(sid), now)
        return [each for each in found if sid in each.sids and issuer in (None, each.issuer)]

    def find_user(self, user: bytes, now: float) -> Work[list[Session]]:
        return [each for each in (yield from self._members(self._user_key(user), now)) if user in each.user_keys]

    def page(self, cursor: bytes, limit: int, now: float) -> Work[tuple[list[Session], bytes]]:
        """The cursor: the server's cursor and its name. Servers take turns."""
        servers: list[str] = yield Servers()
        at, _, name = cursor.decode(errors="replace").partition(" ")
        server = name if cursor else servers[0]
        if server not in servers:
            raise StoreUnavailable("the cluster has other servers now: begin with the first page again")
        keys: dict[bytes, None] = {}
        for _ in range(MOST_SCANS):
            pattern = _literally(self.sessions) + b"*"
            scan = ("SCAN", at or "0", "MATCH", pattern, "COUNT", max(limit, 1))
            ((after, found),) = yield [Command(scan, server=server)]
            keys |= dict.fromkeys(found)
            at = after.decode()
            if at == "0" or len(keys) >= limit:
                break
        begin = len(self.sessions)
        sessions = yield from self._live([bytes.fromhex(key[begin:].decode()) for key in keys], now)
        if at == "0":
            rest = servers[servers.index(server) + 1 :]
            return sessions, f"0 {rest[0]}".encode() if rest else b""
        return sessions, f"{at} {server}".encode()

    # Marks ------------------------------------------------------------------------------------------------

    def read_mark(self, keys: Sequence[bytes], now: float) -> Work[Mark]:
        held = yield [self._get(self._mark_key(key)) for key in (*keys, EVERYBODY)]
        return later(*(values.mark_of(each, now) for each in held))

    def put_mark(self, key: bytes, mark: Mark, until: int, now: float) -> Work[None]:
        at = self._mark_key(key)
        yield [_run(scripts.PUT_MARK, at, mark.valid_from, mark.real_from, until, int(now), values.SLACK)]

    # Tickets ----------------------------------------------------------------------------------------------

    def put_ticket(self, key: bytes, payload: bytes, expires_at: int, now: float) -> Work[bool]:
        packed = values.pack_ticket(payload, expires_at, _name())
        ttl = values.ttl(expires_at, now)
        (done,) = yield [_run(scripts.PUT_TICKET, self._ticket_key(key), packed, int(now), ttl)]
        return bool(done)

    def read_ticket(self, key: bytes, now: float) -> Work[bytes | None]:
        (held,) = yield [self._get(self._ticket_key(key))]
        return values.payload_of(held, now)

    def take_ticket(self, key: bytes, now: float) -> Work[bytes | None]:
        (payload,) = yield [_run(scripts.TAKE_TICKET, self._ticket_key(key), _name(), int(now), TAKEN_SECONDS)]
        return payload  # type: ignore[no-any-return]

    # How --------------------------------------------------------------------------------------------------

    def _ticket_key(self, key: bytes) -> bytes:
        return self.prefix + b"t:" + key.hex().encode()

    def _mark_key(self, key: bytes) -> bytes:
        return self.prefix + b"m:" + key.hex().encode()

    def _user_key(self, user: bytes) -> bytes:
        return self.prefix + b"u:" + user.hex().encode()

    def _sid_key(self, sid: str) -> bytes:
        return self.prefix + b"i:" + sha256(sid.encode("utf-8", "surrogatepass")).hexdigest()[:32].encode()

    def _get(self, key: bytes) -> Command:
        return Command(("GET", key), key)

    def _run(self, script: Script, session: bytes, *arguments: bytes | int | str) -> Command:
        return _run(script, self.key_of(session), *arguments, session=session)

    def _sets(self, session: Session) -> Iterable[bytes]:
        yield from {self._sid_key(sid) for sid in session.sids}
        yield from map(self._user_key, session.user_keys)

    def _index(self, session: Session, now: float) -> list[Command]:
        """Rule 1. A session that will live longer is kept in its sets for longer, and never for less."""
        until = values.gone_at(session)
        dropped = int(now) - TOMBSTONE_SECONDS
        ttl = values.ttl(until, now)
        return [_run(scripts.INDEX, at, session.expires_at, session.key, dropped, ttl) for at in self._sets(session)]

    def _unindex(self, key: bytes, held: bytes) -> list[Command]:
        try:
            session = values.session_of(key, held)
        except StoreUnavailable:
            return []  # it is ended all the same
        return [Command(("ZREM", at, key), at) for at in self._sets(session)]

    def _members(self, at: bytes, now: float) -> Work[list[Session]]:
        (keys,) = yield [Command(("ZRANGEBYSCORE", at, f"({int(now)}", "+inf"), at)]
        return (yield from self._live(keys, now))

    def _live(self, keys: Sequence[bytes], now: float) -> Work[list[Session]]:
        """Those of the sessions that live, the pending ones with them."""
        found = []
        for begin in range(0, len(keys), STEP):
            step = keys[begin : begin + STEP]
            held = yield [self._get(self.key_of(key)) for key in step]
            for key, each in zip(step, held, strict=True):
                if each is not None and each[:1] != b"T" and now < values.absent_from(each):
                    session = values.session_of(key, each)
                    if now < session.expires_at:
                        found.append(session)
        return found


def _run(script: Script, key: bytes, *arguments: bytes | int | str, session: bytes | None = None) -> Command:
    return Command(("EVALSHA", script.digest, 1, key, *arguments), key, script=script, session=session)


def _name() -> str:
    """A write's own name."""
    return secrets.token_hex(8)


def _literally(pattern: bytes) -> bytes:
    """A glob that matches only this text."""
    return b"".join(b"\\" + byte.to_bytes() if byte in b"*?[]\\^-" else byte.to_bytes() for byte in pattern)
