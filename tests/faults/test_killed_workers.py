"""A worker is killed in the middle of a thousand sign-ins: every one that was answered is there."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "servers"))

from quick_provider import QuickProvider, quick_provider
from server_programs import Site, running

from kmsi_middleware.edges.stores import SQLiteStore
from kmsi_middleware.rules.seals import key_of
from kmsi_middleware.vocabulary.session import Session

pytestmark = pytest.mark.servers

KILLS = 6
NAVIGATION = {"accept": "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
SCRIPT = {"accept": "*/*", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}


def sign_in(site: Site, provider: QuickProvider, number: int) -> str | None:
    """The session's token, if the sign-in was answered; ``None`` if the worker died over it."""
    with suppress(httpx.TransportError), httpx.Client(headers=NAVIGATION, timeout=30, verify=False) as browser:
        there = browser.get(f"{site.url}/")
        assert there.status_code == 303, there.text
        back = browser.get(provider.authorize(there.headers["location"], f"user-{number}"))
        assert back.status_code == 303, back.text
        return browser.cookies[f"kmsi-{site.server.port}"]
    return None


@pytest.mark.parametrize(("program", "sign_ins"), [("gunicorn-threads-2", 1_000), ("gunicorn-uvicorn-2", 300)])
def test_every_sign_in_that_was_answered_is_there(program: str, sign_ins: int, tmp_path: Path) -> None:
    tokens: dict[int, str] = {}
    killed: list[int] = []
    done = threading.Event()

    with quick_provider(time.time) as provider:
        settings = {
            "KMSI_ISSUER": provider.issuer,
            "KMSI_CLIENT_ID": "app",
            "KMSI_SECRET_KEYS": "k" * 32,
            "KMSI_KEEP_ME_SIGNED_IN_DAYS": "0",  # nobody is asked
        }
        with running(program, tmp_path, **settings) as site, ThreadPoolExecutor(4) as people:
            probe = sign_in(site, provider, -1)
            assert probe is not None

            def kill() -> None:
                """Of the process that answers next, each time that so many more have signed in."""
                for number in range(KILLS):
                    while len(tokens) < (number + 1) * sign_ins // (KILLS + 1) and not done.is_set():
                        done.wait(0.005)
                    with suppress(httpx.TransportError):
                        answer = httpx.get(f"{site.url}/page", headers=SCRIPT | cookie(site, probe))
                        os.kill(answer.json()["process"], signal.SIGKILL)
                        killed.append(answer.json()["process"])

            killer = threading.Thread(target=kill)
            killer.start()

            def one(number: int) -> None:
                token = sign_in(site, provider, number)
                if token is not None:
                    tokens[number] = token

            list(people.map(one, range(sign_ins)))
            done.set()
            killer.join()
            assert len(set(killed)) >= KILLS - 1
            assert len(tokens) > sign_ins * 0.9
            for number in list(tokens)[:: sign_ins // 50]:
                answer = httpx.get(f"{site.url}/.auth/me", headers=SCRIPT | cookie(site, tokens[number]))
                assert answer.json()["user"]["id"] == f"user-{number}"
    store = SQLiteStore(tmp_path / "sessions.sqlite3")
    kept = {number: store.load(key_of(token), time.time()) for number, token in tokens.items()}
    store.close()
    lost = [number for number, session in kept.items() if not isinstance(session, Session)]
    assert lost == []
    assert all(session.subject == f"user-{n}" for n, session in kept.items() if isinstance(session, Session))


def cookie(site: Site, token: str) -> dict[str, str]:
    return {"cookie": f"kmsi-{site.server.port}={token}"}
