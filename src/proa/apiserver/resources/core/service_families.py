"""Decide which address families a Service has, of those that the cluster has: pure but for filling in the Service.

Follows pkg/registry/core/service/storage/alloc.go (initIPFamilyFields).
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.apiserver.resources.core.service_address_rules import (
    FAMILIES,
    FIELD,
    NONE_ADDRESS,
    validate_addresses,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import invalid

SINGLE, PREFERRED, REQUIRED = "SingleStack", "PreferDualStack", "RequireDualStack"
_POLICY = "spec.ipFamilyPolicy"


def settle_families(spec: Object, old: Object, configured: Sequence[str]) -> list[Cause]:
    """Fill in ipFamilyPolicy and ipFamilies, and return what is wrong with what was asked for.

    `configured` are the cluster's families, the first one that of services that name none.
    """
    if spec["type"] == "ExternalName" or _stays_as_preferred(spec, old):
        return []
    is_free = spec.get("clusterIP") == NONE_ADDRESS and not spec.get("selector")
    spec["ipFamilyPolicy"] = (
        spec.get("ipFamilyPolicy") or old.get("ipFamilyPolicy") or (REQUIRED if is_free else SINGLE)
    )
    if validate_addresses(spec):
        return []  # it will be refused
    causes = _release(spec, old) if old else []
    causes += _check_single(spec)
    causes += _infer(spec, configured)
    if causes:
        return causes
    if is_free:
        spec["ipFamilies"] = spec.get("ipFamilies") or [configured[0]]
        _complete(spec, FAMILIES)
        return []
    if spec["ipFamilyPolicy"] == REQUIRED and len(configured) < 2:
        why = "this cluster is not configured for dual-stack services"
        causes.append(invalid(_POLICY, spec["ipFamilyPolicy"], why))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in configured:
            causes.append(invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    if not causes:
        spec["ipFamilies"] = spec.get("ipFamilies") or [configured[0]]
        _complete(spec, configured)
    return causes


def _stays_as_preferred(spec: Object, old: Object) -> bool:
    """Tell whether nothing is asked for: who prefers two families keeps what he has when the cluster changes."""
    fields = ("type", "ipFamilyPolicy", "clusterIPs", "ipFamilies")
    return spec.get("ipFamilyPolicy") == PREFERRED and all(spec.get(key) == old.get(key) for key in fields)


def _release(spec: Object, old: Object) -> list[Cause]:
    """Let the second family go where SingleStack is asked for; it cannot go otherwise."""
    policy = spec["ipFamilyPolicy"]
    causes = []
    for key, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        mine, theirs = spec.get(key) or [], old.get(key) or []
        if policy == SINGLE:
            if mine == theirs and len(mine) > 1:
                spec[key] = mine[:1]
        elif mine and len(mine) < len(theirs):
            why = f"must be 'SingleStack' to release the secondary {what}"
            causes.append(invalid(_POLICY, policy, why))
    return causes


def _check_single(spec: Object) -> list[Cause]:
    if spec["ipFamilyPolicy"] != SINGLE:
        return []
    why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    return [
        invalid(_POLICY, SINGLE, why.format(what))
        for key, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if len(spec.get(key) or ()) == 2
    ]


def _infer(spec: Object, configured: Sequence[str]) -> list[Cause]:
    """Name the families of the addresses that are asked for."""
    families, causes = list(spec.get("ipFamilies") or ()), []
    every = spec.get("clusterIPs") or []
    for index, address in enumerate(every):
        if address == NONE_ADDRESS:
            break
        family = "IPv6" if ":" in address else "IPv4"
        if index < len(families):
            continue
        if family not in configured:
            causes.append(invalid(f"{FIELD}[{index}]", every, f"{family} is not configured on this cluster"))
        else:
            families.append(family)
    if families:
        spec["ipFamilies"] = families
    return causes


def _complete(spec: Object, available: Sequence[str]) -> None:
    """Add the other family where two are wanted and are to be had."""
    families = spec["ipFamilies"]
    if spec["ipFamilyPolicy"] != SINGLE and len(families) == 1 and len(available) == 2:
        spec["ipFamilies"] = [*families, *(family for family in FAMILIES if family not in families)]
