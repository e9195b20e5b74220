"""A running pod takes further containers to look into it, which then neither change nor go.

Serves the subresource `ephemeralcontainers`; follows pkg/registry/core/pod/strategy.go
(dropNonEphemeralContainerUpdates) and pkg/apis/core/validation (validateEphemeralContainers,
ValidatePodEphemeralContainersUpdate).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.apiserver.resources.core.container_rules import PodContext, validate_common
from proa.apiserver.resources.core.differences import show_difference
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import duplicate, forbidden, not_found

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
ALLOWED = frozenset((
    "name", "image", "command", "args", "workingDir", "env", "envFrom", "volumeMounts", "volumeDevices",
    "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin", "stdinOnce",
    "tty", "targetContainerName",
))  # fmt: skip
REFUSAL = "cannot be set for an Ephemeral Container"


def validate_ephemeral_containers(
    spec: Object, volumes: Mapping[str, Object], pod: PodContext, field: str
) -> list[Cause]:
    """Check a pod's ephemeral containers."""
    others = {c.get("name", "") for key in ("containers", "initContainers") for c in spec.get(key) or ()}
    names, causes = set(others), list[Cause]()
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        path, name = f"{field}[{index}]", container.get("name", "")
        causes += validate_common(container, volumes, pod, path)
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            causes.append(not_found(f"{path}.targetContainerName", target))
        given = (
            key for key, value in container.items() if key not in ALLOWED and value not in ({}, [], None)
        )
        causes += [forbidden(f"{path}.{key}", REFUSAL) for key in given]
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            here = f"{path}.volumeMounts[{number}]"
            causes += [forbidden(f"{here}.{k}", REFUSAL) for k in ("subPath", "subPathExpr") if mount.get(k)]
    return causes


def prepare_ephemeral(new: Object, old: Object) -> None:
    """Keep everything but the ephemeral containers."""
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    keep_pod(new, old)
    if wanted:
        new["spec"]["ephemeralContainers"] = wanted
    else:
        new["spec"].pop("ephemeralContainers", None)


def keep_pod(new: Object, old: Object) -> None:
    """Make `new` what is stored, but for what says who writes it and on top of which version."""
    metadata: dict[str, Any] = new["metadata"]
    own: dict[str, Any] = {
        key: metadata[key] for key in ("managedFields", "resourceVersion") if key in metadata
    }
    metadata.clear()
    metadata.update({**old["metadata"], **own})
    if "resourceVersion" not in own:
        metadata.pop("resourceVersion", None)
    for key in [key for key in new if key not in old]:
        del new[key]
    new.update({key: value for key, value in old.items() if key != "metadata"})
    new["spec"] = dict(old["spec"])


def validate_ephemeral_update(new: Object, old: Object) -> list[Cause]:
    """Check that those which are there stay as they are."""
    if MIRROR_ANNOTATION in (old["metadata"].get("annotations") or {}):
        return [forbidden("[]", "static pods do not support ephemeral containers")]
    field = "spec.ephemeralContainers"
    after = {c.get("name", ""): c for c in new["spec"].get("ephemeralContainers") or ()}
    causes: list[Cause] = []
    for container in old["spec"].get("ephemeralContainers") or ():
        name = container.get("name", "")
        if name not in after:
            causes.append(forbidden(field, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif after[name] != container:
            difference = show_difference(container, after[name])
            detail = f'existing ephemeral containers "{name}" may not be changed\n{difference}'
            causes.append(forbidden(field, detail))
    return causes
