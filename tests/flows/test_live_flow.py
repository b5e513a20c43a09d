"""Whether the session of a long-lived connection goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from tests.flows.flow_support import DAY, HOUR, ISSUER, MINUTE, NAVIGATION, PREFETCH, SCRIPT, Browser, World

from kmsi_middleware.flows import live
from kmsi_middleware.rules.conditional_access.load import load_policies
from kmsi_middleware.rules.lifetimes import end_of
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.effects import Effect
from kmsi_middleware.vocabulary.errors import Refused, StoreUnavailable
from kmsi_middleware.vocabulary.messages import Request
from kmsi_middleware.vocabulary.session import EndReason, Session
from kmsi_middleware.vocabulary.signals import SignInSignals

CALM = SignInSignals(risk="none", user_risk="none")
WRITES = (ask.SaveSession, ask.CreateSession, ask.EndSession, ask.EndSessions, ask.PutTicket, ask.AppendSignIn)


class WithPolicies(World):
    """A world with policies in force. ``risk`` is what the app's hook says."""

    def __init__(self, *policies: Any, **settings: Any) -> None:
        self.policies = load_policies([("test", policy) for policy in policies])
        self.risk: SignInSignals | Refused = CALM
        super().__init__(policies=list(policies), **settings)

    def enforce(self, *policies: Any) -> None:
        self.policies = load_policies([("test", policy) for policy in policies])

    def perform(self, effect: Effect) -> Any:
        match effect:
            case ask.GetPolicies():
                return self.policies
            case ask.AskRisk():
                if isinstance(self.risk, Refused):
                    raise self.risk
                return self.risk
        return super().perform(effect)


def policy(name: str, *, conditions: Any = None, grant: Any = None, **session: Any) -> Any:
    everyone = {
        "users": {"includeUsers": ["All"]},
        "applications": {"includeApplications": ["All"]},
        "clientAppTypes": ["all"],
    }
    return {
        "displayName": name,
        "state": "enabled",
        "conditions": everyone | (conditions or {}),
        "grantControls": grant,
        "sessionControls": session or None,
    }


HOURLY = policy("Hourly", signInFrequency={"isEnabled": True, "value": 1, "type": "hours"})
BLOCK = {"operator": "OR", "builtInControls": ["block"]}
AT_RISK = policy("At risk", conditions={"signInRiskLevels": ["high"]}, grant=BLOCK)
ELSEWHERE = policy(
    "Elsewhere",
    conditions={"locations": {"includeLocations": ["All"], "excludeLocations": ["office"]}},
    grant=BLOCK,
)
OFFICE = {
    "@odata.type": "#microsoft.graph.ipNamedLocation",
    "id": "office",
    "displayName": "Office",
    "isTrusted": True,
    "ipRanges": [{"@odata.type": "#microsoft.graph.iPv4CidrRange", "cidrAddress": "192.0.2.0/24"}],
}


class Connected:
    """A person with a long-lived connection; ``session`` is what is known of its session, as the shells know it."""

    def __init__(self, world: World, headers: Any = SCRIPT, path: str = "/chat", **more: Any) -> None:
        self.world, self.browser = world, Browser(world)
        self.browser.sign_in(**more)
        assert self.browser.session is not None
        self.session: Session = self.browser.session
        self.request: Request = self.browser.request("GET", path, headers, websocket=headers is SCRIPT)

    def still(self) -> Any:
        found = self.world.play(live.still(self.world.app, self.request, self.session, self.world.now))
        if isinstance(found, live.GoesOn):
            self.session = found.session
        return found

    def goes_on(self) -> live.GoesOn:
        found = self.still()
        assert isinstance(found, live.GoesOn), found
        return found

    @property
    def end(self) -> int:
        return end_of(self.session, self.world.app.settings)


# The session ---------------------------------------------------------------------------------------------------


def test_a_good_session_goes_on_until_its_very_end(world: World) -> None:
    connected = Connected(world)
    found = connected.goes_on()
    assert found.until == connected.end
    world.now = found.until - 1
    assert connected.goes_on().until == found.until
    world.now += 1
    assert connected.still() == "idle"


def test_it_looks_and_writes_nothing_however_long_it_lasts(world: World) -> None:
    connected = Connected(world)
    before = connected.browser.session
    while world.now < connected.end:
        connected.still()
        assert world.asked_for(*WRITES) == []
        assert [type(effect) for effect in world.asked] == [ask.LoadSession]
        world.now += HOUR
    assert connected.browser.session == before


def test_who_is_active_elsewhere_keeps_the_connection_alive(world: World) -> None:
    connected = Connected(world)
    first = connected.goes_on().until
    for _ in range(20):
        world.now += 2 * HOUR
        connected.browser.get("/page")
        connected.goes_on()
    assert world.now > first
    assert connected.goes_on().until == connected.end


@pytest.mark.parametrize("reason", get_args(EndReason))
def test_an_ended_session_says_why(world: World, reason: EndReason) -> None:
    connected = Connected(world)
    world.store.end(connected.session.key, reason, world.now)
    assert connected.still() == reason


