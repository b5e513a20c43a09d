"""The seed "Configure session behavior", sentence by sentence: each that states a behavior is a row, with what holds
here because of it. The rows of the provider's side are in :mod:`.seed_provider`; of SAML there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.b2c.b2c_support import FRAGMENTS, PARTY, loaded
from tests.b2c.b2c_tenant import (
    EDIT,
    HOST,
    RESET,
    SIGN_IN,
    SIGN_UP,
    Tenant,
    by_link,
    flow,
    flows,
    opened,
    policy_of,
    signed_in,
    through,
)
from tests.b2c.seed_provider import ROWS as PROVIDER_ROWS
from tests.flows.flow_support import (
    COOKIE,
    DAY,
    MINUTE,
    NOW,
    Browser,
    cleared,
    forwarded,
    location,
    page_of,
    query_of,
    set_cookies,
)

from kmsi_middleware.rules.b2c.elements import PolicyFileError
from kmsi_middleware.rules.b2c.settings import imported
from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.user_flows import UserFlow, read_user_flows

Check = Callable[[], None]
ROWS: dict[str, Check] = {}


def row(sentence: str) -> Callable[[Check], Check]:
    def kept(check: Check) -> Check:
        assert sentence not in ROWS
        ROWS[sentence] = check
        return check

    return kept


def sign_in_flow(**properties: Any) -> Tenant:
    return Tenant(flows(sign_up_and_sign_in=properties))


def properties(text: str) -> dict[str, Any]:
    return imported([loaded(text)]).properties


def refused(**given: Any) -> None:
    with pytest.raises(SettingsError):
        read_user_flows({SIGN_IN: flow(SIGN_IN, **given)})


# Overview ------------------------------------------------------------------------------------------------


@row("The application session can be a cookie-based session stored under the application domain name.")
def _() -> None:
    browser = signed_in(Tenant())
    assert COOKIE in browser.jar  # __Host-: this host alone; the browser checks that there is no Domain


@row("If there is no app session or the session has expired, the app will take the user to the B2C sign-in page.")
def _() -> None:
    tenant = sign_in_flow(session_lifetime_minutes=20, session_expiry="absolute")
    assert policy_of(Browser(tenant).get("/"), tenant) == SIGN_IN
    browser = signed_in(tenant, "no")
    assert forwarded(browser.get("/")) is not None
    tenant.now += 20 * MINUTE
    assert policy_of(opened(browser), tenant) == SIGN_IN


@row("If the session is still active, Azure AD B2C authorizes the user and eliminates further prompts.")
def _() -> None:
    tenant = Tenant()
    browser = Browser(tenant)
    silent = tenant.answered(location(browser.get("/orders")), auth_time=NOW - DAY)
    assert location(browser.get(silent)) == "/orders"


# Configure Azure AD B2C session behavior --------------------------------------------------------------------


@row("You can set the session lifetime up to 24 hours.")
def _() -> None:
    assert sign_in_flow(session_lifetime_minutes=1_440).app.settings_of(SIGN_IN).session_lifetime == DAY
    refused(session_lifetime_minutes=1_441)


@row("Rolling: the session is extended every time (default).")
def _() -> None:
    tenant = sign_in_flow(session_lifetime_minutes=20)
    browser = signed_in(tenant, "no")
    for _ in range(5):
        tenant.now += 19 * MINUTE
        assert forwarded(browser.get("/")) is not None


@row("Absolute: the user is forced to re-authenticate after the time period specified.")
def _() -> None:
    tenant = sign_in_flow(session_lifetime_minutes=20, session_expiry="absolute")
    browser = signed_in(tenant, "no")
    tenant.now += 19 * MINUTE
    assert forwarded(browser.get("/")) is not None
    tenant.now += MINUTE
    assert policy_of(opened(browser), tenant) == SIGN_IN


@row("Tenant: this setting is the default.")
def _() -> None:
    assert UserFlow(**flow(SIGN_IN)).single_sign_on == "tenant"
    assert (
        properties(PARTY.replace('<SingleSignOn Scope="Tenant" KeepAliveInDays="30" />', ""))["single_sign_on"]
        == "tenant"
    )


@row("Suppressed: forces the user to run through the entire user flow upon every execution of the policy.")
def _() -> None:
    tenant = sign_in_flow(single_sign_on="suppressed")
    browser = Browser(tenant)
    assert query_of(location(browser.get("/")))["prompt"] == "login"
    assert query_of(location(by_link(signed_in(tenant), SIGN_IN)))["prompt"] == "login"


@row("UserJourneyBehaviors must be located immediately after DefaultUserJourney.")
def _() -> None:
    loaded(PARTY)
    with pytest.raises(PolicyFileError, match="right after DefaultUserJourney"):
        loaded(PARTY.replace("<UserJourneyBehaviors>", '<TechnicalProfile Id="P"/><UserJourneyBehaviors>'))


@row("Change the value of the Scope attribute to one of: Suppressed, Tenant, Application, or Policy.")
def _() -> None:
    for scope in ("Suppressed", "Tenant", "Application", "Policy"):
        assert properties(PARTY.replace("Tenant", scope))["single_sign_on"] == scope.lower()
    with pytest.raises(PolicyFileError):
        loaded(PARTY.replace("Tenant", "Session"))


@row("Set the SessionExpiryType element to Rolling or Absolute.")
def _() -> None:
    for expiry in ("Rolling", "Absolute"):
        assert properties(PARTY.replace("Absolute", expiry))["session_expiry"] == expiry.lower()
    with pytest.raises(PolicyFileError):
        loaded(PARTY.replace("Absolute", "Sliding"))


@row("Set SessionExpiryInSeconds to a value between 900 seconds (15 minutes) and 86,400 seconds (24 hours).")
def _() -> None:
    for seconds in (900, 86_400):
        assert properties(PARTY.replace("1200", str(seconds)))["session_lifetime_minutes"] == seconds // 60
    for seconds in (899, 86_401):
        with pytest.raises(PolicyFileError):
            loaded(PARTY.replace("1200", str(seconds)))


# Enable Keep me signed in ----------------------------------------------------------------------------------


@row("Users can opt to stay signed in so the session remains active after they close the browser.")
def _() -> None:
    tenant = sign_in_flow(keep_me_signed_in_days=30)
    for answer, stays in (("yes", True), ("no", False)):
        browser = signed_in(tenant, answer)
        browser.close()
        assert (browser.session is not None) is stays


@row("The session is maintained by setting a persistent cookie.")
def _() -> None:
    browser = signed_in(sign_in_flow(keep_me_signed_in_days=30))
    assert browser.jar[COOKIE].until == NOW + 30 * DAY


@row("Users who select KMSI can reopen the browser without being prompted to reenter their username and password.")
def _() -> None:
    tenant = sign_in_flow(keep_me_signed_in_days=30)
    browser = signed_in(tenant)
    browser.close()
    tenant.now += 29 * DAY
    assert forwarded(browser.get("/")) is not None


@row("This access (persistent cookie) is revoked when a user signs out.")
def _() -> None:
    tenant = sign_in_flow(keep_me_signed_in_days=30)
    browser = signed_in(tenant)
    outcome = browser.post("/.auth/logout")
    assert COOKIE in cleared(outcome)
    assert not tenant.live()


@row("KMSI is configurable at the individual user flow level.")
def _() -> None:
    given = {
        SIGN_IN: flow(SIGN_IN, keep_me_signed_in_days=30),
        "B2C_1_kiosk": flow("B2C_1_kiosk", keep_me_signed_in_days=0),
    }
    tenant = Tenant(given)
    assert location(through(Browser(tenant), SIGN_IN)).startswith("/.auth/kmsi")
    assert location(through(Browser(tenant), "B2C_1_kiosk")) == "/"


@row("KMSI is supported only for sign-up and sign-in (SUSI), sign-in, and profile editing user flows.")
def _() -> None:
    for kind in ("sign_up_and_sign_in", "sign_in", "profile_editing"):
        UserFlow(**flow(SIGN_IN, keep_me_signed_in_days=90) | {"kind": kind})


@row("KMSI is not supported with password reset or sign-up user flows.")
def _() -> None:
    for policy in (RESET, SIGN_UP):
        with pytest.raises(SettingsError):
            UserFlow(**flow(policy, keep_me_signed_in_days=1))
    browser = Browser(Tenant(keep_me_signed_in_days=30))
    assert location(through(browser, SIGN_UP)) == "/"
    assert not browser.persistent


@row("It's possible they could encounter one that doesn't have KMSI enabled, which would remove the KMSI cookie.")
def _() -> None:
    tenant = Tenant(flows(profile_editing={"keep_me_signed_in_days": 0}))
    for policy in (EDIT, RESET, SIGN_UP):
        browser = signed_in(tenant)
        assert browser.persistent
        through(browser, policy)
        assert not browser.persistent


@row("Enter a value from 1 to 90 to specify the number of days a session can remain open.")
def _() -> None:
    for days in (1, 90):
        assert signed_in(sign_in_flow(keep_me_signed_in_days=days)).jar[COOKIE].until == NOW + days * DAY
    refused(keep_me_signed_in_days=91)


@row("Set the content definition DataUri element to page identifier unifiedssp and page version 1.1.0 or above.")
def _() -> None:
    page, remember = FRAGMENTS[2].read_text(), FRAGMENTS[3].read_text()
    imported([loaded(page), loaded(remember)])
    with pytest.raises(PolicyFileError, match=r"needs unifiedssp 1.1.0 or above"):
        imported([loaded(page.replace("1.1.0", "1.0.0")), loaded(remember)])


@row("To add the KMSI checkbox to the page, set the setting.enableRememberMe metadata to true.")
def _() -> None:
    remember = FRAGMENTS[3].read_text()
    assert any("B2C asks on its own page" in line for line in imported([loaded(remember)]).findings)
    off = imported([loaded(remember.replace("True", "False"))])
    assert any("B2C does not ask on its own page" in line for line in off.findings)


@row("If you set the value to 30, then KMSI session cookie will persist for 30 days.")
def _() -> None:
    tenant = sign_in_flow(keep_me_signed_in_days=properties(PARTY)["keep_me_signed_in_days"])
    assert signed_in(tenant).jar[COOKIE].until == NOW + 30 * DAY


@row("Setting the value to 0 turns off KMSI functionality.")
def _() -> None:
    assert properties(PARTY.replace('"30"', '"0"'))["keep_me_signed_in_days"] == 0
    browser = Browser(tenant := sign_in_flow(keep_me_signed_in_days=0))
    assert location(browser.get(tenant.answered(location(browser.get("/"))))) == "/"
    assert not browser.persistent


@row("If a user enables KMSI, KeepAliveInDays is used to set the cookies, otherwise SessionExpiryInSeconds is used.")
def _() -> None:
    given = properties(PARTY)
    given.pop("kind")
    for answer, seconds in (("yes", 30 * DAY), ("no", 1_200)):
        session = signed_in(sign_in_flow(**given), answer).session
        assert session is not None
        assert session.expires_at == NOW + seconds


# Sign-out ------------------------------------------------------------------------------------------------


@row("It isn't enough to clear the application's cookies: you must redirect the user to Azure AD B2C to sign out.")
def _() -> None:
    outcome = signed_in(Tenant()).post("/.auth/logout")
    assert location(outcome).startswith(f"{HOST}/contoso.onmicrosoft.com/b2c_1_susi/oauth2/v2.0/logout?")


@row("To support single sign-out, the token issuer technical profiles must specify protocol and session management.")
def _() -> None:
    issuers = FRAGMENTS[6].read_text()
    assert imported([loaded(issuers)]).single_sign_out is True
    without = issuers.replace('<UseTechnicalProfileForSessionManagement ReferenceId="SM-jwt-issuer" />', "")
    assert imported([loaded(without)]).single_sign_out is False


@row("After logout, the user is redirected to the URI specified in the post_logout_redirect_uri parameter.")
def _() -> None:
    asked = query_of(location(signed_in(Tenant()).post("/.auth/logout")))
    assert asked["post_logout_redirect_uri"] == "https://app.example.com/.auth/logged-out"


@row("To require an ID token in logout requests, set EnforceIdTokenHintOnLogout of the SingleSignOn element to true.")
def _() -> None:
    given = properties(FRAGMENTS[7].read_text())
    assert given["require_id_token_on_logout"] is True
    tenant = sign_in_flow(require_id_token_on_logout=True)
    assert "id_token_hint" in query_of(location(signed_in(tenant).post("/.auth/logout")))
    at = location(Browser(tenant).post("/.auth/logout"))  # nothing to send, so not into B2C's error page
    assert page_of(Browser(tenant).get(at)).name == "logged_out.html"


@pytest.mark.parametrize("sentence", ROWS)
def test_a_sentence_of_the_seed_holds(sentence: str) -> None:
    ROWS[sentence]()


@pytest.mark.parametrize("sentence", PROVIDER_ROWS)
def test_a_sentence_of_the_seed_holds_at_the_provider(sentence: str) -> None:
    PROVIDER_ROWS[sentence]()


def test_no_cookie_of_ours_names_a_domain() -> None:
    tenant = Tenant()
    browser = Browser(tenant)
    for outcome in (browser.get("/"), browser.get(tenant.answered(location(browser.get("/"))))):
        assert not any("domain" in line.lower() for line in set_cookies(outcome))
