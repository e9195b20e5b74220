"""Every pod runs as a service account that exists, and gets its token, the cluster's CA and its namespace mounted.

Follows plugin/pkg/admission/serviceaccount/admission.go.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden
from proa.client.protocol import Object
from proa.objects.meta import random_suffix
from proa.objects.resource import PODS, SERVICE_ACCOUNTS

DEFAULT_ACCOUNT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
TOKEN_SECONDS = 3607
"""An hour and a little, by which the kubelet knows these tokens."""


def admit(attributes: Attributes) -> None:
    """Set the account and mount what it gives; raise Forbidden where it does not exist."""
    pod = attributes.obj
    if attributes.operation != "CREATE" or attributes.subresource or pod is None:
        return
    if MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {}):
        return
    if not attributes.catalog.has(SERVICE_ACCOUNTS):
        return
    spec = pod.setdefault("spec", {})
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT_ACCOUNT
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = attributes.catalog.of(SERVICE_ACCOUNTS).find(attributes.namespace, name)
    if account is None:
        raise forbidden(
            PODS,
            attributes.name,
            f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found',
        )
    if _should_mount(spec, account):
        mount_token(spec, _suffix_of(attributes.namespace, name))
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]


def _should_mount(spec: dict[str, Any], account: Object) -> bool:
    """The pod's word counts before the account's."""
    for said in (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if said is not None:
            return bool(said)
    return True


@lru_cache(maxsize=1024)
def _suffix_of(namespace: str, account: str) -> str:
    """Return what is random in the name of an account's volumes.

    Upstream takes another one for each pod. One for all of them leaves pods of one template with equal specs, which are
    then judged once (resources/core/spec_memory.py); names of volumes need only differ within a pod.
    """
    return random_suffix()


def mount_token(spec: dict[str, Any], suffix: str) -> None:
    """Mount the volume into each container that has nothing at its path."""
    volumes = spec.get("volumes") or []
    taken = {volume.get("name") for volume in volumes}
    mine = next((v["name"] for v in volumes if _is_token_volume(v)), "")
    name = mine or f"kube-api-access-{suffix}"
    while not mine and name in taken:
        name = f"kube-api-access-{random_suffix()}"
    is_used = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
        is_used = True
    if is_used and not mine:
        spec["volumes"] = [*volumes, _token_volume(name)]


def _is_token_volume(volume: dict[str, Any]) -> bool:
    return str(volume.get("name", "")).startswith("kube-api-access-") and "projected" in volume


def _token_volume(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
            "defaultMode": 420,
        },
    }
