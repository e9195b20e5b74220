"""Tell whether a webhook or a policy concerns a request: rules, selectors, and equivalent versions of a resource.

Follows predicates/{rules,namespace,object} of apiserver/pkg/admission/plugin/webhook and pkg/admission/plugin/policy/
matching. A `Matcher` is made once of a configuration; asking it costs a few comparisons, and reads one namespace at
most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.refusals import not_found
from proa.client.protocol import Object
from proa.objects.meta import labels
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import NAMESPACES, Resource
from proa.objects.selectors import LabelSelector, selector_from_dict

EXEMPT_KINDS = frozenset((
    "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
))  # fmt: skip
"""What configures admission is never subject to it: whoever breaks it must be able to mend it."""


@dataclass(frozen=True, slots=True)
class GroupVersionKind:
    """The kind of an object that is looked at."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """Return the `apiVersion` of such objects."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class Match:
    """What a request is to be looked at as: the resource that a rule names, and the kind of objects there."""

    resource: Resource
    kind: GroupVersionKind


@dataclass(frozen=True, slots=True)
class Rule:
    """A RuleWithOperations, or NamedRuleWithOperations, taken apart. "*" stands for anything."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """(resource, subresource)."""
    scope: str
    names: frozenset[str]
    """Of objects; none: all."""

    def matches(self, attributes: Attributes, resource: Resource) -> bool:
        """Tell whether the rule names the request, were it one for `resource`."""
        return (
            _has(self.operations, attributes.operation)
            and _has(self.groups, resource.group)
            and _has(self.versions, resource.version)
            and any(
                name in ("*", resource.plural) and subresource in ("*", attributes.subresource)
                for name, subresource in self.resources
            )
            and self._has_scope(attributes)
            and (not self.names or attributes.name in self.names)
        )

    def may_concern(self, resource: Resource) -> bool:
        """Tell whether any request for the resource, or a subresource of it, may match."""
        return (
            _has(self.groups, resource.group)
            and _has(self.versions, resource.version)
            and any(name in ("*", resource.plural) for name, _ in self.resources)
        )

    def _has_scope(self, attributes: Attributes) -> bool:
        if self.scope == "*":
            return True
        is_namespaced = attributes.definition.resource != NAMESPACES and bool(attributes.namespace)
        return is_namespaced == (self.scope == "Namespaced")


def make_rule(rule: Object) -> Rule:
    """Take a rule of a configuration apart."""
    resources = [name.partition("/") for name in rule.get("resources") or ()]
    return Rule(
        frozenset(rule.get("operations") or ()),
        frozenset(rule.get("apiGroups") or ()),
        frozenset(rule.get("apiVersions") or ()),
        tuple((name, subresource) for name, _, subresource in resources),
        rule.get("scope") or "*",
        frozenset(rule.get("resourceNames") or ()),
    )


def _has(items: frozenset[str], item: str) -> bool:
    return item in items or "*" in items


@dataclass(frozen=True, slots=True)
class Matcher:
    """The part of a configuration that says which requests it is about."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    namespaces: LabelSelector
    objects: LabelSelector
    takes_equivalent: bool

    def match(self, attributes: Attributes) -> Match | None:
        """Return what the request is to be looked at as, or None; raise NotFound for a namespace that is not there."""
        if self.excluded and _find(self.excluded, attributes, equivalent=self.takes_equivalent):
            return None
        resource = _find(self.rules, attributes, equivalent=self.takes_equivalent)
        if resource is None or not self._selects_object(attributes):
            return None
        if not self._selects_namespace(attributes):
            return None
        return Match(resource, kind_for(attributes, resource))

    def may_concern(self, resources: Iterable[Resource]) -> bool:
        """Tell whether any request for one of the resources, which are equivalent, may match."""
        return any(rule.may_concern(resource) for resource in resources for rule in self.rules)

    def _selects_object(self, attributes: Attributes) -> bool:
        selector = self.objects
        return selector.is_everything or any(
            obj is not None and selector.matches(labels(obj)) for obj in (attributes.obj, attributes.old)
        )

    def _selects_namespace(self, attributes: Attributes) -> bool:
        is_namespace = attributes.definition.resource.plural == NAMESPACES.plural
        if self.namespaces.is_everything or not (attributes.namespace or is_namespace):
            return True
        if is_namespace and not attributes.subresource and attributes.operation in ("CREATE", "UPDATE"):
            return self.namespaces.matches(labels(attributes.obj or {}))
        return self.namespaces.matches(labels(find_namespace(attributes)))


def make_matcher(constraints: Object, rules: Sequence[Object], excluded: Sequence[Object] = ()) -> Matcher:
    """Compile what a webhook, or a policy's matchConstraints, says of requests."""
    return Matcher(
        tuple(map(make_rule, rules)),
        tuple(map(make_rule, excluded)),
        selector_from_dict(constraints.get("namespaceSelector")),
        selector_from_dict(constraints.get("objectSelector")),
        constraints.get("matchPolicy") != "Exact",
    )


def namespace_of(attributes: Attributes) -> str:
    """Return the namespace that the request is about: for a Namespace, its own name."""
    if attributes.definition.resource == NAMESPACES:
        return attributes.name
    return attributes.namespace if attributes.definition.resource.namespaced else ""


def find_namespace(attributes: Attributes) -> Object:
    """Return a private copy of the request's namespace; raise NotFound."""
    name = namespace_of(attributes)
    found = attributes.catalog.of(NAMESPACES).find("", name)
    if found is None:
        raise not_found(NAMESPACES, name)
    return found


def is_exempt(definition: ResourceDefinition) -> bool:
    """Tell whether objects of the kind are themselves configuration of admission."""
    resource = definition.resource
    return resource.group == "admissionregistration.k8s.io" and resource.kind in EXEMPT_KINDS


def requested_resource(attributes: Attributes) -> Resource:
    """Return the resource in the version that the client used."""
    return (attributes.request_definition or attributes.definition).resource


def equivalents(catalog: Catalog, definition: ResourceDefinition) -> list[Resource]:
    """Return the resources by which the same objects are served, in whatever group and version."""
    return [registry.resource for registry in catalog.versions_of(definition)]


def kind_for(attributes: Attributes, resource: Resource) -> GroupVersionKind:
    """Return the kind of the objects that the request is about, were it one for `resource`."""
    registry = attributes.catalog.find(resource.group, resource.version, resource.plural)
    definition = registry.definition if registry else attributes.definition
    if attributes.subresource:
        for subresource in definition.subresources:
            if subresource.name == attributes.subresource and subresource.api_version:
                group, _, version = subresource.api_version.rpartition("/")
                return GroupVersionKind(group, version, subresource.kind)
            if subresource.name == attributes.subresource:
                return GroupVersionKind(resource.group, resource.version, subresource.kind)
    return GroupVersionKind(resource.group, resource.version, resource.kind)


def _find(rules: Sequence[Rule], attributes: Attributes, *, equivalent: bool) -> Resource | None:
    """Return the resource by which a rule names the request: the request's own, else an equivalent one."""
    requested = requested_resource(attributes)
    if any(rule.matches(attributes, requested) for rule in rules):
        return requested
    if not equivalent:
        return None
    others = equivalents(attributes.catalog, attributes.definition)
    for rule in rules:  # earlier rules come first
        for resource in others:
            if resource != requested and rule.matches(attributes, resource):
                return resource
    return None
