"""Read the query of a streaming subresource into options, in upstream's words, and find the pod's container and node.

Follows apimachinery/pkg/runtime/converter of url.Values, ValidatePodLogOptions in
pkg/apis/core/validation/validation.go and validateContainer in pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

import re

from proa.apiserver.streams.context import StreamContext
from proa.client.kubelet_api import DistantKubelet, ExecOptions, KubeletApi, LogOptions
from proa.client.protocol import Object, Request
from proa.objects.errors import BadRequest, Cause, Invalid
from proa.objects.resource import PODS
from proa.objects.validation import forbidden, invalid

_INT64 = range(-(2**63), 2**63)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def is_true(request: Request, name: str) -> bool:
    """Return a boolean parameter as apimachinery reads it: absent, "false" and "0" are false, all else is true."""
    values = request.query.get(name) or ["false"]
    return values[0].lower() not in ("false", "0")


def integer(request: Request, name: str) -> int | None:
    """Return an int64 parameter, None when absent or empty; raise BadRequest in Go's words."""
    text = request.parameter(name)
    if not text:
        return None
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if int(text) not in _INT64:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def log_options(request: Request, pod_name: str) -> LogOptions:
    """Return the options of GET pods/{name}/log; raise BadRequest or Invalid."""
    since_time = request.parameter("sinceTime")
    if since_time and not _RFC3339.fullmatch(since_time):
        raise BadRequest(
            f'parsing time "{since_time}" as "2006-01-02T15:04:05Z07:00": cannot parse "{since_time}" as "2006"'
        )
    options = LogOptions(
        container=request.parameter("container"),
        follow=is_true(request, "follow"),
        previous=is_true(request, "previous"),
        timestamps=is_true(request, "timestamps"),
        since_seconds=integer(request, "sinceSeconds"),
        since_time=since_time,
        tail_lines=integer(request, "tailLines"),
        limit_bytes=integer(request, "limitBytes"),
    )
    if causes := _log_causes(options):
        listing = "; ".join(f"{cause.field}: {cause.message}" for cause in causes)
        joined = f"[{listing.replace('; ', ', ')}]" if len(causes) > 1 else listing
        raise Invalid(
            f'PodLogOptions "{pod_name}" is invalid: {joined}',
            name=pod_name,
            kind="PodLogOptions",
            causes=causes,
        )
    return options


def _log_causes(options: LogOptions) -> list[Cause]:
    causes = []
    if options.tail_lines is not None and options.tail_lines < 0:
        causes.append(invalid("tailLines", options.tail_lines, "must be greater than or equal to 0"))
    if options.limit_bytes is not None and options.limit_bytes < 1:
        causes.append(invalid("limitBytes", options.limit_bytes, "must be greater than 0"))
    if options.since_seconds is not None and options.since_time:
        causes.append(forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif options.since_seconds is not None and options.since_seconds < 1:
        causes.append(invalid("sinceSeconds", options.since_seconds, "must be greater than 0"))
    return causes


def exec_options(request: Request, container: str) -> ExecOptions:
    """Return the options of pods/{name}/exec and attach; a terminal has no stderr of its own."""
    tty = is_true(request, "tty")
    options = ExecOptions(
        container=container,
        command=tuple(request.query.get("command", ())),
        stdin=is_true(request, "stdin"),
        stdout=is_true(request, "stdout"),
        stderr=is_true(request, "stderr") and not tty,
        tty=tty,
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    return options


def find_container(pod: Object, name: str) -> str:
    """Return the container that is meant, the only one when none is named; raise BadRequest."""
    spec = pod.get("spec", {})
    pod_name = pod["metadata"]["name"]
    kinds = ("initContainers", "containers", "ephemeralContainers")
    names = [container["name"] for kind in kinds for container in spec.get(kind) or ()]
    if name:
        if name not in names:
            raise BadRequest(f"container {name} is not valid for pod {pod_name}")
        return name
    containers: list[Object] = spec.get("containers") or []
    if len(containers) == 1:
        return str(containers[0]["name"])
    choice = f", choose one of: [{' '.join(names)}]" if containers else ""
    raise BadRequest(f"a container name must be specified for pod {pod_name}{choice}")


async def get_pod(context: StreamContext) -> Object:
    """Return the addressed pod; raise NotFound."""
    return await context.get_object(PODS, context.name, context.namespace)


async def get_kubelet(context: StreamContext, pod: Object) -> KubeletApi | DistantKubelet:
    """Return the kubelet of the pod's node; raise BadRequest when it has none yet."""
    node = pod.get("spec", {}).get("nodeName", "")
    if not node:
        raise BadRequest(f"pod {context.name} does not have a host assigned")
    return await context.kubelet(node)
