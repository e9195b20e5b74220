"""Artifacts: what there is, what made and used it, and its content as it is in the store."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator

from proa.client.protocol import Response
from proa.ml.pipelines.api.access import RUNS
from proa.ml.pipelines.api.call import Call, answer
from proa.ml.pipelines.api.lists import list_answer, list_options
from proa.ml.pipelines.api.logs import begin
from proa.ml.pipelines.api.refusals import invalid, not_found
from proa.ml.pipelines.api.run_answers import render_artifact
from proa.ml.pipelines.api.runs import find
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.ml.pipelines.records import Artifact, Json, Use

_MAX_LEVELS = 100
_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


async def list_(call: Call) -> Response:
    """GET artifacts: of a namespace, a run (`run_id`), a task (`task_id`), a type (`type`, "system.Model")."""
    await call.check("readArtifact", RUNS, call.namespace)
    page = await call.services.database.artifacts.page(
        list_options(call),
        namespace=call.namespace,
        run_id=call.text("run_id"),
        task_id=call.text("task_id"),
        type=call.text("type"),
    )
    return list_answer("artifacts", page, render_artifact)


async def get(call: Call) -> Response:
    """GET artifacts/{artifact_id}."""
    return answer(render_artifact(await _find(call)))


async def lineage(call: Call) -> Response:
    """GET artifacts/{artifact_id}/lineage: what produced and used it, `up` and `down` so many levels (1)."""
    artifact = await _find(call)
    levels = [_levels(call, "up"), _levels(call, "down")]
    uses = await call.services.database.artifacts.lineage(artifact.id, up=levels[0], down=levels[1])
    return answer({"artifact": render_artifact(artifact), "uses": [_render_use(use) for use in uses]})


async def download(call: Call) -> Response:
    """GET artifacts/{artifact_id}:download: a file as it is, a folder as a .tar.gz."""
    artifact = await _find(call)
    store = await call.services.stores.of(artifact.namespace)
    try:
        found = await store.stat(artifact.uri)
    except ArtifactError as error:
        raise invalid(str(error)) from error
    if found is None:
        raise not_found("Content of artifact", f"{artifact.id} ({artifact.uri})")
    name = _NOT_IN_FILE_NAMES.sub("_", artifact.uri.rstrip("/").rpartition("/")[2] or artifact.name)
    name += ".tar.gz" if found.is_folder else ""
    headers = {
        "Content-Type": "application/gzip" if found.is_folder else "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(200, headers, stream=await begin(store.stream(artifact.uri)))


async def read(call: Call) -> Response:
    """GET runs/{run_id}/nodes/{node_id}/artifacts/{artifact_name}:read: upstream's, as base64 within JSON."""
    run = await find(call, "readArtifact")
    node, name = call.path["node_id"], call.path["artifact_name"]
    for task in await call.services.database.tasks.of(run.id):
        if node in (task.id, task.pod_name) and task.outputs.artifacts.get(name):
            store = await call.services.stores.of(run.namespace)
            stream = await begin(store.stream(task.outputs.artifacts[name][0].uri))
            headers = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
            return Response(200, headers, stream=_as_base64(stream))
    raise not_found("Artifact", name)


async def _find(call: Call) -> Artifact:
    artifact = await call.services.database.artifacts.get(call.path["artifact_id"])
    await call.check("readArtifact", RUNS, artifact.namespace)
    return artifact


def _levels(call: Call, name: str) -> int:
    text = call.text(name) or "1"
    if not re.fullmatch(r"\d{1,3}", text) or int(text) > _MAX_LEVELS:
        raise invalid(f"{name}: expected a number from 0 to {_MAX_LEVELS}, got {text!r}")
    return int(text)


def _render_use(use: Use) -> Json:
    return {
        "run_id": use.run_id,
        "task_id": use.task_id,
        "path": use.path,
        "artifact_id": use.artifact_id,
        "name": use.name,
        "is_output": use.is_output,
    }


async def _as_base64(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield b'{"data":"'
    rest = b""
    async for piece in stream:
        whole = rest + piece
        cut = len(whole) - len(whole) % 3
        yield base64.b64encode(whole[:cut])
        rest = whole[cut:]
    yield base64.b64encode(rest) + b'"}'
