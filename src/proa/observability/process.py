"""Say what the process itself costs, under the names that every Prometheus client library has for it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from proa.observability.metrics import Gauge

_PAGE_BYTES = resource.getpagesize()
_TICKS = os.sysconf("SC_CLK_TCK")


def process_metrics() -> tuple[Gauge, ...]:
    """Return the metrics of this process, read when they are printed."""
    return (
        _gauge(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            time.process_time,
            "counter",
        ),
        _gauge("process_open_fds", "Number of open file descriptors.", _open_files),
        _gauge("process_max_fds", "Maximum number of open file descriptors.", _max_files),
        _gauge("process_resident_memory_bytes", "Resident memory size in bytes.", lambda: _pages(1)),
        _gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", lambda: _pages(0)),
        _gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            _started,
        ),
    )


def _gauge(name: str, help: str, read: Callable[[], float], kind: str = "gauge") -> Gauge:
    return Gauge(name, help, read, kind=kind)


def _open_files() -> float:
    return float(len(os.listdir("/proc/self/fd")))


def _max_files() -> float:
    return float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _pages(field: int) -> float:
    return float(int(Path("/proc/self/statm").read_text().split()[field]) * _PAGE_BYTES)


def _started() -> float:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return round(time.time() - uptime + ticks / _TICKS, 2)
