"""Check what carries tasks out: containers and importers; resolvers and custom jobs are refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proa.ml.pipelines.ir.component_checks import check_artifact_type, check_constant, check_properties
from proa.ml.pipelines.ir.problems import Problems
from proa.objects.quantity import parse_quantity
from proa.objects.validation import quote

Json = Mapping[str, Any]
_ENV_NAME = re.compile(r"[^=\x00-\x1f]+")
_QUANTITIES = ("resourceCpuLimit", "resourceMemoryLimit", "resourceCpuRequest", "resourceMemoryRequest")
_NUMBERS = ("cpuLimit", "memoryLimit", "cpuRequest", "memoryRequest")


def check_executor(executor: Json, path: str, problems: Problems) -> None:
    """Note what is wrong with an ExecutorSpec."""
    if "resolver" in executor:
        problems.add(f"{path}.resolver", "resolver executors are not supported")
    elif "customJob" in executor:
        problems.add(f"{path}.customJob", "custom job executors is Google Cloud only, it's not supported")
    elif "container" in executor:
        _check_container(executor["container"], f"{path}.container", problems)
    elif "importer" in executor:
        _check_importer(executor["importer"], f"{path}.importer", problems)
    else:
        problems.add(path, "is neither a container nor an importer")


def _check_container(container: Json, path: str, problems: Problems) -> None:
    if not container.get("image"):
        problems.add(f"{path}.image", "is empty")
    if container.get("lifecycle", {}).get("preCacheCheck"):
        problems.add(f"{path}.lifecycle.preCacheCheck", "checks before the cache are not supported")
    for index, variable in enumerate(container.get("env", ())):
        if not _ENV_NAME.fullmatch(variable.get("name", "")):
            problems.add(
                f"{path}.env[{index}].name", f"{quote(variable.get('name', ''))} is no name of a variable"
            )
    resources = container.get("resources", {})
    for field in _QUANTITIES:
        check_quantity(resources.get(field, ""), f"{path}.resources.{field}", problems)
    for field in _NUMBERS:
        if resources.get(field, 0) < 0:
            problems.add(f"{path}.resources.{field}", "must not be negative")
    _check_accelerator(resources.get("accelerator", {}), f"{path}.resources.accelerator", problems)


def _check_accelerator(accelerator: Json, path: str, problems: Problems) -> None:
    count = accelerator.get("resourceCount", "")
    if count and "{{$" not in count and not count.isdecimal():
        problems.add(f"{path}.resourceCount", f"{quote(count)} is no whole number")
    if accelerator.get("count", 0) < 0:
        problems.add(f"{path}.count", "must not be negative")
    has_count = bool(count) or accelerator.get("count", 0) > 0
    if has_count and not (accelerator.get("resourceType") or accelerator.get("type")):
        problems.add(path, "has a count and no type")


def check_quantity(text: str, path: str, problems: Problems) -> None:
    """Note what is no quantity; "" and placeholders are fine."""
    if not text or "{{$" in text:
        return
    try:
        is_negative = parse_quantity(text) < 0
    except ValueError as error:
        problems.add(path, f"{quote(text[:60])} is no quantity: {error}")
        return
    if is_negative:
        problems.add(path, "must not be negative")


def _check_importer(importer: Json, path: str, problems: Problems) -> None:
    uri = importer.get("artifactUri", {})
    if not uri.get("runtimeParameter"):
        check_constant(uri, f"{path}.artifactUri", problems)
    check_artifact_type(importer.get("typeSchema", {}), f"{path}.typeSchema", problems)
    check_properties(importer, path, problems)
