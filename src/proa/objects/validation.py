"""Say which field breaks which rule, in upstream's words, and test the formats that names and values must have.

Causes follow apimachinery/pkg/util/validation/field/errors.go; formats follow pkg/util/validation/validation.go and
pkg/api/validate/content there. A format function returns the problems it found, an empty list when there are none.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from proa.objects.errors import Cause

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_UNDERSCORE = _LABEL_UNDERSCORE + r"(\." + _LABEL_UNDERSCORE + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER_NAME = "[-A-Za-z0-9]+"
_PERCENT = "[0-9]+%"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
MAX_ANNOTATIONS_BYTES = 256 * 1024


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern + r"\Z", re.ASCII)


_IS_LABEL, _IS_SUBDOMAIN, _IS_1035 = _regex(_LABEL), _regex(_SUBDOMAIN), _regex(_LABEL_1035)
_IS_QUALIFIED, _IS_LABEL_VALUE, _IS_CONFIG_KEY = (
    _regex(_QUALIFIED_NAME),
    _regex(_LABEL_VALUE),
    _regex(_CONFIG_KEY),
)
_IS_KEY = _regex(f"({_SUBDOMAIN}/)?{_QUALIFIED_NAME}")
_IS_HEADER_NAME, _IS_PERCENT = _regex(_HEADER_NAME), _regex(_PERCENT)


# --- causes -----------------------------------------------------------------------------------------------------


def required(field: str, detail: str = "") -> Cause:
    """The field must be given."""
    return Cause("FieldValueRequired", _with_detail("Required value", detail), field)


def invalid(field: str, value: object, detail: str) -> Cause:
    """The value breaks a rule."""
    return Cause("FieldValueInvalid", _with_detail(f"Invalid value: {_shown(value)}", detail), field)


def not_shown(field: str, detail: str) -> Cause:
    """The value breaks a rule, and is too much to show."""
    return Cause("FieldValueInvalid", _with_detail("Invalid value", detail), field)


def not_supported(field: str, value: object, supported: Iterable[str]) -> Cause:
    """The value is not one of `supported`, which are shown in the order given."""
    listed = ", ".join(quote(s) for s in supported)
    detail = f"supported values: {listed}" if listed else ""
    return Cause("FieldValueNotSupported", _with_detail(f"Unsupported value: {_shown(value)}", detail), field)


def duplicate(field: str, value: object) -> Cause:
    """The value is there already."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {_shown(value)}", field)


def forbidden(field: str, detail: str) -> Cause:
    """The field may not be given, or not changed."""
    return Cause("FieldValueForbidden", _with_detail("Forbidden", detail), field)


def not_found(field: str, value: object) -> Cause:
    """The value names something that is not there."""
    return Cause("FieldValueNotFound", f"Not found: {_shown(value)}", field)


def too_long(field: str, most: int) -> Cause:
    """The text is over `most` bytes."""
    return Cause("FieldValueTooLong", f"Too long: may not be more than {most} bytes", field)


def too_many(field: str, count: int, most: int) -> Cause:
    """The list has over `most` items."""
    plural = "" if most == 1 else "s"
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {most} item{plural}", field)


def all_invalid(field: str, value: object, problems: Iterable[str]) -> list[Cause]:
    """Return one Invalid cause for each problem that a format function found."""
    return [invalid(field, value, problem) for problem in problems]


class Verbatim(str):
    """A value that a message shows as it is, without quotes."""


