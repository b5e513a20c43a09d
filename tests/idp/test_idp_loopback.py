"""This machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from kmsi_middleware.idp import EmbeddedIdP
from kmsi_middleware.idp.loopback import IN_PROCESS, is_loopback


def status_of(
    idp: EmbeddedIdP,
    *,
    host: str | None = "localhost:8400",
    client: tuple[str, int] | None = ("127.0.0.1", 5000),
    headers: dict[str, str] | None = None,
    **more: Any,
) -> int:
    """The answer to a discovery request, as a server would hand it over."""
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    if host is not None:
        raw.append((b"host", host.encode()))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/.well-known/openid-configuration",
        "query_string": b"",
        "headers": raw,
        "client": client,
        **more,
    }
    seen: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        seen.append(message)

    anyio.run(idp, scope, receive, send)
    return int(seen[0]["status"])


@pytest.fixture
def open_idp(tmp_path: Path) -> EmbeddedIdP:
    return EmbeddedIdP(folder=tmp_path)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8400", "idp.localhost:8400", "127.0.0.1", "127.9.8.7:1", "[::1]:8400"]
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_answered(open_idp: EmbeddedIdP, host: str, peer: str) -> None:
    assert status_of(open_idp, host=host, client=(peer, 1)) == 200


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "example.com",
        "localhost.example.com",
        "notlocalhost",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::1",
        "user@localhost",
        "evil.example/localhost",
        "localhost/x",
    ],
)
def test_a_host_that_is_not_loopback_is_refused(open_idp: EmbeddedIdP, host: str | None) -> None:
    assert status_of(open_idp, host=host) == 403


@pytest.mark.parametrize(
    "client", [None, ("10.0.0.1", 1), ("192.168.1.5", 1), ("::ffff:10.0.0.1", 1), ("", 0), ("testclient", 1)]
)
def test_a_peer_that_is_not_loopback_is_refused(open_idp: EmbeddedIdP, client: tuple[str, int] | None) -> None:
    assert status_of(open_idp, client=client) == 403


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via", "CF-Connecting-IP"],
)
def test_a_request_through_a_proxy_is_refused(open_idp: EmbeddedIdP, header: str) -> None:
    assert status_of(open_idp, headers={header: "127.0.0.1"}) == 403


def test_http_1_0_is_refused_because_nginx_speaks_it_to_its_upstreams(open_idp: EmbeddedIdP) -> None:
    assert status_of(open_idp, http_version="1.0") == 403


def test_two_hosts_are_refused(open_idp: EmbeddedIdP) -> None:
    assert status_of(open_idp, headers={"Host": "localhost"}) == 403


def test_the_mark_of_the_process_can_not_be_guessed(open_idp: EmbeddedIdP) -> None:
    assert status_of(open_idp, client=None, **{IN_PROCESS: True}) == 403


@pytest.mark.parametrize(
    "issuer",
    [
        "https://login.example.com",
        "http://10.0.0.1:8400",
        "http://localhost.example.com",
        "ftp://localhost",
        "localhost:8400",
        "http://localhost:8400/",
        "http://localhost:8400?x=1",
        "http://localhost:8400#x",
        "http://u@localhost:8400",
        "http://localhost:port",
        "",
    ],
)
def test_an_issuer_that_is_not_this_machine_does_not_start(tmp_path: Path, issuer: str) -> None:
    with pytest.raises(ValueError, match="issuer = "):
        EmbeddedIdP(folder=tmp_path, issuer=issuer)
    with pytest.raises(ValueError, match="issuer = "):
        EmbeddedIdP(folder=tmp_path, base_url=issuer)


@pytest.mark.parametrize("issuer", ["http://localhost:8400", "https://idp.localhost/realm", "http://[::1]:1"])
def test_an_issuer_of_this_machine_starts(tmp_path: Path, issuer: str) -> None:
    assert EmbeddedIdP(folder=tmp_path, issuer=issuer).issuer == issuer


def test_names_that_only_look_like_loopback_are_none() -> None:
    assert not is_loopback("127.0.0.1.nip.io")
    assert not is_loopback("localhos")
    assert is_loopback("localhost.")
