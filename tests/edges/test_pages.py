"""The pages: what is in them, what can't get into them, and the headers they are sent with."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

import kmsi_middleware
from kmsi_middleware.edges.pages import PageRenderer
from kmsi_middleware.vocabulary.errors import SettingsError

TEMPLATES = Path(kmsi_middleware.__file__).parent / "templates"
PARTS = {"base.html", "idp_base.html", "parts.html"}

PERSON = {"username": "megan", "name": "Megan Bowen", "hint": "A member", "password": "pw-megan"}
CONTEXTS: dict[str, dict[str, Any]] = {
    "kmsi.html": {
        "app_name": "Contoso",
        "user_name": "Megan Bowen (megan@contoso.example)",
        "action": "/.auth/kmsi",
        "ticket": "ticket-1",
        "days": 30,
    },
    "sign_out.html": {
        "app_name": "Contoso",
        "user_name": "Megan Bowen (megan@contoso.example)",
        "action": "/.auth/logout",
        "ticket": "ticket-2",
        "cancel_url": "/here",
    },
    "logged_out.html": {
        "app_name": "Contoso",
        "session_ended": True,
        "still_signed_in": ["You are still signed in at login.example."],
        "login_url": "/.auth/login",
    },
    "session_ended.html": {
        "app_name": "Contoso",
        "reason_title": "Your session has ended",
        "reason_text": "It lasted a day.",
        "is_lost": True,
        "login_url": "/.auth/login",
        "code": "session_expired",
        "reason": "absolute",
        "correlation_id": "7d0d9a1c-4c5f-4d2b-9a5e-0b1f3b9e7a11",
        "time": "2025-03-04T05:06:07Z",
    },
    "sessions.html": {
        "app_name": "Contoso",
        "user_name": "Megan Bowen (megan@contoso.example)",
        "action": "/.auth/sessions",
        "sign_out_action": "/.auth/logout",
        "home_url": "/",
        "sessions": [
            {
                "id": "3f9c",
                "is_this": True,
                "kind": "unknown",
                "name": "Firefox on Linux",
                "place": "DE, 192.0.2.7",
                "last_used": "Now",
                "last_used_at": "2025-03-04T05:06:07Z",
                "signed_in": "2025-03-04, 04:00 UTC",
                "signed_in_at": "2025-03-04T04:00:00Z",
                "persistent": True,
                "ends": "2025-04-03, 05:06 UTC",
                "ends_at": "2025-04-03T05:06:07Z",
            },
            {
                "id": "aa01",
                "is_this": False,
                "kind": "unknown",
                "name": "Unknown browser",
                "place": "192.0.2.8",
                "last_used": "3 hours ago",
                "last_used_at": "2025-03-04T02:06:07Z",
                "signed_in": "2025-03-01, 08:00 UTC",
                "signed_in_at": "2025-03-01T08:00:00Z",
                "persistent": False,
                "ends": "2025-03-05, 02:06 UTC",
                "ends_at": "2025-03-05T02:06:07Z",
            },
        ],
        "others": 1,
        "not_shown": 7,
        "ended": 2,
        "asks_again": False,
        "keeps_answer": True,
    },
    "error.html": {
        "app_name": "Contoso",
        "title": "That didn’t work",
        "message": "Your sign-in service did not answer.",
        "user_name": "Megan Bowen (megan@contoso.example)",
        "is_neutral": False,
        "ways": [("Go to Contoso", "/"), ("Try again", "/again")],
        "sign_out_action": "/.auth/logout",
        "code": "provider_unavailable",
        "detail": "The provider did not answer.",
        "correlation_id": "7d0d9a1c-4c5f-4d2b-9a5e-0b1f3b9e7a11",
        "time": "2025-03-04T05:06:07Z",
    },
    "idp_sign_in.html": {
        "app_name": "Contoso",
        "action": "/sign-in",
        "hidden": [("request", "request-1")],
        "error": "That is not the password.",
        "username": "megan",
        "users": [PERSON],
        "devices_url": "/devices",
        "device_name": "MEGAN-LAPTOP",
        "users_url": "/users",
    },
    "idp_users.html": {
        "action": "/users",
        "hidden": [("client_id", "contoso")],
        "back": ("Contoso", "/home"),
        "users": [
            {
                "username": "megan",
                "name": "Megan Bowen",
                "password": "pw-megan",
                "disabled": True,
                "browsers": 2,
                "apps": ["Contoso"],
                "refresh_tokens": ["Contoso"],
                "revoked": "4 March 2025, 05:06:07 UTC",
                "done": "Disabled.",
            },
            {
                "username": "nestor",
                "name": "Nestor Wilke",
                "password": None,
                "disabled": False,
                "browsers": 0,
                "apps": [],
                "refresh_tokens": [],
                "revoked": None,
                "done": None,
            },
        ],
    },
    "idp_second_factor.html": {
        "app_name": "Contoso",
        "user_name": "Megan Bowen",
        "action": "/second-factor",
        "hidden": [("request", "request-4")],
        "error": "That is not the code.",
        "code": "123456",
    },
    "idp_devices.html": {
        "action": "/devices",
        "hidden": [("client_id", "contoso")],
        "back": ("Contoso", "/home"),
        "now": "4 March 2025, 05:06:07 UTC",
        "devices": [
            {
                "id": "device-1",
                "here": True,
                "name": "MEGAN-LAPTOP",
                "kind": "Joined, Windows, compliant",
                "owner": "Megan Bowen",
                "locked": False,
                "second_factor": True,
                "renewed": "4 March 2025, 01:02:03 UTC",
                "expired": False,
                "renewable_from": "4 March 2025, 05:02:03 UTC",
                "events": [("lock", "Lock")],
            },
            {
                "id": "device-2",
                "here": False,
                "name": "Megan’s phone",
                "kind": "Registered, iOS, not managed",
                "owner": "Megan Bowen",
                "locked": False,
                "second_factor": False,
                "renewed": None,
                "expired": False,
                "renewable_from": None,
                "events": [("native_app_sign_in", "Sign in to a native app")],
            },
        ],
    },
    "idp_consent.html": {
        "app_name": "Contoso",
        "user_name": "Megan Bowen",
        "scopes": [("email", "See your email address")],
        "action": "/consent",
        "hidden": [("request", "request-2")],
    },
    "idp_sign_out.html": {
        "app_name": "Contoso",
        "user_name": "Megan Bowen",
        "action": "/end-session",
        "hidden": [("request", "request-3")],
        "cancel_url": "/stay",
    },
    "idp_signed_out.html": {
        "apps": [{"name": "Fabrikam", "frame_url": "/frame?sid=1&iss=2"}],
        "continue_url": "/return?state=1&more=2",
        "continue_to": "Contoso",
        "goes_on": True,
        "seconds": 3,
        "sent_to": "Contoso employees",
        "still": "Contoso partners",
        "script": None,
    },
    "idp_flow_sign_in.html": {
        "app_name": "Contoso",
        "action": "/sign-in",
        "hidden": [("ticket", "ticket-1")],
        "error": "That is not the password.",
        "username": "megan",
        "users": [PERSON],
        "devices_url": "/devices",
        "device_name": "MEGAN-LAPTOP",
        "users_url": "/users",
        "heading": "Sign in or sign up",
        "user_flow": "B2C_1_sign_in",
        "kept_days": 30,
        "forgot_url": "/leave?by=forgot_password",
        "cancel_url": "/leave?by=cancel",
        "providers": [("Contoso employees", "/federated?provider=employees")],
    },
    "idp_flow_password.html": {
        "app_name": "Contoso",
        "user_flow": "B2C_1_reset",
        "action": "/password",
        "hidden": [("ticket", "ticket-2")],
        "error": "Give a new password.",
        "username": "megan",
        "users": ["megan", "nestor"],
        "cancel_url": "/leave?by=cancel",
    },
    "idp_flow_profile.html": {
        "app_name": "Contoso",
        "user_flow": "B2C_1_profile",
        "user_name": "Megan Bowen",
        "claims": [("Username", "megan"), ("Email", "megan@contoso.example")],
        "action": "/profile",
        "hidden": [("ticket", "ticket-3")],
        "cancel_url": "/leave?by=cancel",
    },
    "idp_onward.html": {"url": "/there?state=1", "to": "Contoso"},
    "idp_error.html": {
        "title": "Not known here",
        "message": "No such app.",
        "code": "invalid_client",
        "back": ("Contoso", "/home"),
    },
}
every_page = pytest.mark.parametrize("name", sorted(CONTEXTS))

# Elements without an end tag (HTML, section 13.1.2).
VOID = {"br", "hr", "img", "input", "link", "meta", "wbr"}
SVG_SHAPES = {"circle", "path"}


class Page(HTMLParser):
    """A page, read: its elements in order, each with its attributes and all the text within it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.unclosed: list[tuple[str, dict[str, str], list[str]]] = []
        self.inside_labels: list[dict[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element: tuple[str, dict[str, str], list[str]] = (
            tag,
            {name: value or "" for name, value in attrs},
            [],
        )
        if "label" in [outer for outer, _, _ in self.unclosed]:
            self.inside_labels.append(element[1])
        self.elements.append(element)
        if tag not in VOID:
            self.unclosed.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_SHAPES
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        opened, _, _ = self.unclosed.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data: str) -> None:
        for _, _, texts in self.unclosed:
            texts.append(data)

    def all(self, tag: str, **wanted: str) -> list[tuple[dict[str, str], str]]:
        return [
            (attributes, " ".join("".join(texts).split()))
            for found, attributes, texts in self.elements
            if found == tag and wanted.items() <= attributes.items()
        ]

    def one(self, tag: str, **wanted: str) -> tuple[dict[str, str], str]:
        (element,) = self.all(tag, **wanted)
        return element


def render(name: str, *, templates: Path | None = None, **changes: Any) -> str:
    body, _ = PageRenderer(templates).render(name, CONTEXTS[name] | changes)
    return body.decode()


def read(name: str, **changes: Any) -> Page:
    return Page(render(name, **changes))


def policy_of(headers: list[tuple[str, str]]) -> dict[str, list[str]]:
    parts = [directive.split() for directive in dict(headers)["Content-Security-Policy"].split(";")]
    return {name: sources for name, *sources in parts}


def hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# What every page has


def test_every_template_is_tested_here() -> None:
    assert {path.name for path in TEMPLATES.iterdir()} == set(CONTEXTS) | PARTS


@every_page
def test_frame_of_a_page(name: str) -> None:
    page = read(name)
    assert page.unclosed == []
    assert page.one("html")[0]["lang"] == "en"
    assert page.one("title")[1]
    assert page.one("main")[1]
    assert page.one("h1")[1]
    assert page.one("meta", name="viewport")
    assert page.one("meta", name="color-scheme")[0]["content"] == "light dark"
    assert page.one("style")


@every_page
def test_no_script_and_nothing_from_outside(name: str) -> None:
    page = read(name)
    for tag, attributes, _ in page.elements:
        assert tag not in {"script", "img", "object", "embed", "base", "audio", "video"}
        assert not [attribute for attribute in attributes if attribute.startswith("on") or attribute == "style"]
        if tag == "link":
            assert attributes["href"].startswith("data:")
    assert not re.search(r"url\(|@import|https?:", page.one("style")[1])
    assert "http://" not in render(name)
    assert "https://" not in render(name)


@every_page
def test_every_field_has_a_label(name: str) -> None:
    page = read(name)
    labelled = {attributes.get("for") for attributes, text in page.all("label") if text}
    for tag, attributes, _ in page.elements:
        if tag in {"input", "select", "textarea"} and attributes.get("type") != "hidden":
            assert attributes in page.inside_labels or attributes.get("id") in labelled


@every_page
def test_ids_are_unique_and_references_lead_somewhere(name: str) -> None:
    page = read(name)
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in page.elements:
        for reference in ("for", "aria-labelledby", "aria-describedby"):
            if reference in attributes:
                assert attributes[reference] in ids


@every_page
def test_links_and_buttons_say_what_they_do(name: str) -> None:
    page = read(name)
    for _, text in [*page.all("a"), *page.all("button")]:
        assert text


@pytest.mark.parametrize(("name", "variable"), [(n, v) for n in sorted(CONTEXTS) for v in CONTEXTS[n]])
def test_a_missing_variable_is_an_error(name: str, variable: str) -> None:
    context = {key: value for key, value in CONTEXTS[name].items() if key != variable}
    with pytest.raises(UndefinedError, match=variable):
        PageRenderer().render(name, context)


HOSTILE = " onfocus=alert(1) \"'><script>alert(1)</script><style>*{color:red}</style><!--&amp;"


def spoilt(value: Any) -> Any:
    """The same value with hostile text in every string of it."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, dict):
        return {key: spoilt(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(spoilt(inner) for inner in value)
    return value


@pytest.mark.parametrize(("name", "variable"), [(n, v) for n in sorted(CONTEXTS) for v in CONTEXTS[n]])
def test_text_stays_text(name: str, variable: str) -> None:
    """Hostile text changes no element and no attribute's name, and arrives as it was."""
    plain = read(name)
    hostile = read(name, **{variable: spoilt(CONTEXTS[name][variable])})

    def shape(page: Page) -> list[tuple[str, list[str]]]:
        return [(tag, list(attributes)) for tag, attributes, _ in page.elements]

    assert shape(hostile) == shape(plain)
    if spoilt(CONTEXTS[name][variable]) != CONTEXTS[name][variable]:
        seen = [value for _, attributes, _ in hostile.elements for value in attributes.values()]
        seen += ["".join(texts) for _, _, texts in hostile.elements]
        assert any(HOSTILE in text for text in seen)


def test_a_lone_surrogate_in_a_name_does_no_harm() -> None:
    body, headers = PageRenderer().render("kmsi.html", CONTEXTS["kmsi.html"] | {"user_name": "M\ud800egan"})
    assert "M?egan" in body.decode()
    assert int(dict(headers)["Content-Length"]) == len(body)


# Each page's own


def test_interrupt() -> None:
    page = read("kmsi.html")
    assert page.one("form")[0] == {"method": "post", "action": "/.auth/kmsi"}
    assert page.one("input", type="hidden")[0]["value"] == "ticket-1"
    assert page.one("input", name="dont_show_again")[0]["value"] == "1"
    assert page.one("label")[1] == "Don’t show this again"
    told = page.one("input", name="dont_show_again")[0]["aria-describedby"]
    assert "for a year" in page.one("p", id=told)[1]
    assert page.one("h1")[1] == "Stay signed in?"
    assert "for 30 days" in page.one("main")[1]
    # The first is what Enter presses.
    answers = [(attributes["name"], attributes["value"], text) for attributes, text in page.all("button")]
    assert answers == [("answer", "no", "No"), ("answer", "yes", "Yes")]
    assert not [attributes for _, attributes, _ in page.elements if "autofocus" in attributes]


def test_interrupt_for_one_day() -> None:
    assert "for 1 day," in read("kmsi.html", days=1).one("main")[1]


def test_a_user_name_is_whole_although_it_may_wrap() -> None:
    page = read("kmsi.html")
    assert "megan@contoso.example" in page.one("main")[1]
    assert page.one("wbr")


def test_sign_out() -> None:
    page = read("sign_out.html")
    assert page.one("form")[0] == {"method": "post", "action": "/.auth/logout"}
    assert page.one("input")[0] == {"type": "hidden", "name": "ticket", "value": "ticket-2"}
    assert page.one("a", href="/here")[1] == "Cancel"
    assert page.one("button", type="submit")[1] == "Sign out"
    assert "ends your session at Contoso" in page.one("main")[1]


def test_sign_out_of_nobody_promises_no_end_of_a_session() -> None:
    page = read("sign_out.html", user_name="")
    assert page.one("h1")[1] == "You are not signed in here"
    assert "Sign out at your sign-in service, too?" in page.one("main")[1]
    assert "ends your session" not in page.one("main")[1]
    assert page.one("button", type="submit")[1] == "Sign out"
    page = read("logged_out.html", session_ended=False)
    assert "There is no session at Contoso in this browser." in page.one("main")[1]
    assert "has ended" not in page.one("main")[1]


def test_logged_out_says_what_is_still_signed_in() -> None:
    page = read("logged_out.html")
    assert "You are still signed in at login.example." in page.one("section")[1]
    assert page.one("a", href="/.auth/login")


def test_logged_out_with_nothing_left_says_nothing_of_it() -> None:
    page = read("logged_out.html", still_signed_in=[])
    assert "till signed in" not in page.one("main")[1]


def test_session_ended() -> None:
    page = read("session_ended.html")
    assert page.one("h1")[1] == "Your session has ended"
    assert page.one("p", **{"class": "text"})[1] == "It lasted a day."


def test_sessions_say_which_is_this_one_and_what_each_button_signs_out() -> None:
    page = read("sessions.html")
    assert page.one("h1")[1] == "Where you’re signed in"
    assert "2 sessions were signed out." in page.one("p", role="status")[1]
    assert [text for _, text in page.all("h2")] == ["Firefox on Linux This browser", "Unknown browser"]
    assert [text for _, text in page.all("button")] == [
        "Sign out Firefox on Linux, signed in 2025-03-04, 04:00 UTC",
        "Sign out Unknown browser, signed in 2025-03-01, 08:00 UTC",
        "Ask me again about staying signed in",
        "Sign out all others",
    ]
    assert [attributes["action"] for attributes, _ in page.all("form")] == [
        "/.auth/logout",
        "/.auth/sessions",
        "/.auth/sessions",
        "/.auth/sessions",
    ]
    fields = [(attributes["name"], attributes["value"]) for attributes, _ in page.all("input")]
    assert fields == [("session", "aa01"), ("ask_again", "1"), ("others", "1")]
    assert "keeps your answer to “Stay signed in?” for a year" in page.one("main")[1]
    ends = [text for _, text in page.all("dd")][3::4]
    assert ends == [
        "2025-04-03, 05:06 UTC, kept when the browser closes",
        "2025-03-05, 02:06 UTC, or when the browser closes",
    ]
    assert "And 7 more." in page.one("main")[1]


def test_the_only_session_leaves_nothing_to_sign_out_elsewhere() -> None:
    only = [CONTEXTS["sessions.html"]["sessions"][0] | {"place": ""}]
    page = read("sessions.html", sessions=only, others=0, not_shown=0, ended=None, keeps_answer=False)
    assert "in this browser only" in page.one("main")[1]
    assert len(page.all("button")) == 1
    assert page.all("dd")[0][1] == "Unknown"
    assert "more." not in page.one("main")[1]
    assert page.all("p", role="status") == []


def test_who_is_signed_in_in_many_browsers_need_not_scroll_to_sign_out_all_others() -> None:
    one = CONTEXTS["sessions.html"]["sessions"][1]
    buttons = [text for _, text in read("sessions.html", sessions=[one] * 11, keeps_answer=False).all("button")]
    assert (buttons[0], buttons[-1], len(buttons)) == ("Sign out all others", "Sign out all others", 13)
    assert len(read("sessions.html", sessions=[one] * 10, keeps_answer=False).all("button")) == 11


@pytest.mark.parametrize(("ended", "said"), [(0, "Nobody had to be"), (1, "One session was"), (12, "12 sessions were")])
def test_how_many_were_signed_out_is_said(ended: int, said: str) -> None:
    assert said in read("sessions.html", ended=ended).one("p", role="status")[1]


def test_who_wanted_to_be_asked_again_is_told_so() -> None:
    page = read("sessions.html", ended=None, asks_again=True, keeps_answer=False)
    assert "You will be asked again" in page.one("p", role="status")[1]
    assert page.all("input", name="ask_again") == []


def details(page: Page) -> list[tuple[str, str]]:
    return [(name, text) for (_, name), (_, text) in zip(page.all("dt"), page.all("dd"), strict=True)]


def test_error_has_details_to_copy_and_ways_on() -> None:
    page = read("error.html")
    assert details(page) == [
        ("Code", "provider_unavailable"),
        ("Detail", "The provider did not answer."),
        ("Correlation ID", "7d0d9a1c-4c5f-4d2b-9a5e-0b1f3b9e7a11"),
        ("Time (UTC)", "2025-03-04T05:06:07Z"),
    ]
    assert page.all("form") == [({"method": "post", "action": "/.auth/logout"}, "Sign out Go to Contoso Try again")]
    assert page.one("button")[0] == {"class": "button", "type": "submit"}
    assert page.all("a") == [
        ({"class": "button", "href": "/"}, "Go to Contoso"),
        ({"class": "button primary", "href": "/again"}, "Try again"),
    ]
    assert page.one("p", **{"class": "who"})[1] == "Signed in as Megan Bowen (megan@contoso.example)"


def test_error_of_nobody_and_with_little_to_say() -> None:
    page = read(
        "error.html", user_name="", sign_out_action=None, detail="", correlation_id="", ways=[("Try again", "/again")]
    )
    assert [text for _, text in page.all("dt")] == ["Code", "Time (UTC)"]
    assert page.all("form") == page.all("button") == page.all("p", **{"class": "who"}) == []
    assert page.one("a") == ({"class": "button primary", "href": "/again"}, "Try again")


def test_only_an_error_that_nobody_wanted_is_marked_as_bad() -> None:
    assert read("error.html").one("div", **{"class": "mark bad"})
    assert read("error.html", is_neutral=True).one("div", **{"class": "mark soft"})


def test_session_ended_has_the_same_details() -> None:
    assert details(read("session_ended.html")) == [
        ("Code", "session_expired"),
        ("Reason", "absolute"),
        ("Correlation ID", "7d0d9a1c-4c5f-4d2b-9a5e-0b1f3b9e7a11"),
        ("Time (UTC)", "2025-03-04T05:06:07Z"),
    ]
    assert "If you ask for help" in read("session_ended.html").one("main")[1]


def test_what_was_sent_is_said_to_be_lost_with_the_way_to_keep_it() -> None:
    """Another tab signs in, for this one to send it again when it is reloaded."""
    page = read("session_ended.html")
    assert "What you have just sent was not saved" in page.one("p", **{"class": "note soft"})[1]
    here, elsewhere = page.all("a", href="/.auth/login")
    assert here == ({"class": "button", "href": "/.auth/login"}, "Sign in")
    assert elsewhere[0]["target"] == "_blank"
    assert elsewhere[0]["rel"] == "noopener"
    nothing_lost = read("session_ended.html", is_lost=False)
    assert nothing_lost.one("a") == ({"class": "button primary", "href": "/.auth/login"}, "Sign in")
    assert "not saved" not in nothing_lost.one("main")[1]


def test_idp_sign_in() -> None:
    page = read("idp_sign_in.html", error=None, username="")
    username, password = page.one("input", name="username")[0], page.one("input", name="password")[0]
    assert username["autocomplete"] == "username"
    assert "autofocus" in username
    assert password["type"] == "password"
    assert password["autocomplete"] == "current-password"
    assert "autofocus" not in password
    assert page.one("input", type="hidden")[0]["value"] == "request-1"
    assert not [attributes for _, attributes, _ in page.elements if attributes.get("role") == "alert"]
    # Enter in a field presses the form's first button, which must not pick anybody.
    submit, pick = page.all("button")
    assert "name" not in submit[0]
    assert (pick[0]["name"], pick[0]["value"]) == ("pick", "megan")
    assert "formnovalidate" in pick[0]
    assert [words for words in ("Megan Bowen", "A member", "megan", "pw-megan") if words not in pick[1]] == []


def test_idp_sign_in_after_an_error() -> None:
    page = read("idp_sign_in.html")
    assert page.one("p", role="alert")[1] == "That is not the password."
    for name in ("username", "password"):
        field = page.one("input", name=name)[0]
        assert (field["aria-invalid"], field["aria-describedby"]) == ("true", "error")
    assert "autofocus" in page.one("input", name="password")[0]
    assert page.one("input", name="username")[0]["value"] == "megan"


def test_idp_sign_in_without_people_to_try() -> None:
    assert len(read("idp_sign_in.html", users=[]).all("button")) == 1


def test_idp_sign_in_tells_of_the_device() -> None:
    page = read("idp_sign_in.html")
    assert page.one("a", href="/devices")[1] == "Devices"
    assert "This browser is on MEGAN-LAPTOP." in page.one("main")[1]
    assert "no device that is known here" in read("idp_sign_in.html", device_name=None).one("main")[1]
    assert read("idp_sign_in.html", devices_url=None, users_url=None).all("a") == []


def test_idp_sign_in_leads_to_the_users() -> None:
    assert read("idp_sign_in.html").one("a", href="/users")[1] == "Users"


def test_idp_second_factor() -> None:
    page = read("idp_second_factor.html", error=None)
    code = page.one("input", name="code")[0]
    assert (code["autocomplete"], code["inputmode"]) == ("one-time-code", "numeric")
    assert "autofocus" in code
    submit, pick = page.all("button")
    assert "name" not in submit[0]
    assert (pick[0]["name"], pick[0]["value"]) == ("pick", "123456")


def test_idp_second_factor_after_an_error_and_without_the_code() -> None:
    page = read("idp_second_factor.html", code=None)
    assert page.one("p", role="alert")[1] == "That is not the code."
    assert page.one("input", name="code")[0]["aria-describedby"] == "error"
    assert "pick" not in [attributes.get("name") for attributes, _ in page.all("button")]


def test_idp_users() -> None:
    page = read("idp_users.html")
    assert [text for _, text in page.all("h2")] == ["Megan Bowen: disabled megan", "Nestor Wilke nestor"]
    assert [attributes["value"] for attributes, _ in page.all("button", name="event")] == [
        *("sign_out", "revoke", "enable", "change_password"),
        *("sign_out", "revoke", "disable"),
    ]
    assert [attributes["value"] for attributes, _ in page.all("input", name="user")] == ["megan", "megan", "nestor"]
    assert "required" in page.one("input", name="password")[0]
    # A form of its own, so that Enter in the field changes the password and does nothing else.
    forms = render("idp_users.html").split("<form")
    assert [form.count("<button") for form in forms if 'name="password"' in form] == [1]


def test_idp_devices() -> None:
    page = read("idp_devices.html")
    assert [text for _, text in page.all("h2")] == ["MEGAN-LAPTOP: this browser is on it", "Megan’s phone"]
    assert [attributes["value"] for attributes, _ in page.all("button", name="event")] == [
        *("lock", "leave", "native_app_sign_in", "use"),
    ]
    assert [attributes["value"] for attributes, _ in page.all("input", name="device")] == ["device-1", "device-2"]
    assert "nobody yet" in page.one("main")[1]


def test_idp_consent() -> None:
    page = read("idp_consent.html")
    assert page.one("li")[1].startswith("See your email address")
    assert page.one("code")[1] == "email"
    answers = [(attributes["name"], attributes["value"]) for attributes, _ in page.all("button")]
    assert answers == [("consent", "deny"), ("consent", "allow")]


def test_idp_sign_out() -> None:
    page = read("idp_sign_out.html")
    assert page.one("button")[0]["value"] == "yes"
    assert page.one("button")[0]["name"] == "sign_out"
    assert page.one("a", href="/stay")
    assert "Contoso" in page.one("main")[1]


def test_idp_sign_out_that_no_app_asked_for() -> None:
    page = read("idp_sign_out.html", app_name=None, cancel_url=None)
    assert page.all("a") == []
    assert "None" not in page.one("main")[1]


def test_idp_signed_out() -> None:
    page = read("idp_signed_out.html")
    frame = page.one("iframe")[0]
    assert frame["src"] == "/frame?sid=1&iss=2"
    assert "Fabrikam" in frame["title"]
    assert frame["tabindex"] == "-1"
    assert page.one("meta", **{"http-equiv": "refresh"})[0]["content"] == "3;url=/return?state=1&more=2"
    assert page.one("a", href="/return?state=1&more=2")[1] == "Continue"
    assert page.one("li")[1] == "Fabrikam"
    assert "to Contoso in 3 seconds" in page.one("main")[1]


def test_idp_signed_out_with_nowhere_to_go_and_nobody_to_tell() -> None:
    page = read("idp_signed_out.html", apps=[], continue_url=None, continue_to=None, goes_on=False)
    assert page.all("a") == page.all("iframe") == page.all("meta", **{"http-equiv": "refresh"}) == []


def test_idp_signed_out_says_of_other_providers_what_it_knows() -> None:
    page = read("idp_signed_out.html", goes_on=False)
    text = page.one("main")[1]
    assert "You were also taken to Contoso employees, to sign out there. Whether you did, this page can’t see." in text
    assert "You may still be signed in at Contoso partners" in text
    # That is to be read: the page does not go on by itself.
    assert page.all("meta", **{"http-equiv": "refresh"}) == []
    assert "Continuing" not in text
    assert page.one("a", href="/return?state=1&more=2")[1] == "Continue"
    text = read("idp_signed_out.html", sent_to="", still="").one("main")[1]
    assert "also taken" not in text
    assert "still be" not in text


def test_idp_flow_sign_in() -> None:
    page = read("idp_flow_sign_in.html")
    assert page.one("h1")[1] == "Sign in or sign up"
    assert page.one("input", type="checkbox")[0]["name"] == "keep_me_signed_in"
    assert "Keep me signed in for 30 days" in page.one("main")[1]
    assert page.one("a", href="/leave?by=forgot_password")[1] == "Forgot your password?"
    assert page.one("a", href="/leave?by=cancel")[1] == "Cancel"
    assert page.one("a", href="/federated?provider=employees")[1] == "Sign in with Contoso employees"
    submit, _ = page.all("button")  # Enter in a field signs in, and picks nobody
    assert ("name" not in submit[0], submit[1]) == (True, "Sign in")


def test_idp_flow_sign_in_offers_no_more_than_the_flow_has() -> None:
    page = read(
        "idp_flow_sign_in.html", kept_days=0, forgot_url=None, providers=[], heading="Sign up", devices_url=None
    )
    assert page.all("input", type="checkbox") == []
    assert [text for _, text in page.all("a")] == ["Cancel", "Users"]
    assert page.all("button")[0][1] == "Sign up"


def test_idp_flow_password() -> None:
    page = read("idp_flow_password.html")
    assert page.one("input", type="password")[0]["autocomplete"] == "new-password"
    assert page.one("p", role="alert")[1] == "Give a new password."
    assert page.one("a", href="/leave?by=cancel")


def test_idp_flow_profile_shows_what_there_is() -> None:
    page = read("idp_flow_profile.html", claims=[("Username", "megan"), ("Email", "")])
    assert [text for _, text in page.all("dt")] == ["Username"]
    assert page.one("a", href="/leave?by=cancel")


def test_idp_onward_goes_on_by_itself() -> None:
    page = read("idp_onward.html")
    assert page.one("meta", **{"http-equiv": "refresh"})[0]["content"] == "0;url=/there?state=1"
    assert page.one("a", href="/there?state=1")[1] == "Continue"


def test_frames_are_hidden_from_the_eye_only() -> None:
    """A browser may put off a frame that is not rendered."""
    css = " ".join(re.findall(r"\.frames[^{]*\{[^}]*\}", read("idp_signed_out.html").one("style")[1]))
    assert "opacity: 0" in css
    assert "display: none" not in css
    assert "visibility" not in css


@every_page
def test_only_the_development_pages_say_so(name: str) -> None:
    assert ("Development sign-in" in render(name)) == name.startswith("idp_")


# Colours


def palettes() -> Iterator[tuple[str, dict[str, str]]]:
    css = (TEMPLATES / "base.html").read_text()
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.S)[:2]
    )
    assert light.keys() == dark.keys()
    yield from (("light", light), ("dark", dark))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXT, SHAPE = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11, level AA


