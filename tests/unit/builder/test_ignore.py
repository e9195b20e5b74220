"""What .dockerignore leaves out, by Docker's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.builder.ignore import BadPattern, Ignore, parse_ignore

CASES = [
    ("a", "a", True),
    ("a", "a/b", True),
    ("a", "b/a", False),
    ("/a", "a", True),
    ("./a/", "a/b", True),
    ("*.py", "x.py", True),
    ("*.py", "d/x.py", False),
    ("*/*.py", "d/x.py", True),
    ("**/*.py", "x.py", True),
    ("**/*.py", "a/b/x.py", True),
    ("a/**", "a/b/c", True),
    ("a/**", "a", False),
    ("a/**/z", "a/z", True),
    ("a/**/z", "a/b/c/z", True),
    ("x?", "xy", True),
    ("x?", "x/", False),
    ("[a-c]d", "bd", True),
    ("[^a-c]d", "bd", False),
    ("a.b", "axb", False),
    ("a\n!a/b", "a/b", False),
    ("a\n!a/b", "a/c", True),
    ("!a\na", "a", True),
    ("*\n!keep", "keep/this", False),
    ("*\n!keep\nkeep/not", "keep/not", True),
    ("# a\n\n  b  ", "b", True),
    ("# a", "a", False),
    ("a/../b", "b", True),
    (r"\#x", "#x", True),
]


@pytest.mark.parametrize(("text", "path", "left_out"), CASES)
def test_a_path_is_left_out_or_not(text: str, path: str, left_out: bool) -> None:
    assert parse_ignore(text).excludes(path) is left_out


@pytest.mark.parametrize("text", ["!", "[a"])
def test_a_pattern_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BadPattern):
        parse_ignore(text)


@given(st.lists(st.text("ab*?/!", min_size=1, max_size=8), max_size=5), st.text("ab", min_size=1, max_size=3))
def test_what_is_below_a_folder_that_is_left_out_is_so_too_unless_taken_back(
    patterns: list[str], name: str
) -> None:
    try:
        ignore = Ignore(patterns)
    except BadPattern:
        return
    if ignore.excludes(name) and not ignore.may_take_back:
        assert ignore.excludes(f"{name}/below")
