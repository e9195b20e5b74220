"""Nothing is made that would use more of a namespace than its ResourceQuotas allow; what is made is charged at once.

Follows apiserver/pkg/admission/plugin/resourcequota (controller.go, CheckRequest), and is the last of the plugins. A
quota counts once the quota controller has written its status; that controller also gives back what is freed.
"""

from __future__ import annotations

from collections.abc import Awaitable

import orjson

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object
from proa.objects import quota
from proa.objects.errors import Forbidden, NotFound
from proa.objects.quantity import canonicalize
from proa.objects.resource import EVENTS, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES

CHANGEABLE = (SERVICES, PERSISTENT_VOLUME_CLAIMS)
"""Kinds of which an update may use more."""


def validate(attributes: Attributes) -> Awaitable[None] | None:
    """Charge the quotas that the write concerns; raise Forbidden where one would be exceeded."""
    if not _may_use_more(attributes):
        return None
    registry = attributes.catalog.of(RESOURCE_QUOTAS)
    entries = registry.store.range(registry.scope(attributes.namespace)).entries
    if not entries:
        return None
    return _charge(attributes, registry, [orjson.loads(entry.value) for entry in entries])


def _may_use_more(attributes: Attributes) -> bool:
    resource = attributes.definition.resource
    if not attributes.namespace or attributes.obj is None or resource.plural == EVENTS.plural:
        return False
    if attributes.subresource:
        return resource == PODS and attributes.subresource == "resize"
    return attributes.operation == "CREATE" or (attributes.operation == "UPDATE" and resource in CHANGEABLE)


async def _charge(attributes: Attributes, registry: ResourceRegistry, found: list[Object]) -> None:
    """Look at all quotas before any is charged, so that a refusal leaves them as they were."""
    concerned = [(q, names) for q in found if (names := _names_that_count(q, attributes))]
    for each, names in concerned:
        _check_is_known(each, names, attributes)
    more = _used_more(attributes)
    charges = [(each, {name: more[name] for name in names if name in more}) for each, names in concerned]
    for each, charge in charges:
        _check_fits(each, charge, attributes)
    if attributes.dry_run:
        return
    for each, charge in charges:
        if charge:
            await _write(registry, each, charge, attributes)


def _names_that_count(each: Object, attributes: Attributes) -> list[str]:
    """Return the limited resources of a quota that objects of this kind use, none where it is out of scope."""
    resource, obj = attributes.definition.resource, attributes.obj
    names = quota.tracked(resource, (each.get("status") or {}).get("hard") or {})
    return names if names and obj is not None and quota.is_in_scope(each, resource, obj) else []


def _check_is_known(each: Object, names: list[str], attributes: Attributes) -> None:
    if attributes.definition.resource == PODS and attributes.obj is not None:
        silent = quota.silent_containers(attributes.obj, names)
        if silent:
            raise _refusal(attributes, f"failed quota: {each['metadata']['name']}: must specify {silent}")
    used = (each.get("status") or {}).get("used") or {}
    if any(name not in used for name in names):
        told = ",".join(sorted(names))
        raise _refusal(attributes, f"status unknown for quota: {each['metadata']['name']}, resources: {told}")


def _used_more(attributes: Attributes) -> quota.Amounts:
    resource, now = attributes.definition.resource, attributes.catalog.now()
    assert attributes.obj is not None
    used = quota.usage_of(resource, attributes.obj, now)
    before = quota.usage_of(resource, attributes.old, now) if attributes.old else {}
    return quota.increase(used, before)


def _check_fits(each: Object, charge: quota.Amounts, attributes: Attributes) -> None:
    status = each.get("status") or {}
    used, hard = status.get("used") or {}, status.get("hard") or {}
    exceeded = quota.exceeding(quota.add({name: used.get(name, "0") for name in charge}, charge), hard)
    if exceeded:
        raise _refusal(
            attributes,
            f"exceeded quota: {each['metadata']['name']}, requested: {_told(charge, exceeded)}, "
            f"used: {_told(used, exceeded)}, limited: {_told(hard, exceeded)}",
        )


def _told(amounts: quota.Amounts, names: list[str]) -> str:
    return ",".join(f"{name}={canonicalize(amounts[name])}" for name in names)


def _refusal(attributes: Attributes, why: str) -> Forbidden:
    return forbidden(attributes.definition.resource, attributes.name, why)


async def _write(
    registry: ResourceRegistry, each: Object, charge: quota.Amounts, attributes: Attributes
) -> None:
    """Raise what is used in the quota's status, looking again whether it fits where others were faster."""

    def charged(now: Object) -> Object:
        _check_fits(now, charge, attributes)
        status = now.get("status") or {}
        return {**now, "status": {**status, "used": quota.add(status.get("used") or {}, charge)}}

    metadata = each["metadata"]
    try:
        await registry.update(
            metadata["namespace"], metadata["name"], charged, subresource="status", unconditional=True
        )
    except NotFound:
        return  # deleted meanwhile: it limits nothing any more
