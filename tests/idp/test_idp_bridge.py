"""Reaching the provider without an ASGI server, and mounted in an app."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.idp.idp_support import BLOG, Browser, Clock, Page, Party

from kmsi_middleware.idp import App, EmbeddedIdP, IdPConfig, default_config
from kmsi_middleware.idp.serve import main

MOUNTED = "http://localhost:8000/.auth/idp"
OWN = App(
    client_id="own",
    client_secret="own-secret",
    redirect_uris=("/.auth/callback",),
    post_logout_redirect_uris=("/.auth/logged-out",),
    frontchannel_logout_uri="/.auth/frontchannel-logout",
)


@pytest.fixture
def mounted(tmp_path: Path, clock: Clock) -> EmbeddedIdP:
    return EmbeddedIdP(default_config().with_app(OWN), folder=tmp_path, clock=clock)


def whole_round(browser: Browser, party: Party) -> dict[str, Any]:
    tokens = party.sign_in()
    page = browser.visit(f"{party.issuer}/end-session", {"id_token_hint": tokens["id_token"]})
    assert Page(page.text).frames == [
        "http://localhost:8000/.auth/frontchannel-logout?"
        + urlencode({"iss": party.issuer, "sid": tokens["claims"]["sid"]})
    ]
    claims: dict[str, Any] = tokens["claims"]
    return claims


def own_at(origin: str) -> App:
    return OWN.at(origin)


def test_the_issuer_follows_from_the_request(mounted: EmbeddedIdP) -> None:
    with Browser(mounted, MOUNTED) as browser:
        assert browser.get(f"{MOUNTED}/.well-known/openid-configuration").json()["issuer"] == MOUNTED
        claims = whole_round(browser, Party(own_at("http://localhost:8000"), browser, issuer=MOUNTED))
        assert claims["iss"] == MOUNTED
    mounted.close()


def test_cookies_stay_below_the_mount_path(mounted: EmbeddedIdP) -> None:
    with Browser(mounted, MOUNTED) as browser:
        Party(own_at("http://localhost:8000"), browser, issuer=MOUNTED).sign_in()
        assert {(cookie.name.partition(".")[0], cookie.path) for cookie in browser.cookies.jar} == {
            ("kmsi-idp-browser-8000", "/.auth/idp"),
            ("kmsi-idp-session-8000", "/.auth/idp"),
        }
    mounted.close()


def test_a_secure_cookie_over_https(mounted: EmbeddedIdP) -> None:
    issuer = "https://localhost/.auth/idp"
    with Browser(mounted, issuer) as browser:
        page = Party(own_at("https://localhost"), browser, issuer=issuer).authorize()
        cookies = page.headers.get_list("set-cookie")
    mounted.close()
    assert cookies[0].startswith("__Secure-kmsi-idp-browser=")
    assert all("; Secure" in cookie for cookie in cookies)


def test_a_fixed_issuer_may_have_a_path(tmp_path: Path) -> None:
    idp = EmbeddedIdP(default_config().with_app(BLOG), folder=tmp_path, issuer="http://localhost:8400/realm/one")
    with Browser(idp, "http://localhost:8400/realm/one") as browser:
        claims = Party(BLOG, browser, issuer="http://localhost:8400/realm/one").sign_in()["claims"]
    idp.close()
    assert claims["iss"] == "http://localhost:8400/realm/one"


def test_mounted_in_starlette_it_is_the_same(mounted: EmbeddedIdP) -> None:
    app = Starlette(routes=[Mount("/.auth/idp", mounted)])

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.get(f"{MOUNTED}/.well-known/openid-configuration")

    assert anyio.run(ask).json()["issuer"] == MOUNTED
    mounted.close()


def test_the_sync_transport_works_while_a_loop_runs_in_the_thread(mounted: EmbeddedIdP) -> None:
    async def ask() -> int:
        with httpx.Client(transport=mounted.sync_transport()) as client:
            return client.get(f"{MOUNTED}/jwks").status_code

    assert anyio.run(ask) == 200
    mounted.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_transport_works_on_either_loop(mounted: EmbeddedIdP, backend: str) -> None:
    async def ask() -> int:
        async with httpx.AsyncClient(transport=mounted.async_transport()) as client:
            return (await client.get(f"{MOUNTED}/jwks")).status_code

    assert anyio.run(ask, backend=backend) == 200
    mounted.close()


def test_many_threads_see_one_key(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    providers = [EmbeddedIdP(folder=folder) for _ in range(6)]
    found: list[str] = []

    def ask(idp: EmbeddedIdP) -> None:
        with httpx.Client(transport=idp.sync_transport()) as client:
            found.append(client.get(f"{MOUNTED}/jwks").json()["keys"][0]["kid"])

    threads = [threading.Thread(target=ask, args=(idp,)) for idp in providers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for idp in providers:
        idp.close()
    assert len(found) == 6
    assert len(set(found)) == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_worker_shares_the_state(mounted: EmbeddedIdP) -> None:
    client = httpx.Client(transport=mounted.sync_transport())
    kid = client.get(f"{MOUNTED}/jwks").json()["keys"][0]["kid"]
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        answer = b"failed"
        try:
            own = client.get(f"{MOUNTED}/jwks").json()["keys"][0]["kid"]
            page = client.get(f"{MOUNTED}/authorize", params=Party(own_at("http://localhost:8000"), None).ask())  # type: ignore[arg-type]
            answer = own.encode() if page.status_code == 200 else b"no page"
        finally:
            os.write(writer, answer)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 200).decode() == kid
    os.close(reader)
    os.close(writer)
    assert client.get(f"{MOUNTED}/jwks").status_code == 200
    client.close()
    mounted.close()


# WSGI -------------------------------------------------------------------------------------------------------------


def wsgi_answer(idp: EmbeddedIdP, **environ: Any) -> tuple[str, dict[str, str], bytes]:
    seen: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        seen.extend([status, dict(headers)])

    base = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/.auth/idp",
        "PATH_INFO": "/.well-known/openid-configuration",
        "QUERY_STRING": "",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "HTTP_HOST": "localhost:8000",
        "REMOTE_ADDR": "127.0.0.1",
    }
    body = b"".join(idp.wsgi({**base, **environ}, start_response))
    return seen[0], seen[1], body


def test_wsgi_takes_the_mount_path_from_script_name(mounted: EmbeddedIdP) -> None:
    status, headers, body = wsgi_answer(mounted)
    assert status == "200 OK"
    assert headers["content-type"] == "application/json"
    assert f'"issuer":"{MOUNTED}"'.encode() in body
    mounted.close()


def test_a_whole_round_through_wsgi(mounted: EmbeddedIdP) -> None:
    """The app hands over what is below its mount path, as a WSGI middleware does."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/.auth/idp", environ["PATH_INFO"][len("/.auth/idp") :]
        return mounted.wsgi(environ, start_response)

    browser = Browser(mounted, MOUNTED)
    browser._transport = httpx.WSGITransport(app)
    with browser:
        whole_round(browser, Party(own_at("http://localhost:8000"), browser, issuer=MOUNTED))
    mounted.close()


