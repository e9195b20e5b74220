"""A PriorityLevelConfiguration says how many requests of a level are served at once, and what the others do.

Follows pkg/apis/flowcontrol/v1/defaults.go, pkg/apis/flowcontrol/validation and printPriorityLevelConfiguration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.flowcontrol.conditions import validate_conditions
from proa.apiserver.resources.flowcontrol.system_objects import MANDATORY_PRIORITY_LEVELS
from proa.apiserver.resources.printing import AGE, NAME, NONE, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import PRIORITY_LEVELS
from proa.objects.validation import forbidden, invalid, not_supported, required

DEFAULT_SHARES = 30
QUEUING_DEFAULTS = {"handSize": 8, "queues": 64, "queueLengthLimit": 50}
MAX_QUEUES = 10_000_000
MAX_HASH_BITS = 60
EXEMPT = "exempt"
NOT_NEGATIVE = "must be a non-negative integer"
NOT_A_PERCENTAGE = "must be between 0 and 100, inclusive"


def default(level: Object) -> None:
    """Fill in shares, what may be lent, and queues."""
    spec = level.setdefault("spec", {})
    exempt, limited = spec.get("exempt"), spec.get("limited")
    if exempt is not None:
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    if limited is not None:
        limited.setdefault("nominalConcurrencyShares", DEFAULT_SHARES)
        limited.setdefault("lendablePercent", 0)
        queuing = limited.setdefault("limitResponse", {}).get("queuing")
        if queuing is not None:
            queuing.update({key: queuing.get(key) or value for key, value in QUEUING_DEFAULTS.items()})


def prepare_create(level: Object) -> None:
    """Start without a word about its state."""
    level["status"] = {}


def prepare_status_update(new: Object, old: Object) -> None:
    """Write the part that upstream always writes."""
    new.setdefault("status", {})


def validate(level: Object) -> list[Cause]:
    """Check the type and what belongs to it; those that every cluster has are as they are."""
    name, spec = level["metadata"].get("name", ""), level["spec"]
    kind = spec.get("type", "")
    causes: list[Cause] = []
    if (name == EXEMPT) != (kind == "Exempt"):
        causes.append(invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'"))
    if kind == "Exempt":
        causes += _validate_exempt_level(spec)
    elif kind == "Limited":
        causes += _validate_limited_level(spec)
    else:
        causes.append(not_supported("spec.type", kind, ("Exempt", "Limited")))
    return causes + _validate_mandatory(name, spec) + validate_conditions(level)


def _validate_exempt_level(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    if spec.get("limited") is not None:
        causes.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
    exempt = spec.get("exempt") or {}
    return causes + _validate_shares(exempt, "spec.exempt")


def _validate_limited_level(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    if spec.get("exempt") is not None:
        causes.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
    limited = spec.get("limited")
    if limited is None:
        return [*causes, required("spec.limited", "must not be empty when type is Limited")]
    causes += _validate_shares(limited, "spec.limited")
    borrowed = limited.get("borrowingLimitPercent")
    if borrowed is not None and borrowed < 0:
        why = "if specified, must be a non-negative integer"
        causes.append(invalid("spec.limited.borrowingLimitPercent", borrowed, why))
    return causes + _validate_response(limited.get("limitResponse") or {}, "spec.limited.limitResponse")


def _validate_shares(shared: Object, path: str) -> list[Cause]:
    shares, lendable = shared.get("nominalConcurrencyShares", 0), shared.get("lendablePercent", 0)
    causes = [] if shares >= 0 else [invalid(f"{path}.nominalConcurrencyShares", shares, NOT_NEGATIVE)]
    if not 0 <= lendable <= 100:
        causes.append(invalid(f"{path}.lendablePercent", lendable, NOT_A_PERCENTAGE))
    return causes


def _validate_response(response: Object, path: str) -> list[Cause]:
    kind, queuing, field = response.get("type", ""), response.get("queuing"), f"{path}.queuing"
    if kind == "Reject":
        why = "must be nil if limited.limitResponse.type is not Limited"
        return [] if queuing is None else [forbidden(field, why)]
    if kind != "Queue":
        return [not_supported(f"{path}.type", kind, ("Queue", "Reject"))]
    if queuing is None:
        return [required(field, "must not be empty if limited.limitResponse.type is Limited")]
    return _validate_queuing(queuing, field)


def _validate_queuing(queuing: Object, path: str) -> list[Cause]:
    length, queues, hand = queuing["queueLengthLimit"], queuing["queues"], queuing["handSize"]
    causes: list[Cause] = []
    if length <= 0:
        causes.append(invalid(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        causes.append(invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > MAX_QUEUES:
        causes.append(invalid(f"{path}.queues", queues, f"must not be greater than {MAX_QUEUES}"))
    if hand <= 0:
        causes.append(invalid(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        why = f"should not be greater than queues ({queues})"
        causes.append(invalid(f"{path}.handSize", hand, why))
    elif _needs_more_bits(queues, hand):
        why = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than "
            f"{MAX_HASH_BITS}"
        )
        causes.append(invalid(f"{path}.handSize", hand, why))
    return causes


def _needs_more_bits(queues: int, hand: int) -> bool:
    """Tell whether dealing `hand` of `queues` needs more than a hash has (util/shufflesharding RequiredEntropyBits)."""
    return math.ceil(math.log2(queues) * hand) > MAX_HASH_BITS


def _validate_mandatory(name: str, spec: Object) -> list[Cause]:
    wanted = MANDATORY_PRIORITY_LEVELS.get(name)
    if wanted is None:
        return []
    if name != EXEMPT:
        same = spec == wanted
        return [] if same else [invalid("spec", spec, f"spec of '{name}' must equal the fixed value")]
    if {**spec, "exempt": None} == {**wanted, "exempt": None}:
        return []
    why = f"spec of '{name}' except the 'spec.exempt' field must equal the fixed value"
    return [invalid("spec", spec, why)]


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check the conditions."""
    return validate_conditions(new)


def cells(level: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = level["spec"]
    limited = spec.get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    return (
        level["metadata"]["name"],
        spec.get("type", ""),
        limited.get("nominalConcurrencyShares", NONE),
        queuing.get("queues", NONE),
        queuing.get("handSize", NONE),
        queuing.get("queueLengthLimit", NONE),
        age(level, now),
    )


DEFINITION = ResourceDefinition(
    resource=PRIORITY_LEVELS,
    singular="prioritylevelconfiguration",
    schema="io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
    subresources=(Subresource("status", "PriorityLevelConfiguration", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column("Type", description=doc("flowcontrol.v1.PriorityLevelConfigurationSpec.type")),
        Column(
            "NominalConcurrencyShares",
            description=doc("flowcontrol.v1.LimitedPriorityLevelConfiguration.nominalConcurrencyShares"),
        ),
        Column("Queues", description=doc("flowcontrol.v1.QueuingConfiguration.queues")),
        Column("HandSize", description=doc("flowcontrol.v1.QueuingConfiguration.handSize")),
        Column("QueueLengthLimit", description=doc("flowcontrol.v1.QueuingConfiguration.queueLengthLimit")),
        AGE,
    ),
    cells=cells,
    tracks_generation=True,
    unconditional_update=False,
)
