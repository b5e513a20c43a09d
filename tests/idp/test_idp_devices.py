"""Devices: what renews their tokens, and the sign-ins that they answer for. Seed: Configure authentication session
management, "User sign-in frequency and device identities", example 3: a sign-in frequency of one hour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.idp.idp_support import ISSUER, SHOP, Browser, Clock, Page, Party, answer_of, verified

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig

LAPTOP, DESK, PHONE = (f"d0e1c2b3-000{number}-4a5b-8c9d-1e2f3a4b5c6d" for number in (1, 2, 3))
HOUR = "3600"


class Day:
    """One browser on a device, and the clock on the wall. It begins at 00:00."""

    def __init__(self, browser: Browser, clock: Clock, shop: Party) -> None:
        self.browser, self.clock, self.shop = browser, clock, shop
        self.midnight = clock.now

    def at(self, time: str) -> Day:
        hours, minutes, *seconds = map(int, time.split(":"))
        self.clock.now = self.midnight + hours * 3_600 + minutes * 60 + sum(seconds)
        return self

    def device(self, event: str, device: str = LAPTOP, **more: str) -> httpx.Response:
        data = {"device": device, "event": event, **more}
        response = self.browser.post(f"{ISSUER}/devices", data=data, headers={"Origin": ISSUER})
        assert response.status_code == 303, response.text
        return response

    def visit(self, **changes: str | None) -> str | dict[str, Any]:
        """What becomes of an app's request with a max_age of one hour: ``asked``, an error, or the claims."""
        response = self.shop.authorize(**{"max_age": HOUR, **changes})
        if response.status_code == 200:
            return "asked"
        answer = answer_of(response)
        if "error" in answer:
            return answer["error"]
        tokens = self.shop.redeem(answer["code"]).json()
        return verified(tokens["id_token"], self.browser.get(f"{ISSUER}/jwks").json())

    def silent(self, **changes: str | None) -> str:
        """The time of the sign-in that the app is told of."""
        claims = self.visit(**changes)
        assert isinstance(claims, dict), claims
        minutes = int(claims["auth_time"] - self.midnight) // 60
        return f"{minutes // 60:02}:{minutes % 60:02}"


@pytest.fixture
def day(browser: Browser, clock: Clock, shop: Party) -> Day:
    made = Day(browser, clock, shop)
    made.device("use")
    return made


# The seed's examples ------------------------------------------------------------------------------------------------


def test_example_1_asked_an_hour_after_the_sign_in_to_the_device(day: Day) -> None:
    day.at("00:00").device("device_sign_in")
    assert day.silent() == "00:00"
    assert day.at("00:59:59").silent() == "00:00"
    assert day.at("01:00").visit() == "asked"


def test_example_2_unlocking_within_the_cycle_does_not_help(day: Day) -> None:
    day.at("00:00").device("device_sign_in")
    assert day.silent() == "00:00"
    day.at("00:10").device("lock")
    assert day.at("00:30").silent() == "00:00"  # the upload goes on
    day.at("02:45").device("unlock")
    assert day.visit() == "asked"


@pytest.mark.parametrize("device", [LAPTOP, DESK])
def test_example_3_scenario_1_the_person_returns_within_the_cycle(day: Day, device: str) -> None:
    day.device("use", device)
    day.at("00:00").device("device_sign_in", device)
    assert day.silent() == "00:00"
    day.at("00:30").device("lock", device)
    day.at("00:45").device("unlock", device)
    assert day.at("00:59:59").silent() == "00:00"
    assert day.at("01:00").visit() == "asked"


@pytest.mark.parametrize("device", [LAPTOP, DESK])
def test_example_3_scenario_2_the_person_returns_outside_the_cycle(day: Day, device: str) -> None:
    day.device("use", device)
    day.at("00:00").device("device_sign_in", device)
    assert day.silent() == "00:00"
    day.at("00:30").device("lock", device)
    assert day.at("04:44").visit() == "asked"
    day.at("04:45").device("unlock", device)
    assert day.silent() == "04:45"
    assert day.at("05:44:59").silent() == "04:45"
    assert day.at("05:45").visit() == "asked"


def test_on_a_registered_device_only_native_apps_help(day: Day) -> None:
    day.device("use", PHONE)
    day.at("00:00").device("device_sign_in", PHONE)
    assert day.visit() == "asked"
    day.device("native_app_sign_in", PHONE)
    assert day.silent() == "00:00"
    for event in ("unlock", "device_sign_in"):
        day.at("04:45").device(event, PHONE)
        assert day.visit() == "asked"
    day.device("native_app_sign_in", PHONE)
    assert day.silent() == "04:45"
    day.at("05:00").device("native_app_sign_in", PHONE)
    assert day.silent() == "05:00"


