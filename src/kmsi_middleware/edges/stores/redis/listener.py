"""A connection under asyncio that hears of every session that changes, and is asked when requests wait.

All requests that come in during one turn of the event loop wait for one question, which is sent when they all have
come in. When it is answered, the counts vouch for each of them (:mod:`.counts`, rule 1): one round trip, strictly, and
less work for this process and for the server than to ask for each session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from .client import Client
from .counts import QUESTION, Counts, Misheard, is_primary
from .pipe import Late, Lost, Pipe, packed

_QUESTION = packed(QUESTION)

Answer = asyncio.Future[Sequence[int] | None]


class Listener(Pipe):
    """The connection. To be asked only while it is open."""

    def __init__(self, loop: asyncio.AbstractEventLoop, counts: Counts, client: Client) -> None:
        super().__init__(loop)
        self._counts = counts
        self._client = client
        self._batch: _Batch | None = None

    def counters(self) -> Answer:
        """The counts, once they vouch; ``None`` where that can't be known. Raises ``StoreUnavailable`` where the server
        does not answer in time."""
        answer: Answer = self._loop.create_future()
        batch = self._batch
        if batch is None:
            batch = self._batch = _Batch(self)
            self._put(_QUESTION, batch)
        batch.append(answer)
        return answer

    def _flush(self) -> None:
        self._batch = None  # who comes now may be too late for this question
        super()._flush()

    def _take(self, reply: Any) -> None:
        if not isinstance(reply, hiredis.PushNotification):
            super()._take(reply)
            return
        try:
            self._counts.hear(reply)
        except Misheard as error:
            self._give_up(Lost(str(error)))

    def answered(self, role: Any) -> Sequence[int] | None:
        """What the server's answer is worth."""
        if self.is_open and is_primary(role):  # what was misheard just before has closed it
            return self._counts.now
        self.close()
        return None

    def failed(self, error: Exception) -> Exception | None:
        """What the requests are told, if they are not to ask in another way."""
        return self._client.unavailable(error) if isinstance(error, Late) else None


class _Batch(list[Answer]):
    """The answers that one question is for. To the connection it is as one of them."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def done(self) -> bool:
        return False

    def set_result(self, role: Any) -> None:
        counts = self._listener.answered(role)
        self._listener._batch = None
        for answer in self:
            if not answer.done():  # its request may have been cancelled
                answer.set_result(counts)

    def set_exception(self, error: Exception) -> None:
        failure = self._listener.failed(error)
        for answer in self:
            if not answer.done():
                if failure is None:
                    answer.set_result(None)
                else:
                    answer.set_exception(failure)
