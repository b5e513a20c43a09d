"""User flows: which one a sign-in goes through, what becomes of its answer, and of the session."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.b2c.b2c_tenant import (
    CANCELLED,
    EDIT,
    FORGOT,
    HOST,
    ISSUER,
    RESET,
    SIGN_IN,
    SIGN_UP,
    TENANT_ID,
    Tenant,
    authority,
    by_link,
    flow,
    flows,
    opened,
    policy_of,
    signed_in,
    through,
)
from tests.flows.flow_support import (
    BOB,
    CROSS_SITE,
    DAY,
    HOUR,
    MINUTE,
    NAVIGATION,
    NOW,
    SCRIPT,
    Browser,
    World,
    cleared,
    code_of,
    forwarded,
    location,
    page_of,
    problem_of,
    query_of,
)

from kmsi_middleware.edges.wire import Where
from kmsi_middleware.flows import access, sessions, sign_in
from kmsi_middleware.flows.deployment import Deployment
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.settings import Settings
from kmsi_middleware.vocabulary.user_flows import UserFlow, read_user_flows

KEPT: dict[str, Any] = {"sign_up_and_sign_in": {"keep_me_signed_in_days": 14}}
"""Keep me signed in at the sign-in; the other flows say nothing, so the app's settings hold for them."""


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(flows(**KEPT))


# The settings --------------------------------------------------------------------------------------------


def settings_error(user_flows: Any, **more: Any) -> SettingsError:
    given = {"client_id": "app", "secret_keys": ["k" * 32], "user_flows": user_flows, **more}
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(given)
    return caught.value


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"kind": "signin"}, "user_flows['B2C_1_a']['kind'] = 'signin': give one of sign_up_and_sign_in, sign_in"),
        ({"kind": None}, "['kind'] = None: give one of"),
        ({"session_lifetime_minutes": 14}, "give 15 to 1,440 minutes"),
        ({"session_lifetime_minutes": 1_441}, "give 15 to 1,440 minutes"),
        ({"session_lifetime_minutes": "20"}, "give 15 to 1,440 minutes"),
        ({"session_lifetime_minutes": True}, "give 15 to 1,440 minutes"),
        ({"session_expiry": "sliding"}, "give one of rolling, absolute"),
        ({"keep_me_signed_in_days": 91}, "give 0 to 90 days"),
        ({"keep_me_signed_in_days": -1}, "give 0 to 90 days"),
        ({"single_sign_on": "Tenant"}, "give one of tenant, application, policy, suppressed"),
        ({"single_sign_on": None}, "give one of tenant"),
        ({"require_id_token_on_logout": "yes"}, "give true or false"),
        ({"keep_me_signed_in": 30}, "['keep_me_signed_in'] = 30: there is no such property; there are authority, kind"),
        ({"authority": authority("B2C_1_b")}, "give B2C's address of this very policy: …/B2C_1_a/v2.0"),
        ({"authority": f"{HOST}/contoso/B2C_1_a"}, "give B2C's address of this very policy"),
        ({"authority": f"{authority('B2C_1_a')}?p=x"}, "an issuer has no query"),
        ({"authority": authority("B2C_1_a").replace("https", "http")}, "outside loopback it must be https"),
        ({"authority": 1}, "give a whole URL"),
        ({"authority": "https://[contoso/t/B2C_1_a/v2.0"}, "give a whole URL"),
        ({"authority": "https://contoso:x/t/B2C_1_a/v2.0"}, "give a whole URL"),
        ({"authority": "https://user:pass@contoso.b2clogin.com/t/B2C_1_a/v2.0"}, "give a whole URL"),
    ],
)
def test_a_property_that_cannot_work_is_refused_by_name(properties: dict[str, Any], problem: str) -> None:
    error = settings_error({"B2C_1_a": flow("B2C_1_a") | properties})
    assert str(error).startswith("setting user_flows['B2C_1_a'][")
    assert problem in str(error)
    assert "pass@" not in str(error)


@pytest.mark.parametrize("missing", ["authority", "kind"])
def test_authority_and_kind_are_needed(missing: str) -> None:
    given = {name: value for name, value in flow("B2C_1_a").items() if name != missing}
    assert f"['{missing}'] = None: every user flow needs it" in str(settings_error({"B2C_1_a": given}))


