"""The demo's three servers: started, watched and stopped as processes, with what they need on disk."""

from __future__ import annotations

import http.client
import importlib.resources
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS, STOP_SECONDS = 30, 10
APPS = ("starlette-app", "flask-app")
POLICIES = ROOT / "examples" / "policies"


class Trouble(Exception):
    """The demo can't go on; the message says why."""


@dataclass
class Server:
    """One of the three, as a process group of its own, so that Ctrl-C reaches it through us and in order."""

    name: str
    url: str
    address: str
    port: int
    probe: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise Trouble(f"{self.name} did not answer within {START_SECONDS} seconds.\n{self.last_output()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=5)
        try:
            connection.request("GET", self.probe, headers={"Host": self.url.partition("//")[2]})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def check(self) -> None:
        """Raises :class:`Trouble` if it is no longer running."""
        if self.process is not None and (code := self.process.poll()) is not None:
            raise Trouble(f"{self.name} stopped (exit code {code}). Its last words:\n{self.last_output()}")

    def last_output(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join(f"  {line}" for line in lines) or "  (nothing)"

    def stop(self) -> None:
        if self.process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sign)
                self.process.wait(STOP_SECONDS)
            except (ProcessLookupError, PermissionError):  # the latter is macOS's way to say the former
                self.process.poll()
            except subprocess.TimeoutExpired:
                continue
            break
        self.process = None


class Demo:
    """The three servers, and what they need on disk. Use as a context manager: it stops them at its end.

    ``back_channel``: whether the provider tells the apps of a sign-out by logout tokens too, beside the frames.
    """

    def __init__(self, folder: Path, address: str, ports: dict[str, int], *, back_channel: bool = True) -> None:
        self.folder, self.address, self.clock = folder, address, folder / "clock"
        self._back_channel = back_channel
        host = f"[{address}]" if ":" in address else address
        self.issuer = f"http://{host}:{ports['IDP_PORT']}"
        self.starlette_url = f"http://localhost:{ports['STARLETTE_PORT']}"
        self.flask_url = f"http://flask.localhost:{ports['FLASK_PORT']}"
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = self._secrets()
        self._write_provider_config(kept)
        self.idp = self._server(
            ("The provider", self.issuer, ports["IDP_PORT"], "/.well-known/openid-configuration"),
            {},
            *("kmsi_middleware.cli", "idp", "--config", folder / "idp.toml", "--folder", folder / "idp"),
            *("--issuer", self.issuer, "--host", address, "--port", ports["IDP_PORT"]),
        )
        self.starlette = self._server(
            ("The Starlette app", self.starlette_url, ports["STARLETTE_PORT"], "/about"),
            self._settings("starlette-app", self.starlette_url, self.flask_url, kept),
            *("uvicorn", "app:app", "--app-dir", ROOT / "examples" / "starlette_app"),
            *("--host", address, "--port", ports["STARLETTE_PORT"]),
        )
        self.flask = self._server(
            ("The Flask app", self.flask_url, ports["FLASK_PORT"], "/about"),
            self._settings("flask-app", self.flask_url, self.starlette_url, kept),
            # Threads, because browsers keep connections in reserve, and each would block a worker without any.
            *("gunicorn", "app:app", "--chdir", ROOT / "examples" / "flask_app", "--workers", 2, "--threads", 8),
            *("--bind", f"{host}:{ports['FLASK_PORT']}", "--access-logfile", "-", "--no-control-socket"),
            *("--graceful-timeout", 2),
        )
        self.servers = (self.idp, self.starlette, self.flask)

    def _server(self, place: tuple[str, str, int, str], settings: dict[str, str], *module: object) -> Server:
        # Nothing from outside changes what the demo shows, and no proxy comes between its servers. All go by the
        # demo's clock.
        foreign = ("KMSI_", "GUNICORN_", "UVICORN_", "WEB_CONCURRENCY")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        direct = dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost,::1")
        environment = {**inherited, **direct, "PYTHONUNBUFFERED": "1", "DEMO_CLOCK": str(self.clock)} | settings
        name, url, port, probe = place
        log = self.folder / f"{name.split()[1].lower()}.log"
        command = [sys.executable, str(ROOT / "examples" / "demo_clock.py"), "run", *map(str, module)]
        return Server(name, url, self.address, port, probe, command, environment, log)

    def _settings(self, client_id: str, url: str, other: str, kept: dict[str, str]) -> dict[str, str]:
        """How each app learns its provider: the environment. The code is the same everywhere."""
        return {
            "KMSI_ISSUER": self.issuer,
            "KMSI_CLIENT_ID": client_id,
            "KMSI_CLIENT_SECRET": kept[f"{client_id} client_secret"],
            "KMSI_SECRET_KEYS": kept[f"{client_id} secret_key"],
            "KMSI_BASE_URL": url,
            "KMSI_STORE": f"sqlite:{self.store(client_id)}",
            "KMSI_POLICIES": str(POLICIES),
            "OTHER_APP": other,
        }

    def store(self, client_id: str) -> Path:
        return self.folder / client_id / "sessions.sqlite3"

    def _secrets(self) -> dict[str, str]:
        """Made once, so that a restart signs nobody out; readable by their owner only."""
        path = self.folder / "secrets.json"
        if not path.exists():
            names = [f"{app} {kind}" for app in APPS for kind in ("client_secret", "secret_key")]
            draft = path.with_suffix(".draft")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({name: secrets.token_urlsafe(32) for name in names}, file, indent=1)
            draft.replace(path)
        kept: dict[str, str] = json.loads(path.read_text())
        return kept

    def _write_provider_config(self, kept: dict[str, str]) -> None:
        shipped = (importlib.resources.files("kmsi_middleware.idp") / "default.toml").read_text(encoding="utf-8")
        people = shipped.partition("[[apps]]")[0]
        lines = [
            "# Written by examples/demo.py at every start: the people that ship with kmsi idp, and both apps.",
            people,
        ]
        apps = (("starlette-app", "Notebook", self.starlette_url), ("flask-app", "Tea counter", self.flask_url))
        for client_id, name, url in apps:
            lines += [
                "[[apps]]",
                f'client_id = "{client_id}"',
                f'client_secret = "{kept[f"{client_id} client_secret"]}"',
                f'name = "{name}"',
                f'redirect_uris = ["{url}/.auth/callback"]',
                f'post_logout_redirect_uris = ["{url}/.auth/logged-out"]',
                f'frontchannel_logout_uri = "{url}/.auth/frontchannel-logout"',
                f'backchannel_logout_uri = "{url}/.auth/backchannel-logout"' if self._back_channel else "",
            ]
        path = self.folder / "idp.toml"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines), encoding="utf-8")

    def start(self) -> None:
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait_until_ready()

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        for server in reversed(self.servers):
            server.stop()

    def watch(self) -> NoReturn:
        """Until Ctrl-C, or until one of them stops by itself."""
        while True:
            for server in self.servers:
                server.check()
            time.sleep(0.3)

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
