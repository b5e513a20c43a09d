"""Front-Channel Logout, started here and started at the provider."""

from __future__ import annotations

from urllib.parse import urlencode

from tests.conformance.conformance_support import ConformanceWorld, module, signs_in, signs_out
from tests.conformance.misbehaving_provider import Provider
from tests.shells.shell_support import HOME, IDP

SID = "8a1a2f0e-4b7e-4f1c-9a51-1d2c3b4a5f60"


def frame(issuer: str, sid: str) -> str:
    return f"{HOME}/.auth/frontchannel-logout?" + urlencode({"iss": issuer, "sid": sid})


@module("oidcc-client-test-rp-frontchannel-rpinitlogout")
def test_the_frame_of_a_sign_out_that_began_here_is_harmless(world: ConformanceWorld, provider: Provider) -> None:
    provider.sends(sid=SID).frames = [frame(provider.issuer, SID)]
    assert signs_out(world, provider)


@module("oidcc-client-test-rp-frontchannel-opinitlogout")
def test_a_sign_out_at_the_provider_ends_the_session_though_the_frame_has_no_cookie(
    world: ConformanceWorld, provider: Provider
) -> None:
    browser = world.browser()
    assert signs_in(world, provider.sends(sid=SID), browser)
    assert browser.frame(frame(provider.issuer, SID), f"{IDP}/end_session").status == 200
    assert browser.who() is None
