"""One connection under asyncio, on which the commands of all requests follow each other without waiting for replies.

1. What is asked during one turn of the event loop is sent in one piece.
2. A reply belongs to the oldest question that has none, as the protocol has it.
3. While replies are wanting, some byte must come every ``ANSWER_SECONDS``; else the connection is given up.
4. What is wanting when the connection breaks fails with :class:`Lost`, or with :class:`Late` where it may have to
   wait again.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from typing import Any

import hiredis

from .client import ANSWER_SECONDS


def packed(command: Sequence[bytes | int | str]) -> bytes:
    """A command as it is sent."""
    return hiredis.pack_command(tuple(command))  # type: ignore[arg-type,no-any-return]


class Lost(Exception):
    """The connection is gone. The question may be sent once more, on another."""


class Late(Exception):
    """The server did not answer in time, or not as Redis does."""


class Pipe(asyncio.Protocol):
    """The connection, as asyncio's transports want it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_open = False
        self._loop = loop
        self._reader = hiredis.Reader()
        self._waiting: deque[Any] = deque()  # futures, or what is like one
        self._out: list[bytes] = []
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._reason: Exception = Lost("the server closed the connection")

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        """Send a packed command. Its reply is what the server said, an error too (``hiredis.ReplyError``)."""
        answer = self._loop.create_future()
        if self.is_open:
            self._put(packed, answer)
        else:
            answer.set_exception(self._reason)
        return answer

    def _put(self, packed: bytes, answer: Any) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)
        self._waiting.append(answer)

    def close(self) -> None:
        """Close it, at once."""
        self._give_up(Lost("the connection was closed"))

    def _flush(self) -> None:
        if self.is_open:
            if len(self._waiting) == len(self._out):  # from now on, however long the loop was held up before
                self._heard = self._loop.time()
            self._transport.write(b"".join(self._out))
            if self._timer is None:
                self._timer = self._loop.call_at(self._heard + ANSWER_SECONDS, self._look)
        self._out.clear()

    def _look(self) -> None:
        """Rule 3."""
        self._timer = None
        if self._waiting and self.is_open:
            if self._loop.time() - self._heard >= ANSWER_SECONDS:
                self._give_up(Late("the server did not answer in time"))
            else:
                self._timer = self._loop.call_at(self._heard + ANSWER_SECONDS, self._look)

    def _give_up(self, reason: Exception) -> None:
        if self.is_open:
            self.is_open = False
            self._reason = reason
            self._transport.abort()

    def let_go(self) -> None:
        """In a forked child: the line is the parent's. Were it kept open here, the server would go on writing to it
        when the parent is gone. The event loop is the parent's too, and must not hear of this."""
        line = self._transport.get_extra_info("socket") if self.is_open else None
        if line is not None:
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nowhere, line.fileno(), inheritable=False)
            os.close(nowhere)

    # What the transport calls -----------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                self._take(reply)
        except (hiredis.HiredisError, IndexError):
            self._give_up(Late("the server does not speak Redis's protocol"))

    def _take(self, reply: Any) -> None:
        answer = self._waiting.popleft()
        if not answer.done():  # its request may have been cancelled
            answer.set_result(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(self._reason)
