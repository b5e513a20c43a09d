"""WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), as far as these tests speak it: commands, events, values."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from websockets.sync.client import connect

SECONDS = 30


class BidiError(Exception):
    """The browser's answer to a command that it did not do."""


@dataclass(frozen=True)
class Node:
    """An element of a page, by the name that the browser gave it."""

    shared_id: str


class Bidi:
    """One connection, which is one session. Events that come in meanwhile wait in ``events``."""

    def __init__(self, url: str) -> None:
        self._connection = ExitStack()
        # No pings: they would draw from `random`, on a thread of their own, while property tests watch its state.
        connection = connect(url, max_size=None, max_queue=None, ping_interval=None)
        self._socket = self._connection.enter_context(connection)
        self._last = 0
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, method: str, **parameters: object) -> dict[str, Any]:
        """A command, and its result. What happened before the browser answered is among the events by then."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while (message := json.loads(self._socket.recv(SECONDS))).get("id") != self._last:
            if message["type"] == "event":
                self.events.append((message["method"], message["params"]))
        if message["type"] == "error":
            raise BidiError(f"{method}: {message['error']}: {message['message']}")
        result: dict[str, Any] = message["result"]
        return result

    def close(self) -> None:
        self._connection.close()


def to_wire(value: Any) -> dict[str, Any]:
    """§7.7.2.2, script.LocalValue."""
    match value:
        case None:
            return {"type": "null"}
        case bool():
            return {"type": "boolean", "value": value}
        case int() | float():
            return {"type": "number", "value": value}
        case str():
            return {"type": "string", "value": value}
        case Node(shared_id):
            return {"sharedId": shared_id}
        case _:
            return {"type": "array", "value": [to_wire(item) for item in value]}


def from_wire(value: dict[str, Any]) -> Any:
    """§7.7.2.1, script.RemoteValue."""
    match value["type"]:
        case "undefined" | "null":
            return None
        case "node":
            return Node(value["sharedId"])
        case "array":
            return [from_wire(item) for item in value["value"]]
        case "object":
            return {name: from_wire(item) for name, item in value["value"]}
        case _:
            return value["value"]