@pytest.mark.parametrize("palette", [pytest.param(colours, id=scheme) for scheme, colours in palettes()])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        ("text", "card", TEXT),
        ("text", "soft", TEXT),
        ("muted", "card", TEXT),
        ("muted", "soft", TEXT),
        ("on-fill", "fill", TEXT),
        ("on-fill", "fill-hover", TEXT),
        ("warn", "card", TEXT),
        ("bad", "bad-soft", TEXT),
        ("bad", "card", SHAPE),
        ("good", "good-soft", SHAPE),
        ("warn", "warn-soft", SHAPE),
        ("fill", "card", SHAPE),
        ("control", "card", SHAPE),
        ("focus", "card", SHAPE),
    ],
)
def test_contrast(palette: dict[str, str], front: str, back: str, least: float) -> None:
    assert contrast(palette[front], palette[back]) >= least


# Headers


@every_page
def test_headers(name: str) -> None:
    body, headers = PageRenderer().render(name, CONTEXTS[name])
    fields = dict(headers)
    assert len(fields) == len(headers)
    assert fields["Content-Type"] == "text/html; charset=utf-8"
    assert fields["Content-Length"] == str(len(body))
    assert fields["Cache-Control"] == "no-store"
    assert fields["Referrer-Policy"] == "same-origin"
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields["Cross-Origin-Opener-Policy"] == "same-origin"
    assert fields["X-Frame-Options"] == "DENY"
    (style,) = re.findall(rb"<style>(.*?)</style>", body, re.S)
    assert policy_of(headers) == {
        "default-src": ["'none'"],
        "style-src": [hash_source(style.decode())],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }


