"""Know in whose name a request writes: its fieldManager, or what its User-Agent says before the first slash.

Follows managerOrUserAgent in apiserver/pkg/endpoints/handlers/create.go, and ValidateFieldManager in
apimachinery/pkg/apis/meta/v1/validation/validation.go.
"""

from __future__ import annotations

from functools import lru_cache

from proa.apiserver.registry.refusals import invalid
from proa.apiserver.registry.registry import ResourceRegistry, Track
from proa.client.protocol import Object, Request
from proa.objects.errors import Cause
from proa.objects.managed_fields.entries import Entry, Writer
from proa.objects.managed_fields.update import created, replaced
from proa.objects.meta import format_time
from proa.objects.validation import invalid as invalid_value
from proa.objects.validation import required as required_value
from proa.objects.validation import too_long

MAX_BYTES = 128
MAX_USER_AGENT = 1024


def tracker(request: Request, registry: ResourceRegistry, options: str, subresource: str = "") -> Track:
    """Return what gives the request's manager the fields that it changes; raise Invalid.

    `options` names the kind of the request's query: CreateOptions, UpdateOptions or PatchOptions.
    """
    writer = read_writer(request, registry, options, subresource)
    schema = registry.definition.object_schema

    def track(old: Object | None, new: Object) -> list[Entry]:
        if old is None:
            return created(new, new["metadata"].get("managedFields"), schema, writer)
        return replaced(old, new, schema, writer)

    return track


def read_writer(
    request: Request,
    registry: ResourceRegistry,
    options: str,
    subresource: str,
    *,
    required: bool = False,
    api_version: str = "",
) -> Writer:
    """Return who writes; raise Invalid where the name cannot be one, or is `required` and missing.

    `api_version` is that of a subresource's own kind.
    """
    manager = request.parameter("fieldManager") if request.query else ""
    causes = _causes(manager, required) if manager or required else []
    if causes:
        raise invalid(options, "meta.k8s.io", "", causes)
    name = manager or _name_in_user_agent(request.headers.get("user-agent", "")[:MAX_USER_AGENT])
    version = api_version or registry.resource.api_version
    return Writer(name, version, _format_second(int(registry.now())), subresource)


def _causes(manager: str, required: bool) -> list[Cause]:
    if not manager and required:
        return [required_value("fieldManager", "is required for apply patch")]
    causes = [too_long("fieldManager", MAX_BYTES)] if len(manager.encode()) > MAX_BYTES else []
    position = 0
    for character in manager:
        if not character.isprintable():
            why = f"invalid character U+{ord(character):04X} (at position {position})"
            causes.append(invalid_value("fieldManager", manager, why))
        position += len(character.encode())
    return causes


@lru_cache(maxsize=1024)
def _name_in_user_agent(user_agent: str) -> str:
    name = "".join(c for c in user_agent.partition("/")[0] if c.isprintable())
    return name.encode()[:MAX_BYTES].decode(errors="ignore")


@lru_cache(maxsize=4)
def _format_second(now: int) -> str:
    return format_time(now)
