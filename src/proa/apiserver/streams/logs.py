"""Answer GET pods/{name}/log with the container's log as it grows.

Follows pkg/registry/core/pod/rest/log.go.
"""

from __future__ import annotations

from dataclasses import replace

from proa.apiserver.streams.context import StreamContext
from proa.apiserver.streams.options import find_container, get_kubelet, get_pod, log_options
from proa.client.kubelet_api import PodRef
from proa.client.protocol import Request, Response


async def get_log(request: Request, context: StreamContext) -> Response:
    """Return the log as streaming text; a pod without a node has an empty one."""
    options = log_options(request, context.name)
    pod = await get_pod(context)
    options = replace(options, container=find_container(pod, options.container))
    headers = {"Content-Type": "text/plain"}
    if not pod.get("spec", {}).get("nodeName"):
        return Response(headers=headers)
    kubelet = await get_kubelet(context, pod)
    ref = PodRef(context.namespace, context.name, pod["metadata"].get("uid", ""))
    return Response(headers=headers, stream=await kubelet.container_logs(ref, options))
