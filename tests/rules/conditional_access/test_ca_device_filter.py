"""The device filter's rule language: Microsoft's own examples, every operator, precedence, quoting, what is missing,
and that every mistake is told with its place and what would work."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsi_middleware.rules.conditional_access.device_filter import (
    DEEPEST,
    LONGEST,
    PROPERTIES,
    VALUES,
    And,
    Comparison,
    Expression,
    FilterError,
    Match,
    Not,
    Or,
    match,
    parse,
    render,
)

A = Comparison("displayName", "eq", "a")
B = Comparison("displayName", "eq", "b")
C = Comparison("displayName", "eq", "c")
a, b, c = render(A), render(B), render(C)


# Microsoft's examples: the rule, a device that fits, one that doesn't -------------------------------------

EXAMPLES = [
    (
        '(device.deviceid -eq "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb")',
        "deviceId",
        "AAAAAAAA-0000-1111-2222-bbbbbbbbbbbb",
    ),
    ('(device.displayName -contains "ABC")', "displayName", "xabcx"),
    ('(device.deviceOwnership -eq "Company")', "deviceOwnership", "Company"),
    ('(device.enrollmentProfileName -startsWith "AutoPilot Profile")', "enrollmentProfileName", "AutoPilot Profile 7"),
    ('(device.isCompliant -eq "True")', "isCompliant", True),
    ("device.isCompliant -eq True", "isCompliant", True),
    ('(device.manufacturer -startsWith "Microsoft")', "manufacturer", "Microsoft Corporation"),
    (
        '(device.mdmAppId -in ["00001111-aaaa-2222-bbbb-3333cccc4444"])',
        "mdmAppId",
        "00001111-aaaa-2222-bbbb-3333cccc4444",
    ),
    ('(device.model -notContains "Surface")', "model", "ThinkPad"),
    ('(device.operatingSystem -eq "Windows")', "operatingSystem", "Windows"),
    (
        '(device.operatingSystemVersion -in ["10.0.18363", "10.0.19041", "10.0.19042", "10.0.22000"])',
        "operatingSystemVersion",
        "10.0.19042",
    ),
    ('(device.physicalIds -contains "[ZTDId]:value")', "physicalIds", ["[HWID]:1", "[ZTDId]:value"]),
    ('(device.devicePhysicalIDs -contains "[ZTDId]:value")', "physicalIds", ["[ZTDId]:value"]),
    ('(device.profileType -eq "Printer")', "profileType", "Printer"),
    ('(device.systemLabels -contains "M365Managed")', "systemLabels", ["M365Managed"]),
    ('(device.trustType -eq "ServerAD")', "trustType", "ServerAD"),
    ('(device.extensionAttribute1 -eq "SAW")', "extensionAttribute1", "saw"),
    ('device.extensionAttribute1 -ne "SAW"', "extensionAttribute1", "kiosk"),
    ('device.extensionAttribute2 -ne "TeamsPhoneDevice"', "extensionAttribute2", ""),
]
OTHERS = {
    "isCompliant": False,
    "model": "Surface Laptop",
    "physicalIds": ["[ZTDId]:value2"],
    "systemLabels": ["M365Managed2"],
    "deviceOwnership": "Personal",
    "profileType": "Shared",
    "trustType": "AzureAD",
}
NEGATED = {
    'device.extensionAttribute1 -ne "SAW"': "SAW",
    'device.extensionAttribute2 -ne "TeamsPhoneDevice"': "teamsphonedevice",
}


@pytest.mark.parametrize(("text", "name", "value"), EXAMPLES)
def test_microsofts_examples(text: str, name: str, value: Any) -> None:
    rule = parse(text)
    assert match(rule, {name: value}) == Match(True)
    other = NEGATED.get(text, OTHERS.get(name, "something else"))
    assert match(rule, {name: other}) == Match(False)


def test_the_names_of_properties_are_taken_in_any_case() -> None:
    rule = parse('DEVICE.operatingsystem -EQ "WINDOWS"')
    assert rule == Comparison("operatingSystem", "eq", "WINDOWS")
    assert match(rule, {"OperatingSystem": "windows"}) == Match(True)


def test_extension_attributes_may_stand_in_an_object_of_their_own() -> None:
    rule = parse('device.extensionAttribute15 -eq "SAW"')
    assert match(rule, {"extensionAttributes": {"extensionAttribute15": "SAW"}}) == Match(True)
    assert match(rule, {"extensionAttributes": {"extensionAttribute1": "SAW"}}).missing == ("extensionAttribute15",)


# Operators: the rule's end, and the values that fit -------------------------------------------------------

VALUES_TRIED = ("Surface", "surface pro", "the Surface", "on the Surface now", "ThinkPad", "")


@pytest.mark.parametrize(
    ("comparison", "fitting"),
    [
        ('-eq "surface"', {"Surface"}),
        ('-startsWith "SURFACE"', {"Surface", "surface pro"}),
        ('-endsWith "surface"', {"Surface", "the Surface"}),
        ('-contains "surface"', {"Surface", "surface pro", "the Surface", "on the Surface now"}),
        ('-in ["surface", "thinkpad"]', {"Surface", "ThinkPad"}),
        ('-eq ""', {""}),
        ("-eq null", set()),
    ],
)
def test_every_operator_and_its_negation(comparison: str, fitting: set[str]) -> None:
    rule = parse(f"device.model {comparison}")
    assert {value for value in VALUES_TRIED if match(rule, {"model": value}).holds} == fitting
    operator, _, value = comparison.partition(" ")
    word = operator.removeprefix("-")
    negation = "-ne" if word == "eq" else "-not" + word[0].upper() + word[1:]
    negated = parse(f"device.model {negation} {value}")
    assert {value for value in VALUES_TRIED if match(negated, {"model": value}).holds} == set(VALUES_TRIED) - fitting


def test_on_collections_contains_means_a_whole_member() -> None:
    rule = parse('device.systemLabels -contains "Multi"')
    assert not match(rule, {"systemLabels": ["MultiUser"]}).holds
    assert match(rule, {"systemLabels": ["AzureResource", "multi"]}).holds
    assert match(rule, {"systemLabels": "Multi"}).holds  # a single one, not in a list
    assert match(parse('device.systemLabels -notContains "Multi"'), {"systemLabels": []}) == Match(True)


@pytest.mark.parametrize(
    ("value", "fits", "missing"),
    [
        (True, True, ()),
        ("True", True, ()),
        ("true", True, ()),
        (False, False, ()),
        ("FALSE", False, ()),
        (None, False, ()),
        ("yes", False, ("isCompliant",)),
        (1, False, ("isCompliant",)),
        (["true", "true"], False, ("isCompliant",)),
        ({"is": "true"}, False, ("isCompliant",)),
        (1.5, False, ("isCompliant",)),
        ([10**5_000], False, ("isCompliant",)),  # too long to be written out
    ],
)
def test_whether_a_device_is_compliant_in_every_spelling(value: Any, fits: bool, missing: tuple[str, ...]) -> None:
    assert match(parse("device.isCompliant -eq True"), {"isCompliant": value}) == Match(fits, missing)
    assert match(parse("device.isCompliant -ne True"), {"isCompliant": value}) == Match(not fits, missing)


# Precedence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        (a, A),
        (f"({a})", A),
        (f"(({a}))", A),
        (f"{a} -and {b}", And((A, B))),
        (f"{a} -and {b} -and {c}", And((A, B, C))),
        (f"({a} -and {b}) -and {c}", And((And((A, B)), C))),
        (f"{a} -or {b} -or {c}", Or((A, B, C))),
        (f"{a} -or {b} -and {c}", Or((A, And((B, C))))),
        (f"{a} -and {b} -or {c}", Or((And((A, B)), C))),
        (f"{a} -and ({b} -or {c})", And((A, Or((B, C))))),
        (f"-not {a}", Not(A)),
        (f"-not {a} -and {b}", And((Not(A), B))),
        (f"-not ({a} -and {b})", Not(And((A, B)))),
        (f"{a} -or -not {b} -and {c}", Or((A, And((Not(B), C))))),
        (f"-not -not {a}", Not(Not(A))),
        (f"{a} -AND NOT {b} oR {c}", Or((And((A, Not(B))), C))),
        (f"{a} \u2013and \u2013not {b}", And((A, Not(B)))),
        (f"\n\t{a}\n-or\n{b}  ", Or((A, B))),
    ],
)
def test_precedence(text: str, tree: Expression) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize("values", [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
def test_precedence_shows_in_the_answers(values: tuple[int, int, int]) -> None:
    names = ("model", "manufacturer", "operatingSystem")
    x, y, z = map(bool, values)
    device = {name: "yes" if value else "no" for name, value in zip(names, (x, y, z), strict=True)}
    p, q, r = (f'device.{name} -eq "yes"' for name in names)
    assert match(parse(f"{p} -or {q} -and {r}"), device).holds == (x or (y and z))
    assert match(parse(f"-not {p} -and {q} -or {r}"), device).holds == ((not x and y) or z)
    assert match(parse(f"({p} -or {q}) -and -not {r}"), device).holds == ((x or y) and not z)


# Texts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ('"Sales"', "Sales"),
        ("'Sales'", "Sales"),
        ('"O\'Brien"', "O'Brien"),
        ("'O''Brien'", "O'Brien"),
        ('"say `"hi`""', 'say "hi"'),
        ("'say \"hi\"'", 'say "hi"'),
        ('"back`tick"', "back`tick"),
        ('"c:\\temp"', "c:\\temp"),
        ('"null"', "null"),
        ('" -and "', " -and "),
        ('"ünïcode 東"', "ünïcode 東"),
        ("null", None),
        ("$null", None),
        ("NULL", None),
    ],
)
def test_texts_and_quotes(literal: str, value: str | None) -> None:
    assert parse(f"device.model -eq {literal}") == Comparison("model", "eq", value)


def test_operators_may_stand_close() -> None:
    assert parse('device.model -endsWith"x"-or(device.model -in["y",\'z\'])') == Or(
        (Comparison("model", "endsWith", "x"), Comparison("model", "in", ("y", "z")))
    )


# What is missing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('device.trustType -eq "AzureAD"', False),
        ('device.displayName -startsWith "a"', False),
        ('device.displayName -endsWith "a"', False),
        ('device.displayName -contains ""', False),
        ('device.displayName -in ["a"]', False),
        ('device.physicalIds -contains "a"', False),
        ('device.trustType -ne "AzureAD"', True),
        ('device.displayName -notStartsWith "a"', True),
        ('device.displayName -notEndsWith "a"', True),
        ('device.displayName -notContains "a"', True),
        ('device.displayName -notIn ["a"]', True),
        ('device.systemLabels -notContains "a"', True),
        ("device.isCompliant -ne True", True),
        ("device.isCompliant -eq False", False),
        ("-not (device.isCompliant -eq True)", True),
        ("device.trustType -eq null", True),
        ("device.trustType -ne null", False),
    ],
)
def test_an_unregistered_device_fits_negative_rules_and_no_positive_ones(text: str, holds: bool) -> None:
    """Microsoft's table "Policy behavior with filter for devices"; and that its properties are null."""
    name = next(name for name in PROPERTIES if f"device.{name} " in text)
    rule = parse(text)
    assert match(rule, None) == Match(holds, (name,))
    assert match(rule, {}) == Match(holds, (name,))
    assert match(rule, {name: None}) == Match(holds)  # known to be null: nothing is missing


