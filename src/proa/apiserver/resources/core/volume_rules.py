"""Say what is wrong with a pod's volumes (pkg/apis/core/validation ValidateVolumes and validateVolumeSource)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.apiserver.resources.core.driver_volume_rules import validate_csi_driver, validate_driver_volume
from proa.apiserver.resources.core.projected_rules import (
    validate_downward_files,
    validate_key_source,
    validate_mode,
    validate_projected,
)
from proa.apiserver.resources.core.volume_claim_rules import validate_claim_spec
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import parse_quantity
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    quote,
    required,
    validate_annotations,
    validate_descending_path,
    validate_enum,
    validate_labels,
)

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
TYPES = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
    "glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc",
    "flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk",
    "storageos", "projected", "scaleIO", "csi", "ephemeral", "image",
)  # fmt: skip
"""In upstream's order: the first that is given counts."""
ODD_NAMES = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
"""What upstream calls a type that is one too many."""
ODD_PATHS = {"gcePersistentDisk": "persistentDisk"}
TOO_MANY = "may not specify more than 1 volume type"
TOO_LONG = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
    "specified."
)


def validate_volumes(
    volumes: Sequence[Object], field: str, pod: str = "", *, is_pod: bool = False
) -> tuple[dict[str, Object], list[Cause]]:
    """Check names and sources; return the volumes without fault by their names, and the causes."""
    causes: list[Cause] = []
    good: dict[str, Object] = {}
    made = {f"{pod}-{v.get('name', '')}" for v in volumes if "ephemeral" in v} if pod else set()
    for index, volume in enumerate(volumes):
        path, name = f"{field}[{index}]", volume.get("name", "")
        found = _validate_source(volume, path, is_pod=is_pod)
        if "ephemeral" in volume and pod and name:
            found += _validate_claim_name(name, pod, f"{path}.name")
        found += all_invalid(f"{path}.name", name, dns_label(name)) if name else [required(f"{path}.name")]
        if name in good:
            found.append(duplicate(f"{path}.name", name))
        if not found:
            good[name] = volume
        causes += found
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
        if claim in made:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            causes.append(invalid(f"{path}.persistentVolumeClaim.claimName", claim, detail))
    return good, causes


def _validate_claim_name(name: str, pod: str, field: str) -> list[Cause]:
    claim = f"{pod}-{name}"
    return [invalid(field, name, f"PVC name {quote(claim)}: {problem}") for problem in dns_subdomain(claim)]


def _validate_source(volume: Object, path: str, *, is_pod: bool) -> list[Cause]:
    given = [key for key in TYPES if volume.get(key) is not None]
    if not given:
        return [required(path, "must specify a volume type")]
    kind = given[0]
    source: Object = volume[kind]
    here = f"{path}.{ODD_PATHS.get(kind, kind)}"
    if kind == "image":
        causes = _validate_image(source, here, is_pod=is_pod)
    elif kind in _CHECKS:
        causes = _CHECKS[kind](source, here)
    else:
        causes = validate_driver_volume(kind, source, here)
    for extra in given[1:]:
        causes.append(forbidden(f"{path}.{ODD_NAMES.get(extra, extra)}", TOO_MANY))
    portal = f"{volume.get('name', '')}:{(volume.get('iscsi') or {}).get('targetPortal', '')}"
    if "iscsi" in volume and "initiatorName" in volume["iscsi"] and len(portal) > 64:
        causes.append(invalid(f"{path}.name", volume.get("name", ""), TOO_LONG))
    return causes


def _validate_empty_dir(source: Object, path: str) -> list[Cause]:
    limit = source.get("sizeLimit")
    if limit is None or parse_quantity(limit) >= 0:
        return []
    return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]


def validate_host_path(source: Object, path: str) -> list[Cause]:
    """Check a path on the node."""
    target = source.get("path", "")
    if not target:
        return [required(f"{path}.path")]
    causes = [invalid(f"{path}.path", target, "must not contain '..'")] if ".." in target.split("/") else []
    if source.get("type", "") not in HOST_PATH_TYPES:
        causes.append(not_supported(f"{path}.type", source["type"], HOST_PATH_TYPES))
    return causes


def _validate_git(source: Object, path: str) -> list[Cause]:
    causes = [] if source.get("repository") else [required(f"{path}.repository")]
    return causes + validate_descending_path(source.get("directory", ""), f"{path}.directory")


def validate_nfs(source: Object, path: str) -> list[Cause]:
    """Check a server and the path there."""
    target = source.get("path", "")
    causes = [required(f"{path}.{key}") for key in ("server", "path") if not source.get(key)]
    if not target.startswith("/"):
        causes.append(invalid(f"{path}.path", target, "must be an absolute path"))
    return causes


def _validate_csi(source: Object, path: str) -> list[Cause]:
    causes = validate_csi_driver(source.get("driver", ""), f"{path}.driver")
    reference = source.get("nodePublishSecretRef")
    if reference is None:
        return causes
    name = reference.get("name", "")
    if not name:
        return [*causes, required(f"{path}.nodePublishSecretRef.name")]
    return causes + all_invalid(f"{path}.name", name, dns_subdomain(name))


def _validate_ephemeral(source: Object, path: str) -> list[Cause]:
    template, path = source.get("volumeClaimTemplate"), f"{path}.volumeClaimTemplate"
    if template is None:
        return [required(path)]
    metadata: dict[str, Any] = template.get("metadata") or {}
    causes = validate_annotations(metadata.get("annotations"), f"{path}.metadata.annotations")
    causes += validate_labels(metadata.get("labels"), f"{path}.metadata.labels")
    others = [key for key, value in metadata.items() if value and key not in ("annotations", "labels")]
    causes += [forbidden(f"{path}.metadata.{key}", "cannot be set") for key in others]
    return causes + validate_claim_spec(template.get("spec") or {}, f"{path}.spec")


def _validate_image(source: Object, path: str, *, is_pod: bool) -> list[Cause]:
    causes = [required(f"{path}.reference")] if is_pod and not source.get("reference") else []
    policies = ("Always", "IfNotPresent", "Never")
    return causes + validate_enum(source.get("pullPolicy"), f"{path}.pullPolicy", policies)


def _validate_downward(source: Object, path: str) -> list[Cause]:
    return validate_mode(source, "defaultMode", path) + validate_downward_files(source, path)


def _validate_claim(source: Object, path: str) -> list[Cause]:
    return [] if source.get("claimName") else [required(f"{path}.claimName")]


_CHECKS: dict[str, Callable[[Object, str], list[Cause]]] = {
    "emptyDir": _validate_empty_dir,
    "hostPath": validate_host_path,
    "gitRepo": _validate_git,
    "secret": lambda source, path: validate_key_source(source, "secretName", path),
    "nfs": validate_nfs,
    "persistentVolumeClaim": _validate_claim,
    "downwardAPI": _validate_downward,
    "configMap": lambda source, path: validate_key_source(source, "name", path),
    "projected": validate_projected,
    "csi": _validate_csi,
    "ephemeral": _validate_ephemeral,
}
