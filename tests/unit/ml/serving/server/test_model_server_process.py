"""The model server as a process: its flags, its end, what it imports."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from proa.ml.serving.server.options import read_options

MODEL = """
class Model:
    def predict(self, payload, headers=None):
        return {"predictions": [sum(row) for row in payload["instances"]]}
"""
ARGUMENTS = ["--model_name=m", "--http_port=0", "--grpc_port=0", "--load-port=0", "--host=127.0.0.1",
             "--quiet-seconds=0.1"]  # fmt: skip


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "proa.ml.serving.server", *ARGUMENTS, f"--model_dir={folder}", *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


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
read_options([])
print(*sorted({name.partition('.')[0] for name in sys.modules} & {
    'numpy', 'h2', 'cryptography', 'yaml', 'pandas', 'sklearn', 'onnxruntime', 'grpc', 'fastapi', 'email',
    'multiprocessing'}), 'END')
"""
    began = time.monotonic()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["END"], f"{said} in {time.monotonic() - began:.1f} s"
