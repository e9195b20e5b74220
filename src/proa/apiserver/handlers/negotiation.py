"""Choose how an answer looks: JSON, YAML or protobuf, whole objects, a Table or metadata only.

Follows apiserver/pkg/endpoints/handlers/negotiation, but that JSON is chosen where a client takes protobuf or JSON: it
is what is stored, and costs nothing to make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, islice
from typing import Any, Literal

import orjson

from proa.apiserver.pace import HEAVY_YAML_BYTES, aside
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.refusals import generic
from proa.client.protocol import Request, Response
from proa.objects.errors import NotAcceptable
from proa.objects.quick_dataclass import dataclass

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
OFFERED = (
    "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, "
    "application/vnd.kubernetes.protobuf;stream=watch"
)
MAX_WARNINGS, MAX_CUT_WARNING = 4096, 256
"""Characters of all warnings of an answer, and of one where that is too little."""
LONG_HEADER = 1024
"""What is said in more than this is not kept for others who say the same."""
Shape = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]


@dataclass(frozen=True, slots=True)
class Representation:
    """`shape` "" is the object as it is; `shape_version` is v1 or v1beta1 of meta.k8s.io."""

    media_type: str = JSON
    shape: Shape = ""
    shape_version: str = "v1"

    @property
    def is_plain(self) -> bool:
        """Tell whether stored bytes can be handed on as they are."""
        return self.media_type == JSON and not self.shape

    @property
    def api_version(self) -> str:
        """Return the apiVersion of the shape."""
        return f"meta.k8s.io/{self.shape_version}"


PLAIN = Representation()


def negotiate(
    accept: str, *, has_shapes: bool = True, is_custom: bool = False, streams: bool = False
) -> Representation:
    """Return the first acceptable representation; raise NotAcceptable.

    What has no shapes (reviews, which are asked and not stored) is shown whole or not at all; custom resources have no
    protobuf, and watches (`streams`) no YAML. Protobuf is chosen only where JSON of the same shape would not do.
    """
    if not accept:
        return PLAIN
    choose = _negotiate if len(accept) < LONG_HEADER else _negotiate.__wrapped__
    return choose(accept, has_shapes, is_custom, streams)


def negotiate_for(request: Request, definition: ResourceDefinition) -> Representation:
    """Return the first acceptable representation of objects of a kind; raise NotAcceptable."""
    accept = request.headers.get("accept", "")
    if not accept:
        return PLAIN
    return negotiate(accept, has_shapes=definition.review is None, is_custom=definition.is_custom)


@lru_cache(maxsize=256)
def _negotiate(accept: str, has_shapes: bool, is_custom: bool, streams: bool) -> Representation:
    clauses = [_parse(clause) for clause in accept.split(",")]
    clauses.sort(key=lambda clause: -clause[2])
    offered = (JSON, PROTOBUF) if streams else (JSON, YAML, PROTOBUF)
    acceptable = []
    is_known = is_custom  # whose router upstream does not look at what is accepted
    for wanted, parameters, _ in clauses:
        matching = [m for m in offered if wanted in (m, "application/*", "*/*")]
        is_known |= bool(matching)
        for media_type in matching:
            shown = _represent(media_type, parameters, has_shapes)
            if shown is not None and (shown.shape or not is_custom or media_type != PROTOBUF):
                acceptable.append(shown)
    if acceptable:
        first = acceptable[0]
        json = replace(first, media_type=JSON)
        return json if first.media_type == PROTOBUF and json in acceptable else first
    if not is_known:
        raise generic(NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {OFFERED}"))
    listed = ", ".join(f"{m};stream=watch" if streams else m for m in offered)
    raise NotAcceptable(f"only the following media types are accepted: {listed}")


def _represent(media_type: str, parameters: Mapping[str, str], has_shapes: bool) -> Representation | None:
    """Return what a clause asks for, in a media type that it matches; None where that is not to be had."""
    if parameters.get("stream", "watch") != "watch":
        return None
    if parameters.keys().isdisjoint(("as", "g", "v")):
        return Representation(media_type)
    shape, version = parameters.get("as", ""), parameters.get("v", "v1")
    if not has_shapes or parameters.get("g") != "meta.k8s.io" or version not in ("v1", "v1beta1"):
        return None
    if shape == "Table" and media_type != PROTOBUF:
        return Representation(media_type, "Table", version)
    if shape in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        return Representation(media_type, shape, version)  # type: ignore[arg-type]
    return None


def _parse(clause: str) -> tuple[str, dict[str, str], float]:
    media_type, *rest = clause.split(";")
    parameters = {}
    quality = 1.0
    for parameter in rest:
        key, _, value = parameter.strip().partition("=")
        if key == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
        else:
            parameters[key] = value.strip('"')
    return media_type.strip().lower(), parameters, quality


def answer(
    body: bytes | Sequence[bytes],
    representation: Representation = PLAIN,
    status: int = 200,
    warnings: Sequence[str] = (),
) -> Response:
    """Return a response with a JSON body, made YAML or protobuf where that was asked for."""
    headers = {"Content-Type": JSON}
    if warnings:
        headers["Warning"] = join_warnings(warnings)
    if representation.media_type != JSON:
        headers["Content-Type"] = representation.media_type
        obj = orjson.loads(body if isinstance(body, bytes) else b"".join(body))
        body = write_yaml(obj) if representation.media_type == YAML else _write_protobuf(obj)
    return Response(status, headers, body)


def _write_protobuf(obj: Any) -> bytes:
    from proa.apiserver.protobuf.encode import encode_object

    return encode_object(obj)


def write_yaml(value: Any) -> bytes:
    """Return a JSON value as YAML; the items of a list one by one, so that others can run between them."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    def dump(part: Any) -> bytes:
        written: bytes = yaml.dump(part, Dumper=dumper, sort_keys=True, allow_unicode=True, encoding="utf-8")
        return written

    if not isinstance(value, dict):
        return dump(value)
    parts = []
    for key in sorted(value):
        if isinstance(value[key], list) and value[key]:
            parts += [dump({key: None})[: -len(b" null\n")], b"\n", *(dump([item]) for item in value[key])]
        else:
            parts.append(dump({key: value[key]}))
    return b"".join(parts) or b"{}\n"


