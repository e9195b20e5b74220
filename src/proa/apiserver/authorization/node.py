"""Let a node read and write what it needs for its own pods, and no other node's: plugin/pkg/auth/authorizer/node.

What concerns the content of a write (which Node, which pod) is left to admission (node_restriction.py).
"""

from __future__ import annotations

from functools import cached_property

from proa.apiserver.authorization.bootstrap_policy import load_policy
from proa.apiserver.authorization.decision import ALLOWED, NO_OPINION, Decision, Rules
from proa.apiserver.authorization.node_index import NodeIndex
from proa.apiserver.authorization.object_references import Reference
from proa.apiserver.authorization.rules import Matcher
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import User
from proa.objects.errors import BadRequest
from proa.objects.resource import CLUSTER_ROLES
from proa.objects.selectors import parse_field_selector
from proa.objects.validation import quote
from proa.store.protocol import Store

NODES_GROUP = "system:nodes"
PREFIX = "system:node:"
LEASE_NAMESPACE = "kube-node-lease"
_OWN = ("get", "create", "update", "patch", "delete")
_READS = ("get", "list", "watch")


def node_of(user: User) -> str | None:
    """Return the name of the node that a user is, "" where it cannot be told, None for who is none.

    Follows pkg/auth/nodeidentifier.
    """
    if not user.name.startswith(PREFIX) or NODES_GROUP not in user.groups:
        return None
    return user.name.removeprefix(PREFIX)


