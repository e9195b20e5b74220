"""Say what is wrong with the names of pools, attributes, requests and the like (pkg/apis/resource/validation)."""

from __future__ import annotations

import re

from proa.apiserver.resources.core.driver_names import validate_driver_name
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    invalid,
    qualified_name,
    required,
    too_long,
)

MAX_POOL_NAME = 253
MAX_IDENTIFIER = 32
MAX_DOMAIN = 63
MAX_QUALIFIED = MAX_DOMAIN + 1 + MAX_IDENTIFIER
IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
NOT_AN_IDENTIFIER = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
    f"characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '{IDENTIFIER}')"
)
UID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
NOT_A_UID = (
    "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal "
    "characters"
)
NOT_A_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)


def validate_label_name(name: str, field: str) -> list[Cause]:
    """Check a name of one DNS label: of a request, a device, a counter."""
    return all_invalid(field, name, dns_label(name))


def validate_key(key: str, field: str) -> list[Cause]:
    """Check the key of a taint, or the type of a condition."""
    return all_invalid(field, key, qualified_name(key))


def validate_pool_name(name: str, field: str) -> list[Cause]:
    """Check subdomains joined with slashes."""
    if not name:
        return [required(field)]
    causes = [too_long(field, MAX_POOL_NAME)] if len(name.encode()) > MAX_POOL_NAME else []
    for part in name.split("/"):
        causes += all_invalid(field, part, dns_subdomain(part))
    return causes


def validate_qualified(name: str, field: str) -> list[Cause]:
    """Check the name of an attribute: an identifier, below a domain or not."""
    domain, slash, identifier = name.partition("/")
    if not slash:
        return _validate_identifier(name, field)
    if "/" in identifier:
        return [invalid(field, name, "must not contain more than one slash")]
    causes = (
        validate_driver_name(domain, field)
        if domain
        else [invalid(field, "", "the domain must not be empty")]
    )
    if not identifier:
        return [*causes, invalid(field, "", "the name must not be empty")]
    return causes + _validate_identifier(identifier, field)


def validate_fully_qualified(name: str, field: str) -> list[Cause]:
    """Check the name of an attribute with its domain."""
    causes = validate_qualified(name, field)
    if "/" not in name:
        why = "a fully qualified name must be a domain and a name separated by a slash"
        causes.append(invalid(field, name, why))
    return causes


def _validate_identifier(text: str, field: str) -> list[Cause]:
    causes = [too_long(field, MAX_IDENTIFIER)] if len(text.encode()) > MAX_IDENTIFIER else []
    return causes if re.fullmatch(IDENTIFIER, text) else [*causes, invalid(field, text, NOT_AN_IDENTIFIER)]


def validate_uid(uid: str, field: str) -> list[Cause]:
    """Check a UUID in its usual spelling."""
    return [] if re.fullmatch(UID, uid) else [invalid(field, uid, NOT_A_UID)]


RequestNames = dict[str, set[str]]
"""The requests of a claim by name, with the names of their subrequests."""


def request_names(devices: dict[str, object]) -> RequestNames:
    """Return what requests of a claim there are to refer to."""
    requests = devices.get("requests")
    return {
        request.get("name", ""): {sub.get("name", "") for sub in request.get("firstAvailable") or ()}
        for request in (requests if isinstance(requests, list) else ())
    }


def validate_request_reference(name: str, names: RequestNames, field: str) -> list[Cause]:
    """Check that a request is named that the claim has."""
    parts = name.split("/")
    if len(parts) > 2:
        return [invalid(field, name, NOT_A_REQUEST)]
    causes = [cause for part in parts for cause in validate_label_name(part, field)]
    known = parts[0] in names and (len(parts) == 1 or parts[1] in names[parts[0]])
    return causes if known else [*causes, invalid(field, name, NOT_A_REQUEST)]
