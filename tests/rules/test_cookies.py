"""Our cookies: names, attributes, size; and that a Cookie header of any make does no harm."""

from __future__ import annotations

import os
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsi_middleware.flows.interrupt import MOST_REMEMBERED
from kmsi_middleware.flows.sessions import SIGN_OUT_SEAL
from kmsi_middleware.rules import cookies
from kmsi_middleware.rules.cookies import (
    LONGEST_HEADER,
    MOST_PENDING,
    MOST_TRANSACTIONS,
    PENDING,
    REMEMBERED,
    SIGN_OUT,
    TRANSACTION,
    as_headers,
    clear_cookie,
    is_token,
    named,
    ours,
    session_cookie_name,
    session_tokens,
    set_cookie,
    surplus,
)
from kmsi_middleware.rules.oidc.authorization import new_transaction
from kmsi_middleware.rules.seals import Seals, encode
from kmsi_middleware.vocabulary.messages import Site
from kmsi_middleware.vocabulary.settings import DAY, Settings

T0 = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
SITE = Site("https://app.example", "", "https://idp.example", "__Host-kmsi")
LOOPBACK = Site("http://localhost:8000", "", "http://localhost:8000/.auth/idp", "kmsi-8000")
A, B, C, D, E = (letter * 43 for letter in "ABCDE")


@pytest.mark.parametrize(
    ("secure", "port", "name"),
    [
        (True, 443, "__Host-kmsi"),
        (True, 8443, "__Host-kmsi"),
        (True, None, "__Host-kmsi"),
        (False, 8000, "kmsi-8000"),
        (False, 80, "kmsi-80"),
        (False, None, "kmsi-80"),
    ],
)
def test_names(secure: bool, port: int | None, name: str) -> None:
    assert session_cookie_name("kmsi", secure=secure, port=port) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A, True),
        ("-_" + "a" * 41, True),
        ("a" * 42, False),
        ("a" * 44, False),
        ("a" * 42 + "=", False),
        ("a" * 42 + "+", False),
        ("a" * 42 + "/", False),
        ("a" * 42 + "\n", False),
        ("a" * 43 + "\n", False),
        ("a" * 42 + "é", False),
        ("a" * 42 + "٣", False),  # a digit, but none of base64url's
        ("", False),
    ],
)
def test_a_token_is_43_characters_of_base64url(text: str, expected: bool) -> None:
    assert is_token(text) is expected


# Setting --------------------------------------------------------------------------------------------------


def attributes(text: str) -> tuple[str, dict[str, str]]:
    pair, *rest = text.split("; ")
    return pair, {name: value for name, _, value in (item.partition("=") for item in rest)}


def test_a_non_persistent_cookie_says_nothing_about_its_end() -> None:
    assert attributes(set_cookie(SITE, "", A)) == (
        f"__Host-kmsi={A}",
        {"Path": "/", "HttpOnly": "", "SameSite": "Lax", "Secure": ""},
    )


def test_a_persistent_cookie_says_what_is_left() -> None:
    assert attributes(set_cookie(SITE, "", A, until=T0 + 3_600, now=T0 + 0.9)) == (
        f"__Host-kmsi={A}",
        {
            "Path": "/",
            "HttpOnly": "",
            "SameSite": "Lax",
            "Secure": "",
            "Max-Age": "3600",
            "Expires": "Tue, 14 Nov 2023 23:13:20 GMT",
        },
    )


def test_max_age_is_never_negative() -> None:
    assert "; Max-Age=0; " in set_cookie(SITE, "", A, until=T0, now=T0 + 10)


def test_on_loopback_http_the_cookie_is_not_secure() -> None:
    assert attributes(set_cookie(LOOPBACK, "", A)) == (
        f"kmsi-8000={A}",
        {"Path": "/", "HttpOnly": "", "SameSite": "Lax"},
    )


@pytest.mark.parametrize("site", [SITE, LOOPBACK])
@pytest.mark.parametrize("suffix", ["", TRANSACTION + "abcdefgh", PENDING + "abcdefgh", REMEMBERED])
def test_a_cookie_is_cleared_under_the_attributes_it_was_set_with(site: Site, suffix: str) -> None:
    made = attributes(set_cookie(site, suffix, "x"))
    pair, cleared = attributes(clear_cookie(site, suffix))
    assert pair == made[0].removesuffix("x")
    assert cleared.pop("Max-Age") == "0"
    assert parsedate_to_datetime(cleared.pop("Expires")).timestamp() == 0
    assert cleared == made[1]


@pytest.mark.parametrize("site", [SITE, LOOPBACK])
def test_no_cookie_has_a_domain_and_a_host_cookie_is_secure(site: Site) -> None:
    for text in (set_cookie(site, "", A), set_cookie(site, REMEMBERED, "x", until=T0, now=T0), clear_cookie(site, "")):
        _, given = attributes(text)
        assert "Domain" not in given
        assert given["Path"] == "/"
        assert ("Secure" in given) == text.startswith("__Host-") == site.secure


