"""Pipelines: names under which versions are kept. Upstream: backend/src/apiserver/server/pipeline_server.go."""

from __future__ import annotations

from proa.client.protocol import Response
from proa.ml.pipelines.api.access import NAMESPACE, PIPELINES
from proa.ml.pipelines.api.call import Call, answer
from proa.ml.pipelines.api.lists import list_answer, list_options
from proa.ml.pipelines.api.messages import PIPELINE
from proa.ml.pipelines.api.refusals import Code, Refusal, invalid
from proa.ml.pipelines.api.times import format_time
from proa.ml.pipelines.records import Json, Pipeline

MAX_NAME = 128


def render(pipeline: Pipeline) -> Json:
    """Return it as the API shows it."""
    return {
        "pipeline_id": pipeline.id,
        "name": pipeline.name,
        "display_name": pipeline.display_name or pipeline.name,
        "description": pipeline.description,
        "created_at": format_time(pipeline.created_at),
        "namespace": pipeline.namespace,
        "tags": dict(pipeline.tags),
    }


async def create(call: Call) -> Response:
    """POST pipelines: one without a version yet."""
    pipeline = make(call, call.message(PIPELINE))
    await call.check("create", PIPELINES, pipeline.namespace, pipeline.name)
    await call.services.database.pipelines.insert(pipeline)
    return answer(render(pipeline))


async def create_with_version(call: Call) -> Response:
    """POST pipelines/create: the version comes from a URL, and this server fetches nothing for others."""
    raise Refusal(
        Code.UNIMPLEMENTED,
        "package_url is not supported, so that nobody can have this server fetch what only it can reach; "
        "upload the file: POST /apis/v2beta1/pipelines/upload",
    )


async def get(call: Call) -> Response:
    """GET pipelines/{pipeline_id}."""
    return answer(render(await find(call, "get")))


async def get_by_name(call: Call) -> Response:
    """GET pipelines/names/{name}."""
    name, namespace = call.path["name"], call.namespace
    await call.check("get", PIPELINES, namespace, name)
    found = await call.services.database.pipelines.find_by_name(namespace, name)
    if found is None:
        raise Refusal(Code.NOT_FOUND, f"Namespace/Pipeline {namespace}/{name} not found")
    return answer(render(found))


async def list_(call: Call) -> Response:
    """GET pipelines."""
    await call.check("list", PIPELINES, call.namespace)
    page = await call.services.database.pipelines.page(list_options(call), namespace=call.namespace)
    return list_answer("pipelines", page, render)


async def update(call: Call) -> Response:
    """PATCH pipelines/{pipeline_id}: its display name and tags."""
    message = call.message(PIPELINE)
    pipeline = await find(call, "update")
    changes = {key: message[key] for key in ("display_name", "tags") if key in message}
    return answer(render(await call.services.database.pipelines.update(pipeline.id, **changes)))


async def delete(call: Call) -> Response:
    """DELETE pipelines/{pipeline_id}; one that has versions only with `cascade`."""
    pipeline = await find(call, "delete")
    await call.services.database.pipelines.delete(pipeline.id, cascade=call.flag("cascade"))
    return answer({})


async def find(call: Call, verb: str) -> Pipeline:
    """Return the pipeline that the path names, which the caller may `verb`; raise Refusal."""
    return await find_by_id(call, call.path["pipeline_id"], verb)


async def find_by_id(call: Call, pipeline_id: str, verb: str) -> Pipeline:
    """Return a pipeline that the caller may `verb`; raise Refusal."""
    pipeline = await call.services.database.pipelines.get(pipeline_id)
    await call.check(verb, PIPELINES, pipeline.namespace, pipeline.name)
    return pipeline


def make(call: Call, message: Json) -> Pipeline:
    """Return a new pipeline; raise Refusal."""
    display_name = message.get("display_name", "")
    name = message.get("name") or display_name
    check_name(name)
    tags = message.get("tags", {})
    return Pipeline(
        call.services.new_id(),
        name,
        message.get("namespace") or NAMESPACE,
        call.services.now(),
        display_name or name,
        message.get("description", ""),
        tags,
    )


def check_name(name: str) -> None:
    """Raise Refusal for what is no name."""
    if not name:
        raise invalid("name is required")
    if len(name) > MAX_NAME:
        raise invalid(f"the name is too long: {len(name)} characters, and {MAX_NAME} are allowed")