async def answer_aside(
    body: bytes | Sequence[bytes],
    representation: Representation,
    status: int = 200,
    warnings: Sequence[str] = (),
) -> Response:
    """Return the same; what is long and does not stay JSON, which is slow, is written aside."""
    if representation.media_type != JSON:
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))
        if size > HEAVY_YAML_BYTES:
            return await aside(answer, body, representation, status, warnings)
    return answer(body, representation, status, warnings)


def join_warnings(texts: Iterable[str]) -> str:
    """Return the value of the Warning header, a line for each text.

    Long ones are cut and the rest left out, as upstream does (apiserver/pkg/endpoints/filters/warning.go): a client's
    object may have any number of unknown fields.
    """
    said = list(islice(texts, MAX_WARNINGS))
    if sum(map(len, said)) > MAX_WARNINGS:
        cut = [text[:MAX_CUT_WARNING] for text in said]
        said = [
            text for text, size in zip(cut, accumulate(map(len, cut)), strict=True) if size <= MAX_WARNINGS
        ]
    return "\n".join(map(warning, said))


def warning(text: str) -> str:
    """Return the value of a Warning header (RFC 7234, 5.5). Several are joined by newlines: a line each."""
    return f"299 - {orjson.dumps(text).decode()}"


def answer_object(obj: Any, representation: Representation = PLAIN, status: int = 200) -> Response:
    """Return a response with an object that is not stored."""
    return answer(orjson.dumps(obj), representation, status)


def answer_success(status: int, representation: Representation = PLAIN) -> Response:
    """Return the Status that says that it is done, and no more."""
    done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": status}
    return answer_object(done, representation, status)
