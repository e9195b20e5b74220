"""A FlowSchema says which requests belong to which priority level, and what counts as one flow among them.

Follows pkg/apis/flowcontrol/v1/defaults.go, pkg/apis/flowcontrol/validation, pkg/registry/flowcontrol/flowschema and
printFlowSchema.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.flowcontrol.conditions import validate_conditions
from proa.apiserver.resources.flowcontrol.flow_rules import validate_rule
from proa.apiserver.resources.flowcontrol.system_objects import MANDATORY_FLOW_SCHEMAS
from proa.apiserver.resources.printing import AGE, NAME, NONE, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import FLOW_SCHEMAS
from proa.objects.validation import all_invalid, dns_subdomain, invalid, not_supported, required

DEFAULT_PRECEDENCE, MAX_PRECEDENCE = 1000, 10000
METHODS = ("ByNamespace", "ByUser")
DANGLING = "Dangling"


def default(flow_schema: Object) -> None:
    """Schemas are tried in the middle of the order."""
    spec = flow_schema.setdefault("spec", {})
    spec["matchingPrecedence"] = spec.get("matchingPrecedence") or DEFAULT_PRECEDENCE
    spec.setdefault("priorityLevelConfiguration", {}).setdefault("name", "")


def prepare_create(flow_schema: Object) -> None:
    """Start without a word about its state."""
    flow_schema["status"] = {}


def prepare_status_update(new: Object, old: Object) -> None:
    """Write the part that upstream always writes."""
    new.setdefault("status", {})


def validate(flow_schema: Object) -> list[Cause]:
    """Check precedence, method, level and rules; those that every cluster has are as they are."""
    name, spec = flow_schema["metadata"].get("name", ""), flow_schema["spec"]
    causes = _validate_precedence(spec["matchingPrecedence"], name)
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in METHODS:
        causes.append(not_supported("spec.distinguisherMethod.type", method, METHODS))
    level, field = spec["priorityLevelConfiguration"]["name"], "spec.priorityLevelConfiguration.name"
    causes += (
        all_invalid(field, level, dns_subdomain(level))
        if level
        else [required(field, "must reference a priority level")]
    )
    for index, rule in enumerate(spec.get("rules") or ()):
        causes += validate_rule(rule, f"spec.rules[{index}]")
    if name in MANDATORY_FLOW_SCHEMAS and spec != MANDATORY_FLOW_SCHEMAS[name]:
        causes.append(invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))
    return causes + validate_conditions(flow_schema)


def _validate_precedence(precedence: int, name: str) -> list[Cause]:
    field = "spec.matchingPrecedence"
    if precedence <= 0:
        return [invalid(field, precedence, "must be a positive value")]
    if precedence > MAX_PRECEDENCE:
        return [invalid(field, precedence, f"must not be greater than {MAX_PRECEDENCE}")]
    if precedence == 1 and name != "exempt":
        return [invalid(field, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")]
    return []


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check the conditions."""
    return validate_conditions(new)


def cells(flow_schema: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = flow_schema["spec"]
    conditions = (flow_schema.get("status") or {}).get("conditions") or ()
    return (
        flow_schema["metadata"]["name"],
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type", NONE),
        age(flow_schema, now),
        next((c.get("status", "") for c in conditions if c.get("type") == DANGLING), "?"),
    )


DEFINITION = ResourceDefinition(
    resource=FLOW_SCHEMAS,
    singular="flowschema",
    schema="io.k8s.api.flowcontrol.v1.FlowSchema",
    subresources=(Subresource("status", "FlowSchema", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column("PriorityLevel", description=doc("flowcontrol.v1.PriorityLevelConfigurationReference.name")),
        Column("MatchingPrecedence", description=doc("flowcontrol.v1.FlowSchemaSpec.matchingPrecedence")),
        Column("DistinguisherMethod", description=doc("flowcontrol.v1.FlowSchemaSpec.distinguisherMethod")),
        AGE,
        Column("MissingPL", description="references a broken or non-existent PriorityLevelConfiguration"),
    ),
    cells=cells,
    tracks_generation=True,
    unconditional_update=False,
)
