"""What the browser and the store carry for us: nobody else makes it, changes it, or keeps it past its time."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsi_middleware.rules.seals import Seals, decode, encode, key_of, open_under, seal_under

T0 = 1_700_000_000
OLD, NEW, FOREIGN = "o" * 32, "n" * 32, "f" * 32
TOKEN, OTHER_TOKEN = "A" * 43, "B" * 43
PAYLOAD = {"return_to": "/café", "n": 7}

SEALS = Seals([OLD], os.urandom)
KINDS = ["sign", "seal"]


def make(kind: str, seals: Seals, purpose: str = "state", payload: Any = PAYLOAD, now: float = T0) -> str:
    return seals.sign(purpose, payload, now) if kind == "sign" else seals.seal(purpose, payload, now)


def read(kind: str, seals: Seals, text: str, purpose: str = "state", within: int = 60, now: float = T0) -> Any:
    opener: Callable[..., Any] = seals.unsign if kind == "sign" else seals.open
    return opener(purpose, text, within=within, now=now)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_comes_back(kind: str) -> None:
    text = make(kind, SEALS)
    assert read(kind, SEALS, text) == PAYLOAD
    assert text.isascii()
    assert not set(text) & set(' ;,"\\='), "it goes into cookies and URLs as it is"


@pytest.mark.parametrize("kind", KINDS)
def test_no_changed_character_is_accepted(kind: str) -> None:
    text = make(kind, SEALS)
    for place, character in enumerate(text):
        for other in ("A", "B", "-"):
            if other != character:
                changed = text[:place] + other + text[place + 1 :]
                same_bytes = kind == "sign" and _signature_bytes(changed) == _signature_bytes(text)
                assert read(kind, SEALS, changed) is None or same_bytes


def _signature_bytes(text: str) -> tuple[str, bytes]:
    """The last character of a signature has bits that mean nothing."""
    value, _, signature = text.rpartition(".")
    return value, urlsafe_b64decode(signature + "=" * (-len(signature) % 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", ["", ".", "..", "a.b.c", "!!!", "é", "A" * 15, "A" * 43, "A" * 100_000, "\x00"])
def test_a_text_that_we_never_made_is_nothing(kind: str, broken: str) -> None:
    assert read(kind, SEALS, broken) is None


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_or_added_to_it_is_nothing(kind: str) -> None:
    text = make(kind, SEALS)
    for length in range(len(text)):
        assert read(kind, SEALS, text[:length]) is None
    # itsdangerous skips what is not base64url at the end of a signature; the payload stays what was signed.
    for more in ("A", "AAAA", ".") + (("=", " ", "\n", "!") if kind == "seal" else ()):
        assert read(kind, SEALS, text + more) is None
        assert read(kind, SEALS, more + text) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_for_one_purpose_is_nothing_for_another(kind: str) -> None:
    text = make(kind, SEALS, "state")
    for purpose in ("interrupt", "stat", "state ", "STATE", ""):
        assert read(kind, SEALS, text, purpose) is None


def test_signed_is_not_sealed() -> None:
    assert read("seal", SEALS, make("sign", SEALS)) is None
    assert read("sign", SEALS, make("seal", SEALS)) is None


# Time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("within", "after", "good"),
    [
        (60, 0, True),
        (60, 59, True),
        (60, 60, True),
        (60, 61, False),
        (60, 10_000_000, False),
        (0, 0, True),
        (0, 1, False),
        (60, -1, True),  # clocks are set back, and differ between machines
        (60, -60, True),
        (60, -61, False),  # from the future
        (60, -3_600, False),
    ],
)
def test_it_is_good_for_so_many_seconds(kind: str, within: int, after: int, good: bool) -> None:
    text = make(kind, SEALS, now=T0)
    assert (read(kind, SEALS, text, within=within, now=T0 + after) == PAYLOAD) is good


@pytest.mark.parametrize("kind", KINDS)
def test_a_fraction_of_a_second_makes_nothing_come_from_the_future(kind: str) -> None:
    text = make(kind, SEALS, now=T0 + 0.9)
    assert read(kind, SEALS, text, now=T0 + 0.9) == read(kind, SEALS, text, now=T0 + 0.1) == PAYLOAD


# Keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_keys_rotate_without_a_sign_out(kind: str) -> None:
    before, both, after = (Seals(keys, os.urandom) for keys in ([OLD], [OLD, NEW], [NEW]))
    by_old, by_both = make(kind, before), make(kind, both)
    assert read(kind, both, by_old) == PAYLOAD, "an old text opens while the old key is there"
    assert read(kind, after, by_old) is None, "and no longer when it is gone"
    assert read(kind, after, by_both) == PAYLOAD, "the newest key makes"
    assert read(kind, before, by_both) is None


@pytest.mark.parametrize("kind", KINDS)
def test_another_deployments_key_opens_nothing(kind: str) -> None:
    assert read(kind, Seals([FOREIGN], os.urandom), make(kind, SEALS)) is None
    assert read(kind, SEALS, make(kind, Seals([FOREIGN], os.urandom))) is None


def test_a_key_of_three_opens_whichever_made_it() -> None:
    three = Seals([OLD, FOREIGN, NEW], os.urandom)
    for key in (OLD, FOREIGN, NEW):
        for kind in KINDS:
            assert read(kind, three, make(kind, Seals([key], os.urandom))) == PAYLOAD


# Secrecy --------------------------------------------------------------------------------------------------


def test_signed_is_readable_and_sealed_is_not() -> None:
    payload = {"word": "confidential"}
    signed, sealed = make("sign", SEALS, payload=payload), make("seal", SEALS, payload=payload)
    assert b"confidential" in decode(signed.partition(".")[0])
    assert b"confidential" not in decode(sealed)


def test_the_same_sealed_twice_looks_different() -> None:
    assert make("seal", SEALS) != make("seal", SEALS)


def test_every_seal_takes_twelve_new_bytes_from_the_dice() -> None:
    asked: list[int] = []

    def dice(size: int) -> bytes:
        asked.append(size)
        return os.urandom(size)

    seals = Seals([OLD], dice)
    make("seal", seals)
    make("seal", seals)
    seal_under(TOKEN, PAYLOAD, dice)
    assert asked == [12, 12, 12]


# Under a token --------------------------------------------------------------------------------------------


def test_what_is_sealed_under_a_token_only_that_token_opens() -> None:
    sealed = seal_under(TOKEN, PAYLOAD, os.urandom)
    assert open_under(TOKEN, sealed) == PAYLOAD
    assert open_under(OTHER_TOKEN, sealed) == {}
    assert b"return_to" not in sealed


def test_what_is_sealed_under_a_token_is_tied_to_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even under the same key, another row's content does not open: the row's key is associated data."""
    from kmsi_middleware.rules import seals

    sealed = seal_under(TOKEN, PAYLOAD, os.urandom)
    monkeypatch.setattr(seals, "key_of", lambda _: key_of(OTHER_TOKEN))
    assert open_under(TOKEN, sealed) == {}


