"""Every line of upstream's conformance suite has a test that names it, or a reason why not.

The lines' tiers: T0 asks for the API alone, T1 for controllers too, T2 for real containers, T3 for pods' network.
`lines.tsv` names them, without their tags; a test names the lines it covers in its docstring, each from "[sig-" on.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("lines.tsv")


@cache
def read_lines() -> dict[str, str]:
    """Return why a line has no test, "" where it has one, by the line."""
    rows = [row.split("\t") for row in TABLE.read_text().splitlines() if not row.startswith("#")]
    found = {line: "".join(reason) for _, line, *reason in rows}
    assert len(found) == len(rows)
    return found


def plain(text: str) -> str:
    """Return a docstring without tags and line breaks."""
    return " ".join(re.sub(r"\s*\[(?!sig-)[^\]]*\]", "", text).split())


@cache
def read_named() -> frozenset[str]:
    """Return the lines that tests name. A line may begin another: the longest that fits is meant."""
    longest_first = sorted(read_lines(), key=len, reverse=True)
    found = set()
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text()
        if "[sig-" not in text or path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                named = re.split(r"(?=\[sig-)", plain(ast.get_docstring(node) or ""))
                found |= {
                    next((one for one in longest_first if part.startswith(one)), part) for part in named
                }
    return frozenset(part for part in found if part.startswith("[sig-"))


def test_every_line_has_a_test_or_a_reason_why_not() -> None:
    untested = {line for line, reason in read_lines().items() if not reason}
    assert not untested - read_named()


def test_no_line_that_has_a_test_has_a_reason_why_not() -> None:
    assert not {line for line, reason in read_lines().items() if reason} & read_named()
