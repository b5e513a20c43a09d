"""``examples/conformance_rp`` as the suite meets it: its own process, and everything from the environment."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest
from examples.demo_servers import Trouble
from examples.fake_browser import Browser, Loopback
from tests.conformance.conformance_support import DISCOVERED, REDEEMED, WAYS, go, module
from tests.conformance.misbehaving_provider import SECRET, Provider
from tests.conformance.over_http import HOST, HttpWorld, listening
from tests.conformance.rp_process import certified, process, relying_party, server_side
from tests.servers.server_programs import free_port
from tests.shells.shell_support import HOME

pytestmark = pytest.mark.servers


class Trusting(Loopback):
    """Takes any certificate: it is the relying party that has to be careful."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._pool = httpx.HTTPTransport(verify=False)._pool


over_http = pytest.mark.parametrize("world", [f"http {mode}" for mode in WAYS], indirect=True)


@over_http
@module("oidcc-client-test-userinfo-bearer-header")
def test_it_asks_for_userinfo_with_the_access_token_in_the_header(world: HttpWorld, provider: Provider) -> None:
    provider.says(locale="Wonderland")
    assert "<dd>Wonderland</dd>" in go(world.browser(), f"{HOME}/").text
    assert provider.requests[-1].headers["authorization"] in {f"Bearer {token}" for token in provider.accepted}


@over_http
@module("oidcc-client-test-userinfo-invalid-sub")
def test_it_refuses_userinfo_about_somebody_else(world: HttpWorld, provider: Provider) -> None:
    provider.says(sub="bob", name="Bob")
    page = go(world.browser(), f"{HOME}/")
    assert (page.status, page.text) == (502, "What userinfo says is about somebody else.")


@module("oidcc-client-test-dynamic-registration")
def test_without_a_client_id_it_registers_itself_at_an_issuer_that_only_its_bundle_trusts(tmp_path: Path) -> None:
    bundle, whole = certified(tmp_path)
    with listening(lambda request: provider.respond(request), server_side(whole)) as origin:
        provider = Provider(f"{origin}/test/a/kmsi/", time.time)
        with pytest.raises(Trouble, match="CERTIFICATE_VERIFY_FAILED"), relying_party(tmp_path, provider.issuer):
            pass
        with (
            relying_party(tmp_path, provider.issuer, SSL_CERT_FILE=str(bundle)) as url,
            Browser(HOST, Trusting) as browser,
        ):
            page = browser.visit(f"{url}/")
            assert "<h1>Alice</h1>" in page.text
            assert provider.asked == [*DISCOVERED, "register", *REDEEMED, *HttpWorld.asks_itself]
            registered = json.loads(provider.requests[1].content)
            assert registered["redirect_uris"] == [f"{url}/.auth/callback"]
            assert provider.last("authorize")["client_id"] == "a-new-client"


@module("oidcc-client-test-discovery-issuer-mismatch")
def test_it_registers_nowhere_if_the_metadata_is_anothers(tmp_path: Path) -> None:
    with listening(lambda request: provider.respond(request)) as origin:
        provider = Provider(origin, time.time).publishes(issuer="https://other.example")
        with pytest.raises(Trouble, match="is that of https://other"), relying_party(tmp_path, origin):
            pass
        assert provider.asked == DISCOVERED


def test_it_signs_in_and_out_at_the_provider_for_development(tmp_path: Path) -> None:
    issuer = f"http://{HOST}:{free_port()}"
    port = issuer.rpartition(":")[2]
    client = {"KMSI_CLIENT_ID": "suite", "KMSI_CLIENT_SECRET": SECRET}
    config = tmp_path / "idp.toml"
    with relying_party(tmp_path, issuer, **client) as url:
        config.write_text(f"""
            [[users]]
            username = "mia"
            name = "Mia Member"
            password = "mia-password"
            [[apps]]
            client_id = "suite"
            client_secret = "{SECRET}"
            redirect_uris = ["{url}/.auth/callback"]
            post_logout_redirect_uris = ["{url}/.auth/logged-out"]
        """)
        idp = ("kmsi_middleware.cli", "idp", "--config", str(config), "--folder", str(tmp_path / "idp"))
        with process(tmp_path, issuer, "/.well-known/openid-configuration", *idp, "--port", port), Browser() as browser:
            form = browser.visit(f"{url}/")
            page = browser.submit(form, username="mia", password="mia-password")
            assert "<h1>Mia Member</h1>" in page.text, page.text
            out = browser.submit(page)
            assert str(out.url).startswith(f"{url}/.auth/logged-out")
            assert "Sign in" in browser.visit(f"{url}/").text
