"""Say what is wrong with a PersistentVolume, and which changes of it are not allowed.

Follows pkg/apis/core/validation ValidatePersistentVolumeSpec and ValidatePersistentVolumeUpdate.
"""

from __future__ import annotations

import posixpath
from typing import Any

from proa.apiserver.resources.core.differences import show_difference
from proa.apiserver.resources.core.driver_volume_rules import validate_csi_driver, validate_driver_volume
from proa.apiserver.resources.core.pod_warnings import NODE_LABELS
from proa.apiserver.resources.core.scheduling_rules import validate_node_selector
from proa.apiserver.resources.core.volume_rules import (
    ODD_NAMES,
    ODD_PATHS,
    TOO_MANY,
    validate_host_path,
    validate_nfs,
)
from proa.apiserver.resources.core.volume_words import VOLUME_MODES, validate_access_modes
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    forbidden,
    invalid,
    not_supported,
    required,
    validate_enum,
    validate_immutable,
)

SOURCES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs",
    "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume",
    "azureDisk", "scaleIO", "local", "storageos", "csi",
)  # fmt: skip
"""In upstream's order: the first that is given counts."""
POLICIES = ("Delete", "Recycle", "Retain")
CSI_SECRETS = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
)


def validate(volume: Object) -> list[Cause]:
    """Check modes, capacity, source, policy and classes."""
    spec = volume["spec"]
    causes = validate_access_modes(spec.get("accessModes", []), "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes.append(required("spec.capacity"))
    if "storage" not in capacity or len(capacity) > 1:
        causes.append(not_supported("spec.capacity", capacity or None, ("storage",)))
    for name, amount in capacity.items():
        causes += _validate_size(amount, f"spec.capacity[{name}]")
    policy = spec.get("persistentVolumeReclaimPolicy")
    causes += validate_enum(policy, "spec.persistentVolumeReclaimPolicy", POLICIES)
    causes += validate_volume_source(spec, "spec")
    path = (spec.get("hostPath") or {}).get("path")
    if path and posixpath.normpath(path) == "/" and policy == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        causes.append(forbidden("spec.persistentVolumeReclaimPolicy", detail))
    name = spec.get("storageClassName")
    if name:
        causes += all_invalid("spec.storageClassName", name, dns_subdomain(name))
    if spec.get("volumeMode"):
        causes += validate_enum(spec["volumeMode"], "spec.volumeMode", VOLUME_MODES)
    return causes + _validate_attributes_class(spec)


def _validate_size(amount: str, field: str) -> list[Cause]:
    size = parse_quantity(amount)
    causes: list[Cause] = []
    if size < 0:
        causes.append(invalid(field, int(size), "must be a valid resource quantity"))
    if size <= 0:
        causes.append(invalid(field, canonicalize(amount), "must be greater than zero"))
    return causes


def _validate_attributes_class(spec: Object) -> list[Cause]:
    name, field = spec.get("volumeAttributesClassName"), "spec.volumeAttributesClassName"
    if name is None:
        return []
    causes = (
        all_invalid(field, name, dns_subdomain(name))
        if name
        else [required(field, "an empty string is disallowed")]
    )
    if "csi" not in spec:
        detail = "has to be specified when using volumeAttributesClassName"
        causes.append(required("spec.csi", detail))
    return causes


def validate_volume_source(spec: Object, field: str) -> list[Cause]:
    """Check the one place where the volume is, and from which nodes it is reached."""
    affinity = spec.get("nodeAffinity")
    causes: list[Cause] = []
    if affinity is not None:
        path, needed = f"{field}.nodeAffinity.required", affinity.get("required")
        if needed is None:
            causes.append(required(path, "must specify required node constraints"))
        else:
            causes += validate_node_selector(needed, path)
    given = [key for key in SOURCES if spec.get(key) is not None]
    if not given:
        return [*causes, required(field, "must specify a volume type")]
    kind = given[0]
    causes += _validate_source(kind, spec[kind], f"{field}.{ODD_PATHS.get(kind, kind)}")
    causes += [forbidden(f"{field}.{ODD_NAMES.get(extra, extra)}", TOO_MANY) for extra in given[1:]]
    if kind == "local" and affinity is None:
        causes.append(required(f"{field}.nodeAffinity", "Local volume requires node affinity"))
    return causes


def _validate_source(kind: str, source: Object, path: str) -> list[Cause]:
    if kind in ("hostPath", "local"):
        return validate_host_path(source, path)
    if kind == "nfs":
        return validate_nfs(source, path)
    if kind == "csi":
        return _validate_csi(source, path)
    return validate_driver_volume(kind, source, path)


def _validate_csi(source: Object, path: str) -> list[Cause]:
    causes = validate_csi_driver(source.get("driver", ""), f"{path}.driver")
    if not source.get("volumeHandle"):
        causes.append(required(f"{path}.volumeHandle"))
    for key in CSI_SECRETS:
        if source.get(key) is None:
            continue
        for name, rule in (("name", dns_subdomain), ("namespace", dns_label)):
            value, field = source[key].get(name, ""), f"{path}.{key}.{name}"
            causes += all_invalid(field, value, rule(value)) if value else [required(field)]
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the source, the mode and the nodes are the same."""
    mine, theirs = new["spec"], old["spec"]
    before, after = _source(theirs), _source(mine)
    if "csi" in before and "csi" in after and "controllerExpandSecretRef" not in before["csi"]:
        csi = {key: value for key, value in after["csi"].items() if key != "controllerExpandSecretRef"}
        after = {**after, "csi": csi}
    causes: list[Cause] = []
    if after != before:
        detail = "spec.persistentvolumesource is immutable after creation"
        shown = f"{detail}\n{show_difference(before, after)}"
        causes.append(forbidden("spec.persistentvolumesource", shown))
    causes += validate_immutable(mine.get("volumeMode"), theirs.get("volumeMode"), "volumeMode")
    affinity = theirs.get("nodeAffinity")
    if affinity is not None and not _is_same_affinity(mine.get("nodeAffinity"), affinity):
        detail = "field is immutable, except for updating from beta label to GA"
        causes.append(invalid("nodeAffinity", mine.get("nodeAffinity"), detail))
    name = "volumeAttributesClassName"
    if theirs.get(name) is not None and mine.get(name) is None:
        causes.append(forbidden(f"spec.{name}", "update from non-nil value to nil is forbidden"))
    return causes


def _source(spec: Object) -> dict[str, Any]:
    return {key: spec[key] for key in SOURCES if key in spec}


def _is_same_affinity(new: Any, old: Any) -> bool:
    """Compare, with the old one's beta labels taken for what they are called since."""
    if new == old:
        return True
    if isinstance(new, dict) and isinstance(old, dict):
        if new.keys() != old.keys():
            return False
        return all(_is_same_affinity(new[key], old[key]) or _is_renamed(key, new, old) for key in new)
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_is_same_affinity, new, old))
    return False


def _is_renamed(key: str, new: Object, old: Object) -> bool:
    return key == "key" and old[key] in NODE_LABELS and NODE_LABELS[old[key]][1] == new[key]
