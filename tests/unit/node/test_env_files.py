"""Variables that come from files in volumes: what a file may say, and where it may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.node.env_files import EnvFileError, find_value, read_variable


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("A='1'\nB='2'\n", "B", "2"),
        ("# note\n\n  A='1' # note", "A", "1"),
        ("A='one\ntwo'\nB='3'", "A", "one\ntwo"),
        ("A='one\ntwo'\nB='3'", "B", "3"),
        ("A='$B # \"x\" \\n'", "A", '$B # "x" \\n'),
        ("A= '1'", "A", ""),
        ("A=''", "A", ""),
        ("A='1'", "B", None),
        ("", "A", None),
        ("A='first'\nA='second'", "A", "first"),
        ("A='1'\nbroken", "A", "1"),
    ],
)
def test_a_line_says_a_value_in_single_quotes(text: str, key: str, value: str | None) -> None:
    assert find_value(text, key) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A", "at line 1: missing '='"),
        ("\n='1'", "at line 2: empty variable name"),
        ("A ='1'", "at line 1: whitespace before '=' is not allowed"),
        ("A=1", "at line 1: value must be enclosed in single quotes"),
        ("A='1'x", "at line 1: unexpected content after closing quote"),
        ("A='1\n2", "starting at line 1: unclosed single quote"),
    ],
)
def test_what_says_nothing_is_wrong(text: str, why: str) -> None:
    with pytest.raises(EnvFileError, match=why):
        find_value(text, "B")


def test_a_file_is_read_where_no_link_leads(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "deep").mkdir(parents=True)
    (volume / "deep" / "env").write_text("A='1'")
    (tmp_path / "secret").write_text("A='stolen'")
    (volume / "link").symlink_to(tmp_path / "secret")
    (volume / "up").symlink_to(tmp_path)
    (volume / "large").write_text("A='" + "x" * 70_000 + "'")

    assert read_variable(volume, "deep/env", "A") == "1"
    for path in ("link", "up/secret", "nowhere", "large", "deep"):
        with pytest.raises(EnvFileError, match=path):
            read_variable(volume, path, "A")
