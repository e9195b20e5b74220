"""What does a prediction cost, beside KServe's and MLServer's own Python servers, on the same model and machine?

Digits: scikit-learn's StandardScaler and LogisticRegression, and the same as ONNX; one row of 64 numbers a request.
Each server alone, one process: the time from its start to its first prediction, wrk over 1 and over 32 connections for
some seconds after a warm-up, processor time a request, and memory (PSS) afterwards. KServe's sklearn server is its
python/sklearnserver by its steps; neither rival has a runtime for ONNX in Python, so theirs is a class of ten lines
that calls onnxruntime, as one would write it for them.

"bare socket" is a program on the same event loop that answers whatever comes with the same bytes: what wake-ups, system
calls and wrk cost, and so the most that any server in Python could do.

Ours serves a scikit-learn model as ONNX where it has proven that equal; at the first start of all, until it has, the
library serves ("first prediction ever"); "sklearn itself" is the same server without that.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("src", "tests")]

MLSERVER = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "onnxruntime")
START_SECONDS = 120.0
TICKS = os.sysconf("SC_CLK_TCK")

KSERVE_PROGRAM = """
import sys
import kserve
from kserve.utils.utils import get_predict_input, get_predict_response

class Sklearn(kserve.Model):
    def load(self):
        import joblib
        self.model = joblib.load(sys.argv[2])
        self.ready = True

    def predict(self, payload, headers=None):
        return get_predict_response(payload, self.model.predict(get_predict_input(payload)), self.name)

class Onnx(kserve.Model):
    def load(self):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.model = onnxruntime.InferenceSession(sys.argv[2], options)
        self.ready = True

    def predict(self, payload, headers=None):
        rows = get_predict_input(payload).astype("float32")
        return get_predict_response(payload, self.model.run(None, {"X": rows})[0], self.name)

model = {"sklearn": Sklearn, "onnx": Onnx}[sys.argv[1]]("m")
model.load()
kserve.ModelServer(http_port=int(sys.argv[3]), enable_grpc=False, access_log_format=None,
                   enable_latency_logging=False).start([model])
"""
MLSERVER_CLASS = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Onnx(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.model = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        labels = self.model.run(None, {"X": rows})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("label", labels)])
"""


BARE_PROGRAM = """
import asyncio, json, sys
import uvloop

BODY = json.dumps({"model_name": "m", "id": "0", "outputs": [
    {"name": "label", "shape": [1], "datatype": "INT64", "data": [0]}]}).encode()
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY

class Bare(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if not data.endswith(b"\\r\\n\\r\\n"):
            self.transport.write(ANSWER)

async def main():
    await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", int(sys.argv[1]))
    await asyncio.Event().wait()

uvloop.run(main())
"""


class Server(NamedTuple):
    """One server: how it is started, and where it is asked."""

    name: str
    command: Sequence[str]
    folder: Path
    port: int
    url: str
    body: bytes


class Measured(NamedTuple):
    """What was seen of one server."""

    start_seconds: float
    memory_mib: float
    requests: dict[int, float]
    """A second, by connections."""
    cpu_micros: dict[int, float]
    """Processor time a request, by connections."""


def run(quick: bool) -> list[dict[str, object]]:
    """Return rows for both models: ours beside each rival."""
    seconds = 3 if quick else 10
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        row = make_models(folder)
        for kind in ("sklearn", "onnx"):
            servers = make_servers(kind, folder, row)
            converted = folder / kind / ".converted"
            first = measure(servers[0], seconds=0, leaves=converted) if kind == "sklearn" else None
            ours, *rivals = (measure(server, seconds) for server in servers)
            bare = measure(make_bare_server(folder, servers[0].body), seconds)
            rows += [make_row(f"{kind}: {c} connections", ours.requests[c], "req/s", "bare socket", bare.requests[c],
                              more=True) for c in ours.requests]  # fmt: skip
            for name, rival in zip(("kserve 0.21", "mlserver 1.7.1"), rivals, strict=True):
                rows += compare(kind, ours, name, rival)
                if first is not None:
                    rows.append(make_row(f"{kind}: first prediction ever", first.start_seconds, "s", name,
                                         rival.start_seconds))  # fmt: skip
            if kind == "sklearn":
                alone = measure(
                    servers[0]._replace(command=[*servers[0].command, "--convert=false"]), seconds
                )
                rows += compare("sklearn itself", alone, "kserve 0.21", rivals[0])
    return rows


