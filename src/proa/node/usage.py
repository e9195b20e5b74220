"""Tell what the node, its pods and their containers use: the Summary API and the resource metrics of a kubelet.

Counters are read when somebody asks; whoever wants rates asks twice. Follows pkg/kubelet/server/stats/summary.go, the
types of kubelet/pkg/apis/stats/v1alpha1 and pkg/kubelet/metrics/collectors/resource_metrics.go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from proa.client.protocol import Object
from proa.node.runtime_cache import RuntimeCache
from proa.node.runtimes.protocol import Container, ContainerStats, Runtime
from proa.objects.meta import format_time, name, namespace, uid
from proa.observability.metrics import Gauge, exposition


class Reading(NamedTuple):
    """Counters at a moment (epoch seconds): CPU time so far and memory in use, -1 where unknown."""

    time: float
    cpu_nanoseconds: int
    memory_bytes: int


class NodeReading(NamedTuple):
    """The machine's counters. `available_bytes` is what could be given to new work."""

    reading: Reading
    available_bytes: int
    boot_time: float


class UsageReader:
    """One node's readings. `read_node` is replaced in tests."""

    def __init__(
        self,
        node_name: str,
        runtime: Runtime,
        cache: RuntimeCache,
        now: Callable[[], float],
        read_node: Callable[[float], NodeReading] | None = None,
    ) -> None:
        self._node_name = node_name
        self._runtime = runtime
        self._cache = cache
        self._now = now
        self._read_node = read_node or read_machine_usage

    async def summary(self, pods: Iterable[Object]) -> Object:
        """Return GET /stats/summary for these pods (those that have running containers show)."""
        node, used = await self._read()
        shown = [self._pod(pod, used) for pod in pods]
        return {"node": self._node(node), "pods": [pod for pod in shown if pod["containers"]]}

    async def resource_metrics(self, pods: Iterable[Object]) -> bytes:
        """Return GET /metrics/resource."""
        node, used = await self._read()
        lines = _ResourceMetrics()
        lines.add_node(node)
        for pod in pods:
            lines.add_pod(pod, self._containers_of(pod, used))
        return lines.text()

    async def _read(self) -> tuple[NodeReading, Mapping[str, Reading]]:
        used = await self._runtime.usage()
        now = self._now()
        return self._read_node(now), {identifier: _reading(now, stats) for identifier, stats in used.items()}

    def _containers_of(self, pod: Object, used: Mapping[str, Reading]) -> list[tuple[Container, Reading]]:
        """Return the pod's running containers with what they use, the oldest first."""
        running = [c for c in self._cache.containers(uid(pod)) if c.id in used]
        return [(c, used[c.id]) for c in reversed(running)]

    def _node(self, node: NodeReading) -> Object:
        memory = _memory(node.reading)
        memory["availableBytes"] = node.available_bytes
        return {
            "nodeName": self._node_name,
            "startTime": format_time(node.boot_time),
            "cpu": _cpu(node.reading),
            "memory": memory,
        }

    def _pod(self, pod: Object, used: Mapping[str, Reading]) -> Object:
        containers = self._containers_of(pod, used)
        shown: Object = {
            "podRef": {"name": name(pod), "namespace": namespace(pod), "uid": uid(pod)},
            "startTime": (pod.get("status") or {}).get("startTime"),
            "containers": [
                {
                    "name": container.config.name,
                    "startTime": format_time(container.started_at),
                    "cpu": _cpu(reading),
                    "memory": _memory(reading),
                }
                for container, reading in containers
            ],
        }
        if containers:
            whole = total([reading for _, reading in containers])
            shown["cpu"] = _cpu(whole)
            shown["memory"] = _memory(whole)
        return shown


def total(readings: Iterable[Reading]) -> Reading:
    """Return the sum of what is known of several containers, at the newest of their moments."""
    known = list(readings)
    cpus = [r.cpu_nanoseconds for r in known if r.cpu_nanoseconds >= 0]
    memories = [r.memory_bytes for r in known if r.memory_bytes >= 0]
    return Reading(
        max((r.time for r in known), default=0.0),
        sum(cpus) if cpus else -1,
        sum(memories) if memories else -1,
    )


