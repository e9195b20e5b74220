"""A node writes its own Node, Lease, CSINode and ResourceSlices, the status of its own pods, and mirror pods.

What the node authorizer (authorization/node.py) cannot tell without the objects. Follows
plugin/pkg/admission/noderestriction/admission.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from proa.apiserver.authorization.node import LEASE_NAMESPACE, PREFIX, node_of
from proa.apiserver.authorization.object_references import (
    MIRROR,
    claim_names,
    config_map_names,
    secret_names,
)
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden, not_found
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Object
from proa.objects.resource import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    Resource,
)
from proa.objects.validation import quote

RESTRICTED = "node-restriction.kubernetes.io"
AUDIENCE_VERB = "request-serviceaccounts-token-audience"
KUBELET_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")
_KUBELET_LABELS = frozenset(
    (
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    )
)
_KUBELET_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


def admit(attributes: Attributes) -> None:
    """Raise Forbidden, or NotFound, where a node goes beyond what is its own."""
    user = attributes.user
    node = None if user is None else node_of(user)
    if user is None or node is None or attributes.operation == "CONNECT":
        return
    if not node:
        raise _refused(attributes, f"could not determine node from user {quote(user.name)}")
    resource = attributes.definition.resource
    check = _CHECKS.get((resource.group, resource.plural))
    if check is not None:
        check(attributes, node)


def _pods(attributes: Attributes, node: str) -> None:
    subresource = attributes.subresource
    if not subresource:
        _pod(attributes, node)
    elif subresource == "status":
        _pod_status(attributes, node)
    elif subresource == "eviction":
        pod = _find(attributes, PODS, attributes.name)
        if pod["spec"].get("nodeName") != node:
            why = f"node {node} can only evict pods with spec.nodeName set to itself"
            raise _refused(attributes, why)
    else:
        why = f"unexpected pod subresource {quote(subresource)}, only 'status' and 'eviction' are allowed"
        raise _refused(attributes, why)


def _pod(attributes: Attributes, node: str) -> None:
    if attributes.operation == "CREATE":
        assert attributes.obj is not None
        for why in _wrongs_of_new_pod(attributes, attributes.obj, node):
            raise _refused(attributes, why)
    elif attributes.operation == "DELETE":
        if _node_name(attributes.old) != node:
            why = f"node {quote(node)} can only delete pods with spec.nodeName set to itself"
            raise _refused(attributes, why)
    else:
        operation = quote(attributes.operation)
        why = f"unexpected operation {operation}, node {quote(node)} can only create and delete mirror pods"
        raise _refused(attributes, why)


def _wrongs_of_new_pod(attributes: Attributes, pod: Object, node: str) -> Iterator[str]:
    """Yield why a node may not create a pod: it must be a mirror of its own that names no other object."""
    metadata, spec, me = pod["metadata"], pod.get("spec") or {}, f"node {quote(node)}"
    if MIRROR not in (metadata.get("annotations") or {}):
        yield f"pod does not have {quote(MIRROR)} annotation, {me} can only create mirror pods"
    if spec.get("nodeName") != node:
        yield f"{me} can only create pods with spec.nodeName set to itself"
    owners = metadata.get("ownerReferences") or ()
    if len(owners) > 1:
        yield f"{me} can only create pods with a single owner reference set to itself"
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        yield f"{me} can only create pods with an owner reference set to itself"
    if not owner.get("controller"):
        yield f"{me} can only create pods with a controller owner reference set to itself"
    if owner.get("blockOwnerDeletion"):
        yield f"{me} must not set blockOwnerDeletion on an owner reference"
    uid = _find(attributes, NODES, node)["metadata"]["uid"]
    if owner.get("uid") != uid:
        yield f"node {node} UID mismatch: expected {owner.get('uid', '')} got {uid}"
    cannot = f"{me} can not create pods that reference"
    if spec.get("serviceAccountName"):
        yield f"{cannot} a service account"
    if secret_names(spec):
        yield f"{cannot} secrets"
    if config_map_names(spec):
        yield f"{cannot} configmaps"
    for source in _projected_sources(spec):
        if source.get("clusterTrustBundle"):
            yield f"{cannot} clustertrustbundles"
    if next(claim_names({**pod, "spec": spec}), None):
        yield f"{cannot} persistentvolumeclaims"
    if spec.get("resourceClaims"):
        yield f"{cannot} resourceclaims"


def _pod_status(attributes: Attributes, node: str) -> None:
    new, old = attributes.obj, attributes.old
    if attributes.operation != "UPDATE" or new is None or old is None:
        raise _refused(attributes, f"unexpected operation {quote(attributes.operation)}")
    if _node_name(old) != node:
        whose = "pods with spec.nodeName set to itself"
        raise _refused(attributes, f"node {quote(node)} can only update pod status for {whose}")
    if (new["metadata"].get("labels") or {}) != (old["metadata"].get("labels") or {}):
        raise _refused(attributes, f"node {quote(node)} cannot update labels through pod status")
    for key, what in (
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
    ):
        if ((new.get("status") or {}).get(key) or None) != ((old.get("status") or {}).get(key) or None):
            raise _refused(attributes, f"node {quote(node)} cannot update {what}")


def _node(attributes: Attributes, node: str) -> None:
    new, old = attributes.obj, attributes.old
    me = f"node {quote(node)} is not allowed to"
    if attributes.name != node:
        raise _refused(attributes, f"{me} modify node {quote(attributes.name)}")
    if new is None:
        return
    had = old or {"metadata": {}}
    source = (new.get("spec") or {}).get("configSource")
    if source is not None and old is None:
        raise _refused(attributes, f"{me} create pods with a non-nil configSource")
    if source is not None and source != (had.get("spec") or {}).get("configSource"):
        raise _refused(attributes, f"{me} update configSource to a new non-nil configSource")
    if old is not None and _taints(new) != _taints(old):
        raise _refused(attributes, f"{me} modify taints")
    refused = ", ".join(_forbidden_labels(new, had))
    if refused:
        said = f"{me} set the following labels: " if old is None else "is not allowed to modify labels: "
        raise _refused(attributes, said + refused)


def _taints(node: Object) -> list[Any]:
    return (node.get("spec") or {}).get("taints") or []


def _forbidden_labels(new: Object, old: Object) -> list[str]:
    """Return the labels that a node has changed and may not."""
    now, had = new["metadata"].get("labels") or {}, old["metadata"].get("labels") or {}
    changed = {key for key in now.keys() | had.keys() if now.get(key) != had.get(key)}
    return sorted(label for label in changed if not _may_set(label))


def _may_set(label: str) -> bool:
    domain, slash, _ = label.partition("/")
    domain = domain if slash else ""
    if _is_within(domain, RESTRICTED):
        return False
    if not (_is_within(domain, "kubernetes.io") or _is_within(domain, "k8s.io")):
        return True
    return label in _KUBELET_LABELS or any(_is_within(domain, d) for d in _KUBELET_LABEL_DOMAINS)


def _is_within(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")


def _claims(attributes: Attributes, node: str) -> None:
    new, old = attributes.obj, attributes.old
    if attributes.subresource != "status":
        raise _refused(attributes, "may only update PVC status")
    if attributes.operation != "UPDATE" or new is None or old is None:
        raise _refused(attributes, f"unexpected operation {quote(attributes.operation)}")
    if _without_capacity(new) != _without_capacity(old):
        why = f"node {quote(node)} is not allowed to update fields other than status.capacity and status.conditions"
        raise _refused(attributes, why)


def _without_capacity(claim: Object) -> Object:
    """Return a claim without what a node may change of it, which is what a volume's growth changes."""
    writable = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
    metadata = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    status = {k: v for k, v in (claim.get("status") or {}).items() if k not in writable}
    return {**claim, "metadata": metadata, "status": status}


