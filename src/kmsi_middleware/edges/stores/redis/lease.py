"""``revocation_lag``: answering from memory, kept fresh by the server's invalidation messages, bounded by a lease.

A thread of the process holds a connection that listens (:mod:`.counts`), and the counts vouch while there is a *lease*:

1. On that same connection the thread asks, again and again. When the answer has been read, the lease lasts until the
   instant at which the question was *sent*, plus the lag. No answer, no lease.
2. **A request that starts later than the lag after a revocation was answered does not pass here.** Let it start at
   *t* and find a lease; then a question was sent at *q* > *t* - lag, and its answer was read. Let the revocation have
   been answered at *r* < *t* - lag, so *r* < *q*. By rule 1 of :mod:`.counts` the revocation was heard, and had moved
   the count, when the lease began.
3. Any doubt ends the lease at once: a connection that is lost or late, a message that can't be read, a server that is
   no primary any more. Until there is a lease again, the server is asked (strictly).
4. Nothing opens before the first use; a forked child has a thread and a connection of its own.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import hiredis

from ...forks import renew_after_fork
from .client import CONNECT_SECONDS, Client
from .counts import DISORDER, LOOK, QUESTION, Counts, is_primary, keeps_order

_log = logging.getLogger("kmsi_middleware")

SHARE = 3
"""So many questions fit into the lag: two of them may be late, and the lease goes on."""
AGAIN = 1.0
"""Seconds between two attempts to listen."""


def _elapsed() -> float:
    """Seconds that passed, those in which the machine slept too: the server did not wait for it."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Lost(Exception):
    """The lease can't go on."""


class Refused(Lost):
    """The server does not do what it was told."""


class Lease:
    """One process's counts. ``lag`` is in seconds; ``clock`` is monotonic, in seconds of real time."""

    def __init__(self, client: Client, counts: Counts, lag: float, clock: Callable[[], float] = _elapsed) -> None:
        self.lag = lag
        self._client = client
        self._counts = counts
        self._clock = clock
        self._reset()
        renew_after_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._connection: socket.socket | None = None
        self._until = float("-inf")

    def renew(self) -> None:
        """See :mod:`kmsi_middleware.edges.forks`."""
        if self._connection is not None:
            self._connection.close()  # this side of it: the server must not write to who does not read
        self._reset()

    def counters(self) -> Sequence[int] | None:
        """The counts, while there is a lease. Starts to listen."""
        if self._clock() < self._until:
            return self._counts.now
        if self._thread is None:
            self._start()
        return None

    def close(self) -> None:
        """Stop listening. The next use begins again."""
        with self._lock:
            thread, self._thread = self._thread, None
            connection, self._connection = self._connection, None
            self._stopped.set()
            self._until = float("-inf")
        if connection is not None:
            _hang_up(connection)  # the thread may be waiting for a message
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # The thread -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._stopped = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._stopped,), name="kmsi-lease", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no thread to be had, or the interpreter is ending
                self._thread = None

    def _run(self, stopped: threading.Event) -> None:
        is_told = False
        while not stopped.is_set():
            try:
                self._connection = connection = self._connected()
                try:
                    self._listen(connection, stopped)
                finally:
                    _hang_up(connection)
            except Exception as error:  # whatever it is, there is another attempt
                if stopped.is_set():
                    return
                if not is_told or self._until > float("-inf"):  # once for each time that it goes wrong
                    is_told = True
                    _log.warning("%s: revocation_lag waits, every request asks: %s", self._client.address.shown, error)
            finally:
                self._until = float("-inf")
            stopped.wait(AGAIN)

    def _connected(self) -> socket.socket:
        host, port = self._client.where("")
        connection = socket.create_connection((host, port), CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._client.address.tls is not None:
            connection = self._client.tls_context().wrap_socket(connection, server_hostname=host)
        return connection

    def _listen(self, connection: socket.socket, stopped: threading.Event) -> None:
        reader = hiredis.Reader()
        connection.settimeout(CONNECT_SECONDS)
        for greeting in self._client.greeting():
            self._send(connection, greeting)
            self._reply(connection, reader)
        if not keeps_order(*(self._answer(connection, reader, command) for command in LOOK)):
            raise Lost(DISORDER)
        for command in self._counts.listening:
            self._send(connection, command)
            self._reply(connection, reader)
        self._counts.start_over()
        while not stopped.is_set():
            asked_at = self._clock()
            self._send(connection, QUESTION)
            connection.settimeout(self.lag)
            if not is_primary(self._reply(connection, reader)):
                raise Lost("the server is no primary any more")
            self._until = asked_at + self.lag
            self._wait(connection, reader, asked_at + self.lag / SHARE)

    def _wait(self, connection: socket.socket, reader: Any, until: float) -> None:
        """Read messages until it is time to ask again."""
        while (left := until - self._clock()) > 0:
            connection.settimeout(left)
            try:
                self._receive(connection, reader)
            except TimeoutError:
                return
            while (message := reader.gets()) is not False:
                self._counts.hear(message)

    def _answer(self, connection: socket.socket, reader: Any, command: tuple[str, ...]) -> Any:
        """The reply to a command that the server may refuse."""
        self._send(connection, command)
        try:
            return self._reply(connection, reader)
        except Refused:
            return None

    def _reply(self, connection: socket.socket, reader: Any) -> Any:
        """The reply to a command; messages that come before it are heard first."""
        while True:
            while (message := reader.gets()) is not False:
                if isinstance(message, hiredis.ReplyError):
                    raise Refused(str(message))
                if not isinstance(message, hiredis.PushNotification):
                    return message
                self._counts.hear(message)
            self._receive(connection, reader)

    @staticmethod
    def _send(connection: socket.socket, command: tuple[str | bytes, ...]) -> None:
        connection.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]

    @staticmethod
    def _receive(connection: socket.socket, reader: Any) -> None:
        received = connection.recv(65_536)
        if not received:
            raise Lost("the server closed the connection")
        reader.feed(received)


def _hang_up(connection: socket.socket) -> None:
    """Close it for all who may have inherited it, too: the server would go on writing, and nobody would read."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
