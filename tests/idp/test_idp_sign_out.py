"""Sign-out: whom it ends, whom it tells, and where the browser goes."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest
from tests.idp.idp_support import BLOG, EVERYTHING, ISSUER, SHOP, Browser, Clock, Page, Party, answer_of, verified

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig

END = f"{ISSUER}/end-session"
BYE = SHOP.post_logout_redirect_uris[0]


def is_signed_in(party: Party) -> bool:
    return "code" in answer_of(party.authorize(prompt="none"))


def says_signed_out(page: httpx.Response) -> bool:
    return page.status_code == 200 and Page(page.text).action is None


def asked(page: httpx.Response) -> bool:
    return page.status_code == 200 and Page(page.text).buttons == {"sign_out"}


def test_a_valid_hint_signs_out_at_once_and_returns_the_state_unchanged(shop: Party, browser: Browser) -> None:
    """RI-04, RI-08."""
    hint = shop.sign_in()["id_token"]
    page = browser.visit(
        END, {"id_token_hint": hint, "client_id": "shop", "post_logout_redirect_uri": BYE, "state": "a b/ü&c"}
    )
    assert says_signed_out(page)
    assert not is_signed_in(shop)
    (link,) = Page(page.text).links
    assert link.startswith(f"{BYE}?")
    assert parse_qsl(urlsplit(link).query) == [("state", "a b/ü&c")]


def test_the_page_goes_on_by_itself_without_script(shop: Party, browser: Browser) -> None:
    hint = shop.sign_in()["id_token"]
    page = browser.visit(END, {"id_token_hint": hint, "post_logout_redirect_uri": BYE})
    assert Page(page.text).refresh == f"2;url={BYE}"


def test_the_one_script_bounds_the_wait_for_a_frame(shop: Party, browser: Browser) -> None:
    hint = shop.sign_in()["id_token"]
    page = browser.visit(END, {"id_token_hint": hint, "post_logout_redirect_uri": BYE})
    (script,) = re.findall("<script>(.*?)</script>", page.text)
    assert script == "setTimeout(() => location.replace(document.querySelector('.actions a').href), 6000)"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.headers["content-security-policy"].split("; ")


def test_a_page_that_leads_nowhere_has_no_script(shop: Party, browser: Browser) -> None:
    page = browser.visit(END, {"id_token_hint": shop.sign_in()["id_token"]})
    assert Page(page.text).frames
    assert "<script" not in page.text


def test_a_post_is_accepted(shop: Party, browser: Browser) -> None:
    """RI-03."""
    hint = shop.sign_in()["id_token"]
    response = browser.post(END, data={"id_token_hint": hint})
    assert response.status_code == 303
    assert says_signed_out(browser.visit(str(response.next_request.url)))
    assert not is_signed_in(shop)


def test_an_expired_hint_is_accepted_while_the_session_lasts(shop: Party, browser: Browser, clock: Clock) -> None:
    """RI-04."""
    tokens = shop.sign_in()
    clock.now = tokens["claims"]["exp"] + 1
    page = browser.visit(END, {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BYE})
    assert says_signed_out(page)
    assert not is_signed_in(shop)


def test_frames_tell_every_app_with_issuer_and_sid(shop: Party, blog: Party, browser: Browser) -> None:
    shop_tokens, blog_tokens = shop.sign_in(), blog.sign_in()
    page = browser.visit(END, {"id_token_hint": shop_tokens["id_token"], "post_logout_redirect_uri": BYE})
    frames = {frame.partition("?")[0]: dict(parse_qsl(urlsplit(frame).query)) for frame in Page(page.text).frames}
    assert frames == {
        "http://shop.localhost:9001/fc": {"iss": ISSUER, "sid": shop_tokens["claims"]["sid"]},
        "http://127.0.0.1:9002/fc": {"site": "1", "iss": ISSUER, "sid": blog_tokens["claims"]["sid"]},
    }
    policy = page.headers["content-security-policy"].split("; ")
    assert "frame-src http://127.0.0.1:9002 http://shop.localhost:9001" in policy


def test_only_apps_of_this_session_are_told(shop: Party, blog: Party, browser: Browser, idp: EmbeddedIdP) -> None:
    hint = shop.sign_in()["id_token"]
    with Browser(idp) as other:
        Party(BLOG, other).sign_in()
        page = browser.visit(END, {"id_token_hint": hint})
        assert [frame.partition("?")[0] for frame in Page(page.text).frames] == ["http://shop.localhost:9001/fc"]
        assert is_signed_in(Party(BLOG, other))


def test_after_a_change_of_person_both_sign_ins_are_told(shop: Party, browser: Browser) -> None:
    mia = shop.sign_in("mia")["claims"]["sid"]
    gus = shop.sign_in("gus", prompt="login")
    page = browser.visit(END, {"id_token_hint": gus["id_token"]})
    assert {dict(parse_qsl(urlsplit(frame).query))["sid"] for frame in Page(page.text).frames} == {
        mia,
        gus["claims"]["sid"],
    }


def sign_out_to_the_end(browser: Browser, hint: str) -> httpx.Response:
    """Waits for what the provider does after its answer too; the browser would not."""

    async def sign_out() -> httpx.Response:
        transport = browser.idp.async_transport()
        async with httpx.AsyncClient(transport=transport, cookies=browser.cookies) as client:
            return await client.get(END, params={"id_token_hint": hint})

    return anyio.run(sign_out)


def test_the_back_channel_gets_a_logout_token(
    shop: Party, blog: Party, browser: Browser, received: list[httpx.Request], clock: Clock
) -> None:
    shop_tokens, blog_tokens = shop.sign_in(), blog.sign_in()
    jwks = browser.get(f"{ISSUER}/jwks").json()
    sign_out_to_the_end(browser, shop_tokens["id_token"])
    (request,) = received
    assert str(request.url) == BLOG.backchannel_logout_uri
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    token = dict(parse_qsl(request.content.decode()))["logout_token"]
    claims = verified(token, jwks)
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "aud": "blog",
        "iat": int(clock.now),
        "exp": int(clock.now) + 120,
        "sub": blog_tokens["claims"]["sub"],
        "sid": blog_tokens["claims"]["sid"],
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    head = token.split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["typ"] == "logout+jwt"


def test_a_logout_token_is_no_id_token_hint(blog: Party, browser: Browser, received: list[httpx.Request]) -> None:
    sign_out_to_the_end(browser, blog.sign_in()["id_token"])
    token = dict(parse_qsl(received[0].content.decode()))["logout_token"]
    assert browser.visit(END, {"id_token_hint": token}).status_code == 400


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), None])
def test_a_failing_receiver_is_logged_and_stops_nothing(
    tmp_path: Path,
    config: IdPConfig,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    failure: httpx.HTTPError | None,
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        if failure is not None:
            raise failure
        return httpx.Response(500)

    idp = EmbeddedIdP(config, folder=tmp_path, issuer=ISSUER, clock=clock, backchannel=httpx.MockTransport(fail))

    with Browser(idp) as browser, caplog.at_level(logging.WARNING, "kmsi_middleware.idp"):
        hint = Party(BLOG, browser).sign_in()["id_token"]
        page = sign_out_to_the_end(browser, hint)
    assert says_signed_out(page)
    assert "back-channel logout of blog" in caplog.text
    assert "eyJ" not in caplog.text
    idp.close()


# Asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [{}, {"client_id": "shop"}, {"client_id": "shop", "post_logout_redirect_uri": BYE}, {"logout_hint": "mia"}],
)
def test_without_a_hint_the_person_is_asked(shop: Party, browser: Browser, values: dict[str, str]) -> None:
    """RI-05."""
    shop.sign_in()
    page = browser.visit(END, values)
    assert asked(page)
    assert is_signed_in(shop)
    assert says_signed_out(browser.submit(page, sign_out="yes"))
    assert not is_signed_in(shop)


def test_the_page_that_asks_may_cancel_and_may_continue(shop: Party, browser: Browser) -> None:
    shop.sign_in()
    page = browser.visit(END, {"client_id": "shop", "post_logout_redirect_uri": BYE, "state": "s"})
    assert Page(page.text).links == [f"{BYE}?state=s"]
    assert "Mia Member" in page.text
    assert "form-action 'self' http://shop.localhost:9001" in page.headers["content-security-policy"]
    assert Page(browser.submit(page, sign_out="yes").text).links == [f"{BYE}?state=s"]


def test_a_hint_of_another_session_asks(shop: Party, browser: Browser, idp: EmbeddedIdP) -> None:
    """RI-05."""
    with Browser(idp) as other:
        foreign = Party(SHOP, other).sign_in()["id_token"]
    shop.sign_in()
    assert asked(browser.visit(END, {"id_token_hint": foreign}))
    assert is_signed_in(shop)


def test_a_logout_hint_that_means_somebody_else_asks(shop: Party, browser: Browser) -> None:
    hint = shop.sign_in()["id_token"]
    assert asked(browser.visit(END, {"id_token_hint": hint, "logout_hint": "gus"}))
    assert not asked(browser.visit(END, {"id_token_hint": hint, "logout_hint": "mia@contoso.example"}))


def test_the_page_that_asks_is_bound_to_its_browser_and_origin(shop: Party, browser: Browser, idp: EmbeddedIdP) -> None:
    shop.sign_in()
    page = browser.visit(END)
    with Browser(idp) as other:
        assert "page_expired" in other.submit(page, sign_out="yes").text
    ticket = Page(page.text).fields["ticket"]
    answer = browser.post(
        f"{ISSUER}/sign-out",
        data={"ticket": ticket, "sign_out": "yes"},
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 403
    assert is_signed_in(shop)


# Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"post_logout_redirect_uri": f"{BYE}/"}, "post_logout_redirect_uri_mismatch"),
        ({"post_logout_redirect_uri": f"{BYE}?x=1"}, "post_logout_redirect_uri_mismatch"),
        ({"post_logout_redirect_uri": BLOG.post_logout_redirect_uris[0]}, "post_logout_redirect_uri_mismatch"),
        ({"client_id": "blog"}, "invalid_request"),
        ({"client_id": "nobody"}, "invalid_request"),
        ({"id_token_hint": "not.a.token"}, "invalid_request"),
        ({"id_token_hint": "text"}, "invalid_request"),
    ],
)
def test_an_error_ends_and_redirects_nothing(shop: Party, browser: Browser, values: dict[str, str], code: str) -> None:
    """RI-04, RI-06, RI-07."""
    hint = shop.sign_in()["id_token"]
    page = browser.visit(END, {"id_token_hint": hint, **values})
    assert page.status_code == 400
    assert code in page.text
    assert "refresh" not in page.text
    assert is_signed_in(shop)


@pytest.mark.parametrize(
    "values",
    [
        {"post_logout_redirect_uri": BYE},
        {"post_logout_redirect_uri": "https://evil.example/"},
        {"client_id": "nobody", "post_logout_redirect_uri": BYE},
        {"client_id": "shop", "post_logout_redirect_uri": "https://evil.example/"},
    ],
)
def test_a_redirect_needs_an_app_that_registered_it(browser: Browser, values: dict[str, str]) -> None:
    """RI-07, also when nobody is signed in."""
    page = browser.visit(END, values)
    assert page.status_code == 400
    assert "location" not in page.headers


def test_an_app_that_is_not_known_is_refused_before_anybody_is_asked(shop: Party, browser: Browser) -> None:
    shop.sign_in()
    page = browser.visit(END, {"client_id": "nobody"})
    assert page.status_code == 400
    assert "unknown_client" in page.text


def test_a_hint_of_another_issuer_is_no_hint(shop: Party, browser: Browser, idp: EmbeddedIdP, tmp_path: Path) -> None:
    foreign = EmbeddedIdP(idp.config, folder=tmp_path, issuer="http://localhost:8499")
    with Browser(foreign, "http://localhost:8499") as other:
        token = Party(SHOP, other, issuer="http://localhost:8499").sign_in()["id_token"]
    foreign.close()
    assert browser.visit(END, {"id_token_hint": token}).status_code == 400


# Nobody signed in -------------------------------------------------------------------------------------------------


def test_a_second_sign_out_goes_straight_back(shop: Party, browser: Browser) -> None:
    values = {"id_token_hint": shop.sign_in()["id_token"], "post_logout_redirect_uri": BYE, "state": "s"}
    browser.visit(END, values)
    assert browser.visit(END, values).headers["location"] == f"{BYE}?state=s"


def test_without_session_and_target_the_page_says_so(browser: Browser) -> None:
    page = browser.visit(END)
    assert says_signed_out(page)
    assert Page(page.text).frames == []


def test_offline_access_outlives_the_sign_out(shop: Party, browser: Browser) -> None:
    tokens = shop.sign_in(scope=EVERYTHING)
    browser.visit(END, {"id_token_hint": tokens["id_token"]})
    data = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert shop.token(data).status_code == 200