def _reading(now: float, stats: ContainerStats) -> Reading:
    return Reading(now, stats.cpu_nanoseconds, stats.memory_working_set_bytes)


def _cpu(reading: Reading) -> Object:
    shown: Object = {"time": format_time(reading.time)}
    if reading.cpu_nanoseconds >= 0:
        shown["usageCoreNanoSeconds"] = reading.cpu_nanoseconds
    return shown


def _memory(reading: Reading) -> Object:
    shown: Object = {"time": format_time(reading.time)}
    if reading.memory_bytes >= 0:
        shown["workingSetBytes"] = reading.memory_bytes
    return shown


def read_machine_usage(now: float) -> NodeReading:
    """Read the kernel's counters: all processors' busy time, memory less what can be dropped."""
    stat = Path("/proc/stat").read_text().splitlines()
    user, nice, system, _idle, _wait, irq, soft_irq, steal = (int(field) for field in stat[0].split()[1:9])
    ticks = user + nice + system + irq + soft_irq + steal
    boot = next((line.split()[1] for line in stat if line.startswith("btime ")), "0")
    memory = {
        line.split(":")[0]: 1024 * int(line.split()[1])
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.endswith(" kB")
    }
    used = memory["MemTotal"] - memory["MemFree"] - memory.get("Inactive(file)", 0)
    reading = Reading(now, ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK")), used)
    return NodeReading(reading, memory.get("MemAvailable", memory["MemFree"]), float(boot))


_RESOURCE_METRICS = {
    "container_cpu_usage_seconds_total": (
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    ),
    "container_memory_working_set_bytes": ("gauge", "Current working set of the container in bytes"),
    "container_start_time_seconds": ("gauge", "Start time of the container since unix epoch in seconds"),
    "node_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed by the node in core-seconds"),
    "node_memory_working_set_bytes": ("gauge", "Current working set of the node in bytes"),
    "pod_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed by the pod in core-seconds"),
    "pod_memory_working_set_bytes": ("gauge", "Current working set of the pod in bytes"),
}


class _ResourceMetrics:
    """The metrics of /metrics/resource, with the moment that each was read."""

    def __init__(self) -> None:
        self._samples: dict[str, list[str]] = {metric: [] for metric in _RESOURCE_METRICS}

    def add_node(self, node: NodeReading) -> None:
        self._add("node", "", node.reading)

    def add_pod(self, pod: Object, containers: list[tuple[Container, Reading]]) -> None:
        if not containers:
            return
        labels = f'namespace="{namespace(pod)}",pod="{name(pod)}"'
        for container, reading in containers:
            own = f'{{container="{container.config.name}",{labels}}}'
            self._add("container", own, reading)
            self._samples["container_start_time_seconds"].append(
                f"container_start_time_seconds{own} {container.started_at:.6f}"
            )
        self._add("pod", f"{{{labels}}}", total([reading for _, reading in containers]))

    def _add(self, what: str, labels: str, reading: Reading) -> None:
        moment = round(reading.time * 1000)
        if reading.cpu_nanoseconds >= 0:
            metric = f"{what}_cpu_usage_seconds_total"
            self._samples[metric].append(f"{metric}{labels} {reading.cpu_nanoseconds / 1e9:.6f} {moment}")
        if reading.memory_bytes >= 0:
            metric = f"{what}_memory_working_set_bytes"
            self._samples[metric].append(f"{metric}{labels} {reading.memory_bytes} {moment}")

    def text(self) -> bytes:
        lines = []
        for metric, (kind, help) in _RESOURCE_METRICS.items():
            if samples := self._samples[metric]:
                lines += [f"# HELP {metric} [STABLE] {help}", f"# TYPE {metric} {kind}", *samples]
        error = Gauge(
            "resource_scrape_error",
            "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
            lambda: 0.0,
        )
        return ("\n".join(lines) + "\n" + exposition([error])).encode()
