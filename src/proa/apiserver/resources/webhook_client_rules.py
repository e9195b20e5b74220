"""Say what is wrong with where a webhook is: its URL, or the service and path.

Follows apiserver/pkg/util/webhook/validation.go; admission and conversion webhooks share it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import dns_subdomain, invalid, port_number, required

_FORM = "; desired format: https://host[/path]"


def validate_url(url: str, field: str) -> list[Cause]:
    """An https URL of a host and a path, nothing more."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        _ = parts.port
    except ValueError as error:
        return [required(field, f'url must be a valid URL: parse "{url}": {error}{_FORM}')]
    causes = []
    if parts.scheme != "https":
        causes.append(invalid(field, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    if not host:
        causes.append(invalid(field, host, f"host must be specified{_FORM}"))
    if "@" in parts.netloc:
        user = parts.netloc.rpartition("@")[0]
        causes.append(invalid(field, user, "user information is not permitted in the URL"))
    if parts.fragment:
        causes.append(invalid(field, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        causes.append(invalid(field, parts.query, "query parameters are not permitted in the URL"))
    return causes


def validate_webhook_service(service: Object, field: str) -> list[Cause]:
    """A reference to a Service: names, port and path."""
    causes = [required(f"{field}.{key}") for key in ("name", "namespace") if not service.get(key)]
    port = service.get("port") or 0
    if problems := port_number(port):
        causes.append(invalid(f"{field}.port", port, "port is not valid: " + ", ".join(problems)))
    path = service.get("path")
    return causes if path in (None, "", "/") else causes + _validate_path(path, f"{field}.path")


def _validate_path(path: str, field: str) -> list[Cause]:
    if path == "//":
        return [invalid(field, path, "segment[0] may not be empty")]
    causes = [] if path.startswith("/") else [invalid(field, path, "must start with a '/'")]
    for index, step in enumerate(path[1:].removesuffix("/").split("/")):
        if not step:
            causes.append(invalid(field, path, f"segment[{index}] may not be empty"))
            continue
        causes += [invalid(field, path, f"segment[{index}]: {problem}") for problem in dns_subdomain(step)]
    return causes
