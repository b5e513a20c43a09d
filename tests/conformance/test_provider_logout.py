"""The embedded provider against the OpenID Foundation's conformance suite: every module of its plans for the logout of
providers (``src/main/java/net/openid/conformance/openid`` there), by name, with the exact behaviour.

=====================================================  ========================================================
plan                                                   modules
=====================================================  ========================================================
oidcc-rp-initiated-logout-certification-test-plan      11, each a test here
oidcc-frontchannel-rp-initiated-logout-…               2, each a test here
oidcc-backchannel-rp-initiated-logout-…                2, each a test here
oidcc-session-management-certification-test-plan       2, which do not apply: see ``NOT_APPLICABLE``
=====================================================  ========================================================

Of the plans' variants one applies: ``response_type=code``, ``client_registration=static_client``,
``client_auth_type=client_secret_basic``, ``response_mode=default``. The provider has no other response type and no
dynamic registration, and says so in discovery. What the suite checks of TLS is the server's, not the provider's.

Where the suite takes a screenshot of "an error screen or a question", it is the error page here, and nobody is signed
out; where it takes one of "you are logged out", that page comes after a question if nothing proves who asks.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from tests.idp.idp_support import Browser, Clock, Page, Party, answer_of, verified

from kmsi_middleware.idp import App, EmbeddedIdP, default_config

ISSUER = "https://localhost:8443"
SUITE = "https://suite.localhost:8444/test/a/kmsi"
SECRET = "a-client-secret-of-more-than-32-characters"
BYE = f"{SUITE}/post_logout_redirect"
CLIENT = App(
    client_id="suite",
    client_secret=SECRET,
    redirect_uris=(f"{SUITE}/callback",),
    post_logout_redirect_uris=(BYE,),
)
# OpenID Connect Core, 3.1.2.6: the errors that mean that a person would have to be asked.
NEEDS_A_PERSON = {"interaction_required", "login_required", "account_selection_required", "consent_required"}

MODULES = {
    "oidcc-rp-initiated-logout-discovery-endpoint-verification",
    "oidcc-rp-initiated-logout",
    "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri",
    "oidcc-rp-initiated-logout-modified-id-token-hint",
    "oidcc-rp-initiated-logout-no-id-token-hint",
    "oidcc-rp-initiated-logout-no-params",
    "oidcc-rp-initiated-logout-no-post-logout-redirect-uri",
    "oidcc-rp-initiated-logout-no-state",
    "oidcc-rp-initiated-logout-only-state",
    "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri",
    "oidcc-rp-initiated-logout-bad-id-token-hint",
    "oidcc-frontchannel-logout-discovery-endpoint-verification",
    "oidcc-frontchannel-rp-initiated-logout",
    "oidcc-backchannel-logout-discovery-endpoint-verification",
    "oidcc-backchannel-rp-initiated-logout",
    "oidcc-session-management-discovery-endpoint-verification",
    "oidcc-session-management-rp-initiated-logout",
}
_NO_IFRAME = (
    "The provider has no check_session_iframe. It tells a page of a change by a third-party cookie, which browsers "
    "block; the suite itself warns that the test may not work. Front and back channel do the same without one."
)
NOT_APPLICABLE = {
    "oidcc-session-management-discovery-endpoint-verification": _NO_IFRAME,
    "oidcc-session-management-rp-initiated-logout": _NO_IFRAME,
}


class Suite:
    """The suite's half: one client, registered as the plan wants it, and one browser."""

    def __init__(self, folder: Path) -> None:
        self._received: list[httpx.Request] = []
        self.idp = EmbeddedIdP(
            default_config(),
            folder=folder,
            issuer=ISSUER,
            clock=Clock(),
            backchannel=httpx.MockTransport(self._receive),
        )
        self.browser = Browser(self.idp, ISSUER)
        self.party = Party(CLIENT, self.browser, issuer=ISSUER)
        self.register()

    def register(self, **more: Any) -> None:
        self.party.app = replace(CLIENT, **more)
        self.idp.config = self.idp.config.with_app(self.party.app)

    def _receive(self, request: httpx.Request) -> httpx.Response:
        self._received.append(request)
        return httpx.Response(200, headers={"Cache-Control": "no-store"})

    def discovered(self) -> dict[str, Any]:
        """The configuration; every endpoint in it must be https."""
        response = self.browser.get(f"{ISSUER}/.well-known/openid-configuration")
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
        document: dict[str, Any] = response.json()
        endpoints = {name: value for name, value in document.items() if name.endswith(("_endpoint", "_uri", "_iframe"))}
        assert all(value.startswith("https://") for value in endpoints.values()), endpoints
        assert "end_session_endpoint" in endpoints
        return document

    def sign_in(self) -> dict[str, Any]:
        return self.party.sign_in(scope="openid")

    def end_session(self, **parameters: str) -> httpx.Response:
        """To the end_session_endpoint, and until the provider has done what it does after its answer."""

        async def ask() -> httpx.Response:
            transport = self.idp.async_transport()
            async with httpx.AsyncClient(transport=transport, cookies=self.browser.cookies) as client:
                return await client.get(f"{ISSUER}/end-session", params=parameters)

        response = anyio.run(ask)
        self.browser.cookies.update(response.cookies)
        return response

    def logout_token(self) -> str:
        """The one logout token; it came as the suite wants it."""
        (request,) = self._received
        assert request.method == "POST"
        assert str(request.url.copy_with(host="suite.localhost")) == self.party.app.backchannel_logout_uri
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        parameters = dict(parse_qsl(request.content.decode()))
        assert parameters.keys() == {"logout_token"}
        return parameters["logout_token"]

    def is_signed_in(self) -> bool:
        """By ``prompt=none``. Whoever is not gets one of the errors that are allowed for it."""
        answer = answer_of(self.party.authorize(scope="openid", prompt="none"))
        assert answer["iss"] == ISSUER
        assert ("code" in answer) is ("error" not in answer)
        assert answer.get("error") in {None, *NEEDS_A_PERSON}
        return "code" in answer


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Suite]:
    made = Suite(tmp_path)
    with made.browser:
        yield made
    made.idp.close()


