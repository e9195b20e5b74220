"""Say what is wrong with where a container sees its volumes (ValidateVolumeMounts, ValidateVolumeDevices).

Some field paths lack the index: that is how upstream has them.
"""

from __future__ import annotations

from collections.abc import Mapping

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
    validate_descending_path,
)

PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
RECURSIVE = ("Disabled", "Enabled", "IfPossible")
CLAIMS = ("persistentVolumeClaim", "ephemeral")


def validate_mounts(container: Object, volumes: Mapping[str, Object], path: str) -> list[Cause]:
    """Check volumeMounts and volumeDevices against the pod's volumes and each other."""
    mounts, devices = container.get("volumeMounts") or (), container.get("volumeDevices") or ()
    causes: list[Cause] = []
    if mounts:
        taken = {d.get("name", ""): d.get("devicePath", "") for d in devices}
        paths: set[str] = set()
        for index, mount in enumerate(mounts):
            here = f"{path}.volumeMounts[{index}]"
            causes += _validate_mount(mount, volumes, taken, paths, here)
            causes += _validate_options(mount, container, f"{path}.volumeMounts", here)
    if devices:
        taken = {m.get("name", ""): m.get("mountPath", "") for m in mounts}
        causes += _validate_devices(devices, volumes, taken, f"{path}.volumeDevices")
    return causes


def _validate_mount(
    mount: Object, volumes: Mapping[str, Object], devices: Mapping[str, str], paths: set[str], path: str
) -> list[Cause]:
    name, target = mount.get("name", ""), mount.get("mountPath", "")
    causes: list[Cause] = []
    if not name:
        causes.append(required(f"{path}.name"))
    if name not in volumes:
        causes.append(not_found(f"{path}.name", name))
    if not target:
        causes.append(required(f"{path}.mountPath"))
    if target in paths:
        causes.append(invalid(f"{path}.mountPath", target, "must be unique"))
    paths.add(target)
    if name in devices:
        causes.append(invalid(f"{path}.name", name, "must not already exist in volumeDevices"))
    if target in devices.values():
        detail = "must not already exist as a path in volumeDevices"
        causes.append(invalid(f"{path}.mountPath", target, detail))
    return causes


def _validate_options(mount: Object, container: Object, field: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if mount.get("subPath"):
        causes += validate_descending_path(mount["subPath"], f"{field}.subPath")
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            detail = "subPathExpr and subPath are mutually exclusive"
            causes.append(invalid(f"{path}.subPathExpr", mount["subPathExpr"], detail))
        causes += validate_descending_path(mount["subPathExpr"], f"{field}.subPathExpr")
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        here = f"{field}.mountPropagation"
        if propagation not in PROPAGATIONS:
            causes.append(not_supported(here, propagation, PROPAGATIONS))
        is_privileged = (container.get("securityContext") or {}).get("privileged")
        if propagation == "Bidirectional" and not is_privileged:
            detail = "Bidirectional mount propagation is available only to privileged containers"
            causes.append(forbidden(here, detail))
    if mount.get("recursiveReadOnly") is not None:
        causes += _validate_recursive(mount, propagation, f"{field}.recursiveReadOnly")
    return causes


def _validate_recursive(mount: Object, propagation: str | None, field: str) -> list[Cause]:
    mode = mount["recursiveReadOnly"]
    if mode not in RECURSIVE:
        return [not_supported(field, mode, RECURSIVE)]
    causes: list[Cause] = []
    if mode != "Disabled":
        if not mount.get("readOnly"):
            causes.append(forbidden(field, "may only be specified when readOnly is true"))
        if propagation not in (None, "None"):
            detail = "may only be specified when mountPropagation is None or not specified"
            causes.append(forbidden(field, detail))
    return causes


def _validate_devices(
    devices: list[Object], volumes: Mapping[str, Object], mounts: Mapping[str, str], field: str
) -> list[Cause]:
    causes: list[Cause] = []
    names, paths = set[str](), set[str]()
    for index, device in enumerate(devices):
        path, name, target = f"{field}[{index}]", device.get("name", ""), device.get("devicePath", "")
        if not name:
            causes.append(required(f"{path}.name"))
        if name in names:
            causes.append(invalid(f"{path}.name", name, "must be unique"))
        if name not in volumes:
            causes.append(not_found(f"{path}.name", name))
        elif not any(key in volumes[name] for key in CLAIMS):
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            causes.append(invalid(f"{path}.name", name, detail))
        if not target:
            causes.append(required(f"{path}.devicePath"))
        if target in paths:
            causes.append(invalid(f"{path}.devicePath", target, "must be unique"))
        if ".." in target.split("/"):
            causes.append(invalid(f"{path}.devicePath", target, "can not contain backsteps ('..')"))
        else:
            paths.add(target)
        if name in mounts:
            causes.append(invalid(f"{path}.name", name, "must not already exist in volumeMounts"))
        if target in mounts.values():
            detail = "must not already exist as a path in volumeMounts"
            causes.append(invalid(f"{path}.devicePath", target, detail))
        if name:
            names.add(name)
    return causes
