"""Read the model server's command line: the flags of KServe's servers and of its agent, in one.

A flag that is none of these is a setting of the model's format, by its name without `--`. Both `--name=value` and
`--name value` are read. Source: KServe's python/kserve/kserve/model_server.py and cmd/agent/main.go.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from proa.ml.serving.kinds import GRPC_PORT, HTTP_PORT, LOAD_PORT, MODELS_FOLDER
from proa.ml.serving.payloads.flags import LogSettings, add_log_flags, read_log_settings

QUEUE_FACTOR = 10
"""So many times the concurrency may wait (Knative's queue depth)."""
UNLIMITED_QUEUE = 1000
"""Requests in hand where there is no limit of concurrency: more get 503."""


class Options(NamedTuple):
    """What one server does. A port of 0 is a free one, of -1 none; a limit of 0 is none."""

    model_name: str = "model"
    model_dir: Path = Path(MODELS_FOLDER)
    format: str = ""
    """"" for what the folder's files tell."""
    model_class: str = ""
    settings: Mapping[str, str] = {}
    threads: int = 1
    is_repository: bool = False
    """Each folder of `model_dir` is a model of its own."""
    host: str = ""
    http_port: int = HTTP_PORT
    grpc_port: int = GRPC_PORT
    load_port: int = LOAD_PORT
    container_concurrency: int = 0
    queue_depth: int = UNLIMITED_QUEUE
    timeout_seconds: float = 0.0
    is_batching: bool = False
    """Wait for a full batch, as KServe's batcher does; else what came together is one call, and nothing waits."""
    max_batch_size: int = 32
    max_latency_seconds: float = 5.0
    max_body_bytes: int = 64 * 1024 * 1024
    quiet_seconds: float = 2.0
    drain_seconds: float = 30.0
    keep_alive_seconds: float = 65.0
    log_level: str = "info"
    payloads: LogSettings = LogSettings(url="")


def read_options(arguments: Sequence[str]) -> Options:
    """Return what the command line asks for; a wrong one ends the process with 2."""
    parser = make_parser()
    known, rest = parser.parse_known_args(arguments)
    concurrency = known.container_concurrency
    depth = QUEUE_FACTOR * concurrency if concurrency else UNLIMITED_QUEUE
    return Options(
        model_name=known.model_name,
        model_dir=Path(known.model_dir),
        format=known.format,
        model_class=known.model_class,
        settings=_read_settings(parser, rest),
        threads=known.threads,
        is_repository=known.repository,
        host=known.host,
        http_port=known.http_port,
        grpc_port=known.grpc_port if known.enable_grpc else -1,
        load_port=known.load_port,
        container_concurrency=concurrency,
        queue_depth=depth if known.queue_depth is None else known.queue_depth,
        timeout_seconds=known.timeout,
        is_batching=known.enable_batcher,
        max_batch_size=known.max_batchsize,
        max_latency_seconds=known.max_latency / 1000,
        max_body_bytes=known.max_body_bytes,
        quiet_seconds=known.quiet_seconds,
        drain_seconds=known.drain_seconds,
        keep_alive_seconds=known.timeout_keep_alive,
        log_level=known.log_level,
        payloads=read_log_settings(known),
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        "python -m proa.ml.serving.server",
        usage="%(prog)s [--FLAG=VALUE ...]; --help lists all",
        description="Serve models: V1, V2 (REST and gRPC), OpenAI's routes. Other flags are the format's settings.",
        allow_abbrev=False,
    )
    _add_model_flags(parser)
    _add_address_flags(parser)
    _add_limits(parser)
    add_log_flags(parser)
    return parser


def _add_model_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model").add_argument
    add("--model_name", default="model", help="its name in addresses")
    add("--model_dir", default=MODELS_FOLDER, help="where its files are")
    add("--format", default="", help="sklearn, onnx, …; default: what the files tell")
    add(
        "--model_class", default="", help="MODULE:NAME of a class, or of an ASGI application (format fastapi)"
    )
    add("--threads", type=_at_least(1), default=1, help="of one call of a model")
    add("--repository", action="store_true", help="each folder of --model_dir is a model")


def _add_address_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("addresses").add_argument
    add("--host", default="", help="default: all of this machine's")
    add("--http_port", type=_at_least(0), default=HTTP_PORT, help="0: a free one, which the log tells")
    add("--grpc_port", type=_at_least(-1), default=GRPC_PORT, help="0: a free one, which the log tells")
    add("--enable_grpc", type=_truth, default=True)
    add(
        "--load-port",
        "--load_port",
        type=_at_least(-1),
        default=LOAD_PORT,
        help="load at /, /metrics; -1: none",
    )
    add("--log_level", default="info", choices=("debug", "info", "warning", "error"))


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("limits").add_argument
    add(
        "--container-concurrency",
        "--container_concurrency",
        type=_at_least(0),
        default=0,
        help="requests that are answered at once; 0: no limit",
    )
    add(
        "--queue-depth",
        "--queue_depth",
        type=_at_least(0),
        help=f"more wait, up to so many; others get 503 (default: {QUEUE_FACTOR} times those at once, "
        f"or {UNLIMITED_QUEUE})",
    )
    add("--timeout", type=float, default=0.0, help="seconds an answer may take; 0: no limit")
    add("--enable-batcher", "--enable_batcher", action="store_true", help="wait for a full batch")
    add("--max-batchsize", "--max_batchsize", type=_at_least(1), default=32, help="rows of one call")
    add("--max-latency", "--max_latency", type=_at_least(1), default=5000, help="ms a batch waits to be full")
    add("--max-body-bytes", "--max_body_bytes", type=_at_least(1), default=64 * 1024 * 1024)
    add("--timeout-keep-alive", "--timeout_keep_alive", type=float, default=65.0, help="seconds")
    add(
        "--quiet-seconds", type=float, default=2.0, help="after SIGTERM it ends once nobody asked for so long"
    )
    add("--drain-seconds", type=float, default=30.0, help="after SIGTERM it ends after so long at the latest")
    add(
        "--workers",
        type=_one,
        default=1,
        help="1: what came together is one call; more pods for more processors",
    )


def _read_settings(parser: argparse.ArgumentParser, rest: Sequence[str]) -> dict[str, str]:
    """Return the format's settings: `--name=value`, `--name value`, or `--name` alone, which is "true"."""
    settings: dict[str, str] = {}
    name = ""
    for word in rest:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            settings[name] = value if equals else "true"
            name = "" if equals else name
        elif name:
            settings[name], name = word, ""
        else:
            parser.error(f"{word}: a setting of the format is --NAME=VALUE")
    return settings


def _at_least(least: int) -> type[int]:
    def read(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: must be {least} or more")
        return int(text)

    return read  # type: ignore[return-value]  # argparse calls it


def _one(text: str) -> int:
    if text != "1":
        raise argparse.ArgumentTypeError(
            f"{text}: there is one process a pod: minReplicas and scaling give more"
        )
    return 1


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
        raise argparse.ArgumentTypeError(f"{text}: must be true or false")
    return text.lower() in {"true", "1", "yes"}
