"""Note in every ValidatingAdmissionPolicy's status what its expressions get wrong about the types they are for.

Watches the policies, writes their status. Warnings change nothing about what a policy does. Follows
pkg/controller/validatingadmissionpolicystatus/controller.go and apiserver/pkg/admission/plugin/policy/validating/
typechecking.go. CEL is imported when there is a policy to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proa.client.protocol import Object
from proa.objects.errors import Conflict, NotFound
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import VALIDATING_ADMISSION_POLICIES
from proa.objects.schemas.load import find_definition_name, schema_named
from proa.reconcile.discovery import ServedResource, discover
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

if TYPE_CHECKING:
    from proa.objects.cel.types import Type

NAME = "validatingadmissionpolicy-status"
WATCHES = (Watch(VALIDATING_ADMISSION_POLICIES),)
MAX_TYPES = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind that a policy may be about."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """Return the `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"


def kinds_of(policy: Object, served: Sequence[ServedResource]) -> list[Kind]:
    """Return the kinds that the policy's rules name in full, sorted: what has a wildcard names none."""
    found: set[Kind] = set()
    for rule in (policy["spec"].get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        names = {name for name in rule.get("resources") or () if "/" not in name}
        if "*" in groups or "*" in versions or "*" in names:
            continue
        for each in served:
            resource = each.resource
            if resource.group in groups and resource.version in versions and resource.plural in names:
                found.add(Kind(resource.group, resource.version, resource.kind))
    return sorted(found, key=lambda k: (k.group, k.version, k.kind))[:MAX_TYPES]


def check(policy: Object, kinds: Sequence[Kind]) -> list[Object]:
    """Return the warnings about a policy's validations."""
    typed = [(kind, found) for kind in kinds if (found := _type_of(kind.api_version, kind.kind)) is not None]
    warnings = []
    for index, validation in enumerate(policy["spec"].get("validations") or ()):
        for key in ("expression", "messageExpression"):
            said = [
                f"{kind}: {problem}\n"
                for kind, found in typed
                if (problem := _problem(policy["spec"], validation.get(key) or "", found))
            ]
            if said:
                field = f"spec.validations[{index}].{key}"
                warnings.append({"fieldRef": field, "warning": "\n".join(said)})
    return warnings


def _problem(spec: Object, expression: str, found: Type) -> str:
    """Return what is wrong with an expression when `object` is of a type, "" for nothing."""
    from proa.objects.cel.admission import BadExpression, Compiler

    if not expression:
        return ""
    kind = spec.get("paramKind")
    params = None if kind is None else _type_of(kind.get("apiVersion") or "", kind.get("kind") or "")
    composes = bool(spec.get("variables"))
    compiler = Compiler(has_params=kind is not None, composes=composes, object_type=found, params_type=params)
    for variable in spec.get("variables") or ():
        try:
            compiler.add_variable(variable["name"], variable["expression"])
        except BadExpression:
            continue  # it is dyn to what uses it
    try:
        compiler.compile(expression)
    except BadExpression as error:
        return str(error)
    return ""


def _type_of(api_version: str, kind: str) -> Type | None:
    from proa.objects.cel.types import from_schema

    name = find_definition_name(api_version, kind)
    return None if name is None else from_schema(schema_named(name), kind)


def plan(policy: Object | None, served: Sequence[ServedResource]) -> Object | None:
    """Return the policy with the status that it should have, None where it has been looked at as it is."""
    if policy is None or not _is_new(policy):
        return None
    warnings = check(policy, kinds_of(policy, served))
    checking = {"expressionWarnings": warnings} if warnings else {}
    status = {**(policy.get("status") or {}), "typeChecking": checking}
    return {**policy, "status": {**status, "observedGeneration": policy["metadata"]["generation"]}}


def _is_new(policy: Object) -> bool:
    seen = (policy.get("status") or {}).get("observedGeneration") or 0
    return bool(policy["metadata"].get("generation", 0) > seen)


async def reconcile(context: Context, key: Key) -> Result:
    """Write the status of the policy `key.name` where it has changed since it was looked at."""
    policy = context.caches(VALIDATING_ADMISSION_POLICIES).get(key.name)
    if policy is None or not _is_new(policy):
        return DONE
    discovered = await discover(context.client)
    decided = plan(policy, discovered.served)
    if decided is not None:
        try:
            written = await context.client.update(VALIDATING_ADMISSION_POLICIES, decided, "status")
            context.caches(VALIDATING_ADMISSION_POLICIES).wrote(written)
        except (Conflict, NotFound):
            return DONE  # its change is on the way here
    return DONE
