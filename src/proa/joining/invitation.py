"""Make what a cluster needs to be joined: its public word, the kubelets' configuration, and roles to read both.

A node's agent is its service proxy, its DNS, and what enforces network policies, so nodes may then read all Services,
EndpointSlices, Nodes, NetworkPolicies, Namespaces and Pods. Names are kubeadm's (cmd/kubeadm/app/phases:
bootstraptoken, kubelet, kubeconfig), so that its tokens work too. A cluster that nobody is to join has none of it:
`proa token create` makes it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterable
from typing import Any

from proa.client.protocol import Client, Object
from proa.local_nodes.node import MACHINE_LABEL, OWN_MACHINE
from proa.objects.bootstrap_tokens import (
    CLUSTER_INFO,
    KUBECONFIG_KEY,
    NODE_GROUP,
    PUBLIC_NAMESPACE,
    SIGNATURE_PREFIX,
)
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    ROLE_BINDINGS,
    ROLES,
    STORAGE_CLASSES,
    Resource,
)

KUBELET_CONFIG = "kubelet-config"
SYSTEM = "kube-system"
_RBAC = "rbac.authorization.k8s.io"
_CSR = "system:certificates.k8s.io:certificatesigningrequests"


NETWORK_ROLE = "proa:node-network"
NETWORK_RULES = [
    {"apiGroups": [""], "resources": ["namespaces", "pods"], "verbs": ["list", "watch"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"]},
]


async def ensure_invitation(client: Client, kubeconfig: str, kubelet: str) -> None:
    """Bring all of it to what it is to be; signatures stay, and are made anew where they do not fit."""
    for resource, wanted in (*_maps(kubeconfig, kubelet), *_roles()):
        await _ensure(client, resource, wanted)
    await _keep_volumes_here(client)


def make_cluster_info(server: str, authority: bytes) -> str:
    """Return the kubeconfig that says where a cluster is and by whose word, with no user."""
    import yaml

    encoded = base64.b64encode(authority).decode()
    cluster = {"certificate-authority-data": encoded, "server": server}
    config: Object = {
        "apiVersion": "v1",
        "clusters": [{"cluster": cluster, "name": ""}],
        "contexts": None,
        "current-context": "",
        "kind": "Config",
        "preferences": {},
        "users": None,
    }
    return str(yaml.safe_dump(config, sort_keys=False))


def make_kubelet_config(dns: str, lease_seconds: int) -> str:
    """Return what all kubelets are told, as a KubeletConfiguration."""
    import yaml

    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "clusterDNS": [dns],
        "clusterDomain": "cluster.local",
        "nodeLeaseDurationSeconds": lease_seconds,
        "rotateCertificates": True,
        "serverTLSBootstrap": True,
    }
    return str(yaml.safe_dump(config, sort_keys=False))


def hash_authority(pem: bytes) -> str:
    """Return the hash by which nodes know an authority: that of its public key (kubeadm's pubkeypin)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(pem).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(info).hexdigest()}"


def _maps(kubeconfig: str, kubelet: str) -> Iterable[tuple[Resource, Object]]:
    for namespace, name, data in (
        (PUBLIC_NAMESPACE, CLUSTER_INFO, {KUBECONFIG_KEY: kubeconfig}),
        (SYSTEM, KUBELET_CONFIG, {"kubelet": kubelet}),
    ):
        yield CONFIG_MAPS, _named(CONFIG_MAPS, name, namespace) | {"data": data}


def _roles() -> Iterable[tuple[Resource, Object]]:
    joining, nodes = _subject("Group", NODE_GROUP), _subject("Group", "system:nodes")
    signer = "kubeadm:bootstrap-signer-clusterinfo"
    yield _role(signer, PUBLIC_NAMESPACE, "configmaps", CLUSTER_INFO)
    yield _binding(signer, PUBLIC_NAMESPACE, "Role", signer, [_subject("User", "system:anonymous")])
    config = "kubeadm:kubelet-config"
    yield _role(config, SYSTEM, "configmaps", KUBELET_CONFIG)
    yield _binding(config, SYSTEM, "Role", config, [nodes, joining])
    yield _role("kubeadm:get-nodes", "", "nodes", "")
    yield CLUSTER_ROLES, _named(CLUSTER_ROLES, NETWORK_ROLE, "") | {"rules": NETWORK_RULES}
    for name, role, subjects in (
        ("kubeadm:get-nodes", "kubeadm:get-nodes", [joining]),
        ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", [joining]),
        ("kubeadm:node-autoapprove-bootstrap", f"{_CSR}:nodeclient", [joining]),
        ("kubeadm:node-autoapprove-certificate-rotation", f"{_CSR}:selfnodeclient", [nodes]),
        ("proa:node-proxier", "system:node-proxier", [nodes]),
        (NETWORK_ROLE, NETWORK_ROLE, [nodes]),
    ):
        yield _binding(name, "", "ClusterRole", role, subjects)


def _role(name: str, namespace: str, plural: str, only: str) -> tuple[Resource, Object]:
    resource = ROLES if namespace else CLUSTER_ROLES
    rule: dict[str, Any] = {"apiGroups": [""], "resources": [plural], "verbs": ["get"]}
    if only:
        rule["resourceNames"] = [only]
    return resource, _named(resource, name, namespace) | {"rules": [rule]}


def _binding(
    name: str, namespace: str, kind: str, role: str, subjects: list[Object]
) -> tuple[Resource, Object]:
    resource = ROLE_BINDINGS if namespace else CLUSTER_ROLE_BINDINGS
    reference = {"apiGroup": _RBAC, "kind": kind, "name": role}
    return resource, _named(resource, name, namespace) | {"roleRef": reference, "subjects": subjects}


def _subject(kind: str, name: str) -> Object:
    return {"apiGroup": _RBAC, "kind": kind, "name": name}


def _named(resource: Resource, name: str, namespace: str) -> Object:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


async def _keep_volumes_here(client: Client) -> None:
    """Have the class `local-path` used on the cluster's own machine, where its directories are."""
    here = [{"matchLabelExpressions": [{"key": MACHINE_LABEL, "values": [OWN_MACHINE]}]}]
    with contextlib.suppress(NotFound):  # somebody has removed it
        known = await client.get(STORAGE_CLASSES, "local-path")
        if not known.get("allowedTopologies"):
            await client.patch(STORAGE_CLASSES, "local-path", {"allowedTopologies": here})


async def _ensure(client: Client, resource: Resource, wanted: Object) -> None:
    name, namespace = wanted["metadata"]["name"], wanted["metadata"].get("namespace")
    while True:
        try:
            found = await client.get(resource, name, namespace)
        except NotFound:
            try:
                await client.create(resource, wanted, namespace)
            except AlreadyExists:
                continue
            return
        fields = {
            key: value for key, value in wanted.items() if key not in ("apiVersion", "kind", "metadata")
        }
        if "data" in fields:
            kept = {k: v for k, v in (found.get("data") or {}).items() if k.startswith(SIGNATURE_PREFIX)}
            fields["data"] = {**kept, **fields["data"]}
        if any(found.get(key) != value for key, value in fields.items()):
            await client.update(resource, {**found, **fields})
        return
