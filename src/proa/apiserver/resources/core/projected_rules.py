"""Say what is wrong with volumes made of ConfigMaps, Secrets, tokens and what the pod says of itself.

Some field paths lack the index: that is how upstream has them (pkg/apis/core/validation validateProjectionSources,
validateDownwardAPIVolumeFile, validateKeyToPath).
"""

from __future__ import annotations

from proa.apiserver.resources.core.container_rules import (
    validate_field_reference,
    validate_resource_reference,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import forbidden, in_range, invalid, required, validate_descending_path
from proa.objects.validation_selectors import validate_label_selector

MODE_MESSAGE = "must be a number between 0 and 0777 (octal), both inclusive"
PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle")
DOWNWARD_PATHS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)


def validate_key_source(source: Object, name_key: str, path: str) -> list[Cause]:
    """Check a volume of one ConfigMap or Secret."""
    causes = [] if source.get(name_key) else [required(f"{path}.{name_key}")]
    return causes + validate_mode(source, "defaultMode", path) + _validate_items(source, path)


def validate_mode(source: Object, key: str, path: str) -> list[Cause]:
    """Check the permissions of a file."""
    mode = source.get(key)
    if mode is None or not in_range(mode, 0, 0o777):
        return []
    return [invalid(f"{path}.{key}", mode, MODE_MESSAGE)]


def _validate_items(source: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(source.get("items", ())):
        here = f"{path}.items[{index}]"
        causes += [] if item.get("key") else [required(f"{here}.key")]
        causes += _validate_file_path(item.get("path", ""), f"{here}.path")
        causes += validate_mode(item, "mode", here)
    return causes


def _validate_file_path(value: str, field: str) -> list[Cause]:
    if not value:
        return [required(field)]
    causes = validate_descending_path(value, field)
    if value.startswith("..") and not value.startswith("../"):
        causes.append(invalid(field, value, "must not start with '..'"))
    return causes


def validate_downward_files(source: Object, path: str) -> list[Cause]:
    """Check files that say what the pod is."""
    return [cause for item in source.get("items", ()) for cause in _validate_downward_file(item, path)]


def _validate_downward_file(item: Object, path: str) -> list[Cause]:
    causes = _validate_file_path(item.get("path", ""), f"{path}.path")
    if "fieldRef" in item:
        causes += validate_field_reference(item["fieldRef"], DOWNWARD_PATHS, f"{path}.fieldRef")
        if "resourceFieldRef" in item:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            causes.append(invalid(path, "resource", detail))
    elif "resourceFieldRef" in item:
        here = f"{path}.resourceFieldRef"
        causes += validate_resource_reference(item["resourceFieldRef"], here, is_volume=True)
    else:
        causes.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return causes + validate_mode(item, "mode", path)


def validate_projected(projected: Object, path: str) -> list[Cause]:
    """Check a volume of several sources, of which no two may have a file of one path."""
    causes = validate_mode(projected, "defaultMode", path)
    paths: set[str] = set()
    for index, source in enumerate(projected.get("sources", ())):
        here = f"{path}.sources[{index}]"
        given = [key for key in PROJECTIONS if source.get(key) is not None]
        for kind in given:
            causes += _validate_projection(kind, source[kind], path, f"{here}.{kind}")
            causes += _validate_unique(kind, source[kind], paths, path)
        if len(given) > 1:
            causes.append(forbidden(here, "may not specify more than 1 volume type per source"))
    return causes


def _validate_projection(kind: str, source: Object, volume: str, path: str) -> list[Cause]:
    if kind in ("configMap", "secret"):
        causes = [] if source.get("name") else [required(f"{path}.name")]
        return causes + _validate_items(source, path)
    if kind == "downwardAPI":
        return validate_downward_files(source, path)
    if kind == "serviceAccountToken":
        return _validate_token(source, path) + _validate_file_path(source.get("path", ""), f"{volume}.path")
    return _validate_trust_bundle(source, path)


def _validate_unique(kind: str, source: Object, paths: set[str], path: str) -> list[Cause]:
    """Upstream shows the object's name, or else the path, and counts tokens out."""
    if kind == "serviceAccountToken":
        return []
    files = [source] if kind == "clusterTrustBundle" else source.get("items") or ()
    causes: list[Cause] = []
    for file in files:
        target = file.get("path", "")
        if target and target in paths:
            shown = source.get("name", "") if kind in ("configMap", "secret") else target
            causes.append(invalid(path, shown, "conflicting duplicate paths"))
        paths.add(target)
    return causes


def _validate_token(token: Object, path: str) -> list[Cause]:
    seconds, field = token.get("expirationSeconds", 3600), f"{path}.expirationSeconds"
    if seconds < 600:
        return [invalid(field, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > 1 << 32:
        return [invalid(field, seconds, "may not specify a duration larger than 2^32 seconds")]
    return []


def _validate_trust_bundle(bundle: Object, path: str) -> list[Cause]:
    name, signer, selector = bundle.get("name"), bundle.get("signerName"), bundle.get("labelSelector")
    causes: list[Cause] = []
    if name is not None and signer is not None:
        causes.append(invalid(path, bundle, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            causes.append(required(f"{path}.name", "must be a valid object name"))
        if selector is not None:
            detail = "labelSelector must be unset if name is specified"
            causes.append(invalid(f"{path}.labelSelector", selector, detail))
    elif signer is not None:
        if not signer:
            causes.append(required(f"{path}.signerName", "must be a valid signer name"))
        causes += validate_label_selector(selector, f"{path}.labelSelector")
    else:
        causes.append(required(path, "either name or signerName must be specified"))
    return causes + _validate_file_path(bundle.get("path", ""), f"{path}.path")