@pytest.fixture
def state() -> str:
    """Of 128 characters, as the suite's."""
    return secrets.token_hex(64)


def is_error(page: httpx.Response, code: str) -> bool:
    """An error page that leads nowhere."""
    assert "location" not in page.headers
    assert (Page(page.text).refresh, Page(page.text).links) == (None, [])
    return page.status_code == 400 and code in page.text


def says_signed_out(page: httpx.Response) -> bool:
    return (page.status_code, Page(page.text).refresh) == (200, None) and "<h1>You are signed out</h1>" in page.text


def test_every_module_of_the_plans_is_here_or_does_not_apply() -> None:
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_oidcc_")}
    assert tested | NOT_APPLICABLE.keys() == MODULES
    assert not tested & NOT_APPLICABLE.keys()


def test_the_provider_does_not_say_that_it_can_do_what_does_not_apply(suite: Suite) -> None:
    document = suite.discovered()
    assert "check_session_iframe" not in document
    assert "registration_endpoint" not in document
    assert document["response_types_supported"] == ["code"]
    suite.sign_in()
    assert "session_state" not in answer_of(suite.party.authorize(prompt="none"))


# RP-Initiated Logout --------------------------------------------------------------------------------------------------


def test_oidcc_rp_initiated_logout_discovery_endpoint_verification(suite: Suite) -> None:
    assert suite.discovered()["end_session_endpoint"] == f"{ISSUER}/end-session"


def test_oidcc_rp_initiated_logout(suite: Suite, state: str) -> None:
    hint = suite.sign_in()["id_token"]
    answer = suite.end_session(id_token_hint=hint, post_logout_redirect_uri=BYE, state=state)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BYE}?state={state}")
    assert not suite.is_signed_in()


def test_oidcc_rp_initiated_logout_bad_post_logout_redirect_uri(suite: Suite, state: str) -> None:
    hint = suite.sign_in()["id_token"]
    bad = f"{SUITE}/not_registered"
    page = suite.end_session(id_token_hint=hint, post_logout_redirect_uri=bad, state=state)
    assert is_error(page, "post_logout_redirect_uri_mismatch")
    assert suite.is_signed_in()


def test_oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri(suite: Suite, state: str) -> None:
    hint = suite.sign_in()["id_token"]
    page = suite.end_session(id_token_hint=hint, post_logout_redirect_uri=f"{BYE}?foo=bar", state=state)
    assert is_error(page, "post_logout_redirect_uri_mismatch")
    assert suite.is_signed_in()


def test_oidcc_rp_initiated_logout_modified_id_token_hint(suite: Suite, state: str) -> None:
    """``alg`` becomes ``none``, the signature empty."""
    _, claims, _ = suite.sign_in()["id_token"].split(".")
    unsigned = f"eyJhbGciOiJub25lIn0.{claims}."
    page = suite.end_session(id_token_hint=unsigned, post_logout_redirect_uri=BYE, state=state)
    assert is_error(page, "invalid_request")
    assert suite.is_signed_in()


