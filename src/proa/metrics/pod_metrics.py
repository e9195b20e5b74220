"""Read the metrics that pods expose, when somebody asks for them.

A pod says that it has some with the annotations prometheus.io/scrape "true", prometheus.io/port and prometheus.io/path
(default /metrics). They are read through the pod's proxy of the API server, so that whatever reaches the API reaches
them. A counter is shown as its growth a second between two readings, as Prometheus' adapter does by default.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import ApiError
from proa.objects.meta import name, namespace, uid
from proa.objects.pods import containers, phase

logger = logging.getLogger(__name__)
SCRAPE, PORT, PATH = "prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"
TIMEOUT_SECONDS = 5.0
MAX_BYTES = 4 * 1024 * 1024
MAX_SERIES = 20_000
AT_ONCE = 32
"""So many pods are read at the same time."""
FRESH_SECONDS = 5.0
"""A reading that is no older is good enough for the next who asks."""
FORGET_SECONDS = 300.0
"""A counter's growth is not worked out from a reading that is older."""


class Series(NamedTuple):
    """One value of a metric, with the labels that tell it from the others of that name."""

    labels: tuple[tuple[str, str], ...]
    value: float


Metrics = Mapping[str, Sequence[Series]]
"""By the name under which they are asked for."""


class Reading(NamedTuple):
    """What a pod exposed at a moment (epoch seconds): gauges by name, counters by name without _total."""

    time: float
    gauges: Mapping[str, Sequence[Series]]
    counters: Mapping[str, Sequence[Series]]


class Measured(NamedTuple):
    """One pod's metrics as of a moment, counters as growth over the `window` seconds before it."""

    time: float
    window: float
    metrics: Metrics


class PodMetricsReader:
    """Reads pods, and remembers each one's last readings. `now` returns epoch seconds."""

    def __init__(self, client: Client, now: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._last: dict[str, Reading] = {}
        self._measured: dict[str, Measured] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def measure(self, pods: Iterable[Object]) -> list[tuple[Object, Measured]]:
        """Return what those of the pods expose that run and say that they expose something."""
        wanted = [pod for pod in pods if is_scraped(pod)]
        found = await asyncio.gather(*map(self._measure, wanted))
        return [(pod, measured) for pod, measured in zip(wanted, found, strict=True) if measured is not None]

    def names(self) -> set[str]:
        """Return the names of all metrics that were seen lately."""
        return {metric for measured in self._measured.values() for metric in measured.metrics}

    async def _measure(self, pod: Object) -> Measured | None:
        self._forget_old()
        known = self._measured.get(uid(pod))
        if known is not None and self._now() - known.time < FRESH_SECONDS:
            return known
        async with self._slots:
            text = await self._read(pod)
        if text is None:
            return None
        reading = read_exposition(text, self._now())
        measured = measure(reading, self._last.get(uid(pod)))
        self._last[uid(pod)], self._measured[uid(pod)] = reading, measured
        return measured

    async def _read(self, pod: Object) -> str | None:
        path = f"/api/v1/namespaces/{namespace(pod)}/pods/{name(pod)}:{port_of(pod)}/proxy/{path_of(pod)}"
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                body = await self._client.read(path, limit_bytes=MAX_BYTES)
        except (ApiError, TimeoutError) as error:
            logger.info(
                "a pod's metrics cannot be read namespace=%s pod=%s error=%s",
                namespace(pod),
                name(pod),
                error,
            )
            return None
        return body.decode(errors="replace")

    def _forget_old(self) -> None:
        since = self._now() - FORGET_SECONDS
        for pod in [pod for pod, reading in self._last.items() if reading.time < since]:
            del self._last[pod]
            del self._measured[pod]


def is_scraped(pod: Object) -> bool:
    """Tell whether a pod runs and says that it exposes metrics."""
    return phase(pod) == "Running" and meta.annotations(pod).get(SCRAPE) == "true" and bool(port_of(pod))


def port_of(pod: Object) -> str:
    """Return the port of a pod's metrics: as annotated, else the first that it declares, "" where there is none."""
    said = meta.annotations(pod).get(PORT, "")
    if said:
        return said if said.isascii() and said.isdigit() else ""
    declared = [port["containerPort"] for c in containers(pod) for port in c.get("ports") or ()]
    return str(declared[0]) if declared else ""


def path_of(pod: Object) -> str:
    """Return the path of a pod's metrics, without its first slash."""
    return quote(meta.annotations(pod).get(PATH, "/metrics").lstrip("/"), safe="/-._~")


def read_exposition(text: str, time: float) -> Reading:
    """Read the text format of Prometheus; what follows something malformed is left out."""
    from prometheus_client.parser import text_string_to_metric_families

    gauges: dict[str, list[Series]] = {}
    counters: dict[str, list[Series]] = {}
    count = 0
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                count += 1
                if count > MAX_SERIES:
                    raise ValueError(f"more than {MAX_SERIES} series")
                series = Series(tuple(sorted(sample.labels.items())), float(sample.value))
                if family.type == "counter":
                    counters.setdefault(sample.name.removesuffix("_total"), []).append(series)
                elif family.type in ("histogram", "summary") and sample.name.endswith(("_count", "_sum")):
                    counters.setdefault(sample.name, []).append(series)
                elif family.type in ("gauge", "unknown", "untyped"):
                    gauges.setdefault(sample.name, []).append(series)
    except ValueError as error:
        logger.info("metrics are read up to what is malformed error=%s", error)
    return Reading(time, gauges, counters)


def measure(reading: Reading, before: Reading | None) -> Measured:
    """Return the gauges as they are, and what counters grew a second since the reading before.

    A counter X_total is called X, and X_per_second; one that went back began anew.
    """
    metrics: dict[str, Sequence[Series]] = dict(reading.gauges)
    window = reading.time - before.time if before else 0.0
    if before is not None and window > 0:
        for metric, now in reading.counters.items():
            was = {series.labels: series.value for series in before.counters.get(metric, ())}
            grown = [
                Series(s.labels, _growth(s.value, was[s.labels]) / window) for s in now if s.labels in was
            ]
            if grown:
                metrics[metric] = metrics[f"{metric}_per_second"] = grown
    return Measured(reading.time, window, metrics)


def _growth(now: float, before: float) -> float:
    return now - before if now >= before else now
