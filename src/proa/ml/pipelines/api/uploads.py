"""Take pipelines as files: multipart/form-data with one part named `uploadfile`.

The body is bounded by the server that took it (MAX_UPLOAD_BYTES), and read whole: a pipeline is checked whole.
Upstream: backend/src/apiserver/server/pipeline_upload_server.go.
"""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser

import orjson

from proa.client.protocol import Response
from proa.ml.pipelines.api import pipelines, versions
from proa.ml.pipelines.api.access import NAMESPACE, PIPELINES
from proa.ml.pipelines.api.call import Call, answer
from proa.ml.pipelines.api.documents import read_upload
from proa.ml.pipelines.api.refusals import invalid
from proa.ml.pipelines.records import Json, PipelineVersion

FIELD = "uploadfile"
MAX_UPLOAD_BYTES = 33 * 1024 * 1024
"""A file of upstream's limit, 32 MiB, and what multipart puts around it."""
_MAX_PARTS = 16
_MAX_HEAD_BYTES = 16 * 1024


async def upload(call: Call) -> Response:
    """POST pipelines/upload: a pipeline and its first version, of the same name."""
    namespace = call.text("namespace") or NAMESPACE
    await call.check("create", PIPELINES, namespace)
    file_name, data = read_form(call.request.headers.get("content-type", ""), call.request.body)
    package = await read_upload(data)
    pipeline = pipelines.make(
        call,
        {
            "name": call.text("name") or call.text("display_name") or file_name,
            "display_name": call.text("display_name"),
            "description": call.text("description"),
            "namespace": namespace,
            "tags": _tags(call),
        },
    )
    version = PipelineVersion(
        call.services.new_id(),
        pipeline.id,
        pipeline.name,
        pipeline.created_at,
        pipeline.display_name,
        pipeline.description,
        call.text("code_source_url"),
        {},
        package.pipeline_spec,
        package.platform_spec,
    )
    await call.services.database.pipelines.insert(pipeline, version)
    return answer(pipelines.render(pipeline))


async def upload_version(call: Call) -> Response:
    """POST pipelines/upload_version: another version of the pipeline `pipelineid`."""
    pipeline_id = call.text("pipelineid")
    if not pipeline_id:
        raise invalid("Failed to create a pipeline version due to missing pipeline id: pipelineid")
    pipeline = await pipelines.find_by_id(call, pipeline_id, "create")
    file_name, data = read_form(call.request.headers.get("content-type", ""), call.request.body)
    package = await read_upload(data)
    name = call.text("name") or call.text("display_name") or file_name
    pipelines.check_name(name)
    tags = _tags(call)
    version = PipelineVersion(
        call.services.new_id(),
        pipeline.id,
        name,
        call.services.now(),
        call.text("display_name") or name,
        call.text("description"),
        call.text("code_source_url"),
        tags,
        package.pipeline_spec,
        package.platform_spec,
    )
    await call.services.database.versions.insert(version)
    return answer(versions.render(version))


def _tags(call: Call) -> Json:
    text = call.text("tags")
    try:
        tags = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        tags = None
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise invalid(
            "Failed to parse tags query parameter. Expected JSON object with string keys and values"
        )
    return tags


def read_form(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Return (file name, content) of the part `uploadfile` (RFC 7578); raise Refusal."""
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise invalid("Failed to read pipeline from file: request Content-Type isn't multipart/form-data")
    mark = b"\r\n--" + boundary.encode("utf-8", "surrogateescape")
    parts = (b"\r\n" + body).split(mark, _MAX_PARTS)
    if len(parts) < 3 or not any(part[:2] == b"--" for part in parts[1:]):
        raise invalid("Failed to read pipeline from file: the form is not whole")
    for part in parts[1:]:
        if part[:2] == b"--":
            break
        about, _, content = part.partition(b"\r\n\r\n")
        if len(about) > _MAX_HEAD_BYTES:
            raise invalid("Failed to read pipeline from file: the head of a part of the form is too long")
        headers = BytesHeaderParser().parsebytes(about.lstrip(b" \t\r\n"))
        if headers.get_param("name", "", "content-disposition") == FIELD:
            return headers.get_filename("") or "", content
    raise invalid(f"Failed to read pipeline from file: the form has no part {FIELD}")
