"""A pod gets the zone and region of its node as labels when it is assigned to it, so that it can see where it runs.

Follows plugin/pkg/admission/podtopologylabels/admission.go (KEP-4742).
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.client.protocol import Object
from proa.objects.meta import labels
from proa.objects.resource import NODES

TOPOLOGY = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


def admit(attributes: Attributes) -> None:
    """Add them to a Binding, which gives its labels to the pod, or to a pod that is made for a node."""
    obj = attributes.obj
    if attributes.operation != "CREATE" or obj is None:
        return
    if attributes.subresource == "binding":
        node = (obj.get("target") or {}).get("name")
    elif not attributes.subresource:
        node = (obj.get("spec") or {}).get("nodeName")
    else:
        return
    found = _topology(attributes, node) if node else {}
    if found:
        metadata = obj.setdefault("metadata", {})
        metadata["labels"] = {**(metadata.get("labels") or {}), **found}


def _topology(attributes: Attributes, name: str) -> Object:
    """Return the labels of a node that tell where it is; a node that is not there has none."""
    node = attributes.catalog.of(NODES).find("", name)
    return {key: value for key, value in labels(node or {}).items() if key in TOPOLOGY}
