"""Attacks on the sign-in: another person's answer in this browser, this person's answer in another."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.attacks.attack_support import always, never, weakened
from tests.flows.flow_support import (
    ALICE,
    BOB,
    CROSS_SITE,
    ISSUER,
    Browser,
    IdentityProvider,
    World,
    location,
)

from kmsi_middleware.flows import callback
from kmsi_middleware.rules.oidc.authorization import Secrets
from kmsi_middleware.rules.oidc.discovery import check_discovery
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import ProtocolError
from kmsi_middleware.vocabulary.messages import HttpRequest, HttpResponse, Outcome

_secrets = callback._secrets
_fetch = IdentityProvider.fetch


def quick(idp: IdentityProvider | None = None, **settings: Any) -> World:
    """Nobody is asked whether to stay signed in: the sign-in itself is what is attacked."""
    world = World(show_option_to_remain_signed_in=False, **settings)
    world.idp = idp or world.idp
    return world


def lured(victim: Browser, answer: dict[str, str], mode: str = "query") -> Outcome:
    """The victim follows the attacker's link, or the attacker's page posts a form in the victim's browser."""
    if mode == "query":
        return victim.get(f"/.auth/callback?{urlencode(answer)}", CROSS_SITE)
    posted = {**CROSS_SITE, "origin": "https://login.example.com"}
    return victim.get(location(victim.post("/.auth/callback", answer, posted, cookies=False)), CROSS_SITE)


# Login CSRF ------------------------------------------------------------------------------------------------------


def without_the_browsers_cookie(attacker: Browser) -> Callable[..., Secrets | None]:
    """A transaction that is known by its ``state`` alone, whatever browser brings it: here, as whoever began it
    has its cookie, from there."""

    def secrets(app: Any, request: Any, now: float, transaction: Any) -> Secrets | None:
        began = attacker.request("GET", "/")
        return _secrets(app, request, now, transaction) or _secrets(app, began, now, transaction)

    return secrets


def signs_the_victim_in_as_the_attacker(attacker: Browser, mode: str) -> bool:
    """The attacker signs in as themselves, and keeps the answer for the victim's browser."""
    victim = Browser(attacker.world)
    answer = attacker.world.idp.sign_in(attacker.begin(), BOB, attacker.world.now)
    lured(victim, answer, mode)
    return victim.session is not None and victim.session.subject == "bob"


@pytest.mark.parametrize("mode", ["query", "form_post"])
def test_login_csrf_fails_on_the_cookie_of_the_browser_that_began(mode: str) -> None:
    attacker = Browser(quick(response_mode=mode))
    with weakened("kmsi_middleware.flows.callback._secrets", without_the_browsers_cookie(attacker)):
        assert signs_the_victim_in_as_the_attacker(attacker, mode)
    assert not signs_the_victim_in_as_the_attacker(attacker, mode)


def replaces_the_victims_session(world: World) -> bool:
    """The victim has a session, and from another tab a sign-in under way. The attacker has seen where that tab was
    sent, signs in there as themselves, and lures the victim to the answer."""
    victim = Browser(world)
    late = victim.begin()
    victim.come_back(victim.begin(), ALICE)
    attackers = world.idp.sign_in(late, BOB, world.now)
    lured(victim, attackers)
    return victim.session is not None and victim.session.subject == "bob"


def test_login_csrf_does_not_replace_a_session_that_there_is() -> None:
    with weakened("kmsi_middleware.flows.confirmation.is_late", never):
        assert replaces_the_victims_session(quick())
    assert not replaces_the_victims_session(quick())


# Code injection, code replay -------------------------------------------------------------------------------------


class WithoutPKCE(IdentityProvider):
    """A provider that takes a code from whoever brings it, as often as they do."""

    def fetch(self, request: HttpRequest, now: float) -> HttpResponse:
        codes = copy.deepcopy(self.codes)
        for asked, _ in self.codes.values():
            asked["code_challenge"] = Secrets("").challenge
        if request.form and "code_verifier" in request.form:
            request = HttpRequest(
                request.method, request.url, request.headers, {**request.form, "code_verifier": Secrets("").verifier}
            )
        answer = _fetch(self, request, now)
        self.codes = codes
        return answer


def the_same_for_all(_secrets: Secrets, purpose: str) -> str:
    """A nonce and a verifier that no attempt has for itself."""
    return (purpose * 43)[:43]


