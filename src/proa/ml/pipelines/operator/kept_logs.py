"""Keep a step's log where its artifacts are, so that it can be read when the pod is gone."""

from __future__ import annotations

from proa.client.protocol import Client, Object
from proa.ml.pipelines.artifacts.uris import OWN
from proa.ml.pipelines.operator.pod_states import has_logs
from proa.ml.pipelines.operator.resources import MAIN
from proa.objects import meta
from proa.objects.errors import ApiError, BadRequest, NotFound
from proa.objects.resource import PODS

END_LINES = 20
END_BYTES = 64 * 1024


def log_uri(task_root: str) -> str:
    """Return where the log of an attempt is kept."""
    return f"{task_root}/{OWN}/main.log"


async def read_log(client: Client, pod: Object, limit_bytes: int) -> bytes | None:
    """Return the log of the user's container, its first `limit_bytes`; None where there is none (any more)."""
    return await _read(client, pod, f"limitBytes={limit_bytes}", limit_bytes)


async def read_end(client: Client, pod: Object) -> str:
    """Return the last lines of the log, for people; "" where there is none or it cannot be had now."""
    try:
        found = await _read(client, pod, f"tailLines={END_LINES}&limitBytes={END_BYTES}", END_BYTES)
    except ApiError:  # the failure itself is worth telling without it
        return ""
    return (found or b"").decode(errors="replace")


async def _read(client: Client, pod: Object, query: str, limit_bytes: int) -> bytes | None:
    if not has_logs(pod):
        return None
    path = PODS.path(meta.namespace(pod), meta.name(pod), "log")
    try:
        return await client.read(f"{path}?container={MAIN}&{query}", limit_bytes=limit_bytes)
    except (NotFound, BadRequest):  # the node, the pod or its container is gone
        return None
