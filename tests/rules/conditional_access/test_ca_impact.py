"""What the policies came to, summed up from sign-in records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsi_middleware.rules.conditional_access.impact import RESULTS, Count, summed_up


def record(user: str, correlation: str, /, **results: str) -> dict[str, Any]:
    return {
        "userId": user,
        "correlationId": correlation,
        "appliedConditionalAccessPolicies": [
            {"id": policy, "displayName": f"Policy {policy}", "result": result} for policy, result in results.items()
        ],
    }


def test_sign_ins_and_people_are_counted_apart() -> None:
    found = summed_up(
        [
            record("ada", "1", a="reportOnlyInterrupted", b="success"),
            record("ada", "2", a="reportOnlyInterrupted", b="failure"),
            record("ben", "3", a="reportOnlyFailure", b="notApplied"),
            record("cyd", "4", a="reportOnlyNotApplied", b="notEnabled"),
            record("", "5", a="reportOnlySuccess", b="notApplied"),
        ]
    )
    assert found.sign_ins == Count(5, 3)
    a, b = found.policies
    assert (a.id, a.display_name) == ("a", "Policy a")
    assert (a.applied, a.would_interrupt, a.would_block) == (Count(4, 2), Count(2, 1), Count(1, 1))
    assert (a.of("reportOnlySuccess"), a.of("reportOnlyNotApplied")) == (Count(1, 0), Count(1, 1))
    assert (b.applied, b.of("success"), b.of("failure")) == (Count(2, 1), Count(1, 1), Count(1, 1))
    assert (b.would_interrupt, b.would_block) == (Count(), Count())


def test_one_sign_in_is_one_correlation_id_and_its_newest_record_counts() -> None:
    found = summed_up(
        [
            {"userId": "ada", "correlationId": "1", "appliedConditionalAccessPolicies": []},
            record("ada", "1", a="success"),
            record("ada", "1", a="failure"),
            record("ada", "", a="success"),
            record("ada", "", a="success"),
        ]
    )
    assert found.sign_ins == Count(3, 1)
    assert found.policies[0].results == {"success": Count(3, 1)}


def test_a_policy_that_was_renamed_has_its_newest_name() -> None:
    older = record("ada", "1", a="success")
    older["appliedConditionalAccessPolicies"][0]["displayName"] = "Old"
    assert summed_up([record("ada", "2", a="success"), older]).policies[0].display_name == "Policy a"


def test_nothing_is_nothing() -> None:
    assert summed_up([]).policies == ()
    assert summed_up([{}, {"appliedConditionalAccessPolicies": []}]).sign_ins == Count()


@pytest.mark.parametrize(
    "listed",
    [None, 7, "a", {}, [None], [7], [{}], [{"id": "a"}], [{"id": 7, "result": "success"}], [{"id": "a", "result": []}]],
)
def test_what_is_not_of_graphs_shape_tells_of_no_policy(listed: Any) -> None:
    assert summed_up([{"userId": 7, "correlationId": 7, "appliedConditionalAccessPolicies": listed}]).policies == ()


@given(
    st.lists(
        st.builds(
            lambda user, correlation, results: record(user, correlation, **results),
            st.sampled_from(["", "ada", "ben"]),
            st.sampled_from(["", "1", "2", "3", "4"]),
            st.dictionaries(st.sampled_from("abc"), st.sampled_from(RESULTS)),
        )
    )
)
def test_the_sums_hold_together(records: list[dict[str, Any]]) -> None:
    found = summed_up(records)
    for impact in found.policies:
        assert impact.applied.sign_ins <= sum(count.sign_ins for count in impact.results.values())
        assert sum(count.sign_ins for count in impact.results.values()) <= found.sign_ins.sign_ins
        assert impact.applied.users <= found.sign_ins.users
    applied = [impact.applied.sign_ins for impact in found.policies]
    assert applied == sorted(applied, reverse=True)