def injects_a_stolen_code(world: World, *, used: bool = False) -> bool:
    """The attacker has the victim's code, from a log or a referrer, and puts it into a sign-in of their own."""
    victim, attacker = Browser(world), Browser(world)
    stolen = world.idp.sign_in(victim.begin(), ALICE, world.now)
    if used:
        lured(victim, stolen)
        assert victim.session is not None
    own = world.idp.sign_in(attacker.begin(), BOB, world.now)
    lured(attacker, {**own, "code": stolen["code"]})
    return attacker.session is not None and attacker.session.subject == "alice"


def test_code_injection_fails_on_the_verifier_that_only_the_browser_that_began_has() -> None:
    with weakened("kmsi_middleware.rules.oidc.authorization.Secrets._derived", the_same_for_all):
        assert injects_a_stolen_code(quick())
    assert not injects_a_stolen_code(quick())


def test_code_injection_fails_on_the_nonce_where_the_provider_knows_no_pkce() -> None:
    with weakened("kmsi_middleware.rules.oidc.id_token.check_nonce", always):
        assert injects_a_stolen_code(quick(WithoutPKCE()))
    assert not injects_a_stolen_code(quick(WithoutPKCE()))


def test_code_replay_fails_on_the_nonce_where_the_provider_takes_codes_twice() -> None:
    with weakened("kmsi_middleware.rules.oidc.id_token.check_nonce", always):
        assert injects_a_stolen_code(quick(WithoutPKCE()), used=True)
    assert not injects_a_stolen_code(quick(WithoutPKCE()), used=True)


# Replay of a state -----------------------------------------------------------------------------------------------


def signs_in_twice_by_one_state(world: World) -> bool:
    """On a shared computer: the victim has signed out, and somebody has a copy of the browser's profile from before,
    goes back to the callback, and the provider takes codes twice."""
    victim = Browser(world)
    answer = world.idp.sign_in(victim.begin(), ALICE, world.now)
    copied = Browser(world, jar=dict(victim.jar))
    lured(victim, answer)
    assert victim.session is not None
    victim.post("/.auth/logout")
    assert world.live() == []
    lured(copied, answer)
    return bool(world.live())


def test_replay_of_a_state_fails_because_it_is_taken_up_once() -> None:
    with weakened("kmsi_middleware.edges.stores.memory.MemoryStore.put_ticket", always):
        assert signs_in_twice_by_one_state(quick(WithoutPKCE()))
    assert not signs_in_twice_by_one_state(quick(WithoutPKCE()))


# Mix-up ----------------------------------------------------------------------------------------------------------


def the_code(parameters: Any, *_: Any) -> str:
    """A response that is asked for its code, and not for who gave it."""
    return str(parameters["code"])


def redeems_another_providers_answer(world: World, **said: str) -> bool:
    """The attacker's provider, to which the victim was led, answers in the sign-in of the honest one. Whether the code
    was taken to the honest provider's token endpoint."""
    victim = Browser(world)
    victim.come_back(victim.begin(), ALICE, **said)
    return bool(world.asked_for(ask.Fetch))


@pytest.mark.parametrize(
    "issuer", ["https://evil.example", f"{ISSUER}/", ISSUER.upper(), f"{ISSUER}?x", f"{ISSUER}#x", f"{ISSUER} ", "null"]
)
def test_mix_up_fails_on_the_issuer_that_the_answer_names(issuer: str) -> None:
    with weakened("kmsi_middleware.rules.oidc.authorization.check_response", the_code):
        assert redeems_another_providers_answer(quick(), iss=issuer)
    assert not redeems_another_providers_answer(quick(), iss=issuer)


def test_mix_up_fails_although_the_attacker_leaves_the_issuer_out() -> None:
    """Where the honest provider has promised to name itself (RFC 9207)."""
    promised = IdentityProvider()
    promised.metadata = replace(promised.metadata, iss_in_response=True)
    with weakened("kmsi_middleware.rules.oidc.authorization.check_response", the_code):
        assert redeems_another_providers_answer(quick(promised))
    assert not redeems_another_providers_answer(quick(promised))


def believes_metadata_of_another(named: str) -> bool:
    """What is found at the honest provider's place describes another one, the attacker's."""
    there = {name: f"https://evil.example/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    answer = HttpResponse(200, {}, json.dumps({"issuer": named, **there}).encode())
    try:
        return check_discovery(answer, ISSUER).token_endpoint.startswith("https://evil.example/")
    except ProtocolError:
        return False


@pytest.mark.parametrize("named", ["https://evil.example", f"{ISSUER}/", ISSUER.upper(), "", None, [ISSUER]])
def test_mix_up_fails_on_the_issuer_that_the_metadata_name(named: str) -> None:
    with weakened("kmsi_middleware.rules.oidc.discovery._is_issuer", always):
        assert believes_metadata_of_another(named)
    assert not believes_metadata_of_another(named)