def test_one_that_left_no_trace_says_so(world: World) -> None:
    connected = Connected(world)
    world.store._put(connected.session.key, None)
    assert connected.still() == "no_session"


@pytest.mark.parametrize(("settings", "reason"), [({"session_expiry": "absolute"}, "absolute"), ({}, "idle")])
def test_one_that_ran_out_says_of_what(settings: dict[str, Any], reason: str) -> None:
    world = World(**settings)
    connected = Connected(world)
    world.now = connected.end
    assert connected.still() == reason


def test_a_tightened_setting_ends_it_at_once(world: World) -> None:
    connected = Connected(world)
    world.now += HOUR
    world.configure(session_lifetime=HOUR)
    assert connected.still() == "idle"


def test_a_fresh_sign_in_of_the_same_browser_ends_it(world: World) -> None:
    connected = Connected(world)
    connected.browser.sign_in(target="/.auth/login?prompt=login")
    assert connected.still() == "replaced"


def test_it_is_this_session_that_counts_whatever_else_the_cookies_lead_to(world: World) -> None:
    connected = Connected(world)
    Browser(world).sign_in()
    world.store.end(connected.session.key, "revoked", world.now)
    assert connected.still() == "revoked"
    assert world.asked_for(ask.LoadSession) == [ask.LoadSession(connected.session.key)]


# The store -----------------------------------------------------------------------------------------------------


def test_a_store_that_fails_ends_nothing_and_is_asked_again(world: World) -> None:
    connected = Connected(world)
    world.store.end(connected.session.key, "revoked", world.now)
    world.broken[ask.LoadSession] = StoreUnavailable("away")
    assert connected.goes_on().until == 0
    del world.broken[ask.LoadSession]
    assert connected.still() == "revoked"


def test_what_is_over_by_the_clock_is_over_although_the_store_fails(world: World) -> None:
    connected = Connected(world)
    world.broken[ask.LoadSession] = StoreUnavailable("away")
    world.now = connected.end - 1
    assert connected.goes_on().until == 0
    world.now += 1
    assert connected.still() == "idle"


# The issuer ----------------------------------------------------------------------------------------------------

EVERY = 15 * MINUTE


def connected_offline(**settings: Any) -> Connected:
    """With a refresh token."""
    return Connected(World(revalidate_every=EVERY, scope="openid offline_access", **settings))


def test_the_issuer_is_asked_at_a_connection_as_at_any_request() -> None:
    connected = connected_offline()
    world = connected.world
    assert connected.goes_on().until == world.now + EVERY
    world.now += EVERY
    connected.goes_on()
    assert len(world.idp.refreshed) == 1
    assert connected.goes_on().until == world.now + EVERY
    assert len(world.idp.refreshed) == 1


def test_a_session_that_the_issuer_gave_up_is_over() -> None:
    connected = connected_offline()
    connected.world.now += EVERY
    connected.world.idp.grants.clear()
    assert connected.still() == "revoked"
    assert connected.world.tombstones() == ["revoked"]


def test_an_issuer_that_does_not_answer_ends_nothing() -> None:
    connected = connected_offline()
    world = connected.world
    world.idp.is_away = True
    for _ in range(20):
        world.now += HOUR
        connected.goes_on()


def test_where_only_the_browser_could_ask_a_connection_has_its_grace() -> None:
    for headers in (SCRIPT, NAVIGATION):
        world = World(revalidate_every=EVERY)
        connected = Connected(world, headers)
        world.now += EVERY
        due = world.now
        found = connected.goes_on()
        assert found.until == due + 2 * HOUR
        world.now = found.until - 1
        assert connected.goes_on() == found
        world.now += 1
        assert connected.still() == "session_unconfirmed"


def test_nobody_asks_the_issuer_while_the_store_fails() -> None:
    connected = connected_offline()
    world = connected.world
    world.now += EVERY
    world.broken[ask.LoadSession] = StoreUnavailable("away")
    assert connected.goes_on().until == 0
    assert world.idp.refreshed == []


def test_nor_with_a_cookie_that_is_not_there_any_more() -> None:
    """Some other middleware may have taken it out of the request's headers."""
    connected = connected_offline()
    connected.request = replace(connected.request, headers={})
    connected.world.now += EVERY
    connected.goes_on()
    assert connected.world.idp.refreshed == []
    assert connected.browser.session is not None
    assert connected.browser.session.refreshable


def test_a_user_flows_own_lifetime_holds(world: World) -> None:
    connected = Connected(world)
    authority = f"{ISSUER}/b2c_1_short/v2.0"
    flow = {"authority": authority, "kind": "sign_in", "session_lifetime_minutes": 15}
    world.configure(issuer=authority, user_flows={"b2c_1_short": flow})
    connected.goes_on()
    changed = replace(connected.session, user_flow="b2c_1_short", version=connected.session.version + 1)
    world.store.save(changed, world.now)
    assert connected.goes_on().until == world.now + 900
    world.now += 900
    assert connected.still() == "idle"


# The policies --------------------------------------------------------------------------------------------------