def _with_detail(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value if isinstance(value, Verbatim) else quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def quote(text: str) -> str:
    """Return `text` in double quotes as Go's %q writes it."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b",
               "\f": "\\f", "\v": "\\v"}  # fmt: skip
    return '"' + "".join(escapes.get(c) or (c if c.isprintable() else _escaped(c)) for c in text) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# --- formats ----------------------------------------------------------------------------------------------------


def regex_problem(message: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def _max_length(value: str, most: int, unit: str = "characters") -> list[str]:
    """Count bytes, whatever upstream calls them: characters in util/validation, bytes in validate/content."""
    return [f"must be no more than {most} {unit}"] if len(value.encode()) > most else []


def dns_label(value: str) -> list[str]:
    """RFC 1123 label: most names."""
    if len(value) <= 63 and _IS_LABEL.match(value):
        return []
    problems = _max_length(value, 63)
    if not _IS_LABEL.match(value):
        problems.append(
            "must not contain dots"
            if _IS_SUBDOMAIN.match(value)
            else regex_problem(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                "and must start and end with an alphanumeric character",
                _LABEL,
                "my-name",
                "123-abc",
            )
        )
    return problems


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: labels joined with dots."""
    if len(value) <= 253 and _IS_SUBDOMAIN.match(value):
        return []
    return _subdomain_problems(value, "characters")


def _subdomain_problems(value: str, unit: str) -> list[str]:
    problems = _max_length(value, 253, unit)
    if not _IS_SUBDOMAIN.match(value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        problems.append(regex_problem(message, _SUBDOMAIN, "example.com"))
    return problems


def search_domain(value: str) -> list[str]:
    """RFC 1123 subdomain whose labels may have underscores."""
    problems = _max_length(value, 253)
    if not re.fullmatch(_SUBDOMAIN_UNDERSCORE, value, re.ASCII):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        problems.append(regex_problem(message, _SUBDOMAIN_UNDERSCORE, "example.com"))
    return problems


def wildcard_subdomain(value: str) -> list[str]:
    """An asterisk, a dot, and an RFC 1123 subdomain."""
    problems = _max_length(value, 253)
    if not (value.startswith("*.") and _IS_SUBDOMAIN.match(value[2:])):
        message = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must "
            "consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
        )
        problems.append(regex_problem(message, r"\*\." + _SUBDOMAIN, "*.example.com"))
    return problems


def dns1035_label(value: str) -> list[str]:
    """RFC 1035 label: it starts with a letter."""
    problems = _max_length(value, 63)
    if not _IS_1035.match(value):
        message = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
            "alphabetic character, and end with an alphanumeric character"
        )
        problems.append(regex_problem(message, _LABEL_1035, "my-name", "abc-123"))
    return problems


