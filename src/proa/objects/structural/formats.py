"""Test strings against the formats that a schema may name; a name that is not among them asks for nothing.

Follows kube-openapi pkg/validation/strfmt and apiextensions-apiserver/pkg/apiserver/validation/formats.go.
"""

from __future__ import annotations

import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime
from email.utils import parseaddr
from functools import lru_cache
from urllib.parse import urlsplit

MAX_EMAIL_CHARACTERS = 1024
_HEX = "[0-9a-f]"
_UUID = re.compile(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}\Z", re.I | re.A)
_UUID3 = re.compile(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?3{_HEX}{{3}}-?{_HEX}{{4}}-?{_HEX}{{12}}\Z", re.I | re.A)
_UUID4 = re.compile(
    rf"{_HEX}{{8}}-?{_HEX}{{4}}-?4{_HEX}{{3}}-?[89ab]{_HEX}{{3}}-?{_HEX}{{12}}\Z", re.I | re.A
)
_UUID5 = re.compile(
    rf"{_HEX}{{8}}-?{_HEX}{{4}}-?5{_HEX}{{3}}-?[89ab]{_HEX}{{3}}-?{_HEX}{{12}}\Z", re.I | re.A
)
_CREDIT_CARD = re.compile(
    r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|(222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|"
    r"6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11}|"
    r"6[27][0-9]{14})\Z",
    re.A,
)
_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}\Z", re.A)
_HEX_COLOUR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})\Z", re.A)
_PART = "([01]?[0-9]?[0-9]|2[0-4][0-9]|25[0-5])"
_RGB = re.compile(rf"rgb\(\s*{_PART}\s*,\s*{_PART}\s*,\s*{_PART}\s*\)\Z", re.A)
_BASE64 = re.compile(
    r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})\Z", re.A
)
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)?\Z", re.A)
_MAC = re.compile(
    r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?:(?:\1[0-9a-f]{2}){2})?(?:(?:\1[0-9a-f]{2}){12})?\Z|"
    r"(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}(?:\.[0-9a-f]{4})?(?:(?:\.[0-9a-f]{4}){6})?\Z",
    re.I | re.A,
)
_GO_DURATION = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+\Z", re.A)
_DURATION = re.compile(r"(\d+)\s*([A-Za-zµ]+)", re.A)
_UNITS = (("ns", "nano"), ("us", "µs", "micro"), ("ms", "milli"), ("s", "sec"), ("m", "min"),
          ("h", "hr", "hour"), ("d", "day"), ("w", "wk", "week"))  # fmt: skip
_SHORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z", re.A)
_LONG_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z", re.A)
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}\Z", re.A)
_HOST_CHARACTER = re.compile(r"[^\W_]|[-]", re.U)


def find_format(name: str, schema_type: str) -> Callable[[str], bool] | None:
    """Return the test of a format for strings, or None where the name asks for nothing of them."""
    return FORMATS.get(name.replace("-", "")) if schema_type in ("", "string") else None


def is_known(name: str, schema_type: str) -> bool:
    """Tell whether a format means something for a type; others get a warning."""
    if schema_type in ("", "string"):
        return name.replace("-", "") in FORMATS
    if schema_type == "integer":
        return name in ("int32", "int64")
    return schema_type == "number" and name in ("float", "double")


def _is_uri(text: str) -> bool:
    """Follow url.ParseRequestURI with a scheme, as govalidator's IsRequestURI."""
    if not text or any(c <= " " or c == "\x7f" for c in text):
        return False
    if text.startswith("/"):
        return True
    scheme, colon, rest = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) or not rest.startswith("/"):
        return False
    try:
        split = urlsplit(text)
        return split.port is None or split.port >= 0
    except ValueError:
        return False


def _is_email(text: str) -> bool:
    if len(text) > MAX_EMAIL_CHARACTERS:
        return False
    _, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    return bool(at and local and domain) and " " not in domain and not domain.startswith(".")


