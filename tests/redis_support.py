"""Redis servers of the tests' own: on free ports of this machine, without persistence unless asked for, and gone
afterwards. Where ``redis-server`` is not installed, tests that need it are skipped (see ``conftest.py``)."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from kmsi_middleware.edges.stores.redis import RedisStore, read

PATIENCE = 20


def free_port() -> int:
    """A port that nobody listens on just now, nor 10,000 above it (a cluster's members talk there)."""
    while True:
        with socket.socket() as found, socket.socket() as bus:
            found.bind(("127.0.0.1", 0))
            port: int = found.getsockname()[1]
            if port > 50_000:
                continue
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port


def need_redis() -> str:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    return program


class RedisServer:
    """One server. ``options`` are those of ``redis-server``'s command line; they keep for every start."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, sentinel: bool = False) -> None:
        self.program = need_redis()
        self.port = port or free_port()
        self.folder = folder
        self.options = options
        self.sentinel = sentinel
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **more: Any) -> redis.Redis:
        """A client to look and to turn screws with."""
        return redis.Redis(port=self.port, socket_timeout=PATIENCE, **more)

    def start(self) -> RedisServer:
        command = [self.program]
        if self.sentinel:
            command += [str(self.folder / "sentinel.conf"), "--sentinel"]
        else:
            command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
            if not {"--save", "--appendonly"} & set(self.options):
                command += ["--save", "", "--appendonly", "no"]
            command += self.options
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait()
        return self

    def wait(self) -> None:
        """Until it answers, and has loaded what it kept."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(100)
                if answer and not answer.startswith(b"-LOADING"):
                    return
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(PATIENCE)
            self.process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that change nothing about it."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The spelling of a store that is empty."""
    with redis_server.client() as client:
        client.flushall()
    return f"{redis_server.url}?prefix=test:"


class Awaited:
    """The store as asyncio sees it, for tests that don't await: its methods run in an event loop of another thread."""

    def __init__(self, text: str) -> None:
        self.store = RedisStore(read(text))
        self.operations = self.store.operations
        self.reads_versions = True
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store.asynchronous, name)

        async def call(*args: Any) -> Any:
            return await method(*args)

        return lambda *args: asyncio.run_coroutine_threadsafe(call(*args), self._loop).result(PATIENCE)

    def counters(self) -> Sequence[int] | None:
        return self.store.counters()

    def asked(self) -> Sequence[int] | None:
        """The counters, as the server says when it is asked (``AsyncSessionStore.counters``)."""
        return self.__getattr__("counters")()  # type: ignore[no-any-return]

    def close(self) -> None:
        self.store.close()

    def end_loop(self) -> None:
        self.store.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
