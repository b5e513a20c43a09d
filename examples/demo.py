"""``make demo``: the provider for development and both example apps, as three real servers on this machine.

Where they are. To browsers, these are three different sites, so the frames in which the provider tells the apps
of a sign-out are third-party, and carry no cookies. No set-up is needed: Chrome, Edge and Firefox find
``*.localhost`` on this machine by themselves. The servers find the provider by its address.

=========  ===========================  ============================
provider   http://127.0.0.1:8400        ``kmsi idp``
Notebook   http://localhost:8401        Starlette under uvicorn
Tea        http://flask.localhost:8402  Flask under gunicorn, 2 workers
=========  ===========================  ============================

Set by the environment, or by ``make demo HOST=::1 FLASK_PORT=9402``: ``HOST`` (the address to listen on:
127.0.0.1, ::1 or localhost), ``IDP_PORT``, ``STARLETTE_PORT``, ``FLASK_PORT``. Everything that is to outlive a
restart, secrets too, is in ``.demo/``.

``--check`` goes through the whole round by itself, on free ports, with a folder of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from demo_clock import added
from demo_servers import ROOT, Demo, Trouble
from kmsi_middleware.idp import default_config

ADDRESSES = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1", "[::1]": "::1"}
PORTS = {"IDP_PORT": 8400, "STARLETTE_PORT": 8401, "FLASK_PORT": 8402}
WHAT_THEY_SHOW = {
    "mia": "is asked “Stay signed in?”",
    "gus": "is a guest, and never asked",
    "rita": "high risk: not asked",
    "sam": "on a shared device: not asked",
    "iwa": "signed in by Windows itself: not asked",
    "carl": "a contractor: never asked, by policy",
    "eve": "break glass: left out of every policy",
}


def address_from_environment() -> str:
    host = os.environ.get("HOST", "127.0.0.1")
    if host not in ADDRESSES:
        raise Trouble(
            f"HOST={host}: must be 127.0.0.1, ::1 or localhost, or not set at all. The provider for development "
            "shows passwords, and serves this machine only."
        )
    return ADDRESSES[host]


def port_from_environment(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise Trouble(f"{name}={text}: must be a port, 1 to 65535.")
    return int(text)


def must_be_free(address: str, name: str, port: int) -> None:
    """Nobody may listen there, and on the other loopback neither: browsers may try that one first."""
    instead = f"make demo {name}={port + 1000 if port < 60_000 else port - 1000}"
    if _is_listening("127.0.0.1", port) or _is_listening("::1", port):
        raise Trouble(f"Port {port} is taken: another demo? Stop it, or try: {instead}")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise Trouble(f"Port {port} can't be had ({error.strerror}). Try: {instead}") from None


def _is_listening(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(address: str, count: int) -> list[int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probes = [socket.socket(family) for _ in range(count)]
    for probe in probes:
        probe.bind((address, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def welcome(demo: Demo) -> str:
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "")
    shown = demo.folder.relative_to(Path.cwd()) if demo.folder.is_relative_to(Path.cwd()) else demo.folder
    lines = [
        "",
        f"{bold}Open{plain}",
        f"  {demo.starlette_url:<28} Notebook     Starlette under uvicorn",
        f"  {demo.flask_url:<28} Tea counter  Flask under gunicorn, 2 workers",
        f"  {demo.issuer + '/devices':<28} the provider, where both send you to sign in: its devices",
        f"  {demo.issuer + '/users':<28} the same: disable people, change passwords, end their sign-ins",
        "",
        f"{bold}People{plain}  (one click on the sign-in page)",
    ]
    for user in default_config().users:
        password = user.password or "no password"
        lines.append(f"  {user.username:<6}{password:<15}{WHAT_THEY_SHOW.get(user.username, user.hint)}")
    lines += [
        "",
        f"{bold}Try{plain}",
        "  1  Open the Notebook, sign in as mia, answer Yes. Close the whole browser, open it again: still in.",
        "  2  Go on to the Tea counter: no password, you are signed in at the provider. Within a minute of the",
        "     sign-in you are asked here too; later it counts as silent, and nobody is asked.",
        "  3  Keep a note, drink some tea. Stop this with Ctrl-C, start it again: both are still there.",
        "  4  Sign out of one app, then reload the other: it is out as well, although the provider's frame",
        "     brought it no cookie (see the network tab).",
        "  5  Sign out, then sign in as gus, rita, sam or iwa: no question. “Decision” on the page says why.",
        f"  6  {demo.starlette_url}/.auth/me: who you are, and how long the session has left.",
        f"  7  curl -i {demo.starlette_url}/ : a program gets a 401 in JSON, never a redirect.",
        f"  8  {demo.starlette_url}/payments wants a fresh sign-in with a second factor, every time (but not",
        "     twice in five minutes). The rules are in examples/policies/: edit one, and it holds at once.",
        f"  9  .venv/bin/kmsi policy-impact --store sqlite:{shown}/starlette-app/sessions.sqlite3",
        "     says whom each policy touched, and whom the report-only one would have: sign in as rita first.",
        " 10  .venv/bin/python examples/demo_clock.py +1h",
        "     An hour passes for all three servers: the next page that you open wants a new sign-in. (The command",
        "     kmsi goes by the real clock; from now on it is examples/demo_clock.py run kmsi_middleware.cli …)",
        f" 11  {demo.issuer}/devices: use this browser on MIA-LAPTOP, and sign in to it. Now nobody asks for",
        "     her password, until an hour has passed; unlocking helps again once four hours have.",
        f" 12  .venv/bin/kmsi sign-ins --store sqlite:{shown}/starlette-app/sessions.sqlite3",
        "     lists the sign-ins. Leave “Stay signed in?” unanswered, and ten minutes later --abandoned lists it.",
        f" 13  {demo.issuer}/users, in whatever browser: press “Sign out” for mia. Both apps are out, told by",
        "     the provider itself (back channel), without a frame.",
        "",
    ]
    if ahead := added(demo.clock):
        lines += [f"The servers' clock is {ahead:,} seconds ahead, as you told it to be (see 10).", ""]
    if sys.platform == "darwin" and not _resolves("flask.localhost"):
        lines += ["In Safari, the Tea counter needs this line in /etc/hosts:  127.0.0.1 flask.localhost", ""]
    lines += [f"The servers' logs are in {shown}/. Ctrl-C stops everything.", ""]
    return "\n".join(lines)


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, 80)
    except OSError:
        return False
    return True


@contextmanager
def deaf_at_the_end() -> Iterator[None]:
    """While the servers are being stopped, a second Ctrl-C must not leave one behind."""
    try:
        yield
    finally:
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, signal.SIG_IGN)


def _interrupted(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def run(check: bool) -> int:
    address = address_from_environment()
    if check:
        from demo_round import go_round

        chosen = dict(zip(PORTS, free_ports(address, len(PORTS)), strict=True))
        ports = {name: port_from_environment(name, port) for name, port in chosen.items()}
        with (
            tempfile.TemporaryDirectory(prefix="kmsi-demo-") as folder,
            Demo(Path(folder), address, ports) as demo,
            deaf_at_the_end(),
        ):
            demo.start()
            return 0 if go_round(demo) else 1
    ports = {name: port_from_environment(name, port) for name, port in PORTS.items()}
    for name, port in ports.items():
        must_be_free(address, name, port)
    with Demo(ROOT / ".demo", address, ports) as demo, deaf_at_the_end():
        print("Starting the provider and both apps …", flush=True)
        demo.start()
        print(welcome(demo), flush=True)
        return demo.watch()


def main() -> int:
    parser = argparse.ArgumentParser(description="The provider for development and both example apps.")
    parser.add_argument("--check", action="store_true", help="go through the whole round, say what passed, and stop")
    given = parser.parse_args()
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _interrupted)
    try:
        return run(given.check)
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped." if not given.check else "\nStopped before the end.")
        return 130 if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
