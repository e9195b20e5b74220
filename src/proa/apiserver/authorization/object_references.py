"""Know which other objects a pod or a PersistentVolume names: what the node that runs the pod must read.

Follows pkg/api/v1/pod/util.go (VisitPodSecretNames, VisitPodConfigmapNames), pkg/api/v1/persistentvolume/util.go and
plugin/pkg/auth/authorizer/node/graph.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass

MIRROR = "kubernetes.io/config.mirror"
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_WITH_SECRET_REF = ("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos")


@dataclass(frozen=True, slots=True)
class Reference:
    """An object, by its resource's plural."""

    plural: str
    namespace: str
    name: str


def references_of(pod: Object) -> Iterator[Reference]:
    """Yield what a pod's node may read for it; of a mirror pod, which its node made, nothing but the pod."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    space = metadata["namespace"]
    yield Reference("pods", space, metadata["name"])
    if MIRROR in (metadata.get("annotations") or {}):
        return
    if spec.get("serviceAccountName"):
        yield Reference("serviceaccounts", space, spec["serviceAccountName"])
    for plural, names in (
        ("secrets", secret_names(spec)),
        ("configmaps", config_map_names(spec)),
        ("persistentvolumeclaims", claim_names(pod)),
        ("resourceclaims", resource_claim_names(pod)),
    ):
        for name in names:
            yield Reference(plural, space, name)


def secret_names(spec: Mapping[str, Any]) -> set[str]:
    """Return the names of the secrets that a pod's spec has."""
    found = [ref.get("name") for ref in spec.get("imagePullSecrets") or ()]
    found += _named_in_environment(spec, "secretRef", "secretKeyRef")
    for volume in spec.get("volumes") or ():
        found.append((volume.get("azureFile") or {}).get("secretName"))
        found.append((volume.get("secret") or {}).get("secretName"))
        found.append(((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name"))
        found += [((volume.get(kind) or {}).get("secretRef") or {}).get("name") for kind in _WITH_SECRET_REF]
        found += _projected(volume, "secret")
    return {name for name in found if name}


def config_map_names(spec: Mapping[str, Any]) -> set[str]:
    """Return the names of the config maps that a pod's spec has."""
    found = _named_in_environment(spec, "configMapRef", "configMapKeyRef")
    for volume in spec.get("volumes") or ():
        found.append((volume.get("configMap") or {}).get("name"))
        found += _projected(volume, "configMap")
    return {name for name in found if name}


def _named_in_environment(spec: Mapping[str, Any], whole: str, key: str) -> list[str | None]:
    found: list[str | None] = []
    for kind in _CONTAINERS:
        for container in spec.get(kind) or ():
            found += [(source.get(whole) or {}).get("name") for source in container.get("envFrom") or ()]
            for variable in container.get("env") or ():
                found.append(((variable.get("valueFrom") or {}).get(key) or {}).get("name"))
    return found


def _projected(volume: Mapping[str, Any], kind: str) -> list[str | None]:
    sources = (volume.get("projected") or {}).get("sources") or ()
    return [(source.get(kind) or {}).get("name") for source in sources]


def claim_names(pod: Object) -> Iterator[str]:
    """Yield the names of a pod's PersistentVolumeClaims."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"]
        elif volume.get("ephemeral"):
            yield f"{pod['metadata']['name']}-{volume['name']}"


def resource_claim_names(pod: Object) -> Iterator[str]:
    """Yield the names of a pod's ResourceClaims, where they are known by now."""
    status = pod.get("status") or {}
    made = {s["name"]: s.get("resourceClaimName") for s in status.get("resourceClaimStatuses") or ()}
    for claim in pod["spec"].get("resourceClaims") or ():
        name = claim.get("resourceClaimName") or made.get(claim["name"])
        if name:
            yield name
    extended = (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName")
    if extended:
        yield extended


def volume_secrets(volume: Object) -> Iterator[Reference]:
    """Yield the secrets that a kubelet reads to mount a PersistentVolume, which is bound."""
    spec = volume["spec"]
    claim_space = spec["claimRef"].get("namespace", "")
    azure = spec.get("azureFile") or {}
    if azure.get("secretName"):
        yield Reference("secrets", azure.get("secretNamespace") or claim_space, azure["secretName"])
    refs = [(spec.get(kind) or {}).get("secretRef") for kind in _WITH_SECRET_REF]
    csi = spec.get("csi") or {}
    refs += [csi.get(key) for key in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef")]
    for ref in refs:
        if ref and ref.get("name"):
            yield Reference("secrets", ref.get("namespace") or claim_space, ref["name"])
