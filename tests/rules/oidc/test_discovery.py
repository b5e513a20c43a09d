"""The issuer's metadata: strict about the issuer and its endpoints, tolerant of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from oidc_support import ISSUER, SHARED, TENANT_A, provider

from kmsi_middleware.rules.oidc.discovery import (
    check_discovery,
    discovery_request,
    is_acceptable_url,
    json_object,
    origin_of,
)
from kmsi_middleware.vocabulary.addresses import is_origin, tenant_issuer
from kmsi_middleware.vocabulary.errors import ProtocolError, ProviderUnavailable
from kmsi_middleware.vocabulary.messages import HttpResponse

DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/jwks",
    "end_session_endpoint": f"{ISSUER}/logout",
    "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
    "authorization_response_iss_parameter_supported": True,
}


def answer(document: Any, status: int = 200) -> HttpResponse:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return HttpResponse(status, {"content-type": "application/json"}, body)


def changed(**members: Any) -> HttpResponse:
    """The document with some members changed; ``...`` leaves one out."""
    return answer({name: value for name, value in (DOCUMENT | members).items() if value is not ...})


B2C = "https://contoso.b2clogin.com"
POLICY = f"{B2C}/contoso.onmicrosoft.com/B2C_1_susi/v2.0"
ID = "775527ff-9a37-4307-8b3d-cc311f58d925"


@pytest.mark.parametrize(
    ("configured", "named"),
    [
        (POLICY, f"{B2C}/{ID}/v2.0/"),
        (f"{POLICY}/", f"{B2C}/{ID}/v2.0/"),
        (POLICY, f"{B2C}/{ID}/v2.0"),
        (POLICY, f"{B2C}/tfp/{ID}/b2c_1_susi/v2.0/"),
        (f"{B2C}/tfp/contoso.onmicrosoft.com/B2C_1_susi/v2.0", f"{B2C}/tfp/{ID}/B2C_1_susi/v2.0/"),
        (f"{B2C}/tfp/contoso.onmicrosoft.com/B2C_1_susi/v2.0", f"{B2C}/{ID}/v2.0/"),
        (f"{B2C}/{ID}/B2C_1_susi/v2.0", f"{B2C}/{ID.upper()}/v2.0/"),
        (f"{B2C}/a/b/contoso/B2C_1A_susi/v2.0", f"{B2C}/a/b/{ID}/v2.0/"),
        (POLICY, POLICY),
    ],
)
def test_a_policy_of_b2c_names_the_issuer_of_its_tenant(configured: str, named: str) -> None:
    assert check_discovery(changed(issuer=named), configured).issuer == named


@pytest.mark.parametrize(
    ("configured", "named"),
    [
        (POLICY, f"{B2C}/contoso.onmicrosoft.com/v2.0/"),
        (POLICY, f"{B2C}/tfp/{ID}/b2c_1_other/v2.0/"),
        (POLICY, f"{B2C}/tfp/{ID}/v2.0/"),
        (POLICY, f"{B2C}/{ID}/b2c_1_susi/v2.0/"),
        (POLICY, f"https://fabrikam.b2clogin.com/{ID}/v2.0/"),
        (POLICY, f"{B2C}.evil.example/{ID}/v2.0/"),
        (POLICY, f"{B2C}/a/{ID}/v2.0/"),
        (POLICY, f"{B2C}/{ID}/v2.0/x"),
        (POLICY, [f"{B2C}/{ID}/v2.0/"]),
        (f"{B2C}/{ID}/B2C_1_susi/v2.0", f"{B2C}/{ID[::-1]}/v2.0/"),
        (f"{B2C}/{ID}/B2C_1_susi/v2.0", f"{B2C}/00000000-0000-0000-0000-000000000000/v2.0/"),
        (f"{B2C}/contoso.onmicrosoft.com/other/v2.0", f"{B2C}/{ID}/v2.0/"),
        (f"{B2C}/B2C_1_susi/v2.0", f"https:/{ID}/v2.0/"),
        (f"{B2C}/B2C_1_susi/v2.0", f"https://{ID}/v2.0/"),
    ],
)
def test_no_other_issuer_is_that_of_a_policy(configured: str, named: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_discovery(changed(issuer=named), configured)
    assert caught.value.code == "issuer_mismatch"


@pytest.mark.parametrize(
    ("issuer", "of_tenant"),
    [
        (f"{B2C}/tfp/{ID}/b2c_1_susi/v2.0/", f"{B2C}/{ID}/v2.0/"),
        (f"{B2C}/tfp/{ID}/B2C_1A_edit/v2.0", f"{B2C}/{ID}/v2.0"),
        (f"{B2C}/{ID}/v2.0/", f"{B2C}/{ID}/v2.0/"),
        (f"{B2C}/tfp/{ID}/other/v2.0/", f"{B2C}/tfp/{ID}/other/v2.0/"),
        (ISSUER, ISSUER),
    ],
)
def test_the_issuer_of_a_tenant_has_no_policy_in_it(issuer: str, of_tenant: str) -> None:
    assert tenant_issuer(issuer) == of_tenant


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        ("https://idp.example", "https://idp.example/.well-known/openid-configuration"),
        ("https://idp.example/", "https://idp.example/.well-known/openid-configuration"),
        ("https://idp.example/realms/one", "https://idp.example/realms/one/.well-known/openid-configuration"),
        ("https://idp.example/realms/one/", "https://idp.example/realms/one/.well-known/openid-configuration"),
        ("http://localhost:8000/.auth/idp", "http://localhost:8000/.auth/idp/.well-known/openid-configuration"),
    ],
)
def test_where_the_document_is(issuer: str, url: str) -> None:
    request = discovery_request(issuer)
    assert (request.method, request.url, request.form) == ("GET", url, None)
    assert request.headers == {"accept": "application/json"}


def test_a_whole_document() -> None:
    assert check_discovery(answer(DOCUMENT), ISSUER) == provider(
        token_endpoint_auth_methods=("client_secret_post", "private_key_jwt"), iss_in_response=True
    )


# The issuer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issuer", [ISSUER, ISSUER + "/", ISSUER + "/realms/one", ISSUER + "/realms/one/", SHARED])
def test_an_issuer_may_have_a_path_and_a_slash_at_its_end(issuer: str) -> None:
    assert check_discovery(changed(issuer=issuer), issuer).issuer == issuer


@pytest.mark.parametrize(
    ("named", "configured"),
    [
        (..., ISSUER),
        (None, ISSUER),
        ("", ISSUER),
        ([ISSUER], ISSUER),
        ("https://evil.example", ISSUER),
        (ISSUER + "/", ISSUER),
        (ISSUER, ISSUER + "/"),
        ("HTTPS://IDP.EXAMPLE", ISSUER),
        ("http://idp.example", ISSUER),
        ("https://idp.example:443", ISSUER),
        # A template, but not of the issuer that was configured
        ("https://{tenantid}", ISSUER),
        ("{tenantid}", ISSUER),
        (SHARED, SHARED.replace("{tenantid}", TENANT_A)),
        ("https://{tenantid}.idp.example", "https://common.idp.example"),
        (SHARED, "https://login.microsoftonline.com/common"),
        (SHARED, "https://evil.example/common/v2.0"),
        ("https://evil.example/{tenantid}/v2.0", SHARED.replace("{tenantid}", "common")),
        (SHARED.replace("{tenantid}", TENANT_A), SHARED.replace("{tenantid}", "common")),
    ],
)
def test_another_issuer_than_the_configured_is_refused(named: Any, configured: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        check_discovery(changed(issuer=named), configured)
    assert (refused.value.code, refused.value.status) == ("issuer_mismatch", 502)


@pytest.mark.parametrize("alias", ["common", "organizations"])
def test_entras_shared_endpoints_name_a_template(alias: str) -> None:
    assert check_discovery(changed(issuer=SHARED), SHARED.replace("{tenantid}", alias)).issuer == SHARED


# The endpoints --------------------------------------------------------------------------------------------

GOOD_URLS = [
    "https://idp.example/x",
    "https://other.example:8443/x?tenant=1",
    "https://idp.example",
    "https://127.0.0.1/x",
    "https://[2001:db8::1]/x",
    "http://localhost/x",
    "http://localhost:8000/x",
    "http://app.localhost:8000/x",
    "http://127.0.0.1:8000/x",
    "http://[::1]:8000/x",
]
BAD_URLS: list[Any] = [
    "",
    "/x",
    "//idp.example/x",
    "idp.example/x",
    "https:",
    "https://",
    "https:///x",
    "http://idp.example/x",
    "http://10.0.0.1/x",
    "http://localhost.evil.example/x",
    "http://127.0.0.1.evil.example/x",
    "ftp://idp.example/x",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "https://user@idp.example/x",
    "https://user:word@idp.example/x",
    "https://:word@idp.example/x",
    "https://@idp.example/x",
    "https://idp.example/x#part",
    "https://idp.example/a b",
    "https://idp.example/a\nb",
    "https://idp.example/a\tb",
    "\thttps://idp.example/x",
    "https://idp.example\\@evil.example/x",
    "https://idp.example:99999/x",
    "https://idp.example:port/x",
    "https://[::1/x",
    "https://idp.example;sandbox/x",
    "https://idp.example,evil.example/x",
    "https://'unsafe-inline'/x",
    "https://*/x",
    "https://idp.exämple/x",
    7,
    True,
    [],
    {},
    ["https://idp.example/x"],
]


@pytest.mark.parametrize("url", GOOD_URLS)
@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"])
def test_https_anywhere_and_http_on_loopback(name: str, url: str) -> None:
    issuer = ISSUER if url.startswith("https:") else "http://127.0.0.1:8400"
    assert getattr(check_discovery(changed(**{"issuer": issuer, name: url}), issuer), name) == url


def test_an_issuer_elsewhere_does_not_lead_to_what_listens_here() -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        check_discovery(changed(jwks_uri="http://127.0.0.1:9200/keys"), ISSUER)
    assert refused.value.code == "discovery_invalid"


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"])
def test_any_other_endpoint_is_refused(name: str, url: Any) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        check_discovery(changed(**{name: url}), ISSUER)
    assert refused.value.code == "discovery_invalid"
    assert name in refused.value.detail


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_good_urls_origin_is_an_origin(url: str) -> None:
    assert is_acceptable_url(url)
    assert is_origin(origin_of(url))


@pytest.mark.parametrize("missing", [..., None])
@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_an_endpoint_that_is_needed_must_be_there(name: str, missing: Any) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        check_discovery(changed(**{name: missing}), ISSUER)
    assert refused.value.code == "discovery_invalid"


@pytest.mark.parametrize("missing", [..., None])
def test_a_document_may_leave_out_the_end_of_sessions(missing: Any) -> None:
    assert check_discovery(changed(end_session_endpoint=missing), ISSUER).end_session_endpoint is None


# The rest -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "methods"),
    [
        (..., ("client_secret_basic",)),
        (None, ("client_secret_basic",)),
        ("client_secret_post", ("client_secret_basic",)),
        ([], ()),
        (["client_secret_post"], ("client_secret_post",)),
        (["client_secret_post", 7, None], ("client_secret_post",)),
    ],
)
def test_client_authentication_methods(given: Any, methods: tuple[str, ...]) -> None:
    found = check_discovery(changed(token_endpoint_auth_methods_supported=given), ISSUER)
    assert found.token_endpoint_auth_methods == methods


@pytest.mark.parametrize(
    ("given", "promised"), [(True, True), (False, False), (..., False), (None, False), ("true", False), (1, False)]
)
def test_only_true_promises_an_iss_in_the_response(given: Any, promised: bool) -> None:
    found = check_discovery(changed(authorization_response_iss_parameter_supported=given), ISSUER)
    assert found.iss_in_response is promised


def test_the_issuers_origins_each_once() -> None:
    here = provider(
        issuer="https://idp.example/realms/one",
        authorization_endpoint="https://login.example:8443/authorize?x=1",
        end_session_endpoint="https://idp.example/logout",
        token_endpoint="https://api.example/token",
    )
    assert here.origins == ("https://idp.example", "https://login.example:8443")
    assert provider(end_session_endpoint=None).origins == (ISSUER,)


@pytest.mark.parametrize(
    ("issuer", "named", "expected"),
    [
        (ISSUER, ISSUER, True),
        (ISSUER, ISSUER + "/", False),
        (ISSUER, "https://idp-example", False),
        ("https://idp.example/", "https://idp.example/", True),
        ("https://idp.example/a+b", "https://idp.example/a+b", True),
        (SHARED, SHARED.replace("{tenantid}", TENANT_A), True),
        (SHARED, SHARED, False),
        (SHARED, SHARED.replace("{tenantid}", ""), False),
        (SHARED, SHARED.replace("{tenantid}", "a/b"), False),
        (SHARED, "https://evil.example/v2.0", False),
        (SHARED, "https://evil.example/" + SHARED.replace("{tenantid}", TENANT_A), False),
    ],
)
def test_which_issuer_an_answer_may_name(issuer: str, named: str, expected: bool) -> None:
    assert provider(issuer=issuer).may_be(named) is expected


# The answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_a_server_error_means_later(status: int) -> None:
    with pytest.raises(ProviderUnavailable):
        check_discovery(answer(DOCUMENT, status), ISSUER)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 304, 400, 401, 403, 404])
def test_any_other_status_is_no_document(status: int) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        check_discovery(answer(DOCUMENT, status), ISSUER)
    assert refused.value.code == "discovery_invalid"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"9" * 5_000,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        json_object(answer(body), "some_code")
    assert refused.value.code == "some_code"
