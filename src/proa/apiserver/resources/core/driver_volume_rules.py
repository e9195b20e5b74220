"""Say what is wrong with volumes that a driver for clouds or network storage serves, in pods and PersistentVolumes.

Follows pkg/apis/core/validation validateISCSIVolumeSource and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    in_range,
    invalid,
    not_supported,
    required,
    too_long,
)

REQUIRED = {
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "glusterfs": ("endpoints", "path"),
    "rbd": ("monitors", "image"),
    "cinder": ("volumeID",),
    "cephfs": ("monitors",),
    "flexVolume": ("driver",),
    "azureFile": ("secretName", "shareName"),
    "vsphereVolume": ("volumePath",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "scaleIO": ("gateway", "system", "volumeName"),
}
"""What each type must say."""
PARTITION = in_range(-1, 1, 255)[0]
CACHING = ("None", "ReadOnly", "ReadWrite")
DISKS = ("Dedicated", "Managed", "Shared")
MANAGED_URI = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
)
BLOB_URI = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
_INITIATORS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9\-.]+)(:[^,;*&$|\s]+)$", re.ASCII),
    "eui": re.compile(r"^eui.[a-zA-Z0-9]{16}$", re.ASCII),
    "naa": re.compile(r"^naa.[a-zA-Z0-9]{32}$", re.ASCII),
}


def validate_driver_volume(kind: str, source: Object, path: str) -> list[Cause]:
    """Check a source of a type that is not one of the common ones; `path` ends with the type's name."""
    causes = [required(f"{path}.{key}") for key in REQUIRED.get(kind, ()) if not source.get(key)]
    check = _CHECKS.get(kind)
    return causes + check(source, path) if check else causes


def validate_csi_driver(name: str, field: str) -> list[Cause]:
    """Check the name of a CSI driver."""
    causes = [] if name else [required(field)]
    if len(name.encode()) > 63:
        causes.append(too_long(field, 63))
    return causes + all_invalid(field, name, dns_subdomain(name.lower()))


def _partition(source: Object, path: str) -> list[Cause]:
    number = source.get("partition", 0)
    return [] if 0 <= number <= 255 else [invalid(f"{path}.partition", number, PARTITION)]


def _iscsi(source: Object, path: str) -> list[Cause]:
    causes = [] if source.get("targetPortal") else [required(f"{path}.targetPortal")]
    name, lun, initiator = source.get("iqn", ""), source.get("lun", 0), source.get("initiatorName")
    causes += all_invalid(f"{path}.iqn", name, _initiator(name)) if name else [required(f"{path}.iqn")]
    causes += all_invalid(f"{path}.lun", lun, in_range(lun, 0, 255))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and "secretRef" not in source:
        causes.append(required(f"{path}.secretRef"))
    if initiator is not None:
        causes += all_invalid(f"{path}.initiatorname", initiator, _initiator(initiator))
    return causes


def _initiator(name: str) -> list[str]:
    pattern = _INITIATORS.get(name[:3])
    if pattern is None:
        return ["must be valid format starting with iqn, eui, or naa"]
    return [] if pattern.search(name) else ["must be valid format"]


def _fc(source: Object, path: str) -> list[Cause]:
    names, ids, lun = source.get("targetWWNs"), source.get("wwids"), source.get("lun")
    field = f"{path}.targetWWNs"
    causes: list[Cause] = []
    if not names and not ids:
        causes.append(required(field, "must specify either targetWWNs or wwids, but not both"))
    if names and ids:
        causes.append(invalid(field, names, "targetWWNs and wwids can not be specified simultaneously"))
    if names and lun is None:
        causes.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
    elif names and lun is not None:
        causes += all_invalid(f"{path}.lun", lun, in_range(lun, 0, 255))
    return causes


def _quobyte(source: Object, path: str) -> list[Cause]:
    registry, detail = (
        source.get("registry", ""),
        "must be a host:port pair or multiple pairs separated by commas",
    )
    causes: list[Cause] = []
    if not registry:
        causes.append(required(f"{path}.registry", detail))
    elif len(source.get("tenant", "")) >= 65:
        rule = "must be a UUID and may not exceed a length of 64 characters"
        causes.append(required(f"{path}.tenant", rule))
    else:
        wrong = [pair for pair in registry.split(",") if ":" not in pair]
        causes += [invalid(f"{path}.registry", registry, detail) for _ in wrong]
    return causes if source.get("volume") else [*causes, required(f"{path}.volume")]


def _flocker(source: Object, path: str) -> list[Cause]:
    name, uuid = source.get("datasetName", ""), source.get("datasetUUID", "")
    causes: list[Cause] = []
    if not name and not uuid:
        causes.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        detail = "datasetName and datasetUUID can not be specified simultaneously"
        causes.append(invalid(path, "resource", detail))
    return causes + ([invalid(f"{path}.datasetName", name, "must not contain '/'")] if "/" in name else [])


def _flex(source: Object, path: str) -> list[Cause]:
    detail = "kubernetes.io and k8s.io namespaces are reserved"
    return [
        invalid(f"{path}.options[{key}]", key, detail)
        for key in source.get("options") or ()
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io"))
    ]


def _azure_disk(source: Object, path: str) -> list[Cause]:
    caching, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI", "")
    causes: list[Cause] = []
    if caching is not None and caching not in CACHING:
        causes.append(not_supported(f"{path}.cachingMode", caching, CACHING))
    if kind is None:
        return causes
    if kind not in DISKS:
        causes.append(not_supported(f"{path}.kind", kind, DISKS))
    start, shape = ("/subscriptions/", MANAGED_URI) if kind == "Managed" else ("https://", BLOB_URI)
    if not uri.startswith(start):
        causes.append(not_supported(f"{path}.diskURI", uri, (shape,)))
    return causes


def _secret_name(source: Object, path: str) -> list[Cause]:
    reference = source.get("secretRef")
    is_fine = reference is None or reference.get("name")
    return [] if is_fine else [required(f"{path}.secretRef.name")]


def _storage_os(source: Object, path: str) -> list[Cause]:
    name, namespace = source.get("volumeName", ""), source.get("volumeNamespace", "")
    field = f"{path}.volumeName"
    causes = all_invalid(field, name, dns_label(name)) if name else [required(field)]
    if namespace:
        causes += all_invalid(f"{path}.volumeNamespace", namespace, dns_label(namespace))
    return causes + _secret_name(source, path)


_CHECKS: dict[str, Callable[[Object, str], list[Cause]]] = {
    "gcePersistentDisk": _partition,
    "awsElasticBlockStore": _partition,
    "iscsi": _iscsi,
    "fc": _fc,
    "quobyte": _quobyte,
    "flocker": _flocker,
    "flexVolume": _flex,
    "azureDisk": _azure_disk,
    "cinder": _secret_name,
    "storageos": _storage_os,
}
