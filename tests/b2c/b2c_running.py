"""``examples/b2c`` on free ports: five servers in a thread of this process, which speak over real HTTP."""

from __future__ import annotations

import asyncio
import runpy
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "b2c"


class Running:
    """Use as a context manager. With ``https`` the apps have a certificate that nobody vouches for; ``settings`` are
    theirs. ``hanging``: an app whose front-channel logout never answers."""

    def __init__(self, folder: Path, *, https: bool = False, hanging: str = "", **settings: Any) -> None:
        self.example: dict[str, Any] = runpy.run_path(str(EXAMPLE / "run.py"))
        ports = free_ports(5)
        places = secure(self.example["Places"]) if https else self.example["Places"]
        self.places = places(ports[0], ports[1], tuple(ports[2:]))
        self._folder, self._https, self._settings = folder, https, settings
        self._hanging, self._silent = hanging, socket.create_server(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        example, places, folder = self.example, self.places, self._folder
        certificate = {"ssl_keyfile": folder / "key.pem", "ssl_certfile": folder / "cert.pem"} if self._https else {}
        if certificate:
            write_certificate(**certificate)
        served = {
            places.tenant_port: (self._tenant(), {}),
            places.employees_port: (example["employees"](places, folder), {}),
            **{port: (app, certificate) for port, app in example["apps"](places, folder, **self._settings).items()},
        }
        options: dict[str, Any] = {"host": "127.0.0.1", "log_level": "critical", "timeout_graceful_shutdown": 1}
        servers = [uvicorn.Server(uvicorn.Config(app, port=p, **options, **tls)) for p, (app, tls) in served.items()]
        running = [asyncio.create_task(server.serve()) for server in servers]
        while not all(server.started for server in servers):
            await asyncio.wait(running, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
        self._ready.set()
        await self._stop.wait()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)
        # A browser that lives on keeps its connections.
        for server in servers:
            for connection in server.server_state.connections:
                connection.transport.abort()
        for _ in range(2):  # one turn for TLS, one for the socket below it
            await asyncio.sleep(0)

    def _tenant(self) -> Any:
        tenant = self.example["tenant"](self.places, self._folder)
        silent = f"http://127.0.0.1:{self._silent.getsockname()[1]}/"
        apps = [
            replace(app, redirect_uris=(*app.redirect_uris, silent), frontchannel_logout_uri=silent)
            if app.name == self._hanging
            else app
            for app in tenant.config.apps
        ]
        tenant.config = replace(tenant.config, apps=tuple(apps))
        return tenant

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()
        self._silent.close()


def secure(places: type[Any]) -> type[Any]:
    """The same places, the apps on https."""

    class Secure(places):  # type: ignore[misc]
        @property
        def apps(self) -> dict[str, str]:
            return {name: url.replace("http:", "https:") for name, url in super().apps.items()}

    return Secure


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def write_certificate(ssl_keyfile: Path, ssl_certfile: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("*.localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
    signed = builder.not_valid_after(now + timedelta(days=2)).add_extension(names, critical=False)
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    ssl_keyfile.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    ssl_certfile.write_bytes(signed.sign(key, hashes.SHA256()).public_bytes(pem))
