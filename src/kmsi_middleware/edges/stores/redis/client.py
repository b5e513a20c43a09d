"""The server or servers, for threads: redis-py's connections, and the one place that knows its errors.

1. A step of commands goes out in one piece to each server that has a part in it, and the replies are as the server
   gave them. Each thread has a connection to itself meanwhile. (To let threads share their reads, one of them asking
   for all who wait, measured no better with 8 or 16 of them: a thread that is woken costs as much as a read.)
2. A connection that broke is tried once more, on a new one: every command may be sent twice (:mod:`.scripts`). A
   server that does not answer in time is not asked again. redis-py's own retries are off.
3. Whatever redis-py or the system raises becomes :class:`StoreUnavailable`.
4. Connections do not cross a fork: the child forgets them and opens its own.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from ....vocabulary.errors import StoreUnavailable
from ...forks import renew_after_fork
from .address import Address
from .cluster import Arguments, Members
from .operations import Command, Servers

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""How long a connection, and an answer, may take."""
KEEPALIVE = {
    getattr(socket, name): value
    for name, value in {
        "TCP_KEEPIDLE": 30,
        "TCP_KEEPALIVE": 30,  # macOS's name for it
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 3,
    }.items()
    if hasattr(socket, name)
}
"""Seconds of silence before TCP asks for the other side, seconds between such questions, how many. What lies between
(a NAT, a load balancer) drops a silent connection after minutes, so the system's own two hours are too late."""
ERRORS = (redis.RedisError, redis.RedisClusterException, OSError)


