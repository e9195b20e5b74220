"""Read and write resource quantities (`100m`, `1.5Gi`, `2e3`) exactly, in upstream's canonical form.

Values are decimals with at most nine fractional digits; anything finer is rounded away from zero, and the
magnitude is capped at 2**63-1, as in apimachinery/pkg/api/resource/quantity.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal
from functools import lru_cache

_SHAPE = re.compile(r"([+-]?)([0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)\Z")
_DIGITS = re.compile(r"[0-9]+\.?[0-9]*\Z|\.[0-9]+\Z")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)\Z")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_NANO = Decimal("1e-9")
_LARGEST = Decimal(2**63 - 1)
_LONGEST_EXPONENT = 64
_EXACT = Context(prec=512)

FORMAT_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class QuantityError(ValueError):
    """The text is not a quantity; the message is upstream's."""


def parse_quantity(text: str | int | float) -> Decimal:
    """Return the exact value of a quantity, which JSON may also give as a number; raise QuantityError."""
    return _parse(str(text))[0]


@lru_cache(maxsize=8192)
def to_millis(text: str | int | float) -> int:
    """Return the value in thousandths, rounded up (cpu)."""
    return _ceiling(parse_quantity(text) * 1000)


@lru_cache(maxsize=8192)
def to_units(text: str | int | float) -> int:
    """Return the value in whole units, rounded up (bytes, counts)."""
    return _ceiling(parse_quantity(text))


@lru_cache(maxsize=8192)
def canonicalize(text: str | int | float) -> str:
    """Return the canonical form: no fraction, the largest suffix that keeps it exact."""
    value, form = _parse(str(text))
    return _format(value, form)


def add_quantities(texts: Iterable[str]) -> str:
    """Return the canonical sum, written in the form of the first that is not zero."""
    parsed = [_parse(str(text)) for text in texts]
    form = next((form for value, form in parsed if value), "decimal")
    return _format(sum((value for value, _ in parsed), Decimal(0)), form)


def subtract_quantities(text: str, less: str) -> str:
    """Return the canonical difference, which may be negative, in the form of the first."""
    (value, form), (other, other_form) = _parse(str(text)), _parse(str(less))
    return _format(value - other, form if value else other_form)


def format_bytes(count: int) -> str:
    """Return whole units as a canonical binary quantity: 1073741824 -> "1Gi"."""
    return _format(Decimal(count), "binary")


@lru_cache(maxsize=8192)
def _parse(text: str) -> tuple[Decimal, str]:
    match = _SHAPE.match(text)
    if match is None or not _DIGITS.match(match[2]):
        raise QuantityError(FORMAT_MESSAGE)
    sign, digits, suffix = match.groups()
    value = Decimal(digits)
    if suffix in _BINARY:
        value, form = _EXACT.multiply(value, Decimal(1024 ** _BINARY[suffix])), "binary"
    elif suffix in _DECIMAL:
        value, form = value.scaleb(_DECIMAL[suffix], _EXACT), "decimal"
    elif exponent := _EXPONENT.match(suffix):
        power = max(-_LONGEST_EXPONENT, min(_LONGEST_EXPONENT, int(exponent[1])))
        value, form = value.scaleb(power, _EXACT), "exponent"
    else:
        raise QuantityError("unable to parse quantity's suffix")
    value = min(value, _LARGEST).quantize(_NANO, ROUND_UP, _EXACT)
    return (-value if sign == "-" and value else value), form


def _format(value: Decimal, form: str) -> str:
    if form == "binary" and (abs(value) < 1024 or value != value.to_integral_value()):
        form = "decimal"
    if form == "binary":
        number, power = _without_factor(int(value), 1024, largest=6)
        return f"{number}{_BINARY_SUFFIX[power] if power else ''}"
    number, steps = _without_factor(int(value.scaleb(9, _EXACT)), 1000, largest=9)
    power = 3 * steps - 9 if number else 0
    if form == "exponent":
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_DECIMAL_SUFFIX[power]}"


def _without_factor(number: int, factor: int, largest: int) -> tuple[int, int]:
    times = 0
    while number and times < largest and number % factor == 0:
        number //= factor
        times += 1
    return number, times


def _ceiling(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_CEILING))
