"""YAML that stands for more than it says is refused before it is built."""

from __future__ import annotations

import pytest

from proa.apiserver.handlers.yaml_bodies import load_yaml
from proa.objects.errors import BadRequest


def layers(first: str, layer: str) -> bytes:
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{i}: &a{i} {layer.format(aliases=','.join([f'*a{i - 1}'] * 9))}" for i in range(1, 10)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (layers("[x, x]", "[{aliases}]"), "excessive aliasing"),
        (layers("{x: 1}", "{{<<: [{aliases}], z: 1}}"), "excessive aliasing"),
        (b"a: &a " + b"x" * 100_000 + b"\nb: [" + b"*a," * 1000 + b"]", "excessive aliasing"),
        (b"[" * 100_000, "max depth"),
        (b"a: &a [*a]", "contains itself"),
        (b"a: " + b"1:" * 100_000 + b"1", "a number of"),
        (b"a: !!int '" + b"9" * 5000 + b"'", "a number of"),
        (b"a: 2001-99-99", "month must be in"),
    ],
    ids=["laughs", "merges", "a long scalar", "depth", "a cycle", "base 60", "a tagged number", "no date"],
)
def test_hostile_documents_are_refused(body: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        load_yaml(body)


def test_ordinary_aliases_and_merges_are_read() -> None:
    body = b"base: &base {a: 1}\nmore: {<<: *base, b: 2}\nagain: *base\nlong: '" + b"7" * 5000 + b"'\n"
    assert load_yaml(body) == {
        "base": {"a": 1},
        "more": {"a": 1, "b": 2},
        "again": {"a": 1},
        "long": "7" * 5000,
    }
