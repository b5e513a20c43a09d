"""The seed's sentences of the provider's side, each with what the embedded provider does because of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx
from tests.b2c.b2c_provider import (
    BAKERY,
    GROCERIES,
    HERE,
    OTHER,
    PHARMACY,
    SIGN_IN,
    THERE,
    Answer,
    Tenant,
    arrived,
    asks_for_code,
    asks_for_password,
    flows,
    frames,
    is_silent,
    tenant,
)
from tests.idp.idp_support import Page

ROWS: dict[str, Callable[[], None]] = {}
MINUTE, DAY = 60, 86_400
BYE = GROCERIES.post_logout_redirect_uris[0]


def row(
    sentence: str, properties: Mapping[str, Any] | None = None, **config: Any
) -> Callable[[Callable[[Tenant], None]], None]:
    """``properties``: of both user flows that sign in."""

    def kept(check: Callable[[Tenant], None]) -> None:
        assert sentence not in ROWS

        def run() -> None:
            with tenant(flows(every=properties or {}), **config) as made:
                check(made)

        ROWS[sentence] = run

    return kept


# Overview ------------------------------------------------------------------------------------------------


@row("With single sign-on, users sign in once with a single account and get access to multiple applications.")
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    assert is_silent(mia.ask(PHARMACY))
    assert is_silent(mia.ask(BAKERY, OTHER))


@row("If the cookie-based session expires or becomes invalid, the user is prompted to sign-in again.")
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    tenant.clock.now += DAY
    assert asks_for_password(mia.ask(GROCERIES))
    mia.sign_in(GROCERIES)
    jar = mia.client.cookies
    (name,) = mia.cookies()
    value = jar.get(name)
    jar.delete(name, "localhost.local", "/")
    jar.set(name, f"{value}x", domain="localhost.local", path="/")
    assert asks_for_password(mia.ask(GROCERIES))


@row("The cookie is stored under the Azure AD B2C tenant domain name.")
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    (cookie,) = [cookie for cookie in mia.client.cookies.jar if "sso." in cookie.name]
    assert (cookie.domain, cookie.domain_specified) == ("localhost.local", False)
    assert cookie.name == "kmsi-idp-sso.tenant-8400"


@row("If the federated identity provider session is expired or invalid, it prompts the user for their credentials.")
def _(tenant: Tenant) -> None:
    erin = tenant.person()
    erin.sign_in_there(GROCERIES)
    for cookie in list(erin.client.cookies.jar):
        if cookie.name == "kmsi-idp-session-8411":
            erin.client.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)
    page = erin.ask(PHARMACY)
    assert asks_for_password(page)
    assert erin.trail[-1].startswith(THERE)
    arrived(erin.submit(page, username="erin", password="erin-password"))


@row("If the federated session is still active, Azure AD B2C authorizes the user and eliminates further prompts.")
def _(tenant: Tenant) -> None:
    erin = tenant.person()
    erin.sign_in_there(GROCERIES)
    assert is_silent(erin.ask(PHARMACY))
    assert any(step.startswith(THERE) for step in erin.trail)


@row("If the user has signed in with a local account, Azure AD B2C authorizes the user and asks no other provider.")
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    assert is_silent(mia.ask(PHARMACY))
    assert not any(step.startswith(THERE) for step in mia.trail)


@row("If there is an active session at Facebook, the user is not prompted and is immediately redirected to B2C.")
def _(tenant: Tenant) -> None:
    erin = tenant.person()
    erin.sign_in_there(GROCERIES)
    page = erin.ask(PHARMACY, prompt="login")  # B2C's page, although there is a session
    assert asks_for_password(page)
    answer = erin.follow(page, "provider=employees")
    assert is_silent(answer)
    assert erin.claims(PHARMACY, answer)["idp"] == THERE


# Configure session behavior ---------------------------------------------------------------------------------


@row(
    "Web app session lifetime: how long the session cookie is stored after successful authentication.",
    {"session_lifetime_minutes": 20, "session_expiry": "absolute"},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    tenant.clock.now += 20 * MINUTE - 1
    assert is_silent(mia.ask(GROCERIES))
    tenant.clock.now += 1
    assert asks_for_password(mia.ask(GROCERIES))


@row(
    "Rolling: the session is extended every time the user performs a cookie-based authentication (IdP).",
    {"session_lifetime_minutes": 20},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    first = mia.claims(GROCERIES, mia.sign_in(GROCERIES))["auth_time"]
    for _ in range(5):
        tenant.clock.now += 19 * MINUTE
        assert mia.claims(PHARMACY, mia.ask(PHARMACY))["auth_time"] == first  # nobody signed in anew
    tenant.clock.now += 20 * MINUTE
    assert asks_for_password(mia.ask(PHARMACY))


@row(
    "Absolute: the user is forced to re-authenticate after the time period specified (IdP).",
    {"session_lifetime_minutes": 20, "session_expiry": "absolute"},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    for _ in range(3):
        tenant.clock.now += 6 * MINUTE
        assert is_silent(mia.ask(GROCERIES))
    tenant.clock.now += 2 * MINUTE
    assert asks_for_password(mia.ask(GROCERIES))


@row("Tenant: multiple applications and user flows in your B2C tenant share the same user session.")
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES, SIGN_IN)
    assert is_silent(mia.ask(PHARMACY, SIGN_IN))
    assert is_silent(mia.ask(PHARMACY, OTHER))


@row(
    "Application: the user signs in to Contoso Pharmacy regardless of being signed into Contoso Groceries.",
    {"single_sign_on": "application"},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    assert asks_for_password(mia.ask(PHARMACY))
    mia.sign_in(PHARMACY, user="gus")
    assert mia.claims(GROCERIES, mia.ask(GROCERIES))["name"] == "Mia Member"
    assert mia.claims(PHARMACY, mia.ask(PHARMACY))["name"] == "Gus Guest"
    assert is_silent(mia.ask(GROCERIES, OTHER))  # the app's session, through whatever flow


@row(
    "Policy: a user session exclusively for a user flow, independent of the applications using it.",
    {"single_sign_on": "policy"},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES, SIGN_IN)
    assert is_silent(mia.ask(PHARMACY, SIGN_IN))
    assert asks_for_password(mia.ask(GROCERIES, OTHER))


@row(
    "Policy: who completed MFA is given access to multiple applications, as long as the flow's session lasts.",
    {"single_sign_on": "policy", "session_lifetime_minutes": 20, "multi_factor": True},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    page = mia.submit(mia.ask(GROCERIES), username="mia", password="mia-password")
    assert asks_for_code(page)
    mia.show_code(page)
    assert is_silent(mia.ask(PHARMACY))
    assert is_silent(mia.ask(BAKERY))
    tenant.clock.now += 20 * MINUTE
    page = mia.ask(PHARMACY)
    assert asks_for_password(page)
    assert asks_for_code(mia.submit(page, username="mia", password="mia-password"))


@row(
    "Suppressed: forces the user to run through the entire user flow upon every execution of the policy (IdP).",
    {"single_sign_on": "suppressed", "multi_factor": True},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    for app in (GROCERIES, GROCERIES, PHARMACY):
        page = mia.ask(app)
        assert asks_for_password(page)
        page = mia.submit(page, username="mia", password="mia-password")
        assert asks_for_code(page)
        mia.show_code(page)


# Keep me signed in -----------------------------------------------------------------------------------------


@row(
    "Users can opt to stay signed in so the session remains active after they close the browser (IdP).",
    {"keep_me_signed_in_days": 30, "session_lifetime_minutes": 20},
)
def _(tenant: Tenant) -> None:
    for keep in (True, False):
        mia = tenant.person()
        mia.sign_in(GROCERIES, keep=keep)
        mia.close_browser()
        assert is_silent(mia.ask(GROCERIES)) is keep


@row("The session is maintained by setting a persistent cookie (IdP).", {"keep_me_signed_in_days": 30})
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    assert list(mia.cookies().values()) == [None]
    gus = tenant.person()
    page = gus.ask(GROCERIES)
    assert isinstance(page, httpx.Response)
    assert "Keep me signed in for 30 days" in page.text
    cookie = posted(tenant, keep="yes")
    assert "Max-Age=2592000" in cookie


def posted(tenant: Tenant, *, keep: str) -> str:
    """The Set-Cookie of a sign-in."""
    gus = tenant.person()
    page = gus.ask(GROCERIES)
    assert isinstance(page, httpx.Response)
    form = Page(page.text)
    data = {"ticket": form.fields["ticket"], "pick": "gus", "keep_me_signed_in": keep}
    response = gus.client.post(f"{HERE}{form.action}", data=data, headers={"Origin": HERE})
    (cookie,) = [line for line in response.headers.get_list("set-cookie") if "sso." in line]
    return cookie


@row(
    "KMSI is for users who have local accounts: who comes from a federated provider is not kept.",
    {"keep_me_signed_in_days": 30},
)
def _(tenant: Tenant) -> None:
    erin = tenant.person()
    erin.sign_in_there(GROCERIES)
    assert list(erin.cookies().values()) == [None]


@row("This access (persistent cookie) is revoked when a user signs out (IdP).", {"keep_me_signed_in_days": 30})
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES, keep=True)
    kept = {cookie.name: cookie.value for cookie in mia.client.cookies.jar if "sso." in cookie.name}
    mia.sign_out(GROCERIES)
    assert mia.cookies() == {}
    for name, value in kept.items():  # nor does what somebody kept of it
        mia.client.cookies.set(name, str(value), domain="localhost.local", path="/")
    assert asks_for_password(mia.ask(GROCERIES))


@row("A policy that doesn't have KMSI enabled would remove the KMSI cookie from the session (IdP).")
def _(_: Tenant) -> None:
    given = flows(**{SIGN_IN: {"keep_me_signed_in_days": 30, "session_lifetime_minutes": 20}})
    with tenant(given) as made:
        mia = made.person()
        mia.sign_in(GROCERIES, keep=True)
        mia.close_browser()
        assert is_silent(mia.ask(PHARMACY, OTHER))
        mia.close_browser()
        assert asks_for_password(mia.ask(GROCERIES))


@row(
    "If a user enables KMSI, KeepAliveInDays is used, otherwise SessionExpiryInSeconds (IdP).",
    {"keep_me_signed_in_days": 30, "session_lifetime_minutes": 20, "session_expiry": "absolute"},
)
def _(tenant: Tenant) -> None:
    for keep, seconds in ((True, 30 * DAY), (False, 20 * MINUTE)):
        mia = tenant.person()
        mia.sign_in(GROCERIES, keep=keep)
        tenant.clock.now += seconds - 1
        assert is_silent(mia.ask(GROCERIES))
        tenant.clock.now += 1
        assert asks_for_password(mia.ask(GROCERIES))


# Sign-out --------------------------------------------------------------------------------------------------


@row("Otherwise, the user might be able to re-authenticate without entering their credentials again.")
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    assert is_silent(mia.ask(GROCERIES))
    mia.sign_out(GROCERIES)
    assert asks_for_password(mia.ask(GROCERIES))


@row("Upon a sign-out request, Azure AD B2C attempts to sign out from federated identity providers.")
def _(tenant: Tenant) -> None:
    erin = tenant.person()
    erin.sign_in_there(GROCERIES)
    page = erin.sign_out(GROCERIES, post_logout_redirect_uri=BYE, state="foo")
    assert erin.cookies() == {}  # here it is over already
    assert erin.trail[-1].startswith(f"{THERE}/end-session?")
    assert "id_token_hint" not in erin.trail[-1]
    assert erin.submit(page, sign_out="yes") == {"state": "foo"}
    assert asks_for_password(erin.follow(erin.ask(GROCERIES), "provider=employees"))


@row("The sign-out might not sign the user out of their social identity provider session.")
def _(tenant: Tenant) -> None:
    erin = tenant.person()
    erin.sign_in_there(GROCERIES)
    erin.sign_out(GROCERIES)  # and there: no answer
    assert is_silent(erin.follow(erin.ask(GROCERIES), "provider=employees"))


@row("If local accounts are used, the user's session ends properly.")
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    assert mia.sign_out(GROCERIES, post_logout_redirect_uri=BYE) == {}
    assert not any(step.startswith(THERE) for step in mia.trail)
    assert asks_for_password(mia.ask(PHARMACY))


@row(
    "The user might still be signed in to other applications: B2C supports single sign-out.", {"single_sign_out": True}
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    mia.ask(PHARMACY)
    mia.ask(BAKERY)
    page = mia.sign_out(GROCERIES, post_logout_redirect_uri=BYE)
    assert frames(page) == ["http://bakery.localhost:9003/out", "http://pharmacy.localhost:9002/out"]
    assert isinstance(page, httpx.Response)
    assert "Told to sign you out too" in page.text
    assert "Whether each of them did, this page can’t see." in page.text


@row("To support single sign-out, the token issuer must specify UseTechnicalProfileForSessionManagement (IdP).")
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    mia.ask(PHARMACY)
    assert mia.sign_out(GROCERIES, post_logout_redirect_uri=BYE) == {}  # straight back, nobody told


@row("The application that triggers the sign-out request will not get this log-out message.", {"single_sign_out": True})
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    assert mia.sign_out(GROCERIES, post_logout_redirect_uri=BYE) == {}
    mia.sign_in(GROCERIES)
    mia.ask(PHARMACY)
    assert frames(mia.sign_out(PHARMACY)) == ["http://groceries.localhost:9001/out"]


@row(
    "B2C sends an HTTP GET request to the registered logout URL of every app that the user is signed in to.",
    {"single_sign_out": True},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    mia.ask(PHARMACY)
    gus = tenant.person()
    gus.sign_in(BAKERY, user="gus")
    assert frames(mia.sign_out(GROCERIES)) == ["http://pharmacy.localhost:9002/out"]


@row(
    "When all have been notified, the user is redirected to post_logout_redirect_uri including the state.",
    {"single_sign_out": True},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    mia.ask(PHARMACY)
    page = mia.sign_out(GROCERIES, post_logout_redirect_uri=BYE, state="foo")
    assert isinstance(page, httpx.Response)
    assert Page(page.text).refresh == f"2;url={BYE}?state=foo"


@row("After logout, the user is redirected regardless of the reply URLs (here: a setting, and off).")
def _(_: Tenant) -> None:
    for anywhere in (False, True):
        with tenant(redirect_anywhere_after_sign_out=anywhere) as made:
            mia = made.person()
            mia.sign_in(GROCERIES)
            seen = mia.sign_out(GROCERIES, post_logout_redirect_uri="http://elsewhere.example/x")
            assert isinstance(seen, Answer) is anywhere
            assert is_silent(mia.ask(GROCERIES)) is not anywhere


@row(
    "With a valid id_token_hint, B2C verifies post_logout_redirect_uri against the app's redirect URIs.",
    {"require_id_token_on_logout": True},
    redirect_anywhere_after_sign_out=True,
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    hint = mia.id_token(GROCERIES)
    for uri in (PHARMACY.redirect_uris[0], f"{BYE}/", "http://elsewhere.example/x"):
        page = mia.sign_out(None, id_token_hint=hint, post_logout_redirect_uri=uri)
        assert isinstance(page, httpx.Response)
        assert page.status_code == 400
    assert is_silent(mia.ask(GROCERIES))
    for uri in (BYE, GROCERIES.redirect_uris[0]):
        assert mia.sign_out(None, id_token_hint=hint, post_logout_redirect_uri=uri) == {}


@row(
    "If no matching reply URL was configured, an error message is displayed and the user is not redirected.",
    {"require_id_token_on_logout": True},
)
def _(tenant: Tenant) -> None:
    mia = tenant.person()
    mia.sign_in(GROCERIES)
    page = mia.sign_out(None, id_token_hint=mia.id_token(GROCERIES), post_logout_redirect_uri="http://a.example/")
    assert isinstance(page, httpx.Response)
    assert "post_logout_redirect_uri_mismatch" in page.text
    assert Page(page.text).refresh is None
    assert "a.example" not in "".join(Page(page.text).links)


@row("You can disable the sign out from federated identity providers, by SingleLogoutEnabled false.")
def _(_: Tenant) -> None:
    from dataclasses import replace

    from tests.b2c.b2c_provider import EMPLOYEES

    with tenant(federated=(replace(EMPLOYEES, single_logout=False),)) as made:
        erin = made.person()
        erin.sign_in_there(GROCERIES)
        assert erin.sign_out(GROCERIES, post_logout_redirect_uri=BYE) == {}
        assert not any(step.startswith(THERE) for step in erin.trail)
        assert is_silent(erin.follow(erin.ask(GROCERIES), "provider=employees"))
