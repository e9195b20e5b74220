"""Give a step's log: of its pod while that is there, then what was kept of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from proa.client.protocol import Response
from proa.ml.pipelines.api.call import Call
from proa.ml.pipelines.api.refusals import Code, Refusal, not_found
from proa.ml.pipelines.api.runs import find
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.ml.pipelines.records import Task
from proa.objects.errors import ApiError

MAIN = "main"
MAX_LOG_BYTES = 16 * 1024 * 1024
_TEXT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache, private"}


async def by_node(call: Call) -> Response:
    """GET runs/{run_id}/nodes/{node_id}/log: of a pod's name, or of a task's id."""
    run = await find(call, "get")
    node = call.path["node_id"]
    for task in await call.services.database.tasks.of(run.id):
        if node in (task.pod_name, task.id):
            return await _answer(call, task, run.namespace)
    raise not_found("Node", node)


async def by_task(call: Call) -> Response:
    """GET runs/{run_id}/log?task=PATH."""
    run = await find(call, "get")
    path = call.text("task")
    for task in await call.services.database.tasks.of(run.id):
        if path == task.path:
            return await _answer(call, task, run.namespace)
    raise not_found("Task", path)


async def _answer(call: Call, task: Task, namespace: str) -> Response:
    if task.log_uri:
        store = await call.services.stores.of(namespace)
        return Response(200, dict(_TEXT), stream=await begin(store.stream(task.log_uri)))
    if not task.pod_name:
        raise not_found("Log of task", task.path)
    path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(task.pod_name)}/log?container={MAIN}"
    try:
        text = await call.services.client.read(path, limit_bytes=MAX_LOG_BYTES)
    except ApiError as error:
        code = Code.NOT_FOUND if error.code == 404 else Code.UNAVAILABLE
        raise Refusal(code, f"the log of task {task.path!r} cannot be read: {error.message}") from error
    return Response(200, dict(_TEXT), text)


async def begin(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the stream once its first piece has come, so that what cannot be had is said with a status."""
    try:
        first = await anext(stream, b"")
    except ArtifactError as error:
        raise Refusal(Code.NOT_FOUND, str(error)) from error
    return _go_on(first, stream)


async def _go_on(first: bytes, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in stream:
            yield piece
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