def test_source_lists_go_into_the_policy() -> None:
    _, headers = PageRenderer().render(
        "idp_error.html",
        CONTEXTS["idp_error.html"],
        form_action=("'self'", "https://login.example"),
        frame_ancestors=("https://login.example:8443",),
        frame_src=("http://127.0.0.1:8001", "http://[::1]:8002"),
    )
    policy = policy_of(headers)
    assert policy["form-action"] == ["'self'", "https://login.example"]
    assert policy["frame-ancestors"] == ["https://login.example:8443"]
    assert policy["frame-src"] == ["http://127.0.0.1:8001", "http://[::1]:8002"]
    assert "X-Frame-Options" not in dict(headers)


def test_an_empty_source_list_allows_nothing() -> None:
    _, headers = PageRenderer().render("idp_error.html", CONTEXTS["idp_error.html"], form_action=(), frame_ancestors=())
    assert policy_of(headers)["form-action"] == policy_of(headers)["frame-ancestors"] == ["'none'"]
    assert dict(headers)["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("directive", ["form_action", "frame_ancestors", "frame_src"])
@pytest.mark.parametrize(
    "source",
    [
        "",
        " ",
        "https://a.example; script-src *",
        "https://a.example;",
        "https://a.example,https://b.example",
        "https://a.example https://b.example",
        "https://a.example\r\nSet-Cookie: a=b",
        "https://a.example\n",
        "https://a.example\t",
        "https://a.example\x00",
        "https://a.example\x7f",
        "https://ä.example",
        "https://a.example\u2028",
    ],
)
def test_a_source_that_breaks_out_is_refused(directive: str, source: str) -> None:
    lists: dict[str, Any] = {directive: ("'self'", source)}
    with pytest.raises(ValueError, match=directive.replace("_", "-")):
        PageRenderer().render("idp_error.html", CONTEXTS["idp_error.html"], **lists)


# Pages of the app's own

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    """Write files, by their names, into a template folder."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name}.html").write_text(text, encoding="utf-8", newline="")
        return tmp_path

    return write


def test_one_page_is_replaced_and_the_others_stay(folder: Write) -> None:
    templates = folder(sign_out="<p>Ours, {{ user_name }}")
    assert render("sign_out.html", templates=templates, user_name="<b>") == "<p>Ours, &lt;b&gt;"
    assert render("kmsi.html", templates=templates) == render("kmsi.html")


def test_a_replacing_page_is_strict_too(folder: Write) -> None:
    with pytest.raises(UndefinedError, match="nobody"):
        render("sign_out.html", templates=folder(sign_out="{{ nobody }}"))


@pytest.mark.parametrize(
    ("html", "allowed"),
    [
        ("<p>plain</p>", ["'none'"]),
        ("<style>p{}</style>", [hash_source("p{}")]),
        ("<STYLE media='all'>p{}</STYLE >", [hash_source("p{}")]),
        ("<style>a > b { content: '&amp;' }</style>", [hash_source("a > b { content: '&amp;' }")]),
        ("<style>p{}</style><style>q{}</style>", [hash_source("p{}"), hash_source("q{}")]),
        ("<style>p{}</style><style>p{}</style>", [hash_source("p{}")]),
        ("<style></style>", [hash_source("")]),
        ("<style>\r\np{}\rq{}</style>", [hash_source("\np{}\nq{}")]),
        ("<style>/* é */</style>", [hash_source("/* é */")]),
        ("<!-- <style>p{}</style> --><style>q{}</style>", [hash_source("q{}")]),
        ("<p>{{ title }}</p>", ["'none'"]),
    ],
)
def test_the_style_of_a_replacing_page_is_allowed(folder: Write, html: str, allowed: list[str]) -> None:
    context = CONTEXTS["idp_error.html"] | {"title": "<style>p{}</style>"}
    _, headers = PageRenderer(folder(idp_error=html)).render("idp_error.html", context)
    assert policy_of(headers)["style-src"] == allowed


def test_newlines_are_sent_as_they_were_hashed(folder: Write) -> None:
    html = render("kmsi.html", user_name="a\r\nb\rc")
    assert "\r" not in html
    assert "a\nb\nc" in html


def test_our_page_can_be_extended_under_its_own_name(folder: Write) -> None:
    templates = folder(
        base='{% extends "kmsi_middleware/base.html" %}'
        "{% block style %}{{ super() }}:root { --fill: #702070; }{% endblock %}"
    )
    PageRenderer(templates).check()
    body, headers = PageRenderer(templates).render("kmsi.html", CONTEXTS["kmsi.html"])
    (style,) = re.findall(r"<style>(.*?)</style>", body.decode(), re.S)
    assert style.rstrip().endswith(":root { --fill: #702070; }")
    assert policy_of(headers)["style-src"] == [hash_source(style)]
    assert "Stay signed in?" in body.decode()


@pytest.mark.parametrize("missing", ["", "no-such-folder", "a-file"])
def test_a_template_folder_that_is_none_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="folder") as caught:
        PageRenderer(missing)
    assert (caught.value.name, caught.value.value) == ("templates", missing)


def test_a_relative_folder_survives_a_change_of_directory(
    folder: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(sign_out="mine")
    monkeypatch.chdir(tmp_path)
    pages = PageRenderer(".")
    monkeypatch.chdir("/")
    assert pages.render("sign_out.html", CONTEXTS["sign_out.html"])[0] == b"mine"


def test_check_without_a_folder_has_nothing_to_say() -> None:
    PageRenderer().check()


def test_check_passes_a_good_page_and_what_it_includes(folder: Write) -> None:
    PageRenderer(folder(kmsi='{% include "own.html" %}', own='{% extends "base.html" %}')).check()


def test_check_leaves_files_alone_that_no_page_uses(folder: Write) -> None:
    PageRenderer(folder(kmsi="fine", other="{% unknown_tag %}")).check()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"kmsi": "\n\n{% if %}"}, "kmsi.html, line 3: "),
        ({"kmsi": "{{ days | no_such_filter }}"}, "no_such_filter"),
        ({"kmsi": '{% include "own.html" %}', "own": "{% endif %}"}, "own.html, line 1: "),
        (
            {"kmsi": '{% extends "own.html" %}'},
            "own.html is extended, included or imported, and is not there",
        ),
        ({"kmsi": '{% extends "kmsi.html" %}'}, "our page of that name is kmsi_middleware/kmsi.html"),
        ({"kmis": "fine"}, "nothing in it replaces a page"),
    ],
)
def test_check_names_what_is_wrong(folder: Write, files: dict[str, str], problem: str) -> None:
    templates = folder(**files)
    with pytest.raises(SettingsError) as caught:
        PageRenderer(templates).check()
    assert problem in caught.value.problem
    assert (caught.value.name, caught.value.value) == ("templates", str(templates))


def test_check_refuses_a_page_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "kmsi.html").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"kmsi\.html can't be read"):
        PageRenderer(tmp_path).check()


def test_jinja2_is_imported_with_the_first_page_only(folder: Write) -> None:
    program = (
        "import sys\n"
        "from kmsi_middleware.edges.pages import PageRenderer\n"
        f"pages = PageRenderer({str(folder(kmsi='page'))!r})\n"
        "assert 'jinja2' not in sys.modules\n"
        "pages.render('kmsi.html', {})\n"
        "assert 'jinja2' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