def test_only_what_could_change_the_answer_is_missing() -> None:
    one, two = 'device.model -eq "x"', 'device.trustType -eq "AzureAD"'
    assert match(parse(f"{one} -and {two}"), {"model": "y"}) == Match(False)
    assert match(parse(f"{one} -and {two}"), {"model": "x"}) == Match(False, ("trustType",))
    assert match(parse(f"{one} -or {two}"), {"model": "x"}) == Match(True)
    assert match(parse(f"{one} -or {two}"), {"model": "y"}) == Match(False, ("trustType",))
    assert match(parse(f"-not ({one} -or {two})"), {"model": "y"}) == Match(True, ("trustType",))
    assert match(parse(f"{one} -or {two} -or {one}"), {}) == Match(False, ("model", "trustType"))


# Mistakes: the rule, the place (counted from 1), what the message says ------------------------------------


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 1, "ends where a comparison should come"),
        ("   ", 4, "ends where a comparison should come"),
        ("device", 1, "a comparison should come here"),
        ("device.", 1, "no device property ''"),
        ('user.department -eq "x"', 1, 'as device.trustType -eq "AzureAD"'),
        ('displayName -eq "x"', 1, "a comparison should come here"),
        ('device.colour -eq "x"', 1, "no device property 'colour'; there are deviceId, displayName"),
        ('device.extensionAttribute16 -eq "x"', 1, "no device property"),
        ('device.model == "x"', 14, "'=' means nothing here"),
        ('device.model -like "x"', 14, "is for rules about groups"),
        ('device.model -match "x"', 14, "is for rules about groups"),
        ('device.model -equals "x"', 14, "-equals is none"),
        ("device.model", 13, "the rule ends here"),
        ('device.isCompliant -contains "x"', 20, "isCompliant has should come here, -eq, -ne;"),
        ('device.deviceId -startsWith "x"', 17, "deviceId has should come here, -eq, -ne, -in, -notIn;"),
        ('device.profileType -notIn ["Printer", "Shared"]', 20, "profileType has should come here, -eq, -ne;"),
        ('device.physicalIds -eq "x"', 20, "-contains, -notContains;"),
        ("device.model -eq", 17, "a value should come here"),
        ("device.model -eq x", 18, 'put the value in quotes: "x"'),
        ("device.operatingSystemVersion -startsWith 10.0", 43, 'put the value in quotes: "10.0"'),
        ("device.model -eq True", 18, "put the value in quotes"),
        ("device.isCompliant -eq yes", 24, "put the value in quotes"),
        ('device.isCompliant -eq "yes"', 24, "give True or False"),
        ('device.trustType -ne "AzureADJoined"', 22, "give one of AzureAD, ServerAD, Workplace"),
        ('device.deviceOwnership -eq "BYOD"', 28, "give one of Personal, Company"),
        ('device.profileType -eq "Laptop"', 24, "give one of RegisteredDevice"),
        ("device.model -startsWith null", 26, "null goes with -eq and -ne only"),
        ("device.model -in null", 18, "-in takes a list in brackets"),
        ('device.model -in "x"', 18, "-in takes a list in brackets"),
        ('device.model -eq ["x"]', 18, "a list goes with -in and -notIn; -eq takes a single value"),
        ("device.model -in []", 19, "a text in quotes should come here"),
        ('device.model -in ["x",]', 23, "a text in quotes should come here"),
        ('device.model -in ["x" "y"]', 23, "a comma or a closing bracket"),
        ('device.model -in ["x"', 18, "the bracket that opens here is never closed"),
        ('device.model -in ["x", ', 24, "for the list to end"),
        ('device.model -eq "x', 18, 'no closing "'),
        ("device.model -eq 'x", 18, "no closing '"),
        ('device.model -eq "x`"', 18, 'no closing "'),
        ("device.model -eq “x”", 18, "quotes must be straight"),
        ("device.model -eq \"O''Brien\"", 18, "put the text in single quotes"),
        (f"({a}", 1, "the parenthesis that opens here is never closed"),
        (f"{a})", len(a) + 1, "-and, -or or the end of the rule"),
        (f"{a} {b}", len(a) + 2, "-and, -or or the end of the rule"),
        (f"({a} {b})", len(a) + 3, "-and, -or or a closing parenthesis"),
        (f"{a} -and", len(a) + 6, "ends where a comparison should come"),
        (f"-and {a}", 1, "a comparison should come here"),
        (f"{a} -xor {b}", len(a) + 2, "-and, -or or the end of the rule"),
        ("-not", 5, "ends where a comparison should come"),
        ("()", 2, "a comparison should come here"),
        ("device.model -eq #", 18, "'#' means nothing here"),
        ("(" * (DEEPEST + 1) + a + ")" * (DEEPEST + 1), DEEPEST + 2, f"more than {DEEPEST} levels"),
        ("-not " * (DEEPEST + 1) + a, 5 * (DEEPEST + 1) + 1, f"more than {DEEPEST} levels"),
        ("(" * LONGEST, DEEPEST + 2, f"more than {DEEPEST} levels"),
        (f'device.model -eq "{"x" * LONGEST}"', LONGEST + 1, "at most 3,072 characters"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, position: int, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert caught.value.position == position
    assert caught.value.problem.startswith(f"at character {position}: ")
    assert says in caught.value.problem


def test_the_limits_are_reached_and_not_passed() -> None:
    assert parse("(" * DEEPEST + a + ")" * DEEPEST) == A
    assert parse("-not " * (DEEPEST - 1) + a)
    longest = f'device.model -eq "{"x" * (LONGEST - 19)}"'
    assert len(longest) == LONGEST
    assert parse(longest)


# Properties ---------------------------------------------------------------------------------------------


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    name = draw(st.sampled_from(sorted(PROPERTIES)))
    operator = draw(st.sampled_from(PROPERTIES[name]))
    texts = st.sampled_from(VALUES[name]) if name in VALUES else st.text(max_size=8)
    if name == "isCompliant":
        return Comparison(name, operator, draw(st.sampled_from([True, False, None])))
    if operator in ("in", "notIn"):
        return Comparison(name, operator, tuple(draw(st.lists(texts, min_size=1, max_size=3))))
    return Comparison(name, operator, draw(texts | st.none() if operator in ("eq", "ne") else texts))


def trees() -> st.SearchStrategy[Expression]:
    return st.recursive(
        comparisons(),
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, min_size=2, max_size=3).map(lambda items: And(tuple(items))),
            st.lists(inner, min_size=2, max_size=3).map(lambda items: Or(tuple(items))),
        ),
        max_leaves=8,
    )


