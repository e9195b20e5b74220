"""Say what is wrong with a pod's volumes (pkg/apis/core/validation ValidateVolumes and what it calls)."""

from __future__ import annotations

from collections.abc import Iterable

from proa.apiserver.resources.core.container_rules import (
    validate_descending_path,
    validate_field_reference,
    validate_resource_reference,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import parse_quantity
from proa.objects.validation import (
    all_invalid,
    dns_label,
    duplicate,
    forbidden,
    in_range,
    invalid,
    not_supported,
    required,
)

MODE_MESSAGE = "must be a number between 0 and 0777 (octal), both inclusive"
HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
PROJECTIONS = (
    "secret",
    "configMap",
    "downwardAPI",
    "serviceAccountToken",
    "clusterTrustBundle",
    "podCertificate",
)
DOWNWARD_PATHS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)


def validate_volumes(volumes: Iterable[Object], field: str) -> list[Cause]:
    """Check names and sources."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        path, name = f"{field}[{index}]", volume.get("name", "")
        causes += _validate_source(volume, path)
        if not name:
            causes.append(required(f"{path}.name"))
        else:
            causes += all_invalid(f"{path}.name", name, dns_label(name))
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
    return causes


def _validate_source(volume: Object, path: str) -> list[Cause]:
    given = [key for key in volume if key != "name"]
    if not given:
        return [required(path, "must specify a volume type")]
    causes = [forbidden(f"{path}.{extra}", "may not specify more than 1 volume type") for extra in given[1:]]
    kind, here = given[0], f"{path}.{given[0]}"
    source: Object = volume[kind]
    if kind in ("configMap", "secret"):
        key = "name" if kind == "configMap" else "secretName"
        causes += [] if source.get(key) else [required(f"{here}.{key}")]
        causes += _validate_mode(source, "defaultMode", here) + _validate_items(source, here)
    elif kind == "hostPath":
        causes += _validate_host_path(source, here)
    elif kind == "emptyDir":
        limit = source.get("sizeLimit")
        if limit is not None and parse_quantity(limit) < 0:
            causes.append(forbidden(f"{here}.sizeLimit", "SizeLimit field must be a valid resource quantity"))
    elif kind == "persistentVolumeClaim":
        causes += [] if source.get("claimName") else [required(f"{here}.claimName")]
    elif kind == "downwardAPI":
        causes += _validate_mode(source, "defaultMode", here) + _validate_downward_items(source, here)
    elif kind == "projected":
        causes += _validate_mode(source, "defaultMode", here) + _validate_projections(source, here)
    elif kind == "nfs":
        causes += [required(f"{here}.{key}") for key in ("server", "path") if not source.get(key)]
    elif kind == "csi":
        causes += [] if source.get("driver") else [required(f"{here}.driver")]
    elif kind == "ephemeral":
        causes += [] if source.get("volumeClaimTemplate") else [required(f"{here}.volumeClaimTemplate")]
    return causes


def _validate_mode(source: Object, key: str, path: str) -> list[Cause]:
    mode = source.get(key)
    if mode is None or not in_range(mode, 0, 0o777):
        return []
    return [invalid(f"{path}.{key}", mode, MODE_MESSAGE)]


def _validate_items(source: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(source.get("items", ())):
        here = f"{path}.items[{index}]"
        causes += [] if item.get("key") else [required(f"{here}.key")]
        causes += _validate_file_path(item.get("path", ""), f"{here}.path") + _validate_mode(
            item, "mode", here
        )
    return causes


def _validate_file_path(value: str, field: str) -> list[Cause]:
    if not value:
        return [required(field)]
    causes = validate_descending_path(value, field)
    if value.startswith("..") and not causes:
        causes.append(invalid(field, value, "must not start with '..'"))
    return causes


def _validate_host_path(source: Object, path: str) -> list[Cause]:
    target = source.get("path", "")
    if not target:
        return [required(f"{path}.path")]
    causes = [invalid(f"{path}.path", target, "must not contain '..'")] if ".." in target.split("/") else []
    if source.get("type", "") not in HOST_PATH_TYPES:
        causes.append(not_supported(f"{path}.type", source["type"], HOST_PATH_TYPES))
    return causes


def _validate_downward_items(source: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(source.get("items", ())):
        here = f"{path}.items[{index}]"
        causes += _validate_file_path(item.get("path", ""), f"{here}.path")
        if "fieldRef" in item:
            causes += validate_field_reference(item["fieldRef"], DOWNWARD_PATHS, f"{here}.fieldRef")
            if "resourceFieldRef" in item:
                causes.append(
                    invalid(
                        here, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"
                    )
                )
        elif "resourceFieldRef" in item:
            causes += validate_resource_reference(
                item["resourceFieldRef"], f"{here}.resourceFieldRef", is_volume=True
            )
        else:
            causes.append(required(here, "one of fieldRef and resourceFieldRef is required"))
        causes += _validate_mode(item, "mode", here)
    return causes


def _validate_projections(projected: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, source in enumerate(projected.get("sources", ())):
        here = f"{path}.sources[{index}]"
        given = [key for key in PROJECTIONS if key in source]
        causes += [
            forbidden(f"{here}.{extra}", "may not specify more than 1 volume type") for extra in given[1:]
        ]
        if not given:
            causes.append(required(here, "must specify a volume type"))
            continue
        kind, inner = given[0], source[given[0]]
        if kind in ("configMap", "secret"):
            causes += [] if inner.get("name") else [required(f"{here}.{kind}.name")]
            causes += _validate_items(inner, f"{here}.{kind}")
        elif kind == "downwardAPI":
            causes += _validate_downward_items(inner, f"{here}.{kind}")
        elif kind == "serviceAccountToken":
            causes += _validate_token(inner, f"{here}.{kind}")
    return causes


def _validate_token(token: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    seconds = token.get("expirationSeconds", 3600)
    if seconds < 600:
        causes.append(
            invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    if seconds > 1 << 32:
        detail = "may not specify a duration larger than 2^32 seconds"
        causes.append(invalid(f"{path}.expirationSeconds", seconds, detail))
    return causes + _validate_file_path(token.get("path", ""), f"{path}.path")