@pytest.mark.parametrize("length", ["65537", "-1", "many"])
def test_wsgi_reads_no_large_body(mounted: EmbeddedIdP, length: str) -> None:
    class Unread(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("read")

    status, _, _ = wsgi_answer(
        mounted, REQUEST_METHOD="POST", PATH_INFO="/token", CONTENT_LENGTH=length, **{"wsgi.input": Unread()}
    )
    assert status.startswith("413")


@pytest.mark.parametrize(
    "environ",
    [{"REMOTE_ADDR": "10.0.0.1"}, {"REMOTE_ADDR": ""}, {"HTTP_X_FORWARDED_FOR": "1.2.3.4"}, {"HTTP_HOST": "x.y"}],
)
def test_wsgi_refuses_what_is_not_this_machine(mounted: EmbeddedIdP, environ: dict[str, str]) -> None:
    assert wsgi_answer(mounted, **environ)[0] == "403 Forbidden"


def test_a_head_has_no_body(mounted: EmbeddedIdP) -> None:
    status, _, body = wsgi_answer(mounted, REQUEST_METHOD="HEAD")
    assert (status, body) == ("200 OK", b"")
    mounted.close()


def test_an_unknown_path_is_a_page(mounted: EmbeddedIdP) -> None:
    assert wsgi_answer(mounted, PATH_INFO="/nothing")[0] == "404 Not Found"
    assert wsgi_answer(mounted, PATH_INFO="/token")[0] == "405 Method Not Allowed"


# kmsi idp -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: must be loopback"),
        (["--host", "192.168.0.1"], "must be loopback"),
        (["--port", "0"], "--port 0: give 1 to 65535"),
        (["--port", "99999999"], "--port 99999999: give 1 to 65535"),
        (["--issuer", "https://login.example.com"], "loopback only"),
        (["--config", "/nowhere/idp.toml"], "/nowhere/idp.toml: can't be read"),
    ],
)
def test_the_command_says_what_is_wrong(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def test_the_command_says_which_extra_brings_the_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["--folder", str(tmp_path)]) == 2
    assert "kmsi-middleware[demo]" in capsys.readouterr().err


def test_a_port_in_use_is_said_before_anything_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--folder", str(tmp_path), "--port", str(port)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"port {port} of 127.0.0.1: it is in use" in said.err


def test_the_command_serves_without_trusting_proxy_headers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **options: served.append((app, options)))
    assert main(["--folder", str(tmp_path), "--port", "8499"]) == 0
    ((app, options),) = served
    assert isinstance(app, EmbeddedIdP)
    assert isinstance(app.config, IdPConfig)
    assert (options["host"], options["port"], options["proxy_headers"]) == ("127.0.0.1", 8499, False)
    said = capsys.readouterr().out
    assert "http://localhost:8499" in said
    assert "mia-password" in said