def _accounts(attributes: Attributes, node: str) -> None:
    """A token is for a pod of the node, and for an audience that the pod names."""
    if attributes.operation != "CREATE" or attributes.subresource != "token" or attributes.obj is None:
        return
    spec = attributes.obj.get("spec") or {}
    ref = spec.get("boundObjectRef") or {}
    if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
        raise _refused(attributes, "node requested token not bound to a pod")
    if not ref.get("uid"):
        raise _refused(attributes, "node requested token with a pod binding without a uid")
    pod = _find(attributes, PODS, ref["name"])
    if ref["uid"] != pod["metadata"]["uid"]:
        why = (
            f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object might "
            "have been deleted and then recreated"
        )
        raise _refused(attributes, why)
    if _node_name(pod) != node:
        raise _refused(attributes, "node requested token bound to a pod scheduled on a different node")
    _check_audiences(attributes, pod, spec.get("audiences") or ())


def _check_audiences(attributes: Attributes, pod: Object, audiences: Any) -> None:
    if len(audiences) > 1:
        raise _refused(attributes, "node may only request 0 or 1 audiences")
    audience = audiences[0] if audiences else ""
    if audience in _audiences_of(attributes, pod):
        return
    user = attributes.user
    assert user is not None
    needed = RequestInfo(True, AUDIENCE_VERB, "", "", "", attributes.namespace, audience, attributes.name)
    if not attributes.catalog.authorizer.authorize(user, needed).allowed:
        why = (
            f"audience {quote(audience)} not found in pod spec volume, {user.name} is not authorized to request tokens "
            "for this audience"
        )
        raise _refused(attributes, why)


