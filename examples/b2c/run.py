"""A tenant of Azure AD B2C on this machine, with the policy of this folder: three apps, and a federated provider.

    python examples/b2c/run.py [--port 8430]

To browsers, these are five different sites. What is kept is in ``.b2c/``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn

sys.path.insert(0, str(Path(__file__).parent))

from app import flows, make

from kmsi_middleware.idp import App, EmbeddedIdP, FederatedProvider, IdPConfig, User, default_config

SECRET = "for-development-only-on-this-machine"  # noqa: S105 (nobody else can reach it)
TENANT_NAME = "contoso.onmicrosoft.com"
APPS = ("Groceries", "Pharmacy", "Bakery")


@dataclass(frozen=True)
class Places:
    """Where everything is: five ports in a row, or any others."""

    tenant_port: int
    employees_port: int
    app_ports: tuple[int, int, int]

    @property
    def tenant(self) -> str:
        return f"http://127.0.0.1:{self.tenant_port}"

    @property
    def employees(self) -> str:
        return f"http://localhost:{self.employees_port}"

    @property
    def apps(self) -> dict[str, str]:
        pairs = zip(APPS, self.app_ports, strict=True)
        return {name: f"http://{name.lower()}.localhost:{port}" for name, port in pairs}


def tenant(places: Places, folder: Path, **changes: Any) -> EmbeddedIdP:
    """The tenant, with the very policy that the apps go by."""
    apps = [
        App(
            client_id=name.lower(),
            client_secret=SECRET,
            name=name,
            redirect_uris=(f"{url}/.auth/callback", f"{url}/.auth/logged-out"),
            frontchannel_logout_uri=f"{url}/.auth/frontchannel-logout",
        )
        for name, url in places.apps.items()
    ]
    config = IdPConfig(
        users=default_config().users,
        apps=tuple(apps),
        show_passwords=True,
        behaviour="b2c",
        tenant_name=TENANT_NAME,
        user_flows=flows(f"{places.tenant}/{TENANT_NAME}"),
        federated=(FederatedProvider("employees", "Contoso employees", places.employees, "contoso-b2c", SECRET),),
    )
    return EmbeddedIdP(replace(config, **changes), folder=folder / "tenant", issuer=places.tenant)


def employees(places: Places, folder: Path) -> EmbeddedIdP:
    """The provider that the tenant federates with; its own session decides whether it asks."""
    here = f"{places.tenant}/{TENANT_NAME}/oauth2"
    as_an_app = App(
        client_id="contoso-b2c",
        client_secret=SECRET,
        name="Contoso B2C",
        redirect_uris=(f"{here}/authresp",),
        post_logout_redirect_uris=(f"{here}/logoutresp",),
    )
    people = (User("erin", "Erin Employee", password="erin-password", email="erin@contoso.example"),)  # noqa: S106
    config = IdPConfig(users=people, apps=(as_an_app,), show_passwords=True)
    return EmbeddedIdP(config, folder=folder / "employees", issuer=places.employees)


def apps(places: Places, folder: Path, **settings: Any) -> dict[int, Any]:
    """The three apps, by port."""
    made = {}
    for (name, url), port in zip(places.apps.items(), places.app_ports, strict=True):
        others = {title: f"{other}/" for title, other in places.apps.items() if title != name}
        given: Mapping[str, Any] = {
            "user_flows": flows(f"{places.tenant}/{TENANT_NAME}"),
            "client_id": name.lower(),
            "client_secret": SECRET,
            "secret_keys": [SECRET + name],
            "base_url": url,
            "store": f"sqlite:{folder / name.lower() / 'sessions.sqlite3'}",
        }
        made[port] = make(name, others, **{**given, **settings})
    return made


@contextlib.asynccontextmanager
async def serving(places: Places, folder: Path) -> AsyncIterator[None]:
    """All five, until the block is left."""
    served = {
        places.tenant_port: tenant(places, folder),
        places.employees_port: employees(places, folder),
        **apps(places, folder),
    }
    options: dict[str, Any] = {"host": "127.0.0.1", "log_level": "warning", "proxy_headers": False}
    servers = [uvicorn.Server(uvicorn.Config(app, port=port, **options)) for port, app in served.items()]
    for server in servers:
        server.capture_signals = contextlib.nullcontext  # one Ctrl-C is for all five
    running = [asyncio.create_task(server.serve()) for server in servers]
    try:
        yield
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)


def welcome(places: Places) -> str:
    lines = ["", *(f"  {name:<12}{url}/" for name, url in places.apps.items())]
    lines += [f"  {'The tenant':<12}{places.tenant}/users", f"  {'Employees':<12}{places.employees}/users"]
    lines += [
        "",
        "Try",
        "  1  Open Groceries, sign in as mia with “Keep me signed in”. Go on to Pharmacy: nobody asks (scope Tenant).",
        "  2  Close the browser, open Groceries again: the way leads through the tenant, and nobody asks.",
        "  3  Sign out of Groceries: the tenant tells the other two, and only then brings you back. They can't know",
        "     whom it means, and go on until their sessions end: docs/b2c.md, “Told by B2C to sign out”.",
        "  4  Sign in with Contoso employees (erin / erin-password). Sign out: you are taken there, too.",
        "  5  Forgot your password?, Cancel, Edit your profile: each leads back to where you were.",
        "  6  Change Scope to Application, Policy or Suppressed in SignUpOrSignin.xml, and start this again.",
        "",
    ]
    return "\n".join(lines)


async def main(port: int) -> None:
    places = Places(port, port + 1, (port + 2, port + 3, port + 4))
    async with serving(places, Path(".b2c")):
        print(welcome(places), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8430, help="the first of five")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args().port))
