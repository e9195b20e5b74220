"""Find the objects by which a binding parameterizes its policy.

Follows CollectParams in apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object
from proa.objects.meta import labels
from proa.objects.selectors import selector_from_dict


class BadConfiguration(Exception):
    """The policy, or the binding, cannot be put to work as it is; the text is upstream's."""


def find_parameter_kind(catalog: Catalog, kind: Object) -> ResourceRegistry:
    """Return the registry of a paramKind; raise BadConfiguration."""
    version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    group, _, plain = version.rpartition("/")
    for registry in catalog.group_versions.get((group, plain), {}).values():
        if registry.resource.kind == name:
            return registry
    shown = f"{version}, Kind={name}" if group else f"/{version}, Kind={name}"
    raise BadConfiguration(f"failed to find resource referenced by paramKind: '{shown}'")


async def collect_parameters(
    attributes: Attributes, kind: ResourceRegistry | None, ref: Object | None
) -> Sequence[Object | None]:
    """Return the parameters, [None] where the policy or the binding asks for none; raise BadConfiguration."""
    if kind is None or ref is None:
        return [None]
    namespace = ref.get("namespace") or ""
    if kind.resource.namespaced:
        namespace = namespace or attributes.namespace
        if not namespace:
            why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
            raise BadConfiguration(why)
    elif namespace:
        raise BadConfiguration("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    found = await kind.served(_find(kind, namespace, ref))
    if not found and ref.get("parameterNotFoundAction") == "Deny":
        raise BadConfiguration("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found


def _find(kind: ResourceRegistry, namespace: str, ref: Object) -> list[Object]:
    if ref.get("name"):
        found = kind.find(namespace, ref["name"])
        return [] if found is None else [found]
    selector = selector_from_dict(ref.get("selector"))
    objects = (orjson.loads(entry.value) for entry in kind.store.range(kind.scope(namespace)).entries)
    return [obj for obj in objects if selector.matches(labels(obj))]