def test_a_sign_in_that_falls_due_waits_for_the_grace_to_be_over() -> None:
    world = WithPolicies(HOURLY)
    connected = Connected(world)
    due = world.now + HOUR
    assert connected.goes_on().until == due
    world.now = due
    grace = connected.goes_on()
    assert grace.until == due + 2 * HOUR
    world.now = grace.until - 1
    assert connected.goes_on() == grace
    world.now += 1
    assert connected.still() == "sign_in_frequency"


def test_or_for_the_person_to_come_back() -> None:
    world = WithPolicies(HOURLY)
    connected = Connected(world)
    world.now += HOUR
    connected.goes_on()
    connected.browser.get("/page")  # a navigation, which is sent to sign in
    assert connected.still() == "sign_in_frequency"


def test_a_stream_that_a_navigation_began_is_no_interaction_any_more() -> None:
    world = WithPolicies(HOURLY)
    connected = Connected(world, NAVIGATION)
    world.now += HOUR
    assert connected.goes_on().until == world.now + 2 * HOUR


def test_on_a_route_with_an_authentication_context_nothing_waits() -> None:
    often = policy(
        "Payments",
        conditions={"applications": {"includeAuthenticationContextClassReferences": ["c1"]}},
        signInFrequency={"isEnabled": True, "frequencyInterval": "everyTime"},
    )
    world = WithPolicies(often, auth_contexts={"/payments": "c1"}, step_up="max_age")
    elsewhere, connected = Connected(world), Connected(world, path="/payments")
    until = connected.goes_on().until
    assert until == world.now + 5 * MINUTE
    world.now = until
    assert connected.still() == "sign_in_frequency"
    elsewhere.goes_on()


def test_a_policy_that_blocks_ends_it() -> None:
    world = WithPolicies(HOURLY)
    connected = Connected(world)
    connected.goes_on()
    world.enforce(policy("Closed", grant=BLOCK))
    assert connected.still() == "policy"


def test_it_is_judged_by_the_address_that_it_came_from() -> None:
    world = WithPolicies(OFFICE, ELSEWHERE)
    connected = Connected(world)
    connected.goes_on()
    connected.browser.address = "198.51.100.7"  # another request's address is another request's
    connected.goes_on()
    connected.request = connected.browser.request("GET", "/chat", SCRIPT, websocket=True)
    assert connected.still() == "policy"


def test_a_risk_that_rises_ends_it() -> None:
    world = WithPolicies(AT_RISK, current_risk=lambda session: None)
    connected = Connected(world)
    assert connected.goes_on().judged_risk == CALM.fingerprint()
    world.risk = SignInSignals(risk="high")
    assert connected.still() == "policy"


def test_a_new_password_that_is_wanted_ends_it() -> None:
    change = policy(
        "Leaked",
        conditions={"userRiskLevels": ["high"]},
        grant={"operator": "AND", "builtInControls": ["mfa", "passwordChange"]},
    )
    world = WithPolicies(change, current_risk=lambda session: None, password_change_url="https://login.example.com/pw")
    connected = Connected(world, person={"sub": "alice", "amr": ["pwd", "mfa"]})
    connected.goes_on()
    world.risk = SignInSignals(user_risk="high")
    assert connected.still() == "policy"


def test_a_second_factor_that_is_wanted_ends_it_as_a_sign_in_that_is_due() -> None:
    world = WithPolicies(HOURLY)
    connected = Connected(world)
    world.now += 5 * MINUTE
    world.enforce(policy("Factors", grant={"operator": "OR", "builtInControls": ["mfa"]}))
    assert connected.still() == "sign_in_frequency"


def test_a_hook_that_fails_is_not_taken_for_a_reason() -> None:
    world = WithPolicies(AT_RISK, current_risk=lambda session: None)
    connected = Connected(world)
    world.risk = Refused("signals_failed", "the app could not judge this", status=500)
    with pytest.raises(Refused, match="signals_failed"):
        connected.still()


def test_policies_hold_although_the_store_fails() -> None:
    world = WithPolicies(HOURLY)
    connected = Connected(world)
    world.broken[ask.LoadSession] = StoreUnavailable("away")
    connected.goes_on()
    world.enforce(policy("Closed", grant=BLOCK))
    assert connected.still() == "policy"


def test_a_report_only_policy_reports_nothing_here() -> None:
    world = WithPolicies(HOURLY)
    connected = Connected(world)
    world.log.clear()
    world.enforce(HOURLY, policy("Closed", grant=BLOCK) | {"state": "enabledForReportingButNotEnforced"})
    connected.goes_on()
    assert (world.log, world.asked_for(*WRITES)) == ([], [])


def test_the_end_of_the_day_comes_before_a_later_due_date() -> None:
    world = WithPolicies(
        HOURLY | {"sessionControls": {"signInFrequency": {"isEnabled": True, "value": 9, "type": "days"}}}
    )
    connected = Connected(world)
    assert connected.goes_on().until == connected.end == world.now + DAY


def test_what_a_prefetch_began_is_looked_at_as_anything_else() -> None:
    world = World()
    connected = Connected(world, PREFETCH)
    connected.goes_on()
    world.store.end(connected.session.key, "signed_out", world.now)
    assert connected.still() == "signed_out"