def test_no_changed_byte_opens_under_the_token() -> None:
    sealed = seal_under(TOKEN, PAYLOAD, os.urandom)
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        assert open_under(TOKEN, changed) == {}
    for length in range(len(sealed)):
        assert open_under(TOKEN, sealed[:length]) == {}
    assert open_under(TOKEN, sealed + b"\x00") == {}


def test_the_store_alone_opens_nothing() -> None:
    """Who has the database has the row's key, a SHA-256 of the token, and that opens nothing."""
    sealed = seal_under(TOKEN, PAYLOAD, os.urandom)
    assert open_under(encode(key_of(TOKEN)), sealed) == {}
    assert open_under(key_of(TOKEN).hex(), sealed) == {}


def test_nothing_sealed_is_nothing() -> None:
    assert open_under(TOKEN, b"") == {}
    assert open_under(TOKEN, seal_under(TOKEN, {}, os.urandom)) == {}


# A token that follows -------------------------------------------------------------------------------------


def test_a_following_token_is_the_same_for_the_same_and_for_nothing_else() -> None:
    made = SEALS.same_for("session", TOKEN)
    assert made == Seals([OLD], os.urandom).same_for("session", TOKEN)
    assert len(decode(made)) == 32
    others = {
        SEALS.same_for("session", OTHER_TOKEN),
        SEALS.same_for("other", TOKEN),
        Seals([NEW], os.urandom).same_for("session", TOKEN),
        TOKEN,
    }
    assert len(others) == 4
    assert made not in others
    assert Seals([NEW, OLD], os.urandom).same_for("session", TOKEN) == made, "made with the newest key"


def test_the_key_of_a_token_is_its_sha256() -> None:
    """The empty message's digest: FIPS 180-4 examples."""
    assert key_of("").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert key_of("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# base64url ------------------------------------------------------------------------------------------------


@given(st.binary(max_size=70))
def test_base64url_comes_back(raw: bytes) -> None:
    text = encode(raw)
    assert decode(text) == raw
    assert "=" not in text


@pytest.mark.parametrize(
    "text", ["A", "AAAAA", "AA==", "AA=", "+A", "/A", "A A", "A\n", "\nAA", "AB!C", "!!!!", "AAA.", "é", "AB", "\ud800"]
)
def test_what_is_not_base64url_is_a_value_error(text: str) -> None:
    """``AB`` is not, either: its last bits are not zero, so it is another text for the same bytes."""
    with pytest.raises(ValueError):  # noqa: PT011 (binascii's own words differ)
        decode(text)