def _audiences_of(attributes: Attributes, pod: Object) -> Iterator[str]:
    """Yield the audiences that a pod's volumes ask tokens for, themselves or by their CSI driver."""
    spec = pod["spec"]
    for source in _projected_sources(spec):
        if "serviceAccountToken" in source:
            yield (source["serviceAccountToken"] or {}).get("audience") or ""
    drivers = [volume["csi"]["driver"] for volume in spec.get("volumes") or () if volume.get("csi")]
    catalog = attributes.catalog
    for name in claim_names(pod):
        claim = catalog.of(PERSISTENT_VOLUME_CLAIMS).find(attributes.namespace, name) or {}
        bound = (claim.get("spec") or {}).get("volumeName")
        volume = catalog.of(PERSISTENT_VOLUMES).find("", bound) if bound else None
        if volume is not None and volume["spec"].get("csi"):
            drivers.append(volume["spec"]["csi"]["driver"])
    for name in drivers:
        drivers_registry = catalog.find("storage.k8s.io", "v1", "csidrivers")
        driver = (drivers_registry and drivers_registry.find("", name)) or {}
        for request in (driver.get("spec") or {}).get("tokenRequests") or ():
            yield request.get("audience") or ""


def _projected_sources(spec: Object) -> Iterator[Object]:
    for volume in spec.get("volumes") or ():
        yield from (volume.get("projected") or {}).get("sources") or ()


def _leases(attributes: Attributes, node: str) -> None:
    if attributes.namespace != LEASE_NAMESPACE:
        why = f"can only access leases in the {quote(LEASE_NAMESPACE)} system namespace"
        raise _refused(attributes, why)
    if attributes.name != node:
        why = "can only access node lease with the same name as the requesting node"
        raise _refused(attributes, why)


def _csi_nodes(attributes: Attributes, node: str) -> None:
    if attributes.name != node:
        raise _refused(attributes, "can only access CSINode with the same name as the requesting node")


def _slices(attributes: Attributes, node: str) -> None:
    for operation, obj in (("create", attributes.obj), ("delete", attributes.old)):
        if attributes.operation == operation.upper() and _node_name(obj) != node:
            why = f"can only {operation} ResourceSlice with the same NodeName as the requesting node"
            raise _refused(attributes, why)


def _requests(attributes: Attributes, node: str) -> None:
    """A node asks for certificates of its own name."""
    if attributes.operation != "CREATE" or attributes.subresource or attributes.obj is None:
        return
    spec = attributes.obj.get("spec") or {}
    if spec.get("signerName") not in KUBELET_SIGNERS:
        return
    from proa.objects.certificate_request import UnreadableRequest, read_request

    try:
        found = read_request(spec.get("request", ""))
    except UnreadableRequest as error:
        raise _refused(attributes, f"unable to parse csr: {error}") from None
    if found.common_name != PREFIX + node:
        raise _refused(attributes, f"can only create a node CSR with CN={PREFIX}{node}")


def _node_name(obj: Object | None) -> str:
    return ((obj or {}).get("spec") or {}).get("nodeName") or ""


def _find(attributes: Attributes, resource: Resource, name: str) -> Object:
    found = attributes.catalog.of(resource).find(attributes.namespace, name)
    if found is None:
        raise not_found(resource, name)
    return found


def _refused(attributes: Attributes, why: str) -> Exception:
    return forbidden(attributes.definition.resource, attributes.name, why)


_CHECKS: dict[tuple[str, str], Callable[[Attributes, str], None]] = {
    ("", "pods"): _pods,
    ("", "nodes"): _node,
    ("", "persistentvolumeclaims"): _claims,
    ("", "serviceaccounts"): _accounts,
    ("coordination.k8s.io", "leases"): _leases,
    ("storage.k8s.io", "csinodes"): _csi_nodes,
    ("resource.k8s.io", "resourceslices"): _slices,
    ("certificates.k8s.io", "certificatesigningrequests"): _requests,
}