def compare(kind: str, ours: Measured, name: str, rival: Measured) -> list[dict[str, object]]:
    """Return the rows of ours beside one rival."""
    rows = [
        make_row(f"{kind}: {c} connections", ours.requests[c], "req/s", name, rival.requests[c], more=True)
        for c in ours.requests
    ]
    rows += [
        make_row(
            f"{kind}: processor, {c} connections", ours.cpu_micros[c], "us/req", name, rival.cpu_micros[c]
        )
        for c in ours.cpu_micros
    ]
    rows.append(make_row(f"{kind}: first prediction", ours.start_seconds, "s", name, rival.start_seconds))
    rows.append(make_row(f"{kind}: memory (PSS)", ours.memory_mib, "MiB", name, rival.memory_mib))
    return rows


def make_row(
    name: str, value: float, unit: str, baseline: str, baseline_value: float, *, more: bool = False
) -> dict[str, object]:
    """Return a row; `more`: a greater value is better."""
    ratio = value / baseline_value if more else baseline_value / value
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "baseline_value": baseline_value,
        "ratio": ratio,
    }


def make_models(folder: Path) -> list[float]:
    """Write both models and what the servers need; return a row to ask with."""
    import joblib
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images, labels = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(images, labels)
    for name in ("sklearn", "onnx"):
        (folder / name).mkdir()
    joblib.dump(model, folder / "sklearn" / "model.joblib")
    graph = to_onnx(model, images[:1].astype("float32"), options={"zipmap": False})
    (folder / "onnx" / "model.onnx").write_bytes(graph.SerializeToString())
    (folder / "kserve_program.py").write_text(KSERVE_PROGRAM)
    row: list[float] = images[0].tolist()
    return row


def make_servers(kind: str, folder: Path, row: list[float]) -> list[Server]:
    """Return ours and the rivals', each asked by V2."""
    from support.sdk_venvs import TORCH, make_sdk_venv

    model = folder / kind / {"sklearn": "model.joblib", "onnx": "model.onnx"}[kind]
    wanted = [{"name": "label"}] if kind == "onnx" else []
    tensor = {"name": "X", "shape": [1, 64], "datatype": "FP32", "data": row}
    body = json.dumps({"inputs": [tensor]}).encode()
    our_body = json.dumps({"inputs": [tensor], **({"outputs": wanted} if wanted else {})}).encode()
    ours, kserve, mlserver = find_port(), find_port(), find_port()
    serving, theirs = make_sdk_venv("torch", TORCH), make_sdk_venv("mlserver", MLSERVER)
    path = "http://127.0.0.1:{}/v2/models/m/infer"
    command = [sys.executable, "-m", "proa.ml.serving.server", "--model_name=m", f"--format={kind}",
               f"--model_dir={model.parent}", f"--http_port={ours}", "--grpc_port=0", "--load-port=0",
               "--host=127.0.0.1", "--quiet-seconds=0.1"]  # fmt: skip
    return [
        Server("proa", command, folder, ours, path.format(ours), our_body),
        Server(
            "kserve",
            [str(serving), "kserve_program.py", kind, str(model), str(kserve)],
            folder,
            kserve,
            path.format(kserve),
            body,
        ),
        Server(
            "mlserver",
            [
                str(theirs.parent / "mlserver"),
                "start",
                str(make_mlserver_folder(kind, folder, model, mlserver)),
            ],
            folder,
            mlserver,
            path.format(mlserver),
            body,
        ),
    ]


