"""Words of a Dockerfile: quotes, escapes and variables as BuildKit resolves them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.builder.dockerfile.words import WordError, Words

VARIABLES = {"who": "world", "two": "a  b", "empty": "", "path": "/a/b/file.tar.gz", "star": "a*b"}

CASES = [
    ("hello $who", "hello world"),
    ("${who}s", "worlds"),
    ("$whos", ""),
    ("'$who'", "$who"),
    ('"$who"', "world"),
    (r"\$who", "$who"),
    (r'"\$who \" \\ \n"', r'$who " \ \n'),
    (r"a\ b\c", "a bc"),
    ("$", "$"),
    ("cost: $ 5", "cost: $ 5"),
    ("$1", ""),
    ("${who:-x}", "world"),
    ("${nobody:-x}", "x"),
    ("${empty:-x}", "x"),
    ("${empty-x}", ""),
    ("${nobody-x}", "x"),
    ("${who:+x}", "x"),
    ("${empty:+x}", ""),
    ("${empty+x}", "x"),
    ("${nobody+x}", ""),
    ("${nobody:-${who}}", "world"),
    ("${nobody:-'$who'}", "$who"),
    ("${path#*/}", "a/b/file.tar.gz"),
    ("${path##*/}", "file.tar.gz"),
    ("${path%.*}", "/a/b/file.tar"),
    ("${path%%.*}", "/a/b/file"),
    ("${path#?a}", "/b/file.tar.gz"),
    (r"${star%\*b}", "a"),
    ("${path/a/X}", "/X/b/file.tar.gz"),
    ("${path//a/X}", "/X/b/file.tXr.gz"),
    ("${path//./}", "/a/b/filetargz"),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_a_word_is_expanded(text: str, expected: str) -> None:
    assert Words(VARIABLES).expand(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("$two", ["a", "b"]),
        ('"$two"', ["a  b"]),
        (r"a\ b c", ["a b", "c"]),
        ("'' x", ["", "x"]),
        ("x$empty $empty", ["x"]),
    ],
)
def test_words_are_split_where_blanks_are_not_quoted(text: str, words: list[str]) -> None:
    assert Words(VARIABLES).split(text) == words


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("'a", "single-quote"),
        ('"a', "double-quote"),
        ("${who", "missing '}'"),
        ("${who:-x", "missing '}'"),
        ("${}", "bad substitution"),
        ("${who:=x}", "unsupported modifier (=)"),
        ("${nobody:?must be}", "nobody: must be"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${nobody?}", "nobody: is not allowed to be unset"),
    ],
)
def test_what_cannot_be_understood_is_said(text: str, why: str) -> None:
    with pytest.raises(WordError) as failure:
        Words(VARIABLES).expand(text)
    assert why in str(failure.value)


def test_another_escape_character_leaves_backslashes_alone() -> None:
    assert Words(VARIABLES, "`").expand(r"C:\dir`$who") == r"C:\dir$who"


def test_without_quotes_they_are_characters_like_others() -> None:
    assert Words(VARIABLES, quotes=False).expand('it\'s "$who"') == 'it\'s "world"'


@given(st.text(st.characters(blacklist_characters="$'\"\\", blacklist_categories=("Cs",)), max_size=40))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert Words(VARIABLES).expand(text) == text


@given(st.text("ab$${}:-+?#%/\\'\" who", max_size=30))
def test_anything_is_expanded_or_refused(text: str) -> None:
    try:
        Words(VARIABLES).expand(text)
    except WordError:
        return