@pytest.mark.parametrize("kind", ["password_reset", "sign_up"])
def test_kmsi_is_refused_for_a_password_reset_and_a_sign_up(kind: str) -> None:
    given = {SIGN_IN: flow(SIGN_IN), "B2C_1_a": flow("B2C_1_a", kind=kind, keep_me_signed_in_days=1)}
    assert f"a {kind} flow keeps nobody signed in, as in B2C: leave it out" in str(settings_error(given))
    given["B2C_1_a"] |= {"keep_me_signed_in_days": 0}
    read_user_flows(given)


@pytest.mark.parametrize("kind", ["sign_up_and_sign_in", "sign_in", "profile_editing"])
def test_kmsi_is_for_the_other_kinds(kind: str) -> None:
    given = {SIGN_IN: flow(SIGN_IN), "B2C_1_a": flow("B2C_1_a", kind=kind, keep_me_signed_in_days=90)}
    assert read_user_flows(given)["B2C_1_a"].keep_me_signed_in_days == 90


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"sign_in": flow(SIGN_IN)}, "give the flow's name as B2C has it, as B2C_1_sign_in"),
        ({"B2C_1_../x": flow(SIGN_IN)}, "give the flow's name as B2C has it"),
        ({1: flow(SIGN_IN)}, "give the flow's name as B2C has it"),
        ({SIGN_IN: flow(SIGN_IN), SIGN_IN.lower(): flow(SIGN_IN)}, "this flow is there twice"),
        ({SIGN_IN: None}, f"user_flows['{SIGN_IN}'] = None: give a mapping of its properties"),
        ({SIGN_IN: {}}, "every user flow needs it"),
        ({RESET: flow(RESET)}, "one of them must be of kind sign_up_and_sign_in or sign_in"),
        ([flow(SIGN_IN)], "give a mapping of B2C's names to their properties"),
        ("{", "this is no JSON; `kmsi import-b2c --json` prints it"),
        ("[" * 100_000, "this is no JSON"),
        ("[]", "give a mapping of B2C's names"),
        (
            {SIGN_IN: flow(SIGN_IN), EDIT: flow(EDIT) | {"authority": "https://login.example.com/t/B2C_1_edit/v2.0"}},
            f"the user flows of an app are of one tenant: {HOST}",
        ),
    ],
)
def test_user_flows_that_cannot_work_are_refused(given: Any, problem: str) -> None:
    error = settings_error(given)
    assert error.name.startswith("user_flows")
    assert problem in str(error)


def test_the_issuer_is_left_out_because_every_flow_has_its_own() -> None:
    given = {"client_id": "app", "secret_keys": ["k" * 32], "base_url": "https://app.example.com"}
    settings = Settings.resolve({**given, "user_flows": flows()})
    assert settings.issuer == authority(SIGN_IN)
    assert Settings.resolve({**given, "user_flows": flows(), "issuer": authority(SIGN_IN)}).issuer == settings.issuer
    error = settings_error(flows(), issuer="https://login.example.com")
    assert str(error).startswith("setting issuer = 'https://login.example.com': leave it out: with user_flows")


def test_the_embedded_provider_needs_no_authority_and_heeds_none() -> None:
    given = flows()
    del given[SIGN_IN]["authority"]
    settings = Settings.resolve({"issuer": "embedded", "user_flows": given})
    site = Where(settings).site("http", "localhost:8000", 8000, "/shop")
    own = "http://localhost:8000/shop/.auth/idp/embedded.onmicrosoft.com"
    assert site.issuer == f"{own}/{SIGN_IN}/v2.0"
    app = Deployment(settings, os.urandom)
    assert [app.authority(site, name) for name in ("", SIGN_IN, EDIT)] == [
        f"{own}/{SIGN_IN}/v2.0",
        f"{own}/{SIGN_IN}/v2.0",
        f"{own}/{EDIT}/v2.0",
    ]


def test_an_authority_is_needed_of_every_flow_but_with_the_embedded_provider() -> None:
    given = flows()
    del given[EDIT]["authority"]
    assert f"['{EDIT}']['authority'] = None: every user flow needs it, except with" in str(settings_error(given))


def test_user_flows_come_from_the_environment_as_json() -> None:
    settings = Settings.resolve(
        {"client_id": "app", "secret_keys": ["k" * 32]}, environment={"KMSI_USER_FLOWS": json.dumps(flows())}
    )
    assert settings.user_flows == read_user_flows(flows())
    assert Settings(user_flows="").user_flows == {}


