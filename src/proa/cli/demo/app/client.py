"""Ask the model for digits, many at a time, and keep count: used on the host and, as a program, in a pod.

Standard library only. As a program it classifies every held-out digit once through $URL_HOST:$URL_PORT and prints
one line of JSON. Environment: URL_HOST, URL_PORT, API_KEY.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What came back: latencies in seconds, failures by their words, answers by model version."""

    latencies: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    correct: int = 0

    @property
    def requests(self) -> int:
        """Return how many were sent."""
        return len(self.latencies) + self.failed

    @property
    def failed(self) -> int:
        """Return how many were not answered with a prediction."""
        return sum(self.failures.values())

    def percentile_ms(self, fraction: float) -> float:
        """Return that percentile of the latencies, in milliseconds; 0 when there are none."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else 0.0


class ModelClient:
    """One keep-alive connection to the model; it reconnects when the server asks for that."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self.host, self.port, self.key = host, port, key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def predict(self, row: Sequence[float], protocol: str = "v1") -> tuple[int, str]:
        """Return the digit and the version of the model that said so; raise RuntimeError or OSError."""
        if protocol == "v1":
            path, body = "/v1/models/digits:predict", {"instances": [row]}
        else:
            tensor = {"name": "pixels", "shape": [1, len(row)], "datatype": "FP32", "data": row}
            path, body = "/v2/models/digits/infer", {"inputs": [tensor]}
        status, headers, answer = await self.post(path, json.dumps(body).encode())
        if status != 200:
            raise RuntimeError(f"HTTP {status}: {answer[:200].decode(errors='replace')}")
        said = json.loads(answer)
        digit = said["predictions"][0] if protocol == "v1" else said["outputs"][0]["data"][0]
        return digit, headers.get("model-version", "")

    async def post(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send one request on the connection, or on a new one; return status, headers and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self._streams
        try:
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {k.strip().lower(): v.strip() for k, _, v in (h.partition(":") for h in head[1:] if h)}
            answer = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return int(head[0].split(" ")[1]), headers, answer

    def close(self) -> None:
        """Let go of the connection."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


async def ask(
    client: ModelClient, row: Sequence[float], label: int, tally: Tally, protocol: str = "v1"
) -> None:
    """Ask for one digit and count the outcome."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(10):
            digit, version = await client.predict(row, protocol)
    except (OSError, RuntimeError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
        words = f"{type(error).__name__}: {error}"[:160]
        tally.failures[words] = tally.failures.get(words, 0) + 1
        return
    tally.latencies.append(time.perf_counter() - started)
    tally.versions[version] = tally.versions.get(version, 0) + 1
    tally.correct += digit == label


async def classify_all(
    make_client: Callable[[], ModelClient],
    rows: Sequence[Sequence[float]],
    labels: Sequence[int],
    connections: int = 8,
) -> tuple[Tally, float]:
    """Ask once for each row, alternating the protocols; return the tally and the seconds that it took."""
    tally, todo = Tally(), iter(enumerate(zip(rows, labels, strict=True)))

    async def work() -> None:
        client = make_client()
        for i, (row, label) in todo:
            await ask(client, row, label, tally, "v2" if i % 2 else "v1")
        client.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return tally, time.perf_counter() - started


async def steady_traffic(
    make_client: Callable[[], ModelClient],
    rows: Sequence[Sequence[float]],
    labels: Sequence[int],
    tally: Tally,
    is_over: Callable[[], bool],
    *,
    connections: int = 4,
    pause_seconds: float = 0.02,
    requests_per_connection: int = 50,
) -> None:
    """Ask again and again until `is_over`, each connection renewed now and then so that new replicas are met."""

    async def work(offset: int) -> None:
        client, sent = make_client(), 0
        while not is_over():
            i = (offset + sent) % len(rows)
            await ask(client, rows[i], labels[i], tally, "v2" if sent % 2 else "v1")
            sent += 1
            if sent % requests_per_connection == 0:
                client.close()
            await asyncio.sleep(pause_seconds)
        client.close()

    workers: list[Awaitable[None]] = [work(i * len(rows) // connections) for i in range(connections)]
    await asyncio.gather(*workers)


def describe(tally: Tally, seconds: float) -> dict[str, object]:
    """Return the figures that people want to see."""
    return {
        "requests": tally.requests,
        "failed": tally.failed,
        "failures": tally.failures,
        "accuracy": tally.correct / max(1, len(tally.latencies)),
        "requests_per_second": round(tally.requests / seconds, 1),
        "p50_ms": round(tally.percentile_ms(0.5), 2),
        "p99_ms": round(tally.percentile_ms(0.99), 2),
        "versions": tally.versions,
    }


def main() -> None:
    """Classify every held-out digit once."""
    from digits import held_out

    pixels, labels = held_out()
    host, port, key = os.environ["URL_HOST"], int(os.environ["URL_PORT"]), os.environ["API_KEY"]
    work = classify_all(lambda: ModelClient(host, port, key), pixels.tolist(), labels.tolist())
    print(json.dumps(describe(*asyncio.run(work))), flush=True)


if __name__ == "__main__":
    main()
