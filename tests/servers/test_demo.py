"""``make demo``: the whole round by itself, and what it says when it can't go on."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from examples.demo_servers import ROOT, Demo, Trouble
from server_programs import free_port

pytestmark = pytest.mark.servers
PORTS = ("IDP_PORT", "STARLETTE_PORT", "FLASK_PORT")


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("HOST", *PORTS)}
    command = [sys.executable, "examples/demo.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_whole_round_over_real_http() -> None:
    """Sign-in, Yes, all servers restarted, still in; signed out of one app, the other is out."""
    round_ = demo("--check")
    assert round_.returncode == 0, round_.stdout + round_.stderr
    assert "FAIL" not in round_.stdout
    assert round_.stdout.count("PASS") == len(round_.stdout.splitlines()) >= 31


def test_it_listens_on_loopback_only() -> None:
    refused = demo(HOST="0.0.0.0")
    assert refused.returncode == 1
    assert refused.stderr.startswith("HOST=0.0.0.0: must be 127.0.0.1, ::1 or localhost, or not set at all.")


@pytest.mark.parametrize("port", ["0", "http", "65536"])
def test_a_port_that_is_none_is_named(port: str) -> None:
    refused = demo("--check", FLASK_PORT=port)
    assert (refused.returncode, refused.stderr) == (1, f"FLASK_PORT={port}: must be a port, 1 to 65535.\n")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = demo(IDP_PORT=str(free_port()), STARLETTE_PORT=str(free_port()), FLASK_PORT=str(port))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Port {port} is taken: another demo?")
    assert "make demo FLASK_PORT=" in refused.stderr


def test_a_server_that_stops_is_named_with_its_last_words(tmp_path: Path) -> None:
    made = Demo(tmp_path, "127.0.0.1", {name: free_port() for name in PORTS})
    try:
        made.start()
        assert made.flask.process is not None
        os.kill(made.flask.process.pid, signal.SIGKILL)
        made.flask.process.wait(10)
        with pytest.raises(Trouble, match=r"(?s)The Flask app stopped \(exit code -9\).*Starting gunicorn"):
            made.watch()
    finally:
        made.stop()


def test_what_it_keeps_is_for_its_owner_only_and_secrets_are_made_once(tmp_path: Path) -> None:
    ports = {name: 8400 + number for number, name in enumerate(PORTS)}
    folder = tmp_path / "kept"
    Demo(folder, "127.0.0.1", ports)
    first = (folder / "secrets.json").read_text()
    Demo(folder, "127.0.0.1", ports)
    assert (folder / "secrets.json").read_text() == first
    for path in (folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