def test_a_flow_object_is_as_good_as_a_mapping() -> None:
    assert read_user_flows({SIGN_IN: UserFlow(**flow(SIGN_IN))}) == read_user_flows({SIGN_IN: flow(SIGN_IN)})


def test_settings_with_user_flows_can_be_compared_and_hashed() -> None:
    one, other = (Settings(user_flows=flows()) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert Settings(user_flows=flows(**KEPT)) != one


@pytest.mark.parametrize(
    ("properties", "kind", "in_force"),
    [
        ({}, "sign_in", (7_200, "absolute", 14)),
        ({"session_lifetime_minutes": 20}, "sign_in", (1_200, "absolute", 14)),
        ({"session_expiry": "rolling"}, "sign_in", (7_200, "rolling", 14)),
        ({"keep_me_signed_in_days": 0}, "sign_in", (7_200, "absolute", 0)),
        ({"keep_me_signed_in_days": 60}, "profile_editing", (7_200, "absolute", 60)),
        ({}, "profile_editing", (7_200, "absolute", 14)),
        ({}, "password_reset", (7_200, "absolute", 0)),
        ({}, "sign_up", (7_200, "absolute", 0)),
    ],
)
def test_what_a_flow_does_not_say_the_apps_settings_say(
    properties: dict[str, Any], kind: str, in_force: tuple[int, str, int]
) -> None:
    settings = Settings(
        user_flows={SIGN_IN: flow(SIGN_IN), "B2C_1_a": flow("B2C_1_a", kind=kind, **properties)},
        session_lifetime=7_200,
        session_expiry="absolute",
        keep_me_signed_in_days=14,
    ).through("B2C_1_a")
    assert (settings.session_lifetime, settings.session_expiry, settings.keep_me_signed_in_days) == in_force


# The way there -------------------------------------------------------------------------------------------


def test_a_sign_in_goes_through_the_first_flow_that_signs_in() -> None:
    given = {RESET: flow(RESET), EDIT: flow(EDIT), "B2C_1_a": flow("B2C_1_a"), SIGN_IN: flow(SIGN_IN)}
    tenant = Tenant(given)
    assert policy_of(Browser(tenant).get("/orders"), tenant) == "B2C_1_a"


@pytest.mark.parametrize("policy", [SIGN_IN, EDIT, RESET, SIGN_UP])
def test_a_link_names_any_flow_whatever_its_capitals(tenant: Tenant, policy: str) -> None:
    for name in (policy, policy.upper(), policy.lower()):
        assert policy_of(by_link(Browser(tenant), name, "/"), tenant) == policy


@pytest.mark.parametrize("policy", ["B2C_1_other", "../x", "x" * 5_000])
def test_a_flow_that_the_settings_do_not_have_is_refused(tenant: Tenant, policy: str) -> None:
    outcome = by_link(Browser(tenant), policy)
    assert code_of(outcome) == "unknown_user_flow"
    page_of(outcome, 400)


def test_an_app_without_flows_knows_none() -> None:
    assert code_of(by_link(Browser(World()), SIGN_IN)) == "unknown_user_flow"


def test_each_flow_has_its_own_metadata_and_its_own_token_endpoint(tenant: Tenant) -> None:
    browser = Browser(tenant)
    url = location(by_link(browser, EDIT, "/profile"))
    assert tenant.asked_for(ask.GetProvider) == [ask.GetProvider(authority(EDIT))]
    assert location(browser.get(tenant.answered(url), CROSS_SITE)).startswith("/.auth/kmsi")
    assert tenant.asked_for(ask.GetProvider) == [ask.GetProvider(authority(EDIT))]
    (fetch,) = tenant.asked_for(ask.Fetch)
    assert fetch.request.url == f"{HOST}/contoso.onmicrosoft.com/b2c_1_edit/oauth2/v2.0/token"


def test_a_script_is_not_sent_through_a_flow(tenant: Tenant) -> None:
    outcome = Browser(tenant).get(f"/.auth/login?user_flow={EDIT}", SCRIPT)
    problem_of(outcome, 401)


# The answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", ["tfp", "acr"])
def test_the_policy_claim_is_tfp_or_acr(tenant: Tenant, claim: str) -> None:
    tenant.claim = claim
    assert signed_in(tenant).session is not None


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"tfp": RESET}, "comes from another user flow"),
        ({"tfp": None, "acr": RESET}, "comes from another user flow"),
        ({"tfp": RESET, "acr": SIGN_IN}, "comes from another user flow"),
        ({"tfp": None}, "does not name its user flow, in tfp or acr"),
        ({"tfp": [SIGN_IN]}, "does not name its user flow"),
    ],
)
def test_a_token_of_another_flow_signs_nobody_in(tenant: Tenant, claims: dict[str, Any], detail: str) -> None:
    browser = Browser(tenant)
    outcome = browser.get(tenant.answered(location(browser.get("/")), **claims), CROSS_SITE)
    assert code_of(outcome) == "id_token_user_flow"
    assert detail in page_of(outcome, 502).context["detail"]
    assert not tenant.live()


