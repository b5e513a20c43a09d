"""``make demo`` on free ports, for tests."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from examples.demo_clock import LOOK_SECONDS, move
from examples.demo_servers import Demo
from tests.browser.browser import Browser


def on_free_ports(folder: Path) -> Demo:
    """The provider and both apps, not started yet. What the apps learn of a sign-out, they learn in the browser."""
    probes = {name: socket.create_server(("127.0.0.1", 0)) for name in ("IDP_PORT", "STARLETTE_PORT", "FLASK_PORT")}
    ports = {name: probe.getsockname()[1] for name, probe in probes.items()}
    for probe in probes.values():
        probe.close()
    return Demo(folder, "127.0.0.1", ports, back_channel=False)


def pass_time(browser: Browser, demo: Demo, seconds: int) -> None:
    """For all three servers, which look at their clock now and then."""
    move(demo.clock, seconds)
    moved = time.monotonic()
    browser.wait("The servers' next look", lambda: time.monotonic() > moved + LOOK_SECONDS)
