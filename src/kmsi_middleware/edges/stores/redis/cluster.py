"""A Redis Cluster's members: which of them has a key, and where a redirection leads.

redis-py keeps the map of the slots. The redirections are followed here, because its own cluster client loses its way
where a slot is on the move to a member that has none yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError
from redis.retry import Retry

from .address import Address

Arguments = tuple[bytes | int | str, ...]
Exchange = Callable[[str, Sequence[Arguments]], list[Any]]
"""Sends commands to a member by its name; errors are among the replies. Raises ``redis.ConnectionError``."""

MOST_HOPS = 5
SECONDS_BETWEEN = 0.05


class Members:
    """The members, as far as known. Safe to use from threads."""

    def __init__(self, address: Address, options: dict[str, Any]) -> None:
        self._address = address
        self._options = options | {"ssl": address.tls is not None}
        self._lock = threading.Lock()
        self._client: redis.RedisCluster | None = None

    @property
    def are_known(self) -> bool:
        """Whether :meth:`place_of` answers without asking anybody."""
        return self._client is not None

    def place_of(self, key: bytes) -> str:
        """The name of the member that has a key."""
        return str(self._known().get_node_from_key(key).name)

    def primaries(self) -> list[str]:
        """The names of all primaries, also of those without slots: one may be on the move to them."""
        nodes: dict[str, Any] = self._known().execute_command("CLUSTER NODES")
        flags = {name: node["flags"].split(",") for name, node in nodes.items()}
        return sorted(
            name for name in nodes if "master" in flags[name] and (nodes[name]["slots"] or "fail" not in flags[name])
        )

    def connection(self, name: str) -> Any:
        """A new connection to a member; it connects when it is used."""
        host, _, port = name.rpartition(":")
        pool = self._known().get_redis_connection(self._known().get_default_node()).connection_pool
        return pool.connection_class(**{**pool.connection_kwargs, "host": host, "port": int(port)})

    def follow(self, key: bytes, arguments: Arguments, reply: Exception, exchange: Exchange) -> Any:
        """The reply of whoever has the key by now, where a member's was an error. Raises what is no redirection."""
        is_renewed = False
        for _ in range(MOST_HOPS):
            place, commands = "", [arguments]
            match reply:
                case MovedError():
                    self._known().nodes_manager.move_slot(reply)
                case AskError():
                    place, commands = f"{reply.host}:{reply.port}", [("ASKING",), arguments]
                case TryAgainError():
                    time.sleep(SECONDS_BETWEEN)
                case ClusterDownError() | redis.ConnectionError() if not is_renewed:
                    self._known().nodes_manager.initialize()
                    is_renewed = True
                case _:
                    raise reply
            try:
                *_, found = exchange(place or self.place_of(key), commands)
            except redis.ConnectionError as error:
                found = error
            if not isinstance(found, Exception):
                return found
            reply = found
        raise reply

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _known(self) -> redis.RedisCluster:
        """redis-py's client; to make it asks a member for the slots."""
        client = self._client
        if client is None:
            nodes = [ClusterNode(host, port) for host, port in self._address.hosts]
            client = redis.RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **self._options)
            with self._lock:
                self._client = client = self._client or client
        return client