@lru_cache(maxsize=256)
def _is_hostname(text: str) -> bool:
    """Letters, digits and inner hyphens in labels up to 63; the last of several starts with no digit."""
    if not text or len(text.encode()) > 255:
        return False
    labels = text.split(".")
    for label in labels:
        if not label or len(label.encode()) > 63 or label[0] == "-" or label[-1] == "-":
            return False
        if not all(_HOST_CHARACTER.match(c) or not c.isascii() for c in label):
            return False
    return len(labels) == 1 or (len(labels[-1]) >= 2 and all(c.isalpha() for c in labels[-1]))


def _sloppy(text: str) -> str:
    """Return an IPv4 address without leading zeros."""
    return ".".join(part.lstrip("0") or "0" if part.isdigit() else part for part in text.split("."))


def _is_ipv4(text: str) -> bool:
    if "." not in text:
        return False
    return _parses(ipaddress.ip_address, text if ":" in text else _sloppy(text))


def _is_ipv6(text: str) -> bool:
    return ":" in text and "%" not in text and _parses(ipaddress.ip_address, text)


def _is_cidr(text: str) -> bool:
    address, slash, bits = text.partition("/")
    if not slash or not bits.isascii() or not bits.isdigit():
        return False
    return _parses(ipaddress.ip_interface, f"{address if ':' in address else _sloppy(address)}/{bits}")


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _is_isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{9}[0-9X]", digits):
        return False
    total = sum((index + 1) * int(d) for index, d in enumerate(digits[:9]))
    return (total + 10 * (10 if digits[9] == "X" else int(digits[9]))) % 11 == 0


def _is_isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{13}", digits):
        return False
    total = sum((3 if index % 2 else 1) * int(d) for index, d in enumerate(digits[:12]))
    return (10 - total % 10) % 10 == int(digits[12])


def _is_credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if not _CREDIT_CARD.match(digits):
        return False
    total = 0
    for index, d in enumerate(reversed(digits)):
        number = int(d) * (2 if index % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def _is_byte(text: str) -> bool:
    if not _BASE64.match(text):
        return False
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return False
    return True


def _is_date(text: str) -> bool:
    return len(text) == 10 and _parses(date.fromisoformat, text)


def _is_date_time(text: str) -> bool:
    found = _DATE_TIME.match(text)
    if found is None or not _is_date(found[1]):
        return False
    hour, minute, second = int(found[2]), int(found[3]), int(found[4])
    if hour > 23 or minute > 59 or second > 59:
        return False
    zone = found[6]
    if zone is None:
        return True
    return zone in "Zz" or _parses(datetime.fromisoformat, f"{found[1]}T00:00:00{zone}")


def _is_duration(text: str) -> bool:
    if _GO_DURATION.match(text) or text in ("0", "+0", "-0"):
        return True
    for _, raw in _DURATION.findall(text):
        unit = raw.lower()
        if any(unit in names or unit.startswith(names[-1]) for names in _UNITS):
            return True
    return False


FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": lambda text: bool(_OBJECT_ID.match(text)),
    "uri": _is_uri,
    "email": _is_email,
    "hostname": _is_hostname,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "cidr": _is_cidr,
    "mac": lambda text: bool(_MAC.match(text)),
    "uuid": lambda text: bool(_UUID.match(text)),
    "uuid3": lambda text: bool(_UUID3.match(text)),
    "uuid4": lambda text: bool(_UUID4.match(text)),
    "uuid5": lambda text: bool(_UUID5.match(text)),
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "creditcard": _is_credit_card,
    "ssn": lambda text: bool(_SSN.match(text)),
    "hexcolor": lambda text: bool(_HEX_COLOUR.match(text)),
    "rgbcolor": lambda text: bool(_RGB.match(text)),
    "byte": _is_byte,
    "password": lambda text: True,
    "date": _is_date,
    "duration": _is_duration,
    "datetime": _is_date_time,
    "k8sshortname": lambda text: len(text) <= 63 and bool(_SHORT_NAME.match(text)),
    "k8slongname": lambda text: len(text) <= 253 and bool(_LONG_NAME.match(text)),
}
"""By name without hyphens."""