def make_bare_server(folder: Path, body: bytes) -> Server:
    """Return what answers without looking: a request is whole with whatever does not end as a head does."""
    (folder / "bare.py").write_text(BARE_PROGRAM)
    port = find_port()
    return Server(
        "bare", [sys.executable, "bare.py", str(port)], folder, port, f"http://127.0.0.1:{port}/", body
    )


def make_mlserver_folder(kind: str, folder: Path, model: Path, port: int) -> Path:
    """Write MLServer's settings for a model: in its own process, as is quickest for it."""
    made = folder / f"mlserver-{kind}"
    made.mkdir()
    implementation = {"sklearn": "mlserver_sklearn.SKLearnModel", "onnx": "onnx_class.Onnx"}[kind]
    settings = {"http_port": port, "grpc_port": find_port(), "metrics_port": find_port(), "parallel_workers": 0,
                "host": "127.0.0.1", "debug": False}  # fmt: skip
    (made / "settings.json").write_text(json.dumps(settings))
    told = {"name": "m", "implementation": implementation, "parameters": {"uri": str(model)}}
    (made / "model-settings.json").write_text(json.dumps(told))
    (made / "onnx_class.py").write_text(MLSERVER_CLASS)
    return made


def measure(server: Server, seconds: int, leaves: Path | None = None) -> Measured:
    """Start a server, ask it, and stop it; not before it has made a folder with a model."""
    script = server.folder / f"{server.name}.lua"
    text = server.body.decode()
    script.write_text(
        f'wrk.method="POST"\nwrk.headers["Content-Type"]="application/json"\nwrk.body=[[{text}]]\n'
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    if server.name != "proa":
        environment.pop("PYTHONPATH")
    began = time.perf_counter()
    process = subprocess.Popen(
        server.command,
        cwd=server.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_prediction(server, process)
        start_seconds = time.perf_counter() - began
        requests: dict[int, float] = {}
        cpu: dict[int, float] = {}
        if seconds:
            load(server, script, 1, 2)
        for connections in (1, 32) if seconds else ():
            before = cpu_seconds(process.pid)
            rate, count = load(server, script, connections, seconds)
            requests[connections] = rate
            cpu[connections] = (cpu_seconds(process.pid) - before) / count * 1e6
        if leaves is not None:
            wait_for_model(leaves, process)
        return Measured(start_seconds, memory_mib(process.pid), requests, cpu)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_prediction(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Return with the first answer to a prediction."""
    deadline = time.monotonic() + START_SECONDS
    request = urllib.request.Request(server.url, server.body, {"Content-Type": "application/json"})
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                if json.loads(answer.read())["outputs"][0]["data"] == [0]:
                    return
                raise AssertionError(f"{server.name} sees another digit")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
    raise AssertionError(f"{server.name} has not answered: {' '.join(server.command)}")


def wait_for_model(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Return once a model was converted, as the last file tells that is written."""
    deadline = time.monotonic() + START_SECONDS
    while not list(folder.glob("*.json")):
        if time.monotonic() > deadline or process.poll() is not None:
            raise AssertionError(f"nothing was converted in {folder}")
        time.sleep(0.02)


def load(server: Server, script: Path, connections: int, seconds: int) -> tuple[float, int]:
    """Return wrk's requests a second, and how many there were; none of them failed."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}",
        "--timeout=20",
        "-s",
        str(script),
        server.url,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise AssertionError(f"{server.name}: {said}")
    rate = next(float(line.split()[1]) for line in said.splitlines() if line.startswith("Requests/sec"))
    count = next(int(line.split()[0]) for line in said.splitlines() if " requests in " in line)
    return rate, count


def members(pid: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[3]) == pid:
                found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a session's processes."""
    ticks = 0
    for member in members(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def memory_mib(pid: int) -> float:
    """Return the PSS of a session's processes."""
    kilobytes = 0
    for member in members(pid):
        lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1024


def find_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
