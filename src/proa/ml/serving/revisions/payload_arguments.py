"""Say in a container's arguments what the payload logger and the batcher of a component are to do.

The model server and the agent read the same flags (payloads/flags.py; the agent's settings.py for the batcher).
Source: KServe's pkg/webhook/admission/pod/agent_injector.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_BATCH_SIZE, MAX_LATENCY_MILLIS = 32, 5000


class Identity(NamedTuple):
    """Whose payloads these are. `endpoint` is "default" or "canary"."""

    service: str
    namespace: str
    component: str
    endpoint: str = "default"


def make_logger_arguments(
    logger: Mapping[str, Any], identity: Identity, annotations: Mapping[str, str], default_url: str = ""
) -> list[str]:
    """Return the flags for a component's `logger`; `annotations` are the InferenceService's.

    The source of the events is the pod: $(POD_NAME) stands for it, see POD_NAME_VARIABLE.
    """
    storage = logger.get("storage") or {}
    flags = {
        "--log-url": logger.get("url") or default_url,
        "--source-uri": "$(POD_NAME)",
        "--log-mode": logger.get("mode") or "all",
        "--inference-service": identity.service,
        "--namespace": identity.namespace,
        "--endpoint": identity.endpoint,
        "--component": identity.component,
        "--log-store-path": storage.get("path"),
        "--log-store-format": (storage.get("parameters") or {}).get("format"),
        "--log-batch-size": logger.get("batchSize"),
        "--log-batch-interval": logger.get("batchInterval"),
        "--metadata-headers": ",".join(logger.get("metadataHeaders") or ()),
        "--metadata-annotations": ",".join(
            f"{key}={annotations[key]}"
            for key in logger.get("metadataAnnotations") or ()
            if key in annotations
        ),
    }
    return [text for flag, value in flags.items() if value for text in (flag, str(value))]


def make_batcher_arguments(batcher: Mapping[str, Any]) -> list[str]:
    """Return the flags for a component's `batcher`, with upstream's defaults."""
    size = batcher.get("maxBatchSize") or MAX_BATCH_SIZE
    latency = batcher.get("maxLatency") or MAX_LATENCY_MILLIS
    return ["--enable-batcher", "--max-batchsize", str(size), "--max-latency", str(latency)]


POD_NAME_VARIABLE = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
"""What a container's `env` needs where it has the logger's arguments."""