class Client:
    """Performs what operations ask for. Safe to use from threads."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._reset()
        renew_after_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._sentinels: SentinelConnectionPool | None = None
        self._idle: dict[str, list[Any]] = {}
        self.members = Members(self.address, self._options())

    def renew(self) -> None:
        """See :mod:`kmsi_middleware.edges.forks`."""
        self._inherited = (self._sentinels, self._idle, self.members)  # closing them is not for the child
        self._reset()

    def perform(self, asked: Sequence[Command] | Servers) -> Any:
        """The replies to a step of commands, or the servers' names. Raises :class:`StoreUnavailable`."""
        is_cluster = self.address.kind == "cluster"
        try:
            if isinstance(asked, Servers):
                return self.members.primaries() if is_cluster else [""]
            if not asked:
                return []
            if is_cluster:
                return self._in_cluster(asked)
            replies = self._twice("", asked)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
            return replies
        except ERRORS as error:
            raise self.unavailable(error) from error

    def close(self) -> None:
        """Close all connections. The next use opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.disconnect()
        self.members.close()

    def unavailable(self, error: object) -> StoreUnavailable:
        """What to raise for whatever went wrong."""
        text = str(error)
        for secret in (self.address.password, self.address.sentinel_password):
            text = text.replace(secret, "(not shown)") if secret else text
        return StoreUnavailable(f"{self.address.shown}: {text}")

    # Asking -----------------------------------------------------------------------------------------------

    def _in_cluster(self, commands: Sequence[Command]) -> list[Any]:
        """Each server's part at once; then, one by one, what was redirected."""
        parts: dict[str, list[int]] = {}
        for at, command in enumerate(commands):
            parts.setdefault(command.server or self.members.place_of(command.key), []).append(at)
        replies: list[Any] = [None] * len(commands)
        for server, part in parts.items():
            try:
                found = self._twice(server, [commands[at] for at in part])
            except redis.ConnectionError as error:
                found = [error] * len(part)
            for at, reply in zip(part, found, strict=True):
                if isinstance(reply, Exception):
                    if commands[at].server:
                        raise reply
                    reply = self.members.follow(commands[at].key, in_full(commands[at]), reply, self._exchange)
                replies[at] = reply
        return replies

    def _twice(self, server: str, commands: Sequence[Command]) -> list[Any]:
        """Rule 2, and scripts that the server does not know yet. Errors are among the replies."""
        try:
            replies = self._exchange(server, [command.arguments for command in commands])
        except redis.ConnectionError:
            replies = self._exchange(server, [command.arguments for command in commands], anew=True)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = self._exchange(server, [in_full(commands[at]) for at in unknown])
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return replies

    def _exchange(self, server: str, commands: Sequence[Arguments], *, anew: bool = False) -> list[Any]:
        idle = self._idle.setdefault(server, [])
        try:
            if anew:
                raise IndexError
            connection = idle.pop()
        except IndexError:
            connection = self._connection(server)
        replies: list[Any] = []
        try:
            connection.connect()  # if it is new
            connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except redis.ResponseError as error:
                    replies.append(error)
        except BaseException:
            connection.disconnect()
            raise
        idle.append(connection)
        return replies

    # Where ------------------------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        """What redis-py is told of every connection."""
        address = self.address
        options: dict[str, Any] = {
            "username": address.username,
            "password": address.password,
            "socket_timeout": ANSWER_SECONDS,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_keepalive": True,
            "socket_keepalive_options": KEEPALIVE,
            "protocol": 2,
            **(address.tls or {}),
        }
        if address.kind != "cluster":
            options |= {"retry": Retry(NoBackoff(), 0), "db": address.database}
        return options

    def _connection(self, server: str) -> Any:
        """A new connection to a server by its name; it connects when it is used."""
        address = self.address
        if address.kind == "cluster":
            return self.members.connection(server)
        if address.kind == "sentinel":
            with self._lock:
                if self._sentinels is None:
                    managed = SentinelManagedConnection if address.tls is None else SentinelManagedSSLConnection
                    self._sentinels = SentinelConnectionPool(
                        address.service, self._sentinel(), connection_class=managed, **self._options()
                    )
            pool = self._sentinels
            return pool.connection_class(**pool.connection_kwargs)
        direct = redis.Connection if address.tls is None else redis.SSLConnection
        host, port = address.hosts[0]
        return direct(host=host, port=port, **self._options())

    def _sentinel(self) -> Sentinel:
        address = self.address
        options = self._options() | {
            "username": address.sentinel_username,
            "password": address.sentinel_password,
            "socket_timeout": CONNECT_SECONDS,
            "ssl": address.tls is not None,
        }
        del options["db"]
        return Sentinel(address.hosts, sentinel_kwargs=options)

    # What a connection of one's own needs (:mod:`.pipes`, :mod:`.lease`) ----------------------------------------

    def where(self, server: str) -> tuple[str, int]:
        """Host and port of a server by its name; the Sentinels are asked for that of their primary."""
        if server:
            host, _, port = server.rpartition(":")
            return host, int(port)
        if self.address.kind == "sentinel":
            try:
                host, port = self._sentinel().discover_master(self.address.service)
            except ERRORS as error:
                raise self.unavailable(error) from error
            return host, port
        return self.address.hosts[0]

    def tls_context(self) -> ssl.SSLContext:
        """As redis-py makes it of the same options."""
        tls = self.address.tls or {}
        try:
            context = ssl.create_default_context()
            context.check_hostname = tls.get("ssl_check_hostname", True)
            if "ssl_certfile" in tls or "ssl_keyfile" in tls:
                context.load_cert_chain(tls.get("ssl_certfile", ""), tls.get("ssl_keyfile"))
            if "ssl_ca_certs" in tls:
                context.load_verify_locations(tls["ssl_ca_certs"])
        except OSError as error:
            raise self.unavailable(error) from error
        return context

    def greeting(self) -> list[tuple[str, ...]]:
        """The first commands on a connection; at least one, so that who is not Redis is known at once."""
        address = self.address
        commands: list[tuple[str, ...]] = []
        if address.password is not None:
            commands.append(("AUTH", *([address.username] if address.username else []), address.password))
        if address.database:
            commands.append(("SELECT", str(address.database)))
        return [*commands, ("PING",)]


def in_full(command: Command) -> Arguments:
    """A command with its script instead of the script's name."""
    if command.script is None:
        return command.arguments
    return ("EVAL", command.script.text, *command.arguments[2:])
