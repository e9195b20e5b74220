"""Formats of names and values, and how broken rules are worded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proa.objects.validation import (
    cidr,
    config_key,
    dns1035_label,
    dns_label,
    dns_subdomain,
    environment_name,
    invalid,
    ip_address,
    label_value,
    not_supported,
    percent,
    port_name,
    qualified_name,
    quote,
    too_many,
    validate_annotations,
    validate_labels,
)

Format = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        (dns_label, ["a", "a-1", "1a", "a" * 63], ["", "A", "-a", "a-", "a.b", "a_b", "a" * 64, "a\n"]),
        (dns_subdomain, ["a", "a.b-c.d1"], ["", "a..b", ".a", "A.b", "a" * 254]),
        (dns1035_label, ["a", "a1"], ["1a", "a.b"]),
        (qualified_name, ["a", "A.b_c-d", "x.y/Z", "a" * 63, "x" * 60 + "/" + "a" * 63],
         ["", "/a", "a/", "a/b/c", "a b", "-a", "X.y/a", "a" * 64]),
        (label_value, ["", "a", "A_1.b"], ["a b", "-a", "a" * 64]),
        (config_key, ["a", "a.b", "A_b-c", "..."[:1] + "a"], ["", "a b", ".", "..", "..a", "a" * 254]),
        (environment_name, ["A", "a.b", "a b", "1a"], ["", "a=b", "ä"]),
        (port_name, ["http", "a-1"], ["HTTP", "1", "a--b", "-a", "a" * 16]),
        (ip_address, ["1.2.3.4", "::1"], ["1.2.3", "10.0.0.300", "01.2.3.4"]),
        (cidr, ["10.0.0.0/8", "::/0"], ["10.0.0.0", "10.0.0.0/33"]),
        (percent, ["0%", "150%"], ["5", "-5%", "%"]),
    ],
)  # fmt: skip
def test_formats(format: Format, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if format(value)] == []
    assert [value for value in bad if not format(value)] == []


def test_a_label_with_dots_is_told_so() -> None:
    assert dns_label("a.b") == ["must not contain dots"]


@pytest.mark.parametrize(
    ("format", "value", "problem"),
    [
        (dns_label, "a" * 64, "must be no more than 63 characters"),
        (dns_subdomain, "a" * 254, "must be no more than 253 characters"),
        (qualified_name, "a" * 64, "name part must be no more than 63 bytes"),
        (qualified_name, "a" * 254 + "/b", "prefix part must be no more than 253 bytes"),
        (label_value, "a" * 64, "must be no more than 63 bytes"),
    ],
)
def test_what_is_too_long_is_told_in_upstreams_unit(format: Format, value: str, problem: str) -> None:
    assert format(value) == [problem]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", '"a"'),
        (3, "3"),
        (True, "true"),
        (None, "null"),
        ({"b": 1, "a": "x"}, '{"a":"x","b":1}'),
        (1.5, "1.5"),
    ],
)
def test_values_are_shown_as_go_shows_them(value: object, shown: str) -> None:
    assert invalid("f", value, "why").message == f"Invalid value: {shown}: why"


def test_quotes_are_gos() -> None:
    assert quote('a"\\\n\x01é\u200b') == '"a\\"\\\\\\n\\x01é\\u200b"'


def test_supported_values_are_listed_in_the_order_given() -> None:
    cause = not_supported("f", "x", ("b", "a"))
    assert (cause.reason, cause.message) == (
        "FieldValueNotSupported",
        'Unsupported value: "x": supported values: "b", "a"',
    )


def test_too_many_counts() -> None:
    assert too_many("f", 3, 1).message == "Too many: 3: must have at most 1 item"


def test_labels_and_annotations_are_checked_key_and_value() -> None:
    assert [c.field for c in validate_labels({"a b": "ok", "ok": "a b"}, "metadata.labels")] == [
        "metadata.labels"
    ] * 2
    assert validate_annotations({"A.B/c": "anything at all"}, "metadata.annotations") == []
    (cause,) = validate_annotations({"a": "x" * (256 * 1024)}, "metadata.annotations")
    assert cause.message == "Too long: may not be more than 262144 bytes"