# What a claim or a signal may hold, sensible or not.
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**4_000)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)
names = st.sampled_from([*PROPERTIES, *(name.upper() for name in PROPERTIES), "extensionAttributes"]) | st.text(
    max_size=3
)
devices = st.none() | st.dictionaries(names, values, max_size=6)


@given(trees())
def test_a_tree_that_is_printed_is_read_again(tree: Expression) -> None:
    assert parse(render(tree)) == tree


@given(trees(), devices)
def test_every_rule_has_an_answer_for_every_device(tree: Expression, device: dict[str, Any] | None) -> None:
    found = match(tree, device)
    assert match(Not(tree), device) == Match(not found.holds, found.missing)
    assert set(found.missing) <= set(PROPERTIES)
    assert match(And((tree, tree)), device).holds == match(Or((tree, tree)), device).holds == found.holds


@given(trees(), st.dictionaries(st.sampled_from(sorted(PROPERTIES)), st.text(max_size=3), max_size=20), st.data())
def test_where_nothing_is_missing_nothing_could_change_the_answer(
    tree: Expression, device: dict[str, Any], data: st.DataObject
) -> None:
    found = match(tree, device)
    more = {name: data.draw(st.text(max_size=3), label=name) for name in PROPERTIES if name not in device}
    if not found.missing:
        assert match(tree, device | more).holds == found.holds


@given(st.text() | st.text(alphabet="device.model-eqandornot()[]\"'`, $null"))
def test_any_text_is_a_rule_or_a_mistake(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError as error:
        mistake = error
    else:
        assert parse(render(tree)) == tree
        return
    assert 1 <= mistake.position <= len(text) + 1