def path_segment(value: str) -> list[str]:
    """Anything that can stand between two slashes of a URL."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{c}'" for c in ("/", "%") if c in value]


def qualified_name(value: str) -> list[str]:
    """A label or annotation key: an optional DNS prefix, a slash, a name."""
    if len(value) <= 63 and _IS_KEY.match(value):
        return []
    prefix, slash, name = value.rpartition("/")
    problems: list[str] = []
    message = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character"
    )
    examples = ("MyName", "my.name", "123-abc")
    if "/" in prefix:
        problem = "a valid label key " + regex_problem(message, _QUALIFIED_NAME, *examples)
        return [problem + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    if slash:
        problems += (
            [f"prefix part {p}" for p in _subdomain_problems(prefix, "bytes")]
            if prefix
            else ["prefix part must be non-empty"]
        )
    if not name:
        problems.append("name part must be non-empty")
    else:
        problems += [f"name part {p}" for p in _max_length(name, 63, "bytes")]
    if not _IS_QUALIFIED.match(name):
        problems.append("name part " + regex_problem(message, _QUALIFIED_NAME, *examples))
    return problems


def label_value(value: str) -> list[str]:
    """The value of a label: empty, or 63 characters of a few kinds."""
    if len(value) <= 63 and _IS_LABEL_VALUE.match(value):
        return []
    problems = _max_length(value, 63, "bytes")
    if not _IS_LABEL_VALUE.match(value):
        message = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        problems.append(regex_problem(message, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return problems


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or a Secret: what can be a file name."""
    problems = _max_length(value, 253)
    if not _IS_CONFIG_KEY.match(value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        problems.append(regex_problem(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        problems.append(f"must not be '{value}'")
    elif value.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def environment_name(value: str) -> list[str]:
    """The name of an environment variable (the relaxed rule, KEP-4369)."""
    if not value:
        return ["environment variable name must be non-empty"]
    if all(" " <= c <= "~" and c != "=" for c in value):
        return []
    return [
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
    ]


def header_name(value: str) -> list[str]:
    """The name of an HTTP header."""
    if _IS_HEADER_NAME.match(value):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_problem(message, _HEADER_NAME, "X-Header-Name")]


def port_number(value: int) -> list[str]:
    """1 to 65535."""
    return in_range(value, 1, 65535)


def in_range(value: int, least: int, most: int) -> list[str]:
    """A number within bounds, both included."""
    return [] if least <= value <= most else [f"must be between {least} and {most}, inclusive"]


def port_name(value: str) -> list[str]:
    """IANA_SVC_NAME: 15 characters, at least one letter."""
    problems = _max_length(value, 15)
    if not re.fullmatch("[-a-z0-9]+", value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def ip_address(value: str) -> list[str]:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def cidr(value: str) -> list[str]:
    """An address and a prefix length."""
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    return [] if "/" in value else ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]


def percent(value: str) -> list[str]:
    """Digits and a percent sign."""
    if _IS_PERCENT.match(value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_problem(message, _PERCENT, "1%", "93%")]


def domain_prefixed_path(value: str, field: str) -> list[Cause]:
    """A DNS name, a slash, a path (IsDomainPrefixedPath)."""
    if not value:
        return [required(field)]
    host, _, path = value.partition("/")
    if not host or not path:
        return [invalid(field, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    causes = all_invalid(field, host, dns_subdomain(host))
    if not re.fullmatch(_HTTP_PATH, path, re.ASCII):
        causes.append(invalid(field, path, f"Invalid path (regex used for validation is '{_HTTP_PATH}')"))
    return causes


def validate_descending_path(value: str, field: str) -> list[Cause]:
    """Check that a path stays below where it starts."""
    causes = [invalid(field, value, "must be a relative path")] if value.startswith("/") else []
    return causes + ([invalid(field, value, "must not contain '..'")] if ".." in value.split("/") else [])


# --- rules that many kinds share --------------------------------------------------------------------------------


def validate_labels(labels: Mapping[str, str] | None, field: str) -> list[Cause]:
    """Keys and values of labels (apimachinery/pkg/apis/meta/v1/validation ValidateLabels)."""
    causes: list[Cause] = []
    for key, value in (labels or {}).items():
        causes += all_invalid(field, key, qualified_name(key))
        causes += all_invalid(field, value, label_value(value))
    return causes


def validate_annotations(annotations: Mapping[str, str] | None, field: str) -> list[Cause]:
    """Keys of annotations, and the size of all of them (apimachinery/pkg/api/validation ValidateAnnotations)."""
    causes: list[Cause] = []
    size = 0
    for key, value in (annotations or {}).items():
        causes += all_invalid(field, key, qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode())
    return causes if size <= MAX_ANNOTATIONS_BYTES else [*causes, too_long(field, MAX_ANNOTATIONS_BYTES)]


def validate_non_negative(value: int, field: str) -> list[Cause]:
    """Zero or more."""
    return [] if value >= 0 else [invalid(field, value, "must be greater than or equal to 0")]


def validate_enum(value: Any, field: str, supported: Sequence[str]) -> list[Cause]:
    """One of `supported`, which upstream shows sorted; required when absent."""
    if not value:
        return [required(field)]
    return [] if value in supported else [not_supported(field, value, sorted(supported))]


def validate_immutable(new: object, old: object, field: str) -> list[Cause]:
    """Set once and for all."""
    return [] if new == old else [invalid(field, new, "field is immutable")]
