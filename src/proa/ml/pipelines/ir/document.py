"""Read a compiled pipeline: YAML (one or two documents), JSON, a package of these, or the form that the SDK sends.

What comes out is proto-JSON with camelCase names, every field known and of its type; what it means is judged by
validation.py. Upstream reads the same (backend/src/apiserver/template/v2_template.go, server/api_util.go), but skips
unknown documents and, in the deployment, unknown fields: here both are refused, so that nothing is skipped silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import orjson

from proa.ml.pipelines.ir.archives import MAX_PACKAGE_BYTES, read_text
from proa.ml.pipelines.ir.problems import InvalidPipeline, Problem, Problems
from proa.ml.pipelines.ir.protojson import read_message
from proa.objects.quick_dataclass import dataclass

CREATE_PVC_IMAGE = "argostub/createpvc"
DELETE_PVC_IMAGE = "argostub/deletepvc"
"""Images that are never pulled: their tasks make and remove claims (compiler/argocompiler/container.go)."""
PLATFORM_MESSAGES = {CREATE_PVC_IMAGE: "CreatePvc", DELETE_PVC_IMAGE: "DeletePvc"}


@dataclass(frozen=True, slots=True)
class Package:
    """A pipeline: its PipelineSpec, and the platform document that goes with it ({} for none), both proto-JSON."""

    pipeline_spec: dict[str, Any]
    platform_spec: dict[str, Any] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """Return the form that the API shows: the spec alone, or both under `pipeline_spec` and `platform_spec`."""
        if not self.platform_spec:
            return self.pipeline_spec
        return {"pipeline_spec": self.pipeline_spec, "platform_spec": self.platform_spec}


def read_package(data: bytes | str) -> Package:
    """Return the pipeline in an upload; raise InvalidPipeline with every place that is wrong.

    A text of megabytes takes seconds: a server calls this in a thread.
    """
    try:
        text = read_text(data) if isinstance(data, bytes) else data
        if len(text) > MAX_PACKAGE_BYTES:
            raise ValueError(f"File size too large. Maximum supported size: {MAX_PACKAGE_BYTES}")
        documents = _load(text)
    except ValueError as error:
        raise InvalidPipeline([Problem("", str(error))]) from None
    return _join(documents)


def package_of(document: Mapping[str, Any]) -> Package:
    """Return the pipeline that a decoded document says, in either form of `Package.as_document`."""
    return _join([document])


def _load(text: str) -> list[Any]:
    if text.lstrip()[:1] == "{":
        try:
            return [orjson.loads(text)]
        except orjson.JSONDecodeError:
            pass  # YAML may begin with a brace as well, and says what is wrong by line
    from proa.ml.pipelines.ir.yaml_text import load_documents

    return load_documents(text)


def _join(documents: list[Any]) -> Package:
    pipelines: list[Any] = []
    platforms: list[Any] = []
    for document in documents:
        _sort(document, pipelines, platforms)
    for found, what in ((pipelines, "pipeline"), (platforms, "platform")):
        if len(found) > 1:
            raise InvalidPipeline([Problem("", f"multiple {what} specs provided")])
    if not pipelines:
        raise InvalidPipeline([Problem("", "no pipeline spec is provided")])
    problems = Problems()
    spec = read_message("PipelineSpec", _without_type(pipelines[0]), "", problems)
    platform = _read_platform(platforms[0], spec, problems) if platforms else {}
    problems.raise_any()
    return Package(spec, platform)


def _sort(document: Any, pipelines: list[Any], platforms: list[Any]) -> None:
    if not isinstance(document, Mapping):
        raise InvalidPipeline([Problem("", "unknown template format: a pipeline is an object")])
    if str(document.get("apiVersion", "")).startswith("argoproj.io/"):
        message = "pipelines of version 1 (Argo Workflows) are not supported: compile it with kfp 2"
        raise InvalidPipeline([Problem("apiVersion", message)])
    if "pipeline_spec" in document:
        unknown = [key for key in document if key not in ("pipeline_spec", "platform_spec")]
        if unknown:
            raise InvalidPipeline([Problem(str(unknown[0]), "unknown field beside pipeline_spec")])
        pipelines.append(document["pipeline_spec"])
        if document.get("platform_spec"):
            platforms.append(document["platform_spec"])
    elif "platforms" in document:
        platforms.append(document)
    else:
        pipelines.append(document)


def _without_type(spec: Any) -> Any:
    """Leave out the `@type` that the deployment may have where it once was an Any."""
    if not isinstance(spec, Mapping):
        return spec
    key = "deploymentSpec" if "deploymentSpec" in spec else "deployment_spec"
    deployment = spec.get(key)
    if not isinstance(deployment, Mapping) or "@type" not in deployment:
        return spec
    return {**spec, key: {k: v for k, v in deployment.items() if k != "@type"}}


def _read_platform(document: Any, spec: dict[str, Any], problems: Problems) -> dict[str, Any]:
    platform = read_message("PlatformSpec", document, "", problems)
    kubernetes = platform.get("platforms", {}).get("kubernetes", {})
    executors = kubernetes.get("deploymentSpec", {}).get("executors", {})
    containers = spec.get("deploymentSpec", {}).get("executors", {})
    for label, config in executors.items():
        image = containers.get(label, {}).get("container", {}).get("image", "")
        path = f"platforms[kubernetes].deploymentSpec.executors[{label}]"
        message = PLATFORM_MESSAGES.get(image, "KubernetesExecutorConfig")
        executors[label] = read_message(message, config, path, problems)
    return platform