def test_the_cycle_counts_from_the_last_renewal(day: Day) -> None:
    day.at("00:00").device("device_sign_in")
    day.at("03:59:59").device("unlock")
    assert day.visit() == "asked"
    day.at("04:00").device("unlock")
    assert day.silent() == "04:00"
    day.at("07:59").device("device_sign_in")
    assert day.silent(max_age=None) == "04:00"
    assert day.visit() == "asked"


def test_a_token_of_fourteen_days_is_worth_nothing(day: Day) -> None:
    day.at("00:00").device("device_sign_in")
    assert day.at("335:59").silent(max_age=None) == "00:00"
    day.browser.cookies.delete("kmsi-idp-session-8400")
    assert day.at("336:00").visit(max_age=None) == "asked"
    day.device("unlock")
    assert day.silent(max_age=None) == "336:00"


# Who is signed in -----------------------------------------------------------------------------------------------------


def test_a_silent_sign_in_says_how_and_from_where(day: Day) -> None:
    day.device("device_sign_in")
    claims = day.visit(prompt="none")
    assert isinstance(claims, dict)
    assert (claims["name"], claims["amr"], claims["deviceid"]) == ("Mia Member", ["wia"], LAPTOP)
    assert claims["xms_dev"] == {
        "deviceId": LAPTOP,
        "displayName": "MIA-LAPTOP",
        "trustType": "AzureAD",
        "isCompliant": True,
        "operatingSystem": "Windows",
    }


@pytest.mark.parametrize(
    ("device", "facts"),
    [
        (DESK, {"trustType": "ServerAD", "isCompliant": False}),
        (PHONE, {"trustType": "Workplace", "isCompliant": None, "deviceOwnership": "Personal"}),
    ],
)
def test_other_devices_are_told_as_what_they_are(day: Day, device: str, facts: dict[str, object]) -> None:
    """Whoever the person is; here it is not the owner."""
    day.device("use", device)
    claims = day.shop.sign_in("gus")["claims"]
    assert claims["deviceid"] == device
    assert facts.items() <= claims["xms_dev"].items()


def test_off_the_device_nothing_is_told_of_it(day: Day) -> None:
    day.device("device_sign_in")
    day.device("leave")
    assert day.visit() == "asked"
    assert not {"deviceid", "xms_dev"} & day.shop.sign_in()["claims"].keys()


def test_a_device_that_nobody_signed_in_to_answers_for_nobody(day: Day) -> None:
    for event in ("lock", "unlock"):
        day.device(event)
        assert day.visit(prompt="none") == "login_required"


@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"prompt": "select_account"}, {"max_age": "0"}])
def test_who_asks_for_a_sign_in_now_is_not_answered_by_the_device(day: Day, changes: dict[str, str]) -> None:
    day.device("device_sign_in")
    assert day.visit(**changes) == "asked"


def test_the_device_answers_for_its_owner_alone(day: Day) -> None:
    day.device("device_sign_in")
    assert day.visit(login_hint="gus") == "asked"
    day.shop.sign_in("gus", prompt="login")
    claims = day.visit()
    assert isinstance(claims, dict)
    assert claims["name"] == "Gus Guest"
    claims = day.visit(login_hint="mia")
    assert isinstance(claims, dict)
    assert claims["name"] == "Mia Member"


def test_a_sign_in_within_the_browser_counts_as_well(day: Day) -> None:
    """After the question at 01:00 there is an hour again, and the device's token is as old as it was."""
    day.at("00:00").device("device_sign_in")
    first = day.visit()
    assert isinstance(first, dict)
    again = day.at("01:00").shop.sign_in(max_age=HOUR)["claims"]
    assert (again["amr"], again["sid"]) == (["pwd"], first["sid"])
    assert day.at("01:59").silent() == "01:00"
    assert day.at("02:00").visit() == "asked"


def test_a_second_factor_on_the_device_is_told_and_answers_a_context(day: Day) -> None:
    day.device("device_sign_in", second_factor="yes")
    claims = day.at("00:04").visit(acr_values="c1")
    assert isinstance(claims, dict)
    assert (claims["amr"], claims["acrs"]) == (["wia", "mfa"], ["c1"])
    assert day.at("00:05").visit(acr_values="c1") == "asked"