class NodeAuthorizer:
    """Judges the requests of nodes by what a store says of their pods."""

    def __init__(self, store: Store) -> None:
        self._index = NodeIndex(store)

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Allow, or have no opinion and say why."""
        node = node_of(user)
        if node is None:
            return NO_OPINION
        if not node:
            return Decision(reason=f"unknown node for user {quote(user.name)}")
        if info.is_resource:
            self._index.refresh()
            judge = _JUDGES.get((info.group, info.plural))
            if judge is not None:
                return judge(self, node, info)
        return self._by_rules(info)

    def rules_for(self, user: User, namespace: str) -> Rules:
        """Return nothing: what a node may do depends on its pods."""
        if node_of(user) is None:
            return Rules()
        return Rules(incomplete=True, errors=("node authorizer does not support user rule resolution",))

    def preparation(self, user: User, info: RequestInfo) -> None:
        """There is nothing to prepare."""

    @cached_property
    def _rules(self) -> tuple[Matcher, ...]:
        """What every node may do: the rules of the role system:node, as they are by default."""
        roles = (d.obj for d in load_policy() if d.resource == CLUSTER_ROLES)
        role = next(obj for obj in roles if obj["metadata"]["name"] == "system:node")
        return tuple(map(Matcher, role["rules"]))

    def _by_rules(self, info: RequestInfo) -> Decision:
        if not info.is_resource:
            return NO_OPINION
        question = (info.verb, info.group, info.plural, info.subresource)
        name = info.name or info.selected_name
        is_allowed = any(rule.concerns(*question) and rule.names(name) for rule in self._rules)
        return ALLOWED if is_allowed else NO_OPINION

    def _related(self, node: str, info: RequestInfo) -> Decision:
        name = info.name or info.selected_name
        if not name:
            return Decision(reason="No Object name found")
        if self._index.belongs(Reference(info.plural, info.namespace, name), node):
            return ALLOWED
        return Decision(reason=f"no relationship found between node '{node}' and this object")

    def _get(self, node: str, info: RequestInfo) -> Decision:
        if info.verb != "get":
            return Decision(reason="can only get individual resources of this type")
        if info.subresource:
            return Decision(reason="cannot get subresource")
        return self._related(node, info)

    def _read(self, node: str, info: RequestInfo) -> Decision:
        if info.verb not in _READS:
            return Decision(reason="can only read resources of this type")
        if info.subresource:
            return Decision(reason="cannot read subresource")
        if not info.namespace:
            return Decision(reason="can only read namespaced object of this type")
        return self._related(node, info)

    def _claim(self, node: str, info: RequestInfo) -> Decision:
        if info.subresource != "status":
            return self._get(node, info)
        if info.verb not in ("update", "patch"):
            return Decision(reason="can only get/update/patch this type")
        return self._related(node, info)

    def _account(self, node: str, info: RequestInfo) -> Decision:
        if info.verb == "get" and not info.subresource:
            return self._get(node, info)
        if info.verb != "create" or not info.name:
            return Decision(reason="can only create tokens for individual service accounts")
        if info.subresource != "token":
            return Decision(reason="can only create token subresource of serviceaccount")
        return self._related(node, info)

    def _lease(self, node: str, info: RequestInfo) -> Decision:
        if info.verb not in _OWN:
            return Decision(reason="can only get, create, update, patch, or delete a node lease")
        if info.namespace != LEASE_NAMESPACE:
            return Decision(reason=f"can only access leases in the {quote(LEASE_NAMESPACE)} system namespace")
        if info.verb != "create" and info.name != node:
            why = "can only access node lease with the same name as the requesting node"
            return Decision(reason=why)
        return ALLOWED

    def _csi_node(self, node: str, info: RequestInfo) -> Decision:
        if info.verb not in _OWN:
            return Decision(reason="can only get, create, update, patch, or delete a CSINode")
        if info.subresource:
            return Decision(reason="cannot authorize CSINode subresources")
        if info.verb != "create" and info.name != node:
            return Decision(reason="can only access CSINode with the same name as the requesting node")
        return ALLOWED

    def _slice(self, node: str, info: RequestInfo) -> Decision:
        if info.subresource:
            return Decision(reason="cannot authorize ResourceSlice subresources")
        if info.verb == "create":
            return ALLOWED
        if info.verb in ("get", "update", "patch", "delete"):
            return self._related(node, info)
        if info.verb in ("watch", "list", "deletecollection"):
            if _selects(info, "spec.nodeName", node):
                return ALLOWED
            return Decision(
                reason="can only list/watch/deletecollection resourceslices with nodeName field selector"
            )
        return Decision(
            reason="only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, "
            "delete, deletecollection"
        )

    def _node(self, node: str, info: RequestInfo) -> Decision:
        if info.subresource == "status":
            return ALLOWED if info.verb in ("update", "patch") else NO_OPINION
        if info.subresource:
            return NO_OPINION
        if info.verb in ("create", "update", "patch"):
            return ALLOWED
        if info.verb not in _READS:
            return NO_OPINION
        name = info.name or info.selected_name
        if name == node:
            return ALLOWED
        which = f"'{name}'" if name else "all nodes"
        return Decision(reason=f"node '{node}' cannot read {which}, only its own Node object")

    def _pod(self, node: str, info: RequestInfo) -> Decision:
        question = (info.subresource, info.verb)
        if question == ("", "get"):
            return self._get(node, info)
        if question in (("", "list"), ("", "watch")):
            if _selects(info, "spec.nodeName", node):
                return ALLOWED
            if info.name or info.selected_name:
                return self._related(node, info)
            return Decision(reason="can only list/watch pods with spec.nodeName field selector")
        return ALLOWED if question in _POD_WRITES else NO_OPINION


_POD_WRITES = (
    ("", "create"),
    ("", "delete"),
    ("status", "update"),
    ("status", "patch"),
    ("eviction", "create"),
)
_JUDGES = {
    ("", "secrets"): NodeAuthorizer._read,
    ("", "configmaps"): NodeAuthorizer._read,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claim,
    ("", "persistentvolumes"): NodeAuthorizer._get,
    ("resource.k8s.io", "resourceclaims"): NodeAuthorizer._get,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer._get,
    ("", "serviceaccounts"): NodeAuthorizer._account,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._lease,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_node,
    ("resource.k8s.io", "resourceslices"): NodeAuthorizer._slice,
    ("", "nodes"): NodeAuthorizer._node,
    ("", "pods"): NodeAuthorizer._pod,
}
"""Who judges requests for what is not the same for all nodes."""


def _selects(info: RequestInfo, field: str, value: str) -> bool:
    """Tell whether the request is for objects alone whose field has that value."""
    if not info.field_selector:
        return False
    try:
        requirements = parse_field_selector(info.field_selector).requirements
    except BadRequest:  # what serves the request says so
        return False
    return any(requirement[:3] == (field, "=", value) for requirement in requirements)