def test_oidcc_rp_initiated_logout_bad_id_token_hint(suite: Suite, state: str) -> None:
    """The true claims, signed by the suite: by a key under the provider's own ``kid``, and with the client's secret."""
    claims = suite.sign_in()["claims"]
    (published,) = suite.browser.get(f"{ISSUER}/jwks").json()["keys"]
    foreign = RSAKey.generate_key(2048, private=True)
    by_key = jwt.encode({"alg": "RS256", "kid": published["kid"]}, claims, foreign)
    by_secret = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))
    for token in (by_key, by_secret):
        page = suite.end_session(id_token_hint=token, post_logout_redirect_uri=BYE, state=state)
        assert is_error(page, "invalid_request")
        assert suite.is_signed_in()


def test_oidcc_rp_initiated_logout_no_id_token_hint(suite: Suite, state: str) -> None:
    """Without it nobody says whose the URI is."""
    suite.sign_in()
    page = suite.end_session(post_logout_redirect_uri=BYE, state=state)
    assert is_error(page, "post_logout_redirect_uri_mismatch")
    assert suite.is_signed_in()


def test_oidcc_rp_initiated_logout_no_params(suite: Suite) -> None:
    suite.sign_in()
    question = suite.end_session()
    assert "<h1>Sign out?</h1>" in question.text
    assert suite.is_signed_in()
    assert says_signed_out(suite.browser.submit(question, sign_out="yes"))
    assert not suite.is_signed_in()


def test_oidcc_rp_initiated_logout_only_state(suite: Suite, state: str) -> None:
    suite.sign_in()
    question = suite.end_session(state=state)
    assert "<h1>Sign out?</h1>" in question.text
    assert state not in question.text
    assert says_signed_out(suite.browser.submit(question, sign_out="yes"))
    assert not suite.is_signed_in()


def test_oidcc_rp_initiated_logout_no_post_logout_redirect_uri(suite: Suite, state: str) -> None:
    page = suite.end_session(id_token_hint=suite.sign_in()["id_token"], state=state)
    assert says_signed_out(page)
    assert BYE not in page.text
    assert not suite.is_signed_in()


def test_oidcc_rp_initiated_logout_no_state(suite: Suite) -> None:
    answer = suite.end_session(id_token_hint=suite.sign_in()["id_token"], post_logout_redirect_uri=BYE)
    assert (answer.status_code, answer.headers["location"]) == (303, BYE)
    assert not suite.is_signed_in()


# Front-Channel Logout -------------------------------------------------------------------------------------------------


def test_oidcc_frontchannel_logout_discovery_endpoint_verification(suite: Suite) -> None:
    document = suite.discovered()
    assert document["frontchannel_logout_supported"] is True
    assert document["frontchannel_logout_session_supported"] is True


def test_oidcc_frontchannel_rp_initiated_logout(suite: Suite, state: str) -> None:
    suite.register(frontchannel_logout_uri=f"{SUITE}/frontchannel_logout")
    tokens = suite.sign_in()
    page = suite.end_session(id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE, state=state)
    (frame,) = Page(page.text).frames
    assert frame.partition("?")[0] == f"{SUITE}/frontchannel_logout"
    assert dict(parse_qsl(urlsplit(frame).query)) == {"iss": ISSUER, "sid": tokens["claims"]["sid"]}
    assert Page(page.text).refresh == f"2;url={BYE}?state={state}"
    assert not suite.is_signed_in()


# Back-Channel Logout --------------------------------------------------------------------------------------------------


def test_oidcc_backchannel_logout_discovery_endpoint_verification(suite: Suite) -> None:
    document = suite.discovered()
    assert document["backchannel_logout_supported"] is True
    assert document["backchannel_logout_session_supported"] is True


def test_oidcc_backchannel_rp_initiated_logout(suite: Suite, state: str) -> None:
    suite.register(backchannel_logout_uri=f"{SUITE}/backchannel_logout")
    tokens = suite.sign_in()
    jwks = suite.browser.get(f"{ISSUER}/jwks").json()
    answer = suite.end_session(id_token_hint=tokens["id_token"], post_logout_redirect_uri=BYE, state=state)
    claims = verified(suite.logout_token(), jwks)
    assert (claims["iss"], claims["aud"]) == (ISSUER, "suite")
    assert (claims["sub"], claims["sid"]) == (tokens["claims"]["sub"], tokens["claims"]["sid"])
    assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert claims["iat"] == 1_800_000_000
    assert claims["jti"]
    assert "nonce" not in claims
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BYE}?state={state}")
    assert not suite.is_signed_in()