def test_unlocking_keeps_the_second_factor_and_adds_none(day: Day) -> None:
    day.at("00:00").device("device_sign_in")
    day.at("04:00").device("unlock", second_factor="yes")
    claims = day.visit()
    assert isinstance(claims, dict)
    assert claims["amr"] == ["wia"]


def test_the_device_does_not_take_a_second_factor_away_that_will_do(day: Day) -> None:
    page = day.shop.authorize(acr_values="c1")
    assert answer_of(day.browser.submit(day.browser.submit(page, pick="mia"), pick="100001"))["code"]
    day.at("00:30").device("device_sign_in")
    claims = day.visit()
    assert isinstance(claims, dict)
    assert claims["amr"] == ["pwd", "otp", "mfa"]
    assert day.at("01:00").silent() == "00:30"


# The page -------------------------------------------------------------------------------------------------------------


def test_the_page_lists_the_devices_and_the_sign_in_page_leads_there(day: Day) -> None:
    sign_in = day.shop.authorize()
    assert "This browser is on <bdi>MIA-LAPTOP</bdi>" in sign_in.text
    assert "/devices?client_id=shop" in Page(sign_in.text).links
    page = day.browser.get(f"{ISSUER}/devices?client_id=shop")
    assert Page(page.text).links == ["http://shop.localhost:9001/"]
    done = day.browser.submit(page, event="leave")
    assert (done.url.path, Page(done.text).links) == ("/devices", ["http://shop.localhost:9001/"])
    day.device("use")
    page = day.browser.get(f"{ISSUER}/devices")
    assert Page(page.text).links == []
    assert "MIA-LAPTOP</bdi>: this browser is on it" in page.text
    assert page.text.count("nobody yet") == 3
    assert 'value="lock"' not in page.text
    day.device("device_sign_in")
    page = day.browser.get(f"{ISSUER}/devices")
    assert page.text.count("nobody yet") == 2
    assert ('value="lock"' in page.text, 'value="unlock"' in page.text) == (True, False)
    day.device("lock")
    page = day.browser.get(f"{ISSUER}/devices")
    assert ('value="lock"' in page.text, 'value="unlock"' in page.text) == (False, True)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"device": "nowhere", "event": "use"}, 400),
        ({"event": "unlock"}, 400),
        ({"device": LAPTOP, "event": "explode"}, 400),
        ({"device": LAPTOP}, 400),
        ({"event": "leave"}, 303),
    ],
)
def test_what_is_not_known_is_refused(browser: Browser, data: dict[str, str], status: int) -> None:
    assert browser.post(f"{ISSUER}/devices", data=data).status_code == status


def test_another_site_can_do_nothing_to_devices(browser: Browser) -> None:
    data = {"device": LAPTOP, "event": "native_app_sign_in"}
    assert browser.post(f"{ISSUER}/devices", data=data, headers={"Origin": "http://evil.localhost"}).status_code == 403


@pytest.mark.parametrize("changes", [{"show_passwords": False}, {"devices": ()}])
def test_there_is_no_page_without_devices_or_with_hidden_passwords(
    tmp_path: Path, config: IdPConfig, clock: Clock, changes: dict[str, Any]
) -> None:
    idp = EmbeddedIdP(replace(config, **changes), folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(idp) as browser:
        assert browser.get(f"{ISSUER}/devices").status_code == 404
        event = {"device": LAPTOP, "event": "device_sign_in"}
        assert browser.post(f"{ISSUER}/devices", data=event).status_code == 404
        assert "/devices" not in Party(SHOP, browser).authorize().text
    idp.close()


def test_a_device_survives_a_restart_and_not_a_change_of_owner(
    tmp_path: Path, config: IdPConfig, clock: Clock, browser: Browser, day: Day
) -> None:
    day.device("device_sign_in")
    laptop, *others = config.devices
    for owner, expected in (("mia", dict), ("gus", str)):
        changed = replace(config, devices=(replace(laptop, owner=owner), *others))
        idp = EmbeddedIdP(changed, folder=tmp_path, issuer=ISSUER, clock=clock)
        with Browser(idp) as later:
            later.cookies.update(browser.cookies)
            assert isinstance(Day(later, clock, Party(SHOP, later)).visit(), expected)
        idp.close()


def test_a_clock_that_went_back_takes_the_token_with_it(day: Day) -> None:
    day.at("10:00").device("device_sign_in")
    assert day.at("09:00").visit() == "asked"
    day.device("device_sign_in")
    assert day.silent() == "09:00"
