"""Serve the digits model over HTTP: the V1 and V2 inference protocols, with graceful shutdown.

POST /v1/models/digits:predict, POST /v2/models/digits/infer, GET /v2/health/live, GET /v2/health/ready and
GET /v2/models/digits. Predictions need `Authorization: Bearer $API_KEY`. On SIGTERM it goes on answering for
DRAIN_SECONDS, asking each client to connect anew (`Connection: close`), so that no request is lost.
Environment: MODEL_VERSION, MODEL_NAME, API_KEY, PORT, MODELS, DRAIN_SECONDS.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import signal
from pathlib import Path

import numpy as np

MAX_BODY = 4 << 20
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 413: "Content Too Large"}


class Model:
    """Layers of weights, as train.py stores them."""

    def __init__(self, file: Path) -> None:
        with np.load(file) as arrays:
            count = len(arrays.files) // 2
            self.weights = [arrays[f"weights{i}"] for i in range(count)]
            self.biases = [arrays[f"biases{i}"] for i in range(count)]

    def predict(self, rows) -> list[int]:
        """Return the likeliest digit for each row of float32[N, 64]."""
        for matrix, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            rows = np.maximum(rows @ matrix + bias, 0)
        return (rows @ self.weights[-1] + self.biases[-1]).argmax(axis=1).tolist()


class BadInput(ValueError):
    """The request's rows cannot be understood."""


class Service:
    """Turns a request into a status and a JSON answer; knows nothing of sockets."""

    def __init__(self, model: Model, name: str, version: str, key: str) -> None:
        self.model, self.name, self.version = model, name, version
        self.secret = f"Bearer {key}".encode()

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, object]:
        """Return the HTTP status and what to say."""
        if (method, path) in (("GET", "/v2/health/live"), ("GET", "/v2/health/ready")):
            return 200, {"live" if path.endswith("live") else "ready": True}
        if (method, path) == ("GET", f"/v2/models/{self.name}"):
            return 200, {"name": self.name, "versions": [self.version], "platform": "numpy"}
        if (method, path) not in (
            ("POST", f"/v1/models/{self.name}:predict"),
            ("POST", f"/v2/models/{self.name}/infer"),
        ):
            return 404, {"error": f"{method} {path}: try POST /v1/models/{self.name}:predict"}
        if not hmac.compare_digest(authorization.encode(), self.secret):
            return 401, {"error": "this needs Authorization: Bearer and the key of the Secret digits-key"}
        try:
            return 200, self.predict_v1(body) if path.startswith("/v1") else self.predict_v2(body)
        except (BadInput, ValueError, KeyError, TypeError) as error:
            return 400, {"error": f"{type(error).__name__}: {error}"}

    def predict_v1(self, body: bytes) -> object:
        """Read {"instances": [[64 numbers], ...]}."""
        return {"predictions": self.model.predict(to_rows(json.loads(body)["instances"]))}

    def predict_v2(self, body: bytes) -> object:
        """Read {"inputs": [{"name", "shape": [N, 64], "datatype": "FP32", "data": [...]}]}."""
        request = json.loads(body)
        tensor = request["inputs"][0]
        digits = self.model.predict(to_rows(np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])))
        output = {"name": "digit", "datatype": "INT64", "shape": [len(digits)], "data": digits}
        return {
            "model_name": self.name,
            "model_version": self.version,
            "id": request.get("id", ""),
            "outputs": [output],
        }


def to_rows(values):
    """Return float32[N, 64], or say what is wrong with the values."""
    rows = np.asarray(values, np.float32)
    if rows.ndim != 2 or rows.shape[1] != 64:
        raise BadInput(f"a digit is a row of 64 numbers in 0..1; this has the shape {list(rows.shape)}")
    return rows


class Server:
    """A small HTTP/1.1 server with keep-alive."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.draining = False
        self.open: set[asyncio.StreamWriter] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until it closes."""
        self.open.add(writer)
        try:
            while await self.handle_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # the client has gone, or sends what is not HTTP
        finally:
            self.open.discard(writer)
            writer.close()

    async def handle_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {
            k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)
        }
        length = int(headers.get("content-length", 0))
        if length > MAX_BODY:
            status, answer = 413, {"error": f"a body is at most {MAX_BODY} bytes"}
        else:
            body = await reader.readexactly(length)
            status, answer = self.service.answer(method, path, headers.get("authorization", ""), body)
        keep = not self.draining and status != 413 and headers.get("connection", "").lower() != "close"
        payload = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
            f"Model-Version: {self.service.version}\r\nContent-Length: {len(payload)}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()
            + payload
        )
        await writer.drain()
        return keep

    async def drain(self, seconds: float) -> None:
        """Answer for a while longer, while Services learn that this pod ends, asking clients to go elsewhere."""
        self.draining = True
        await asyncio.sleep(seconds)


async def main() -> None:
    """Serve until SIGTERM."""
    version, name = os.environ["MODEL_VERSION"], os.environ["MODEL_NAME"]
    file = Path(os.environ.get("MODELS", "/models"), name, version, "model.npz")
    server = Server(Service(Model(file), name, version, os.environ["API_KEY"]))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    everywhere = "0.0.0.0"  # noqa: S104 - the pod network is all that a pod has
    listener = await asyncio.start_server(server.handle, everywhere, int(os.environ["PORT"]), backlog=1024)
    print(f"serving {name} version {version} on port {os.environ['PORT']}", flush=True)
    await stop.wait()
    print("draining", flush=True)
    await server.drain(float(os.environ.get("DRAIN_SECONDS", "2")))
    listener.close()
    for writer in list(server.open):
        writer.close()
    print("bye", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