def test_a_token_of_another_tenant_signs_nobody_in(tenant: Tenant) -> None:
    browser = Browser(tenant)
    other = ISSUER.replace(TENANT_ID, TENANT_ID[::-1])
    outcome = browser.get(tenant.answered(location(browser.get("/")), iss=other), CROSS_SITE)
    assert code_of(outcome) == "id_token_iss"


def test_a_flow_that_is_gone_when_its_answer_comes_signs_nobody_in(tenant: Tenant) -> None:
    browser = Browser(tenant)
    back = tenant.answered(location(by_link(browser, EDIT)))
    tenant.configure(user_flows={SIGN_IN: flow(SIGN_IN)})
    assert code_of(browser.get(back, CROSS_SITE)) == "unknown_user_flow"


# The session ---------------------------------------------------------------------------------------------


def test_a_session_knows_its_flow_and_lasts_as_long_as_the_flow_says() -> None:
    tenant = Tenant(flows(sign_up_and_sign_in={"session_lifetime_minutes": 20, "session_expiry": "absolute"}))
    browser = signed_in(tenant, "no")
    session = browser.session
    assert session is not None
    assert (session.user_flow, session.expires_at) == (SIGN_IN, NOW + 20 * MINUTE)
    tenant.now = NOW + 20 * MINUTE - 1
    assert forwarded(browser.get("/")) is not None
    tenant.now = NOW + 20 * MINUTE
    assert policy_of(opened(browser), tenant) == SIGN_IN


def test_a_rolling_flow_is_extended_by_activity() -> None:
    tenant = Tenant(flows(sign_up_and_sign_in={"session_lifetime_minutes": 20}), session_expiry="absolute")
    tenant.configure(
        user_flows=flows(sign_up_and_sign_in={"session_lifetime_minutes": 20, "session_expiry": "rolling"})
    )
    browser = signed_in(tenant, "no")
    for minute in range(15, 120, 15):
        tenant.now = NOW + minute * MINUTE
        assert forwarded(browser.get("/")) is not None
    tenant.now += 20 * MINUTE
    assert policy_of(opened(browser), tenant) == SIGN_IN


def test_a_yes_lasts_for_the_days_of_the_flow(tenant: Tenant) -> None:
    browser = Browser(tenant)
    at = location(browser.get(tenant.answered(location(browser.get("/"))), CROSS_SITE))
    assert page_of(browser.get(at)).context["days"] == 14
    browser.reply_to(at, "yes")
    assert browser.persistent
    assert browser.session is not None
    assert browser.session.expires_at == NOW + 14 * DAY


def test_nobody_is_asked_in_a_flow_that_keeps_nobody(tenant: Tenant) -> None:
    tenant.configure(user_flows=flows(sign_up_and_sign_in={"keep_me_signed_in_days": 0}))
    browser = Browser(tenant)
    assert location(browser.get(tenant.answered(location(browser.get("/"))), CROSS_SITE)) == "/"
    assert browser.session is not None
    assert browser.session.decision == "keeping_off"


