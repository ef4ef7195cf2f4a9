"""Every key of a TOML text is found on its own line, whatever stands around it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_engine.config.toml_places import KeyPath, places_of

ROOT = Path(__file__).resolve().parents[3]

DOCUMENT = r'''# a comment with [brackets] and a = sign
top = 1
[limits]                       # not [another]
a = "text # no comment, [no] = table"
dotted.deep . "quoted key" = 2
'literal.key'=3
"escaped \" \u00e9" = 4
many = """
fake = 1
[fake]
quote \""" still in here
ends with two quotes"""""
raw = \'\'\'
fake = 2\'\'\'
list = [1, "]", # comment ]
  [2, 3],
  { inside = 4 },
]
after_list = 5
inline = { x = 1, "y z" = { deep.er = "}" }, last = [ "}", ] }
date = 1979-05-27 07:32:00.5Z
number = +1_000.5e-3
[ limits . symbol . "BRK.B" ]
price = inf
[[array]]
first = 1
[[array]]
second = 2
[array.sub]
third = 3
'''.replace(r"\'", "'")

EXPECTED = {
    ("top",): (2, "1"),
    ("limits",): (3, "[limits]"),
    ("limits", "a"): (4, '"text # no comment, [no] = table"'),
    ("limits", "dotted"): (5, 'dotted.deep . "quoted key"'),
    ("limits", "dotted", "deep"): (5, 'dotted.deep . "quoted key"'),
    ("limits", "dotted", "deep", "quoted key"): (5, "2"),
    ("limits", "literal.key"): (6, "3"),
    ("limits", 'escaped " é'): (7, "4"),
    ("limits", "after_list"): (19, "5"),
    ("limits", "list", "inside"): (17, "4"),
    ("limits", "inline", "x"): (20, "1"),
    ("limits", "inline", "y z"): (20, '{ deep.er = "}" }'),
    ("limits", "inline", "y z", "deep"): (20, "deep.er"),
    ("limits", "inline", "y z", "deep", "er"): (20, '"}"'),
    ("limits", "inline", "last"): (20, '[ "}", ]'),
    ("limits", "date"): (21, "1979-05-27 07:32:00.5Z"),
    ("limits", "number"): (22, "+1_000.5e-3"),
    ("limits", "symbol"): (23, '[ limits . symbol . "BRK.B" ]'),
    ("limits", "symbol", "BRK.B"): (23, '[ limits . symbol . "BRK.B" ]'),
    ("limits", "symbol", "BRK.B", "price"): (24, "inf"),
    ("array",): (25, "[[array]]"),
    ("array", "first"): (26, "1"),
    ("array", "second"): (28, "2"),
    ("array", "sub"): (29, "[array.sub]"),
    ("array", "sub", "third"): (30, "3"),
}


def key_paths(value: Any, around: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*around, name)
            yield from key_paths(inner, (*around, name))
    elif isinstance(value, list):
        for inner in value:
            yield from key_paths(inner, around)


def test_each_key_has_its_line_and_what_is_written_there() -> None:
    places = places_of(DOCUMENT)
    found = {path: (places[path].line, places[path].written) for path in EXPECTED}
    assert found == EXPECTED
    assert set(places) == set(key_paths(tomllib.loads(DOCUMENT)))


@pytest.mark.parametrize("name", ["many", "raw", "list", "inline"])
def test_a_value_of_several_lines_is_written_in_full(name: str) -> None:
    written = places_of(DOCUMENT)["limits", name].written
    assert tomllib.loads(f"x = {written}")["x"] == tomllib.loads(DOCUMENT)["limits"][name]


def test_the_first_line_of_a_table_counts_when_it_is_opened_before_its_header() -> None:
    places = places_of("[a.b.c]\nx = 1\n[a]\ny = 2\n")
    assert places["a",].line == 1
    assert places["a", "y"].line == 4


def test_an_empty_text_has_no_keys() -> None:
    assert places_of("") == {}
    assert places_of("# nothing\n\n") == {}


@pytest.mark.parametrize(
    "path",
    [
        "pyproject.toml",
        "trade_engine/config/default_limits.toml",
        "trade_engine/config/default_instruments.toml",
    ],
)
def test_keys_are_those_that_tomllib_reads(path: str) -> None:
    text = (ROOT / path).read_text()
    assert set(places_of(text)) == set(key_paths(tomllib.loads(text)))


VALUES = st.sampled_from(
    [
        "1",
        "-1.5e3",
        "nan",
        "true",
        '"a # [b] = {c}, \\" d"',
        "'\\'",
        '"""\n[x]\ny = 1 """',
        '""""quoted""""',
        "'''\n'a' = [ '''",
        "2001-02-03 04:05:06.7",
        "[]",
        "[1, # ] }\n 2 ,\n]",
        "[ [ 'a]' ], { k = 1 } ]",
        "{}",
        '{ a = 1, "b.c" = [ 2 ] }',
    ]
)
NAMES = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=6),
)
BETWEEN = st.sampled_from(["", "\n", "# k = [\n", "  \t\n"])


def quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """Make a valid text, and say on which line each key of its own that it has stands."""
    lines: dict[KeyPath, int] = {}
    text = ""
    names = iter(draw(st.lists(NAMES, min_size=12, max_size=12, unique=True)))
    for _ in range(draw(st.integers(0, 3))):
        text += draw(BETWEEN)
        table = (next(names),)
        lines[table] = text.count("\n") + 1
        text += f"[ {quoted(table[0])} ] # ]\n"
        for _ in range(draw(st.integers(0, 3))):
            text += draw(BETWEEN)
            key = (next(names), *draw(st.lists(NAMES, max_size=2)))
            line = text.count("\n") + 1
            lines |= {table + key[:length]: line for length in range(1, len(key) + 1)}
            text += f"{' . '.join(map(quoted, key))}\t=  {draw(VALUES)}  # end\n"
    return text, lines


@given(documents())
def test_any_key_is_found_on_its_line(made: tuple[str, dict[KeyPath, int]]) -> None:
    text, lines = made
    places = places_of(text)
    assert {path: places[path].line for path in lines} == lines
    assert set(places) == set(key_paths(tomllib.loads(text)))
