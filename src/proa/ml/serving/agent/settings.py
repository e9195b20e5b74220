"""Read the agent's command line: KServe's cmd/agent and what Knative's queue-proxy is told, in one.

Source: KServe's cmd/agent/main.go; Knative Serving's pkg/queue/sharedmain.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proa.ml.serving.kinds import AGENT_PORT, HTTP_PORT, LOAD_PORT
from proa.ml.serving.payloads.flags import LogSettings, add_log_flags, read_log_settings

QUEUE_FACTOR = 10
"""So many times the container's concurrency may wait (Knative's queue depth)."""
QUIET_SECONDS = 2.0
MAX_BODY_BYTES = 64 * 1024 * 1024


class Settings(NamedTuple):
    """What one agent does; 0 of a limit is none."""

    port: int
    component_port: int
    load_port: int
    host: str
    concurrency: int
    queue_depth: int
    timeout_seconds: float
    quiet_seconds: float
    """After the word to end it answers until nothing was asked for so long: the news needs time to get about."""
    drain_seconds: float
    readiness_probe: Mapping[str, Any] | None
    is_batching: bool
    max_batch_size: int
    max_latency_seconds: float
    max_body_bytes: int
    """Of a request that is read whole: one for the batcher."""
    log: LogSettings


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return what the command line and the environment ask for; a wrong one ends the process with 2."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    probe = environment.get("SERVING_READINESS_PROBE", "")
    depth = options.queue_depth
    return Settings(
        port=options.port,
        component_port=options.component_port,
        load_port=options.load_port,
        host=options.host,
        concurrency=options.container_concurrency,
        queue_depth=QUEUE_FACTOR * options.container_concurrency if depth is None else depth,
        timeout_seconds=options.timeout,
        quiet_seconds=options.quiet_seconds,
        drain_seconds=options.drain_seconds,
        readiness_probe=json.loads(probe) if probe else None,
        is_batching=options.enable_batcher,
        max_batch_size=options.max_batchsize,
        max_latency_seconds=options.max_latency / 1000,
        max_body_bytes=options.max_body_bytes,
        log=read_log_settings(options),
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        "python -m proa.ml.serving.agent",
        usage="%(prog)s [--FLAG=VALUE ...]; --help lists all",
        description="Stand before a model's container.",
    )
    add = parser.add_argument
    add("--port", type=int, default=AGENT_PORT, help="where it answers for the container")
    add("--component-port", type=int, default=HTTP_PORT, help="the container's own, on 127.0.0.1")
    add(
        "--load-port",
        type=int,
        default=LOAD_PORT,
        help="load at /, metrics at /metrics, /ready, /wait-for-drain",
    )
    add("--host", default="", help="the address it listens on; default: all")
    add(
        "--container-concurrency",
        type=_at_least(0),
        default=0,
        help="requests in the container at once; 0: no limit",
    )
    add(
        "--queue-depth",
        type=_at_least(0),
        help="more wait, up to so many; others get 503 (default: 10 times those at once)",
    )
    add("--timeout", type=float, default=0.0, help="seconds a request may take; 0: no limit")
    add(
        "--quiet-seconds",
        type=float,
        default=QUIET_SECONDS,
        help="after SIGTERM it ends once nobody asked for so long",
    )
    add(
        "--drain-seconds",
        type=float,
        default=600.0,
        help="after SIGTERM it waits for answers for so long at most",
    )
    add("--max-body-bytes", type=_at_least(1), default=MAX_BODY_BYTES, help="of a request that is batched")
    group = parser.add_argument_group("batcher")
    group.add_argument("--enable-batcher", action="store_true")
    group.add_argument("--max-batchsize", type=_at_least(1), default=32)
    group.add_argument("--max-latency", type=_at_least(1), default=5000, help="milliseconds")
    add_log_flags(parser)
    return parser


def _at_least(least: int) -> Any:
    def read(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: must be {least} or more")
        return int(text)

    return read
