"""Compile the expressions of admission policies and match conditions, with the variables that each may use.

Follows apiserver/pkg/admission/plugin/cel/compile.go and composition.go, and apiserver/pkg/cel/mutation. This module
imports CEL: import it where there is an expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from proa.objects.cel import types as t
from proa.objects.cel.environment import Environment, kubernetes_functions
from proa.objects.cel.errors import CelCompileError, CelError, CelTypeError
from proa.objects.cel.functions import Functions, overload
from proa.objects.cel.program import Program, compile_expression
from proa.objects.cel.types import Fields, Type, list_of, map_of, object_of

OBJECT = "Object"
JSON_PATCH = object_of("JSONPatch", {"op": t.STRING, "path": t.STRING, "from": t.STRING, "value": t.DYN})
JSON_PATCHES = list_of(JSON_PATCH)


class _AnyFields(Fields):
    def find(self, name: str) -> Type | None:
        return t.DYN


ANY_OBJECT = Type("object", OBJECT, fields=_AnyFields())
_STRINGS = list_of(t.STRING)
_KIND = object_of("kubernetes.GroupVersionKind", {"group": t.STRING, "version": t.STRING, "kind": t.STRING})
_RESOURCE = object_of(
    "kubernetes.GroupVersionResource", {"group": t.STRING, "version": t.STRING, "resource": t.STRING}
)
_USER = object_of(
    "kubernetes.UserInfo",
    {"username": t.STRING, "uid": t.STRING, "groups": _STRINGS, "extra": map_of(t.STRING, _STRINGS)},
)
REQUEST = object_of(
    "kubernetes.AdmissionRequest",
    {
        "kind": _KIND, "resource": _RESOURCE, "subResource": t.STRING, "requestKind": _KIND,
        "requestResource": _RESOURCE, "requestSubResource": t.STRING, "name": t.STRING, "namespace": t.STRING,
        "operation": t.STRING, "userInfo": _USER, "dryRun": t.BOOL, "options": t.DYN,
    },
)  # fmt: skip
_CONDITION = object_of(
    "kubernetes.NamespaceCondition",
    {"status": t.STRING, "type": t.STRING, "lastTransitionTime": t.TIMESTAMP, "message": t.STRING, "reason": t.STRING},
)  # fmt: skip
_LABELS = map_of(t.STRING, t.STRING)
NAMESPACE = object_of(
    "kubernetes.Namespace",
    {
        "metadata": object_of(
            "kubernetes.NamespaceMetadata",
            {
                "name": t.STRING, "generateName": t.STRING, "namespace": t.STRING, "labels": _LABELS,
                "annotations": _LABELS, "UID": t.STRING, "creationTimestamp": t.TIMESTAMP,
                "deletionGracePeriodSeconds": t.INT, "deletionTimestamp": t.TIMESTAMP, "generation": t.INT,
                "resourceVersion": t.STRING, "finalizers": _STRINGS,
            },
        ),
        "spec": object_of("kubernetes.NamespaceSpec", {"finalizers": _STRINGS}),
        "status": object_of(
            "kubernetes.NamespaceStatus", {"conditions": list_of(_CONDITION), "phase": t.STRING}
        ),
    },
)  # fmt: skip


class BadExpression(CelError):
    """The expression does not compile, or gives another type than it must; the text is upstream's detail."""


class Compiler:
    """Compiles the expressions of one policy: each sees the policy's variables that were added before it.

    `object_type` and `params_type` are for checking alone: admission knows objects as they are (dyn).
    """

    def __init__(
        self,
        *,
        has_params: bool,
        has_patches: bool = False,
        composes: bool = False,
        object_type: Type | None = None,
        params_type: Type | None = None,
    ) -> None:
        self._params, self._patches, self._composes = has_params, has_patches, composes
        self._object_type, self._params_type = object_type, params_type
        self._variables: dict[str, Type] = {}
        self._environments: dict[bool, Environment] = {}

    def compile(self, source: str, returns: Sequence[Type] = (), *, authorizer: bool = True) -> Program:
        """Return the program of an expression, which gives one of the types (none: any); raise BadExpression."""
        environment = self._environments.get(authorizer)
        if environment is None:
            environment = self._environments[authorizer] = self._environment(authorizer)
        try:
            program = compile_expression(source, environment)
        except (CelCompileError, CelTypeError) as error:
            raise BadExpression(str(error)) from None
        if returns and program.type not in returns:
            wanted = " ".join(_shown(kind) for kind in returns)
            one = f"must evaluate to {wanted} but got {_shown(program.type)}"
            several = f"must evaluate to one of [{wanted}] but got {_shown(program.type)}"
            raise BadExpression(one if len(returns) == 1 else several)
        return program

    def add_variable(self, name: str, source: str) -> Program:
        """Compile a variable, which expressions from now on may use; raise BadExpression (it is then dyn to them)."""
        try:
            program = self.compile(source)
        except BadExpression:
            self._add(name, t.DYN)
            raise
        self._add(name, program.type)
        return program

    def _add(self, name: str, kind: Type) -> None:
        self._variables[name] = kind
        self._environments = {}

    def _environment(self, authorizer: bool) -> Environment:
        if not self._composes and self._object_type is None:
            return _plain_environment(self._params, authorizer, self._patches)
        variables = _names(self._params, authorizer)
        if self._composes:
            variables["variables"] = object_of("kubernetes.variables", dict(self._variables))
        if self._object_type is not None:
            variables |= {"object": self._object_type, "oldObject": self._object_type}
        if self._params and self._params_type is not None:
            variables["params"] = self._params_type
        return _make(variables, self._patches)


def compiler_of(spec: Mapping[str, Any], *, has_patches: bool = False) -> Compiler:
    """Return the compiler for a policy's spec."""
    composes = bool(spec.get("variables"))
    return Compiler(has_params=spec.get("paramKind") is not None, has_patches=has_patches, composes=composes)


def _shown(kind: Type) -> str:
    return "null_type" if kind == t.NULL else str(kind)


def _names(params: bool, authorizer: bool) -> dict[str, Type]:
    names = {"object": t.DYN, "oldObject": t.DYN, "namespaceObject": NAMESPACE, "request": REQUEST}
    if params:
        names["params"] = t.DYN
    if authorizer:
        names |= {"authorizer": t.AUTHORIZER, "authorizer.requestResource": t.RESOURCE_CHECK}
    return names


@cache
def _plain_environment(params: bool, authorizer: bool, patches: bool) -> Environment:
    return _make(_names(params, authorizer), patches)


def _make(variables: Mapping[str, Type], patches: bool) -> Environment:
    if not patches:
        return Environment(variables)
    return Environment(variables, _patch_functions(), _patch_types)


@cache
def _patch_functions() -> Functions:
    def escape(key: str) -> str:
        return key.replace("~", "~0").replace("/", "~1")

    return {**kubernetes_functions(), "jsonpatch.escapeKey": (overload("(string) -> string", escape),)}


def _patch_types(name: str) -> Type | None:
    if name == "JSONPatch":
        return JSON_PATCH
    if name == OBJECT or name.startswith(f"{OBJECT}."):
        return Type("object", name, fields=_AnyFields())
    return None
