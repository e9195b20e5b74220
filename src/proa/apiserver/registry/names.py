"""Check names: apimachinery/pkg/api/validation/generic.go and util/validation/validation.go."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_DNS1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")

LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
DNS1035_MESSAGE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_DNS = {
    "dns-label": (_LABEL, 63, LABEL_MESSAGE),
    "dns-subdomain": (_SUBDOMAIN, 253, SUBDOMAIN_MESSAGE),
    "dns1035-label": (_DNS1035, 63, DNS1035_MESSAGE),
}


def name_problems(name: str, rule: str) -> list[str]:
    """Return what is wrong with an object's name under a `ResourceDefinition.name_rule`."""
    if rule == "path-segment":
        return path_segment_problems(name)
    pattern, longest, message = _DNS[rule]
    problems = [f"must be no more than {longest} bytes"] if len(name) > longest else []
    if not pattern.match(name):
        problems.append(message)
    return problems


def path_segment_problems(name: str) -> list[str]:
    """Return why a name cannot be part of a URL's path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in name]
