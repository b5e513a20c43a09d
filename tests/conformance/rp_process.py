"""``examples/conformance_rp`` as a process of its own, and the certificates that such a process meets."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from examples.demo_servers import ROOT, Server
from tests.conformance.over_http import HOST
from tests.servers.server_programs import free_port

RELYING_PARTY = ("uvicorn", "--factory", "app:create", "--app-dir", str(ROOT / "examples" / "conformance_rp"))
"""The line that docs/conformance.md has."""


def environment(**settings: str) -> dict[str, str]:
    """This process's own, without anything that would change what is tested."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KMSI_", "SSL_"))}
    return inherited | settings


@contextmanager
def process(folder: Path, url: str, probe: str, *command: str, **settings: str) -> Iterator[Server]:
    port = url.rpartition(":")[2]
    line = [sys.executable, "-m", *command]
    made = Server("It", url, HOST, int(port), probe, line, environment(**settings), folder / f"{port}.log")
    try:
        made.start()
        made.wait_until_ready()
        yield made
    finally:
        made.stop()


@contextmanager
def relying_party(folder: Path, issuer: str, **settings: str) -> Iterator[str]:
    """Gives the app's URL."""
    port = str(free_port())
    url = f"http://localhost:{port}"
    given = {"KMSI_ISSUER": issuer, "KMSI_BASE_URL": url, **settings}
    with process(folder, url, "/.auth/logged-out", *RELYING_PARTY, "--host", HOST, "--port", port, **given):
        yield url


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody knows: the bundle that trusts it, and the same together with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody knows it")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    bundle, whole = folder / "bundle.pem", folder / "bundle-and-key.pem"
    bundle.write_bytes(made.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    whole.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return bundle, whole


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
