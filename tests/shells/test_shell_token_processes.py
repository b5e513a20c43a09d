"""Several processes over one store, one session, and a provider that lets no refresh token be used twice: real
processes, real HTTP, and real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.shells.strict_provider import LIFETIME, PATIENCE, StrictProvider

HOME = "http://localhost:8000"
ROOT = Path(__file__).parents[2]
TIMEOUT = 3  # seconds that the app waits for the provider, and whoever loses for the winner
LEASE = 2 * TIMEOUT + 5
HTML = [["accept", "text/html"], ["sec-fetch-mode", "navigate"], ["sec-fetch-dest", "document"]]
SCRIPT = [["accept", "*/*"], ["sec-fetch-mode", "cors"], ["sec-fetch-dest", "empty"]]


class Process:
    """One process of the app."""

    def __init__(self, shell: str, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "tests.shells.token_process", shell, json.dumps(settings)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def wait_until_ready(self) -> Process:
        assert self._read() == "ready"
        return self

    def ask(self, site: Site, path: str = "/token", headers: list[list[str]] = SCRIPT) -> None:
        """Send a request; its answer is for :meth:`answer`."""
        said = [*headers, ["cookie", site.cookies]] if site.cookies else headers
        asked = {"now": site.provider.now, "url": path if "://" in path else HOME + path, "headers": said}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._read()
        return answer

    def token(self) -> str:
        answer = self.answer()
        assert answer["status"] == 200, answer
        return str(json.loads(answer["body"])["token"])

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Site:
    """The processes, their provider, and one browser that is signed in."""

    def __init__(self, shell: str, store: str, provider: StrictProvider) -> None:
        self.provider = provider
        self.cookies = ""
        self._shell = shell
        self._settings = {
            "issuer": provider.issuer,
            "client_id": "app",
            "secret_keys": ["k" * 32],
            "base_url": HOME,
            "store": store,
            "scope": "openid offline_access",
            "show_option_to_remain_signed_in": False,
            "session_expiry": "absolute",
            "http_timeout": TIMEOUT,
        }
        self.processes: list[Process] = []

    def start(self) -> None:
        """As many processes as there should be."""
        new = [Process(self._shell, self._settings) for _ in range(4 - len(self.processes))]
        self.processes += [process.wait_until_ready() for process in new]

    def sign_in(self) -> None:
        process, self.cookies = self.processes[0], ""
        process.ask(self, "/caught", HTML)
        began = process.answer()
        self.cookies = _cookies(began)
        process.ask(self, self.provider.authorize(dict(began["headers"])["location"]), HTML)
        self.cookies = _cookies(process.answer())

    def expire(self) -> None:
        """The access token's time is over."""
        self.provider.now += LIFETIME

    def kill(self) -> None:
        """Kill the process that signed in."""
        self.processes.pop(0).kill()


def _cookies(answer: dict[str, Any]) -> str:
    lines = [value for name, value in answer["headers"] if name == "set-cookie" and "Max-Age=0" not in value]
    assert lines, answer
    return "; ".join(line.partition(";")[0] for line in lines)


@pytest.fixture(scope="module", params=["wsgi-sqlite", "asgi-asyncio-sqlite", "asgi-asyncio-redis"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    shell, _, kind = request.param.rpartition("-")
    if kind == "redis":
        store = request.getfixturevalue("redis_server").url
    else:
        store = f"sqlite:{tmp_path_factory.mktemp(shell) / 'sessions.sqlite3'}"
    with StrictProvider().running() as provider:
        made = Site(shell, store, provider)
        yield made
        for process in made.processes:
            process.close()


@pytest.fixture
def site(served: Site) -> Site:
    served.start()
    served.provider.start_over()
    served.sign_in()
    return served


def test_each_expiry_is_one_refresh_over_all_processes(site: Site) -> None:
    provider = site.provider
    for number in range(1, 6):
        site.expire()
        provider.go_on.clear()
        for process in site.processes:
            process.ask(site)
        assert provider.arrived.acquire(timeout=PATIENCE)
        provider.go_on.set()
        found = {process.token() for process in site.processes}
        assert len(found) == 1, found
        assert len(provider.refreshes) == number
    assert not provider.is_revoked
    assert len(set(provider.refreshes)) == 5


def test_without_being_held_up_nobody_loses_either(site: Site) -> None:
    """All of them as fast as they can, so that they meet everywhere."""
    provider = site.provider
    for number in range(1, 16):
        site.expire()
        for process in site.processes:
            process.ask(site)
        assert len({process.token() for process in site.processes}) == 1
        assert len(provider.refreshes) == number
    assert not provider.is_revoked


def kill_the_winner(site: Site) -> None:
    """One process asks the provider, and is killed before it hears."""
    site.expire()
    site.provider.go_on.clear()
    site.processes[0].ask(site)
    assert site.provider.arrived.acquire(timeout=PATIENCE)
    site.kill()


def test_when_the_winner_is_killed_the_next_goes_on_after_its_lease(site: Site) -> None:
    provider = site.provider
    provider.waits = "dropped"
    kill_the_winner(site)
    other = site.processes[0]
    other.ask(site)
    answer = other.answer()
    assert (answer["status"], json.loads(answer["body"])["code"]) == (503, "provider_unavailable")
    assert len(provider.refreshes) == 1
    provider.go_on.set()
    provider.waits = "before"
    provider.now += LEASE
    for process in site.processes:
        process.ask(site)
    assert len({process.token() for process in site.processes}) == 1
    assert len(provider.refreshes) == 2
    assert not provider.is_revoked


def test_a_rotation_that_died_with_its_process_is_one_more_sign_in_and_no_more(site: Site) -> None:
    """The one case in which a token is lost: killed between the provider's answer and the save."""
    provider = site.provider
    provider.waits = "after"
    kill_the_winner(site)
    provider.go_on.set()
    provider.now += LEASE
    other, another = site.processes[:2]
    other.ask(site)
    answer = other.answer()
    assert (answer["status"], json.loads(answer["body"])["code"]) == (401, "session_revoked")
    another.ask(site, "/caught", HTML)
    page = another.answer()
    assert (page["status"], "prompt=login" in page["body"]) == (401, True)
