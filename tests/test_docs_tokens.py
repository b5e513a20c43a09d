"""``docs/tokens.md`` names what there is, as it is in the code."""

from __future__ import annotations

import re
from pathlib import Path

import kmsi_middleware.errors
import kmsi_middleware.tokens
from kmsi_middleware.flows.tokens import REVOKE_WITHIN
from kmsi_middleware.rules.oidc.refresh import ENDS
from kmsi_middleware.rules.oidc.tokens import RENEW_BEFORE
from kmsi_middleware.rules.revalidation import ANSWER_SECONDS, PUT_OFF_SECONDS
from kmsi_middleware.vocabulary.settings import Settings

PAGE = (Path(__file__).parent.parent / "docs" / "tokens.md").read_text(encoding="utf-8")


def test_every_error_in_it_exists_with_its_code() -> None:
    rows = re.findall(r"^\| (`[A-Z]\w+`(?:, `\w+`)*) \| (`\w+)", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for names, code in rows:
        for name in re.findall(r"\w+", names):
            error = getattr(kmsi_middleware.errors, name)
            assert issubclass(error, kmsi_middleware.errors.KMSIError)
        first = getattr(kmsi_middleware.errors, re.findall(r"\w+", names)[0])
        assert code.strip("`") in (first.__dict__.get("code"), "access_token_expired", "refresh_refused")


def test_the_functions_in_it_exist() -> None:
    found = set(re.findall(r"from kmsi_middleware\.tokens import (\w+)", PAGE))
    assert found == set(kmsi_middleware.tokens.__all__)


def test_its_figures_are_those_of_the_code() -> None:
    assert Settings().revalidate_every == 0
    assert "**The default is 0**" in PAGE
    assert (RENEW_BEFORE, PUT_OFF_SECONDS, ANSWER_SECONDS, REVOKE_WITHIN) == (60, 60, 300, 2.0)


def test_every_error_that_ends_a_session_is_named() -> None:
    for error in ENDS:
        assert f"`{error}`" in PAGE