def test_a_tightened_flow_reaches_live_sessions_at_once(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    tenant.configure(user_flows=flows(sign_up_and_sign_in={"keep_me_signed_in_days": 0}))
    assert forwarded(browser.get("/")) is not None
    assert not browser.persistent


def test_a_flow_that_is_gone_leaves_its_sessions_to_the_apps_settings(tenant: Tenant) -> None:
    browser = signed_in(tenant, "no")
    tenant.configure(user_flows={"B2C_1_new": flow("B2C_1_new")}, session_lifetime=900)
    assert forwarded(browser.get("/")) is not None
    tenant.now = NOW + 900
    assert policy_of(opened(browser), tenant) == "B2C_1_new"


def test_me_tells_the_flows_lifetime() -> None:
    tenant = Tenant(flows(sign_up_and_sign_in={"session_lifetime_minutes": 20, "session_expiry": "absolute"}))
    answer = signed_in(tenant, "no").get("/.auth/me")
    told = json.loads(answer.body)["session"]  # type: ignore[union-attr]
    assert (told["expires_in"], told["expiry"], told["persistent"]) == (20 * MINUTE, "absolute", False)


@pytest.mark.parametrize(
    ("properties", "persistent"),
    [({"keep_me_signed_in_days": 0}, False), ({"keep_me_signed_in_days": 30}, True), ({}, True)],
)
def test_going_through_a_flow_with_kmsi_off_makes_a_persistent_session_non_persistent(
    properties: dict[str, Any], persistent: bool
) -> None:
    tenant = Tenant(flows(**KEPT, profile_editing=properties))
    browser = signed_in(tenant)
    assert browser.persistent
    tenant.now = NOW + HOUR
    # B2C knows the person, so the flow is silent; that alone must not end the persistence.
    assert location(through(browser, EDIT, "/profile", auth_time=NOW)) == "/profile"
    assert browser.persistent is persistent
    assert browser.session is not None
    assert (browser.session.user_flow, browser.session.persistent) == (EDIT, persistent)
    assert len(tenant.live()) == 1


def test_another_person_does_not_inherit_the_persistence(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    tenant.now = NOW + HOUR
    through(browser, EDIT, "/profile", **BOB, auth_time=NOW)
    assert not browser.persistent


def test_the_apps_data_lives_on_through_another_flow(tenant: Tenant) -> None:
    for issuer in (ISSUER, f"{HOST}/tfp/{TENANT_ID}/{{policy}}/v2.0/"):
        tenant.issuer = issuer
        tenant.policies.clear()
        browser = signed_in(tenant)
        session = browser.session
        assert session is not None
        tenant.play(sessions.save_data(session, {"cart": 1}, frozenset()))
        through(browser, EDIT, "/profile")
        assert browser.session is not None
        assert browser.session.user_flow == EDIT
        assert browser.session.data == b'{"cart":1}'
        browser.post("/.auth/logout")


# Asked by whom -------------------------------------------------------------------------------------------


def test_where_b2c_asks_nobody_is_asked_here_and_no_session_is_persistent() -> None:
    tenant = Tenant(flows(**KEPT), kmsi_asked_by="idp")
    browser = signed_in(tenant)
    assert browser.session is not None
    assert (browser.session.decision, browser.persistent) == ("asked_by_idp", False)


def test_it_is_renewed_silently_while_the_session_of_b2c_lasts() -> None:
    tenant = Tenant(flows(**KEPT), kmsi_asked_by="idp")
    browser = signed_in(tenant)
    browser.close()
    tenant.now = NOW + 3 * DAY
    url = location(browser.get("/orders"))
    assert "prompt" not in query_of(url)
    assert location(browser.get(tenant.answered(url, auth_time=NOW), CROSS_SITE)) == "/orders"
    assert not browser.persistent


def test_it_is_renewed_without_a_word_in_a_browser_that_stayed_open() -> None:
    tenant = Tenant(flows(sign_up_and_sign_in={"session_lifetime_minutes": 20}), kmsi_asked_by="idp")
    browser = signed_in(tenant)
    tenant.now = NOW + 20 * MINUTE
    url = location(browser.get("/orders"))
    assert location(browser.get(tenant.answered(url, auth_time=NOW), CROSS_SITE)) == "/orders"


# The link and a session that there is -----------------------------------------------------------------------


def test_a_flow_is_run_although_there_is_a_session(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    assert policy_of(by_link(browser, EDIT), tenant) == EDIT
    assert policy_of(by_link(browser, RESET), tenant) == RESET


def test_a_flow_that_is_no_sign_in_is_run_each_time(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    for _ in range(2):
        assert location(through(browser, EDIT, "/profile")) == "/profile"


def test_a_sign_in_flow_that_the_person_came_through_is_done(tenant: Tenant) -> None:
    assert location(by_link(signed_in(tenant), SIGN_IN, "/orders")) == "/orders"


def test_another_sign_in_flow_is_run_as_one_with_a_second_factor_may_be() -> None:
    tenant = Tenant({SIGN_IN: flow(SIGN_IN), "B2C_1_mfa": flow("B2C_1_mfa")})
    browser = signed_in(tenant)
    assert policy_of(by_link(browser, "B2C_1_mfa"), tenant) == "B2C_1_mfa"


def test_another_site_cannot_replace_a_session_by_a_flow(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    target = f"/.auth/login?user_flow={EDIT}&post_login_redirect_uri=/orders"
    assert location(browser.get(target, CROSS_SITE)) == "/orders"
    assert policy_of(Browser(tenant).get(target, CROSS_SITE), tenant) == EDIT


def test_a_fresh_sign_in_goes_through_the_flow_that_the_person_came_through() -> None:
    tenant = Tenant({SIGN_IN: flow(SIGN_IN), "B2C_1_partners": flow("B2C_1_partners")})
    browser = Browser(tenant)
    browser.reply_to(location(through(browser, "B2C_1_partners")), "no")
    session = browser.session
    assert session is not None
    reply = tenant.play(
        sign_in.again(tenant.app, browser.request("GET", "/"), tenant.now, "/", access.Ask(60), session)
    )
    assert policy_of(reply, tenant) == "B2C_1_partners"


def test_suppressed_runs_the_whole_flow_every_time() -> None:
    tenant = Tenant(flows(sign_up_and_sign_in={"single_sign_on": "suppressed"}))
    browser = Browser(tenant)
    assert query_of(location(browser.get("/")))["prompt"] == "login"
    browser = signed_in(tenant)
    assert query_of(location(by_link(browser, SIGN_IN)))["prompt"] == "login"


@pytest.mark.parametrize("scope", ["tenant", "application", "policy"])
def test_the_other_scopes_are_a_matter_of_b2c_alone(scope: str) -> None:
    tenant = Tenant(flows(sign_up_and_sign_in={"single_sign_on": scope}))
    assert "prompt" not in query_of(location(Browser(tenant).get("/")))


# Forgot the password -------------------------------------------------------------------------------------


def test_who_forgot_the_password_is_led_through_the_reset_and_back_to_the_sign_in(tenant: Tenant) -> None:
    browser = Browser(tenant)
    forgot = browser.get(tenant.refused(location(browser.get("/orders")), FORGOT), CROSS_SITE)
    assert policy_of(forgot, tenant) == RESET
    assert len(cleared(forgot)) == 1
    after = browser.get(tenant.answered(location(forgot)), CROSS_SITE)
    assert policy_of(after, tenant) == SIGN_IN
    assert not tenant.live()  # a reset is no sign-in
    assert not tenant.asked_for(ask.Fetch)
    # B2C's session is there already, so the sign-in is silent.
    done = browser.get(tenant.answered(location(after), auth_time=NOW - DAY), CROSS_SITE)
    assert location(done) == "/orders"
    assert browser.session is not None
    assert browser.session.user_flow == SIGN_IN
    assert [name for name in browser.jar if ".t." in name] == []


def test_the_reset_leads_back_to_the_flow_that_was_left_for_it() -> None:
    tenant = Tenant({SIGN_IN: flow(SIGN_IN), "B2C_1_partners": flow("B2C_1_partners"), RESET: flow(RESET)})
    browser = Browser(tenant)
    forgot = browser.get(tenant.refused(location(by_link(browser, "B2C_1_partners")), FORGOT), CROSS_SITE)
    after = browser.get(tenant.answered(location(forgot)), CROSS_SITE)
    assert policy_of(after, tenant) == "B2C_1_partners"


def test_a_reset_that_nobody_was_sent_to_leads_to_a_sign_in(tenant: Tenant) -> None:
    browser = Browser(tenant)
    after = through(browser, RESET, "/orders")
    assert policy_of(after, tenant) == SIGN_IN
    assert location(browser.get(tenant.answered(location(after), auth_time=NOW - DAY), CROSS_SITE)) == "/orders"


def test_a_reset_while_signed_in_leads_back_and_keeps_nobody_signed_in(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    assert browser.persistent
    assert location(through(browser, RESET, "/account")) == "/account"
    assert browser.session is not None
    assert (browser.session.persistent, browser.persistent, browser.session.user_flow) == (False, False, SIGN_IN)
    assert forwarded(browser.get("/account")) is not None


def test_a_reset_while_signed_in_for_the_day_changes_nothing(tenant: Tenant) -> None:
    browser = signed_in(tenant, "no")
    before = browser.session
    assert location(through(browser, RESET, "/account")) == "/account"
    assert browser.session == before


def test_a_reset_that_failed_says_so(tenant: Tenant) -> None:
    browser = Browser(tenant)
    back = tenant.refused(location(by_link(browser, RESET)), "AADB2C90080: expired", error="server_error")
    assert code_of(browser.get(back, CROSS_SITE)) == "provider_error"


def test_without_a_reset_flow_the_person_is_told() -> None:
    tenant = Tenant({SIGN_IN: flow(SIGN_IN)})
    browser = Browser(tenant)
    outcome = browser.get(tenant.refused(location(browser.get("/")), FORGOT), CROSS_SITE)
    assert code_of(outcome) == "access_denied"


def test_who_forgets_the_password_in_the_reset_itself_goes_round_in_no_circle(tenant: Tenant) -> None:
    browser = Browser(tenant)
    outcome = browser.get(tenant.refused(location(by_link(browser, RESET)), FORGOT), CROSS_SITE)
    assert code_of(outcome) == "access_denied"


def test_a_tenant_that_sends_everybody_round_is_left_in_the_end(tenant: Tenant) -> None:
    browser = Browser(tenant)
    outcome = browser.get("/")
    for _ in range(20):
        if not (outcome.status == 303 and location(outcome).startswith(HOST)):  # type: ignore[union-attr]
            break
        url = location(outcome)
        said = FORGOT if tenant.policy_at(url) == SIGN_IN.lower() else CANCELLED
        outcome = browser.get(tenant.refused(url, said), CROSS_SITE)
    assert code_of(outcome) == "access_denied"
    assert len(tenant.log) == 3  # the limit of failed sign-ins in these tests


def test_what_b2c_said_is_in_the_sign_in_log(tenant: Tenant) -> None:
    browser = Browser(tenant)
    browser.get(tenant.refused(location(browser.get("/")), FORGOT), CROSS_SITE)
    (record,) = tenant.log
    assert "AADB2C90118" in record["status"]["additionalDetails"]


@pytest.mark.parametrize(
    ("error", "description"),
    [
        ("access_denied", "AADB2C901180: something else"),
        ("access_denied", "The user wrote AADB2C90118"),
        ("server_error", "AADB2C90118: odd"),
        ("access_denied", "AADB2C90006: the redirect URI is not registered"),
    ],
)
def test_only_b2cs_very_answer_leads_anywhere(tenant: Tenant, error: str, description: str) -> None:
    browser = Browser(tenant)
    outcome = browser.get(tenant.refused(location(browser.get("/")), description, error), CROSS_SITE)
    assert outcome.status in (400, 403)  # type: ignore[union-attr]


def test_an_issuer_without_flows_may_say_what_it_likes() -> None:
    world = World()
    browser = Browser(world)
    state = query_of(browser.begin("/"))["state"]
    said = urlencode({"error": "access_denied", "error_description": CANCELLED, "state": state})
    page_of(browser.get(f"/.auth/callback?{said}", CROSS_SITE), 403)
    browser.sign_in()
    state = query_of(browser.begin("/.auth/login?prompt=login"))["state"]
    said = urlencode({"error": "access_denied", "error_description": CANCELLED, "state": state})
    page_of(browser.get(f"/.auth/callback?{said}", CROSS_SITE), 403)


# Cancelled -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [EDIT, RESET, SIGN_UP])
def test_who_cancels_while_signed_in_is_back_on_the_page_of_the_link(tenant: Tenant, policy: str) -> None:
    browser = signed_in(tenant)
    before = browser.session
    url = location(by_link(browser, policy, "/done", "/profile?tab=2"))
    outcome = browser.get(tenant.refused(url, CANCELLED), CROSS_SITE)
    assert location(outcome) == "/profile?tab=2"
    assert len(cleared(outcome)) == 1
    assert browser.session == before


def test_where_the_page_of_the_link_is_not_known_it_is_the_page_to_return_to(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    url = location(by_link(browser, EDIT, "/done"))
    assert location(browser.get(tenant.refused(url, CANCELLED), CROSS_SITE)) == "/done"


def test_who_cancels_a_sign_up_on_a_public_page_is_back_on_it() -> None:
    tenant = Tenant(public_paths=["/welcome"])
    browser = Browser(tenant)
    url = location(by_link(browser, SIGN_UP, "/orders", "/welcome?from=mail"))
    assert location(browser.get(tenant.refused(url, CANCELLED), CROSS_SITE)) == "/welcome?from=mail"


def test_who_cancels_without_a_page_to_go_back_to_is_not_sent_to_sign_in_again(tenant: Tenant) -> None:
    browser = Browser(tenant)
    for url in (location(browser.get("/orders")), location(by_link(browser, SIGN_UP, "/orders", "/orders"))):
        outcome = browser.get(tenant.refused(url, CANCELLED), CROSS_SITE)
        page = page_of(outcome, 403)
        assert (page.context["title"], page.context["code"]) == ("The sign-in was not completed", "access_denied")


def test_with_protect_none_only_a_page_that_the_person_saw_is_gone_back_to() -> None:
    tenant = Tenant(protect="none")
    browser = Browser(tenant)
    url = location(by_link(browser, SIGN_UP, "/orders", "/shop"))
    assert location(browser.get(tenant.refused(url, CANCELLED), CROSS_SITE)) == "/shop"
    url = location(by_link(browser, SIGN_UP, "/orders"))
    page_of(browser.get(tenant.refused(url, CANCELLED), CROSS_SITE), 403)


def test_who_cancels_the_reset_is_back_at_the_sign_in_that_was_left_for_it(tenant: Tenant) -> None:
    browser = Browser(tenant)
    forgot = browser.get(tenant.refused(location(browser.get("/orders")), FORGOT), CROSS_SITE)
    back = browser.get(tenant.refused(location(forgot), CANCELLED), CROSS_SITE)
    assert policy_of(back, tenant) == SIGN_IN
    done = browser.get(tenant.answered(location(back)), CROSS_SITE)
    assert location(browser.reply_to(location(done), "no")) == "/orders"


@pytest.mark.parametrize(
    "referer",
    ["https://evil.example/x", "https://app.example.com.evil.example/", "https://app.example.com//evil.example"],
)
def test_nobody_is_sent_to_another_site(tenant: Tenant, referer: str) -> None:
    browser = signed_in(tenant)
    said = {**NAVIGATION, "sec-fetch-site": "same-origin", "referer": referer}
    url = location(browser.get(f"/.auth/login?user_flow={EDIT}&post_login_redirect_uri=/done", said))
    assert location(browser.get(tenant.refused(url, CANCELLED), CROSS_SITE)) == "/done"


# Sign-out ------------------------------------------------------------------------------------------------


def test_sign_out_goes_to_the_flow_that_the_person_came_through(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    through(browser, EDIT)
    url = location(browser.post("/.auth/logout"))
    assert url.startswith(f"{HOST}/contoso.onmicrosoft.com/b2c_1_edit/oauth2/v2.0/logout?")
    assert query_of(url)["id_token_hint"].count(".") == 2


def test_where_b2c_wants_an_id_token_nobody_is_sent_there_without_one() -> None:
    tenant = Tenant(flows(sign_up_and_sign_in={"require_id_token_on_logout": True}))
    browser = signed_in(tenant, "no")
    assert "id_token_hint" in query_of(location(browser.post("/.auth/logout")))
    browser = signed_in(tenant, "no")
    tenant.now += DAY  # the session is over, and what was kept in it with it
    at = location(browser.post("/.auth/logout"))
    assert at.startswith("/.auth/logged-out?state=")
    (sentence,) = page_of(browser.get(at)).context["still_signed_in"]
    assert "contoso.b2clogin.com signs nobody out without what was kept in it" in sentence


def test_without_that_b2c_signs_out_even_who_has_no_session_here(tenant: Tenant) -> None:
    assert location(Browser(tenant).post("/.auth/logout")).startswith(f"{HOST}/contoso.onmicrosoft.com/b2c_1_susi/")
