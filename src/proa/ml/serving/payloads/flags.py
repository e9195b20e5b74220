"""Read from a command line what the payload logger is to do: the flags of KServe's agent, for agent and server alike.

Source: KServe's cmd/agent/main.go.
"""

from __future__ import annotations

import argparse
import re
from typing import NamedTuple

MODES = ("all", "request", "response")
FORMATS = ("json", "csv")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


class LogSettings(NamedTuple):
    """What is logged, where to, and as whose; `url` "" for nothing."""

    url: str
    mode: str = "all"
    source: str = ""
    service: str = ""
    namespace: str = ""
    component: str = ""
    endpoint: str = ""
    metadata_headers: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    store_path: str = ""
    store_format: str = "json"
    batch_size: int = 1
    batch_seconds: float = 0.0
    """A batch that is not full is written after so long; 0: not before it is full, or all ends."""
    ca_file: str = ""
    skip_tls_verification: bool = False


def add_log_flags(parser: argparse.ArgumentParser) -> None:
    """Let a parser know the logger's flags."""
    add = parser.add_argument_group("payload logger").add_argument
    add(
        "--log-url",
        default="",
        help="where requests and answers are sent: http(s)://, file:///, s3://BUCKET/PREFIX",
    )
    add("--log-mode", default="all", choices=MODES)
    add("--source-uri", default="", help="the CloudEvents' source; default: this server's address")
    add("--inference-service", default="")
    add("--namespace", default="")
    add("--component", default="")
    add("--endpoint", default="")
    add("--metadata-headers", type=_names, default=(), help="names of headers to pass on, by commas")
    add("--metadata-annotations", type=_pairs, default=(), help="NAME=VALUE to pass on, by commas")
    add("--log-store-path", default="", help="below the prefix, in a store")
    add("--log-store-format", default="json", choices=FORMATS)
    add("--log-batch-size", type=_positive, default=1, help="records a file, in a store")
    add(
        "--log-batch-interval",
        type=_seconds,
        default=0.0,
        help="a batch is written after so long at most, such as 5s",
    )
    add(
        "--logger-ca-cert-file",
        default="",
        help="PEM of the authorities that an https receiver is checked by",
    )
    add("--logger-tls-skip-verify", nargs="?", const=True, default=False, type=_truth)


def read_log_settings(options: argparse.Namespace) -> LogSettings:
    """Return what the flags of a parsed command line ask for."""
    return LogSettings(
        url=options.log_url,
        mode=options.log_mode,
        source=options.source_uri,
        service=options.inference_service,
        namespace=options.namespace,
        component=options.component,
        endpoint=options.endpoint,
        metadata_headers=options.metadata_headers,
        annotations=options.metadata_annotations,
        store_path=options.log_store_path,
        store_format=options.log_store_format,
        batch_size=options.log_batch_size,
        batch_seconds=options.log_batch_interval,
        ca_file=options.logger_ca_cert_file,
        skip_tls_verification=options.logger_tls_skip_verify,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in _names(text):
        name, equals, value = part.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{part}: must be NAME=VALUE")
        pairs.append((name, value))
    return tuple(pairs)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 or more")
    return value


def _seconds(text: str) -> float:
    """Return a Go duration in seconds."""
    if text in {"", "0"}:
        return 0.0
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise argparse.ArgumentTypeError(f"{text}: must be a duration, such as 5s or 100ms")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"{text}: must be true or false")
    return text.lower() == "true"
