"""Say how the container that failed first ended, for the condition of what ran it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.objects import meta

MAX_WORDS = 300


def why_it_failed(pods: Iterable[Object]) -> str:
    """Return what the container that ended first in failure ended with, "" where no pod is left that tells."""
    ends = []
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            for key in ("state", "lastState"):
                ended = (container.get(key) or {}).get("terminated") or {}
                if ended.get("exitCode"):
                    ends.append((str(ended.get("finishedAt")), meta.name(pod), container["name"], ended))
    if not ends:
        return ""
    _, pod_name, name, ended = min(ends, key=lambda end: end[:3])
    reason = f" ({ended['reason']})" if ended.get("reason") not in (None, "Error") else ""
    return f"container {name} of Pod {pod_name} ended with exit code {ended['exitCode']}{reason}{last_words(ended)}"


def last_words(ended: Object) -> str:
    """Return what it said last, where it or the runtime left word: one that was not started has no log."""
    said = " ".join((ended.get("message") or "").split())
    if not said:
        return "; its log says more"
    return f": {said if len(said) <= MAX_WORDS else f'... {said[-MAX_WORDS:]}'}"
