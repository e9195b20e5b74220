"""Kubernetes' named formats of text (apiserver/pkg/cel/library/format.go)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import ClassVar

from proa.objects import validation
from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload
from proa.objects.cel.library.times import read_timestamp
from proa.objects.cel.library.urls import read_url
from proa.objects.cel.values import NONE, Optional
from proa.objects.quick_dataclass import dataclass

_UUID = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\Z", re.IGNORECASE | re.ASCII
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Format:
    """A format, and what finds the problems of a text."""

    TYPE_NAME: ClassVar[str] = "kubernetes.NamedFormat"
    name: str
    problems: Callable[[str], list[str]]


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """A prefix of a name may end with a dash: what is generated follows it."""
    return lambda text: check(text[:-1] + "a" if len(text) > 1 and text.endswith("-") else text)


def _uri(text: str) -> list[str]:
    try:
        read_url(text, Budget())
    except CelRuntimeError as error:
        return [str(error).partition("from string: ")[2] or str(error)]
    return []


def _uuid(text: str) -> list[str]:
    return [] if _UUID.match(text) else ["does not match the UUID format"]


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return [] if text else ["invalid base64"]


def _date(text: str) -> list[str]:
    return [] if _DATE.match(text) and _is_time(f"{text}T00:00:00Z") else ["invalid date"]


def _datetime(text: str) -> list[str]:
    valid = _DATETIME.match(text) and _is_time(text.upper().replace(" ", "T"))
    return [] if valid else ["invalid datetime"]


def _is_time(text: str) -> bool:
    try:
        read_timestamp(text)
    except CelRuntimeError:
        return False
    return True


FORMATS = {
    "dns1123Label": Format("DNS1123Label", validation.dns_label),
    "dns1123Subdomain": Format("DNS1123Subdomain", validation.dns_subdomain),
    "dns1035Label": Format("DNS1035Label", validation.dns1035_label),
    "qualifiedName": Format("QualifiedName", validation.qualified_name),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", _prefix(validation.dns_label)),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", _prefix(validation.dns_subdomain)),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", _prefix(validation.dns1035_label)),
    "labelValue": Format("LabelValue", validation.label_value),
    "uri": Format("URI", _uri),
    "uuid": Format("uuid", _uuid),
    "byte": Format("byte", _byte),
    "date": Format("date", _date),
    "datetime": Format("datetime", _datetime),
}


def _validate(named: Format, text: str, budget: Budget) -> Optional:
    budget.charge(len(text))
    problems = named.problems(text)
    return Optional(problems, True) if problems else NONE


def _named(name: str) -> Optional:
    return Optional(FORMATS[name], True) if name in FORMATS else NONE


def _constant(named: Format) -> Callable[[], Format]:
    return lambda: named


FUNCTIONS: Functions = {
    "validate": (
        overload("kubernetes.NamedFormat.(string) -> optional(list(string))", _validate, charges=True),
    ),
    "format.named": (overload("(string) -> optional(kubernetes.NamedFormat)", _named),),
    **{
        f"format.{name}": (overload("() -> kubernetes.NamedFormat", _constant(named)),)
        for name, named in FORMATS.items()
    },
}
