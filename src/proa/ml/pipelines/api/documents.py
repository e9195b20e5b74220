"""Read pipelines that clients send, whole or not at all. A large one takes seconds: one at a time, in a thread.

The thread is theirs: who sends many of them makes others wait who send some, and nothing else of the cluster.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from proa.ml.pipelines.api.refusals import invalid
from proa.ml.pipelines.ir.document import Package, package_of, read_package
from proa.ml.pipelines.ir.problems import InvalidParameters, InvalidPipeline
from proa.ml.pipelines.records import Json

_READER = ThreadPoolExecutor(1, thread_name_prefix="pipelines documents")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


async def read_upload(data: bytes) -> Package:
    """Return the pipeline in a file; raise Refusal."""
    return await asyncio.get_running_loop().run_in_executor(_READER, _read, data)


async def read_document(document: Mapping[str, Any]) -> Package:
    """Return the pipeline that a request's body holds; raise Refusal."""
    return await asyncio.get_running_loop().run_in_executor(_READER, _read, document)


def _read(source: bytes | Mapping[str, Any]) -> Package:
    from proa.ml.pipelines.ir.validation import check

    try:
        package = read_package(source) if isinstance(source, bytes) else package_of(source)
        check(package)
    except InvalidPipeline as error:
        raise invalid(str(error)) from None
    name = pipeline_name(package.pipeline_spec)
    if not _NAME.fullmatch(name):
        raise invalid(
            f"pipelineInfo.name: {name!r}: a pipeline's name must contain only lowercase alphanumeric characters or "
            "'-', start with an alphanumeric character, and have at most 128 of them"
        )
    return package


def check_parameters(package: Package, parameters: Mapping[str, Any]) -> Json:
    """Return the parameters of a run, numbers as their types say; raise Refusal for what its pipeline cannot have."""
    from proa.ml.pipelines.ir.runtime_parameters import check_runtime_parameters

    try:
        return check_runtime_parameters(package, parameters)
    except InvalidParameters as error:
        raise invalid(str(error)) from None


def pipeline_name(pipeline_spec: Mapping[str, Any]) -> str:
    """Return what the pipeline calls itself."""
    info: Json = pipeline_spec.get("pipelineInfo") or {}
    return str(info.get("name", ""))
