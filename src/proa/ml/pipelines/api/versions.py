"""Versions of pipelines: documents that were checked when they came."""

from __future__ import annotations

from proa.client.protocol import Response
from proa.ml.pipelines.api.access import PIPELINES
from proa.ml.pipelines.api.call import Call, answer
from proa.ml.pipelines.api.lists import list_answer, list_options
from proa.ml.pipelines.api.messages import PIPELINE_VERSION
from proa.ml.pipelines.api.pipelines import find, find_by_id
from proa.ml.pipelines.api.refusals import Code, Refusal, not_found
from proa.ml.pipelines.api.times import format_time
from proa.ml.pipelines.ir.document import Package
from proa.ml.pipelines.records import Json, PipelineVersion


def render(version: PipelineVersion) -> Json:
    """Return it as the API shows it."""
    package = Package(dict(version.pipeline_spec), dict(version.platform_spec))
    return {
        "pipeline_id": version.pipeline_id,
        "pipeline_version_id": version.id,
        "name": version.name,
        "display_name": version.display_name or version.name,
        "description": version.description,
        "created_at": format_time(version.created_at),
        "code_source_url": version.code_source_url,
        "pipeline_spec": package.as_document(),
        "tags": dict(version.tags),
    }


async def create(call: Call) -> Response:
    """POST pipelines/{pipeline_id}/versions: only by URL, which is refused as in `pipelines.create_with_version`."""
    raise Refusal(
        Code.UNIMPLEMENTED,
        "package_url is not supported, so that nobody can have this server fetch what only it can reach; "
        "upload the file: POST /apis/v2beta1/pipelines/upload_version",
    )


async def get(call: Call) -> Response:
    """GET pipelines/{pipeline_id}/versions/{pipeline_version_id}."""
    return answer(render(await find_version(call, "get")))


async def list_(call: Call) -> Response:
    """GET pipelines/{pipeline_id}/versions."""
    pipeline = await find(call, "list")
    page = await call.services.database.versions.page(pipeline.id, list_options(call), with_spec=True)
    return list_answer("pipeline_versions", page, render)


async def update(call: Call) -> Response:
    """PATCH pipelines/{pipeline_id}/versions/{pipeline_version_id}: its display name and tags."""
    message = call.message(PIPELINE_VERSION)
    version = await find_version(call, "update")
    changes = {key: message[key] for key in ("display_name", "tags") if key in message}
    return answer(render(await call.services.database.versions.update(version.id, **changes)))


async def delete(call: Call) -> Response:
    """DELETE pipelines/{pipeline_id}/versions/{pipeline_version_id}."""
    version = await find_version(call, "delete")
    await call.services.database.versions.delete(version.id)
    return answer({})


async def find_version(call: Call, verb: str) -> PipelineVersion:
    """Return the version that the path names, which the caller may `verb`; raise Refusal."""
    version = await call.services.database.versions.get(call.path["pipeline_version_id"], with_spec=True)
    if version.pipeline_id != call.path["pipeline_id"]:
        raise not_found("PipelineVersion", version.id)
    await find_by_id(call, version.pipeline_id, verb)
    return version


async def find_for_run(call: Call, pipeline_id: str, version_id: str) -> PipelineVersion:
    """Return the version that a run refers to, the latest where it names none; raise Refusal."""
    versions = call.services.database.versions
    if version_id:
        version = await versions.get(version_id, with_spec=True)
        if pipeline_id and version.pipeline_id != pipeline_id:
            raise Refusal(
                Code.INVALID_ARGUMENT,
                f"Pipeline version {version_id} belongs to pipeline {version.pipeline_id} (not {pipeline_id})",
            )
    else:
        latest = await versions.find_latest(pipeline_id, with_spec=True)
        if latest is None:
            raise not_found("PipelineVersion", pipeline_id)
        version = latest
    pipeline = await call.services.database.pipelines.get(version.pipeline_id)
    await call.check("get", PIPELINES, pipeline.namespace, pipeline.name)
    return version
