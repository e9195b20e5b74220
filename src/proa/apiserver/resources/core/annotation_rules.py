"""Say what is wrong with annotations that pods and pod templates are read by.

Follows pkg/apis/core/validation ValidatePodSpecificAnnotations, ValidatePodSpecificAnnotationUpdates,
validateSeccompAnnotationsAndFields and validateAppArmorAnnotationsAndFieldsMatchOnCreate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from proa.apiserver.resources.core.windows_rules import visit_containers
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import forbidden, invalid, quote, validate_descending_path

MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
LOCAL = "localhost/"
SECCOMP_VALUES = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default", "docker/default")}
APPARMOR_VALUES = {"Unconfined": ("unconfined",), "RuntimeDefault": ("runtime/default",)}
_INTEGER = re.compile(r"(0|-?[1-9][0-9]{0,9})\Z", re.ASCII)


def validate_annotation_values(annotations: Mapping[str, str], spec: Object, field: str) -> list[Cause]:
    """Check the annotations of a pod or a template; `field` is the path to them."""
    causes: list[Cause] = []
    if MIRROR in annotations and not spec.get("nodeName"):
        detail = "must set spec.nodeName if mirror pod annotation is set"
        causes.append(invalid(f"{field}[{MIRROR}]", annotations[MIRROR], detail))
    cost = annotations.get(DELETION_COST)
    if cost is not None and not (_INTEGER.match(cost) and -(2**31) <= int(cost) < 2**31):
        causes.append(invalid(f"{field}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    for key, value in annotations.items():
        if key == SECCOMP_POD or key.startswith(SECCOMP_CONTAINER):
            causes += _validate_seccomp(value, f"{field}.{key}")
    names: set[str] | None = None
    for key, value in annotations.items():
        if key.startswith(APPARMOR):
            names = {c.get("name", "") for c, _ in visit_containers(spec, "spec")} if names is None else names
            causes += _validate_apparmor(key.removeprefix(APPARMOR), value, names, f"{field}[{key}]")
    return causes


def _validate_seccomp(profile: str, field: str) -> list[Cause]:
    if profile in ("runtime/default", "docker/default", "unconfined"):
        return []
    if profile.startswith(LOCAL):
        return validate_descending_path(profile.removeprefix(LOCAL), field)
    return [invalid(field, profile, "must be a valid seccomp profile")]


def _validate_apparmor(container: str, profile: str, names: set[str], field: str) -> list[Cause]:
    causes = [] if container in names else [invalid(field, container, "container not found")]
    if profile not in ("", "runtime/default", "unconfined") and not profile.startswith(LOCAL):
        causes.append(invalid(field, profile, f"invalid AppArmor profile name: {quote(profile)}"))
    return causes


def validate_profile_annotations(annotations: Mapping[str, str], spec: Object, field: str) -> list[Cause]:
    """Check that annotations and fields name the same profiles; `field` is the path to the spec."""
    if not any(key == SECCOMP_POD or key.startswith((SECCOMP_CONTAINER, APPARMOR)) for key in annotations):
        return []
    causes: list[Cause] = []
    whole = spec.get("securityContext") or {}
    if SECCOMP_POD in annotations and whole.get("seccompProfile") is not None:
        path = f"{field}.securityContext.seccompProfile"
        causes += _validate_match(
            annotations[SECCOMP_POD], whole["seccompProfile"], SECCOMP_VALUES, path, "seccomp"
        )
    for container, path in visit_containers(spec, field):
        name, context = container.get("name", ""), container.get("securityContext") or {}
        profile, said = context.get("seccompProfile"), annotations.get(f"{SECCOMP_CONTAINER}{name}")
        if profile is not None and said is not None:
            here = f"{path}.securityContext.seccompProfile"
            causes += _validate_match(said, profile, SECCOMP_VALUES, here, "seccomp")
        profile, said = (
            context.get("appArmorProfile") or whole.get("appArmorProfile"),
            annotations.get(f"{APPARMOR}{name}"),
        )
        if profile is not None and said is not None and (spec.get("os") or {}).get("name") != "windows":
            here = f"{path}.securityContext.appArmorProfile"
            causes += _validate_match(said, profile, APPARMOR_VALUES, here, "apparmor")
    return causes


def _validate_match(
    said: str, profile: Object, values: Mapping[str, tuple[str, ...]], path: str, what: str
) -> list[Cause]:
    kind = profile.get("type", "")
    wrong_type = [forbidden(f"{path}.type", f"{what} type in annotation and field must match")]
    if kind in values:
        return [] if said in values[kind] else wrong_type
    if kind != "Localhost":
        return []
    if not said.startswith(LOCAL):
        return wrong_type
    if said.removeprefix(LOCAL) == profile.get("localhostProfile"):
        return []
    detail = f"{what} profile in annotation and field must match"
    return [forbidden(f"{path}.localhostProfile", detail)]


def validate_annotation_change(new: Object, old: Object) -> list[Cause]:
    """Check that what makes a pod a mirror, or confines its containers, stays."""
    after, before = (pod["metadata"].get("annotations") or {} for pod in (new, old))
    causes: list[Cause] = []
    for key in [*before, *(key for key in after if key not in before)]:
        if after.get(key) == before.get(key):
            continue
        verb, field = "remove or update" if key in before else "add", f"metadata.annotations[{key}]"
        if key.startswith(APPARMOR):
            causes.append(forbidden(field, f"may not {verb} AppArmor annotations"))
        if key == MIRROR:
            causes.append(forbidden(field, f"may not {verb} mirror pod annotation"))
    return causes
