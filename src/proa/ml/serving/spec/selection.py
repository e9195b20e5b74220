"""Say which ServingRuntime or ClusterServingRuntime serves a model: the one that is named, or the first that fits.

Pure. Runtimes of the namespace come before those of the cluster; of each the highest priority for the format first,
then the lowest protocol, the newest, the name. Source: KServe's pkg/apis/serving/v1beta1/predictor_model.go and
components/predictor.go (reconcileModel), for the reasons and messages too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proa.ml.serving.records import Object
from proa.objects import meta

NO_RUNTIME, DISABLED, UNKNOWN = "NoSupportingRuntime", "RuntimeDisabled", "RuntimeNotRecognized"
"""Reasons of lastFailureInfo."""
PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2")
"""In the order in which a runtime's first is taken."""


class NotServed(Exception):
    """No runtime serves the model: lastFailureInfo's reason and message, and `words` for the condition."""

    def __init__(self, reason: str, message: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason
        self.message = message
        self.words = words


class Selected(NamedTuple):
    """A runtime, and the protocol that the model is served by."""

    runtime: Object
    is_cluster: bool
    protocol: str


def select_runtime(
    predictor: Object, runtimes: Sequence[Object], cluster_runtimes: Sequence[Object]
) -> Selected:
    """Return what serves a predictor's `model` (with its defaults); raise NotServed.

    `runtimes` are the namespace's, `cluster_runtimes` the cluster's.
    """
    model = predictor["model"]
    if model.get("runtime"):
        return _named(model, runtimes, cluster_runtimes)
    for found, is_cluster in ((runtimes, False), (cluster_runtimes, True)):
        fitting = supporting(predictor, found)
        if fitting:
            return Selected(fitting[0], is_cluster, model.get("protocolVersion") or _first(fitting[0]))
    raise _none_found(model, [*runtimes, *cluster_runtimes])


def supporting(predictor: Object, runtimes: Iterable[Object]) -> list[Object]:
    """Return the runtimes that serve the predictor's model without being named, the best first."""
    model = predictor["model"]
    protocol = model.get("protocolVersion") or "v1"
    has_workers = predictor.get("workerSpec") is not None
    fitting = [
        runtime
        for runtime in runtimes
        if not runtime["spec"].get("disabled")
        and not runtime["spec"].get("multiModel")
        and _supports_format(runtime, model, is_named=False)
        and _supports_protocol(runtime, protocol)
        and (runtime["spec"].get("workerSpec") is not None) == has_workers
    ]
    fitting.sort(key=meta.name)
    fitting.sort(key=lambda runtime: runtime["metadata"].get("creationTimestamp") or "", reverse=True)
    fitting.sort(key=lambda runtime: _rank(runtime["spec"].get("protocolVersions") or ()))
    name = model["modelFormat"]["name"]
    return sorted(fitting, key=lambda runtime: -_priority(runtime, name))


def _named(model: Object, runtimes: Sequence[Object], cluster_runtimes: Sequence[Object]) -> Selected:
    name = model["runtime"]
    runtime = next((one for one in (*runtimes, *cluster_runtimes) if meta.name(one) == name), None)
    if runtime is None:
        words = f"No ServingRuntimes or ClusterServingRuntimes with the name: {name}"
        raise NotServed(UNKNOWN, "Waiting for runtime to become available", words)
    if runtime["spec"].get("disabled"):
        raise NotServed(DISABLED, "Specified runtime is disabled", f"specified runtime {name} is disabled")
    protocol = model.get("protocolVersion")
    if protocol and not _supports_protocol(runtime, protocol):
        has = ", ".join(runtime["spec"].get("protocolVersions") or ())
        raise NotServed(
            NO_RUNTIME,
            "Specified runtime does not support specified protocol version",
            f"specified runtime {name} does not support specified protocol version {protocol}: it has {has}",
        )
    if not _supports_format(runtime, model, is_named=True):
        has = ", ".join(
            dict.fromkeys(_label(one) for one in runtime["spec"].get("supportedModelFormats") or ())
        )
        raise NotServed(
            NO_RUNTIME,
            "Specified runtime does not support specified framework/version",
            f"specified runtime {name} does not support specified framework/version "
            f"{_label(model['modelFormat'])}: it has {has or 'none'}",
        )
    return Selected(runtime, not meta.namespace(runtime), protocol or _first(runtime))


def _none_found(model: Object, runtimes: Sequence[Object]) -> NotServed:
    """Return the error, with what would help."""
    wanted, protocol = model["modelFormat"], model.get("protocolVersion") or "v1"
    known = sorted(
        {one["name"] for runtime in runtimes for one in _formats(runtime) if one.get("autoSelect")}
    )
    of_name = [r for r in runtimes if any(one["name"] == wanted["name"] for one in _formats(r))]
    words = f"no runtime found to support predictor with model type: {_label(wanted)}"
    served = [runtime for runtime in of_name if _supports_format(runtime, model, is_named=True)]
    if served:
        hints = ", ".join(sorted(f"{meta.name(runtime)} ({_traits(runtime)})" for runtime in served))
        words += f" by protocol {protocol}; there is {hints}: say protocolVersion, or runtime"
    elif of_name:
        versions = sorted(
            {_label(one) for r in of_name for one in _formats(r) if one["name"] == wanted["name"]}
        )
        words += f"; there is {', '.join(versions)}"
    else:
        words += f"; runtimes are there for {', '.join(known) or 'no format'}"
    return NotServed(NO_RUNTIME, "No runtime found to support specified framework/version", words)


def _traits(runtime: Object) -> str:
    spec = runtime["spec"]
    said = [", ".join(spec.get("protocolVersions") or ("any protocol",))]
    said += [
        word
        for word, is_so in (("disabled", spec.get("disabled")), ("workers", spec.get("workerSpec")))
        if is_so
    ]
    return "; ".join(said)


def _formats(runtime: Object) -> Sequence[Object]:
    formats: Sequence[Object] = runtime["spec"].get("supportedModelFormats") or ()
    return formats


def _supports_format(runtime: Object, model: Object, *, is_named: bool) -> bool:
    wanted = model["modelFormat"]
    version = wanted.get("version")
    return any(
        one["name"] == wanted["name"] and (version is None or one.get("version") == version)
        for one in _formats(runtime)
        if is_named or one.get("autoSelect")
    )


def _supports_protocol(runtime: Object, protocol: str) -> bool:
    protocols = runtime["spec"].get("protocolVersions")
    return not protocols or protocol in protocols


def _rank(protocols: Iterable[str]) -> int:
    ranks = [PROTOCOLS.index(one) if one in PROTOCOLS else len(PROTOCOLS) for one in protocols]
    return min(ranks, default=len(PROTOCOLS))


def _first(runtime: Object) -> str:
    """Return the protocol of a model that says none: the runtime's first in the order of all."""
    rank = _rank(runtime["spec"].get("protocolVersions") or ())
    return PROTOCOLS[rank] if rank < len(PROTOCOLS) else ""


def _priority(runtime: Object, name: str) -> int:
    """Return the first that the runtime says of the format, 0 for none: those that have one come first."""
    return next((one.get("priority") or 0 for one in _formats(runtime) if one["name"] == name), 0)


def _label(model_format: Object) -> str:
    version = model_format.get("version")
    return f"{model_format['name']} {version}" if version else str(model_format["name"])
