"""An Ingress that names no class gets the default one: plugin/pkg/admission/network/defaultingressclass."""

from __future__ import annotations

import orjson

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.refusals import forbidden
from proa.apiserver.resources.networking.ingress_rules import CLASS_ANNOTATION
from proa.objects import meta
from proa.objects.resource import INGRESS_CLASSES

DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"


def admit(attributes: Attributes) -> None:
    """Set spec.ingressClassName of a new Ingress; raise Forbidden where there are several default classes."""
    ingress = attributes.obj
    if attributes.operation != "CREATE" or attributes.subresource or ingress is None:
        return
    spec = ingress.setdefault("spec", {})
    if spec.get("ingressClassName") is not None or CLASS_ANNOTATION in meta.annotations(ingress):
        return
    defaults = _default_classes(attributes.catalog)
    if len(defaults) > 1:
        problem = f"{len(defaults)} default IngressClasses were found, only 1 allowed"
        why = f"Internal error occurred: {problem}"
        raise forbidden(attributes.definition.resource, attributes.name, why)
    if defaults:
        spec["ingressClassName"] = defaults[0]


def _default_classes(catalog: Catalog) -> list[str]:
    registry = catalog.of(INGRESS_CLASSES)
    classes = (orjson.loads(entry.value) for entry in registry.store.range(registry.prefix).entries)
    marked = (found for found in classes if meta.annotations(found).get(DEFAULT_ANNOTATION) == "true")
    return [found["metadata"]["name"] for found in marked]
