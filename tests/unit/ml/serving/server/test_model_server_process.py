"""The model server as a process: its flags, its end, what it imports."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from proa.ml.serving.server.options import read_options
from proa.ml.serving.server.telemetry import SILENCE

MODEL = """
class Model:
    def predict(self, payload, headers=None):
        return {"predictions": [sum(row) for row in payload["instances"]]}
"""
ARGUMENTS = ["--model_name=m", "--http_port=0", "--grpc_port=0", "--load-port=0", "--host=127.0.0.1",
             "--quiet-seconds=0.1"]  # fmt: skip


@contextmanager
def start(
    folder: Path, *more: str, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "proa.ml.serving.server", *ARGUMENTS, f"--model_dir={folder}", *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return line
    raise AssertionError(f"it has ended before it said {word}")


def test_it_serves_until_it_is_told_to_stop(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    with start(tmp_path) as process:
        line = read_until(process, "listening")
        port = int(line.split("http=")[1].split()[0])
        read_until(process, "ready models=m")
        url = f"http://127.0.0.1:{port}/v1/models/m:predict"
        with urllib.request.urlopen(url, json.dumps({"instances": [[1, 2]]}).encode()) as answer:
            assert json.loads(answer.read()) == {"predictions": [3]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


@pytest.mark.parametrize("may_tell", [False, True])
def test_libraries_tell_nobody_what_is_served_unless_they_may(tmp_path, may_tell):
    (tmp_path / "model.py").write_text(
        "import os\nclass Model:\n    def predict(self, payload, headers=None):\n"
        "        return {'predictions': [os.environ['ORT_DISABLE_TELEMETRY'], os.environ['DO_NOT_TRACK']]}\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in SILENCE}
    if may_tell:
        environment["ORT_DISABLE_TELEMETRY"] = "0"
    with start(tmp_path, environment=environment) as process:
        port = int(read_until(process, "listening").split("http=")[1].split()[0])
        read_until(process, "ready models=m")
        url = f"http://127.0.0.1:{port}/v1/models/m:predict"
        with urllib.request.urlopen(url, b'{"instances": []}') as answer:
            assert json.loads(answer.read()) == {"predictions": ["0" if may_tell else "1", "1"]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def test_an_onnx_model_leaves_nothing_in_the_home_of_its_server(tmp_path):
    (tmp_path / "home").mkdir()
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "model.onnx")
    environment = {k: v for k, v in os.environ.items() if k not in (*SILENCE, "XDG_CACHE_HOME")}
    with start(
        tmp_path, "--format=onnx", environment={**environment, "HOME": str(tmp_path / "home")}
    ) as process:
        read_until(process, "ready models=m")
        assert [*(tmp_path / "home").iterdir()] == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert [*(tmp_path / "home").iterdir()] == []


def test_a_model_that_cannot_be_loaded_ends_it_and_the_last_line_says_why(tmp_path):
    with start(tmp_path / "nothing", "--format", "onnx") as process:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 1
    assert "model m cannot be loaded: " in said.strip().splitlines()[-1]


def test_flags_are_upstreams_and_others_are_the_formats_settings():
    words = "--model_name=iris --model_dir /mnt/models --http_port 9000 --enable_grpc=false --workers 1 --nthread 2 "
    words += "--task=text-generation --return_probabilities --container-concurrency 5"
    options = read_options(words.split())
    assert (options.model_name, options.http_port, options.grpc_port) == ("iris", 9000, -1)
    assert options.settings == {"nthread": "2", "task": "text-generation", "return_probabilities": "true"}
    assert (options.container_concurrency, options.queue_depth) == (5, 50)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stray", "stray: a setting of the format is --NAME=VALUE"),
        ("--workers 4", "there is one process a pod"),
        ("--http_port -5", "-5: must be 0 or more"),
        ("--enable_grpc maybe", "maybe: must be true or false"),
        ("--log-batch-size 0", "must be 1 or more"),
    ],
)
def test_a_wrong_flag_is_told(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        read_options(words.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_it_imports_nothing_heavy():
    code = """
import sys
import proa.ml.serving.server.serving
from proa.ml.serving.server.options import read_options
from proa.ml.serving.server.telemetry import SILENCE
read_options([])
print(*sorted({name.partition('.')[0] for name in sys.modules} & {
    'numpy', 'h2', 'cryptography', 'yaml', 'pandas', 'sklearn', 'onnxruntime', 'grpc', 'fastapi', 'email',
    'multiprocessing'}), 'END')
"""
    began = time.monotonic()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["END"], f"{said} in {time.monotonic() - began:.1f} s"
