"""Decide what a claim that asks for more than it has is to be given.

Pure. A directory has no size of its own, so nothing happens on the node. Follows kubernetes-csi/external-resizer
(pkg/controller/controller.go, markPVCResizeFinished).
"""

from __future__ import annotations

from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects.quantity import parse_quantity


class Expansion(NamedTuple):
    """The size that the volume is to have, "" where it has it, and what to change of the claim's status."""

    volume_size: str = ""
    claim_status: Object | None = None


def plan_expansion(claim: Object, volume: Object) -> Expansion:
    """Compare what a bound claim asks for with what it and its volume have; nothing ever gets smaller."""
    status = claim.get("status") or {}
    if status.get("phase") != "Bound":
        return Expansion()
    wanted = claim["spec"]["resources"]["requests"]["storage"]
    had = (status.get("capacity") or {}).get("storage", "0")
    if parse_quantity(wanted) <= parse_quantity(had):
        return Expansion()
    grows = parse_quantity(wanted) > parse_quantity(volume["spec"]["capacity"]["storage"])
    over = {"Resizing", "FileSystemResizePending"}
    conditions = [c for c in status.get("conditions") or () if c["type"] not in over]
    changed: Object = {"capacity": {"storage": wanted}, "conditions": conditions or None}
    return Expansion(wanted if grows else "", changed)
