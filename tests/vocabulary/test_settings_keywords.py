"""The settings as keywords for type checkers: the very settings of the table, each as it may be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from kmsi_middleware.vocabulary.effects import SessionStore
from kmsi_middleware.vocabulary.settings import Settings, described
from kmsi_middleware.vocabulary.settings_keywords import SettingsKeywords
from kmsi_middleware.vocabulary.user_flows import UserFlow, UserFlows

KEPT = get_type_hints(Settings)
GIVEN = get_type_hints(SettingsKeywords)
AS_GIVEN: dict[Any, Any] = {
    tuple[str, ...]: Sequence[str],
    Mapping[str, str]: Mapping[str, str] | str,
    UserFlows: Mapping[str, UserFlow | Mapping[str, Any]] | str,
}


def test_they_are_the_settings_in_their_order() -> None:
    assert list(GIVEN) == [item.name for item in described()]
    assert not SettingsKeywords.__required_keys__


def test_each_is_given_as_it_is_kept_or_as_what_is_read_as_that() -> None:
    expected = {item.name: AS_GIVEN.get(KEPT[item.name], KEPT[item.name]) for item in described()}
    assert {**expected, "store": SessionStore | str} == GIVEN  # whose contract the table leaves to the documentation


def test_a_list_and_a_mapping_may_be_given_in_all_these_forms() -> None:
    """So the table of forms above says what is true."""
    for value in (["x"], ("x",), "x"):
        assert Settings(allowed_tenants=value).allowed_tenants == ("x",)
    for pairs in ({"user": "x"}, "user=x"):
        assert Settings(claims_map=pairs).claims_map == {"user": "x"}
    for flows in (
        {"B2C_1_a": {"kind": "sign_in"}},
        {"B2C_1_a": UserFlow(kind="sign_in")},
        '{"B2C_1_a":{"kind":"sign_in"}}',
    ):
        assert set(Settings(user_flows=flows).user_flows) == {"B2C_1_a"}
