"""``kmsi idp``: the embedded provider on a port of its own."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from .app import EmbeddedIdP
from .checks import ConfigError
from .config import IdPConfig
from .config_file import default_config, load_config
from .loopback import is_loopback


def main(argv: Sequence[str]) -> int:
    """Serves until it is interrupted. Answers 2 when something about the arguments is not right, and 1 when
    the port can't be had."""
    parser = argparse.ArgumentParser(
        prog="kmsi idp", description="An OpenID provider for development, on this machine only."
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="users and apps, as TOML")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; loopback only")
    parser.add_argument("--port", type=int, default=8400)
    parser.add_argument("--folder", metavar="DIR", type=Path, default=Path(".kmsi"), help="where to keep state")
    parser.add_argument("--issuer", metavar="URL", help="default: what the browser's address bar says")
    given = parser.parse_args(argv)
    host = given.host.strip("[]")
    if not is_loopback(host):
        return _fail(f"--host {given.host}: must be loopback, such as 127.0.0.1, ::1 or localhost")
    if not 1 <= given.port <= 65_535:
        return _fail(f"--port {given.port}: give 1 to 65535")
    try:
        config = load_config(given.config) if given.config else default_config()
        idp = EmbeddedIdP(config, folder=given.folder, issuer=given.issuer)
    except (ConfigError, ValueError) as error:
        return _fail(str(error))
    try:
        import uvicorn
    except ModuleNotFoundError:
        return _fail("uvicorn is not installed. It comes with: pip install 'kmsi-middleware[demo]'")
    problem = _refused(host, given.port)
    if problem:
        return _fail(f"port {given.port} of {given.host}: {problem}; --port says which other one to take", code=1)
    print(_welcome(config, given.issuer or f"http://localhost:{given.port}"), flush=True)
    # proxy_headers would let a header decide what the peer is.
    uvicorn.run(idp, host=host, port=given.port, proxy_headers=False, log_level="warning")
    return 0


def _welcome(config: IdPConfig, issuer: str) -> str:
    lines = [f"Issuer  {issuer}"]
    lines += [f"        {issuer}/{config.tenant_name}/{name}/v2.0" for name in config.user_flows]
    if config.show_passwords:
        lines.append(f"Pages   {issuer}/users (disable, revoke, sign out, change passwords)")
        has_devices = config.devices and config.behaviour == "openid"
        lines += [f"        {issuer}/devices (use, lock, unlock)"] if has_devices else []
    lines.append("Users")
    for user in config.users:
        secret = f"password {user.password}" if config.show_passwords and user.password else ""
        lines.append("  ".join(filter(None, [f"  {user.username:<10}", user.name, secret, user.hint])))
    lines.append("Apps")
    lines += [f"  {app.client_id:<20}{app.redirect_uris[0]}" for app in config.apps] or ["  none"]
    return "\n".join(lines)


def _refused(host: str, port: int) -> str:
    """Why nobody can listen there, as far as it shows before the server tries; empty if nothing speaks against it."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                if os.name == "posix":  # as the server does; elsewhere it means that several may listen at once
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return {errno.EADDRINUSE: "it is in use", errno.EACCES: "it needs more rights"}.get(error.errno or 0, "")
    return ""


def _fail(message: str, code: int = 2) -> int:
    print(f"kmsi idp: {message}", file=sys.stderr)
    return code