def test_no_lifetime_is_beyond_what_browsers_keep() -> None:
    """rfc6265bis §5.5: 400 days; a browser would shorten anything longer, and the page would have lied."""
    from kmsi_middleware.flows.interrupt import REMEMBERED_SECONDS
    from kmsi_middleware.rules.lifetimes import promised_end

    longest = Settings(keep_me_signed_in_days=90, session_max_age=400)
    end = promised_end(longest, persistent=True, started_at=T0, renewed_at=T0)
    for seconds in (end - T0, REMEMBERED_SECONDS):
        assert 0 < seconds <= 400 * DAY


def test_headers() -> None:
    assert as_headers(["a=1", "b=2"]) == [("set-cookie", "a=1"), ("set-cookie", "b=2")]
    assert as_headers(()) == []


# Reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "tokens"),
    [
        ("", []),
        (f"__Host-kmsi={A}", [A]),
        (f"a=1; __Host-kmsi={A}; b=2", [A]),
        (f"a=1;__Host-kmsi={A};b=2", [A]),
        (f"  __Host-kmsi={A}\t", [A]),
        (f'__Host-kmsi="{A}"', [A]),
        # Twice: one that was planted for a longer path comes before ours, and must not be looked at before it
        (f"__Host-kmsi={A}; __Host-kmsi={B}", [B, A]),
        (f"__Host-kmsi={A}; __Host-kmsi={B}; __Host-kmsi={A}", [A, B]),
        (f"__Host-kmsi={A}; __Host-kmsi={A}", [A]),
        (f"__Host-kmsi=broken; __Host-kmsi={A}", [A]),
        (f"__Host-kmsi={A}; __Host-kmsi={B}; __Host-kmsi={C}; __Host-kmsi={D}; __Host-kmsi={E}", [E, D, C, B]),
        # Not ours
        (f"kmsi={A}", []),
        (f"__host-kmsi={A}", []),
        (f"__Host-kmsi2={A}", []),
        (f"__Host-kmsi.x={A}", []),
        (f"x__Host-kmsi={A}", []),
        (f"__Host-kmsi.r={A}", []),
        (f"__Host-kmsi.t.abc={A}", []),
        (f"__Host-kmsi {A}", []),
        (f"__Host-kmsi ={A}", []),
        # Not well formed
        ("__Host-kmsi", []),
        ("__Host-kmsi=", []),
        ("=", []),
        (";;;", []),
        (f"={A}", []),
        (f"__Host-kmsi={A}=", []),
        (f"__Host-kmsi=={A}", []),
        (f"__Host-kmsi={A}, __Host-kmsi={B}", []),
        (f"__Host-kmsi={A}\x00", []),
        (f"__Host-kmsi=\xff{A}", []),
        (f"a=\xff\xfe; __Host-kmsi={A}", [A]),
    ],
)
def test_session_tokens_in_a_cookie_header(header: str, tokens: list[str]) -> None:
    assert session_tokens(header, SITE) == tokens


def test_an_oversized_header_is_as_if_it_were_not_there() -> None:
    fits = f"__Host-kmsi={A}; a=".ljust(LONGEST_HEADER, "x")
    assert session_tokens(fits, SITE) == [A]
    assert session_tokens(fits + "x", SITE) == []
    assert ours(fits + "x", SITE) == []


def test_another_apps_port_is_another_apps_cookie() -> None:
    other = Site("http://localhost:80001", "", "", "kmsi-800")
    header = f"kmsi-8000={A}; kmsi-800={B}"
    assert session_tokens(header, LOOPBACK) == [A]
    assert session_tokens(header, other) == [B]


def test_ours_are_found_in_the_headers_order_and_nobody_elses() -> None:
    header = "__Host-kmsi.r=1; a=b; __Host-kmsi.t.x=2; __Host-kmsi=3; __Host-kmsi.p.y=4; __Host-kmsi.z=5"
    assert ours(header, SITE) == [
        ("__Host-kmsi.r", "1"),
        ("__Host-kmsi.t.x", "2"),
        ("__Host-kmsi", "3"),
        ("__Host-kmsi.p.y", "4"),
    ]


def test_of_several_with_one_name_the_first_is_taken() -> None:
    header = "__Host-kmsi.t.abc=first; __Host-kmsi.t.abcd=other; __Host-kmsi.t.abc=second"
    assert named(header, SITE, ".t.abc") == "first"
    assert named(header, SITE, ".t.ab") == ""
    assert named(header, SITE, "") == ""


@given(
    st.text(max_size=200) | st.lists(st.sampled_from(["__Host-kmsi", "=", ";", A, '"', " ", ".t.", ".p."])).map("".join)
)
def test_no_header_breaks_the_reading_and_only_tokens_come_out(header: str) -> None:
    assert all(is_token(token) for token in session_tokens(header, SITE))
    for name, value in ours(header, SITE):
        assert name.startswith("__Host-kmsi")
        assert ";" not in name + value


# Bounds ---------------------------------------------------------------------------------------------------


def test_the_oldest_of_too_many_go_so_that_one_more_fits() -> None:
    names = [f"__Host-kmsi.t.{number}" for number in range(6)]
    header = "; ".join(f"{name}=x" for name in names)
    age = {name: T0 + made for name, made in zip(names, [50, 10, 40, 0, 30, 20], strict=True)}

    def gone(most: int) -> list[str]:
        return [name.rpartition(".")[2] for name in surplus(header, SITE, TRANSACTION, most, age)]

    assert gone(8) == gone(7) == []
    assert gone(6) == ["3"]
    assert gone(5) == ["3", "1"]
    assert gone(1) == ["3", "1", "5", "4", "2", "0"]


def test_a_broken_one_goes_before_the_oldest() -> None:
    header = "__Host-kmsi.t.old=x; __Host-kmsi.t.broken=y; __Host-kmsi.t.new=z"
    age = {"__Host-kmsi.t.old": T0, "__Host-kmsi.t.new": T0 + 9}
    assert surplus(header, SITE, TRANSACTION, 3, age) == ["__Host-kmsi.t.broken"]
    assert surplus(header, SITE, TRANSACTION, 2, age) == ["__Host-kmsi.t.broken", "__Host-kmsi.t.old"]


def test_where_no_age_is_known_the_first_of_the_header_goes() -> None:
    """Browsers send the cookies that they have had longest first (rfc6265bis §5.8.3)."""
    assert surplus("__Host-kmsi.p.b=x; __Host-kmsi.p.a=x", SITE, PENDING, 2, {}) == ["__Host-kmsi.p.b"]


def test_only_cookies_of_the_kind_are_counted_and_each_once() -> None:
    header = f"__Host-kmsi={A}; __Host-kmsi.r=1; __Host-kmsi.p.a=x; other.t.a=x; __Host-kmsi.t.a=x; __Host-kmsi.t.a=y"
    assert surplus(header, SITE, TRANSACTION, 2, {}) == []
    assert surplus(header, SITE, TRANSACTION, 1, {}) == ["__Host-kmsi.t.a"]


@pytest.mark.parametrize(
    "name",
    [
        session_cookie_name("n" * 40, secure=True, port=443),
        session_cookie_name("n" * 40, secure=False, port=65_535),
    ],
)
def test_all_of_ours_together_stay_below_4096_bytes(name: str) -> None:
    """Every cookie at its longest, as many as the bounds allow, under the longest name that a setting can give."""
    Settings(cookie_name="n" * 40)
    site = Site("https://app.example", "", "https://idp.example", name)
    seals = Seals(["s" * 64], os.urandom)
    header = [f"{name}={encode(os.urandom(32))}"]
    for number in range(MOST_TRANSACTIONS):
        transaction, secrets = new_transaction("/" + "x" * 1_000, T0 + number, os.urandom, prompt="login consent")
        value = seals.sign("transaction", [transaction.id, secrets.seed, T0 + number], T0 + number)
        assert surplus("; ".join(header), site, TRANSACTION, MOST_TRANSACTIONS, {}) == []
        header.append(set_cookie(site, TRANSACTION + transaction.cookie_suffix, value).partition(";")[0])
    for _ in range(MOST_PENDING):
        assert surplus("; ".join(header), site, PENDING, MOST_PENDING, {}) == []
        header.append(set_cookie(site, PENDING + encode(os.urandom(6)), encode(os.urandom(32))).partition(";")[0])
    answers = {encode(os.urandom(12)): ("yes" if number % 2 else "no", T0 // DAY - number * 71) for number in range(5)}
    assert len(answers) == MOST_REMEMBERED
    header.append(set_cookie(site, REMEMBERED, seals.sign("remembered", answers, T0)).partition(";")[0])
    named = seals.seal(SIGN_OUT_SEAL, {"key": encode(os.urandom(32))}, T0)
    header.append(set_cookie(site, SIGN_OUT, named).partition(";")[0])
    whole = "; ".join(header)
    assert len(ours(whole, site)) == 1 + MOST_TRANSACTIONS + MOST_PENDING + 2
    assert len(surplus(whole, site, TRANSACTION, MOST_TRANSACTIONS, {})) == 1
    assert len(surplus(whole, site, PENDING, MOST_PENDING, {})) == 1
    assert 3_000 < len(whole) <= 4_096
    assert max(len(cookie) for cookie in header) < 300


def test_the_suffixes_tell_the_kinds_apart() -> None:
    kinds = (cookies.TRANSACTION, cookies.PENDING, cookies.REMEMBERED)
    assert len({kind[:2] for kind in kinds}) == 3
    assert not any(one != other and one.startswith(other) for one in kinds for other in kinds)
