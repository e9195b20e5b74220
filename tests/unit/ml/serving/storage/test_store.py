"""A store keeps what is whole, survives a kill at any moment, is shared by processes, and lets go of the rest."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proa.ml.serving.revisions.model_files import STORE, Source, StorageSettings, make_model_files
from proa.ml.serving.storage.store import File, Store, forget, list_converted
from support.file_server import FileServer, run_file_server

BYTES = bytes(range(256)) * 8192


@pytest.fixture
def server() -> Iterator[FileServer]:
    with run_file_server() as served:
        yield served


def run(*arguments: str, wait: bool = True) -> subprocess.Popen[str]:
    """Start the initializer; return when it has ended."""
    command = [sys.executable, "-m", "proa.ml.serving.storage", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if wait:
        process.wait(60)
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code and what was said."""
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def put(store: Store, data: bytes, path: str = "model") -> File:
    sha256 = hashlib.sha256(data).hexdigest()
    beside = store.root / "partial" / "made"
    beside.write_bytes(data)
    store.admit(beside, sha256)
    return File(path, sha256, len(data))


def test_what_a_pod_is_given_is_what_the_initializer_makes(server: FileServer, tmp_path: Path) -> None:
    server.files["/iris/model.joblib"] = b"model"
    namespace = {"metadata": {"name": "team"}}
    made = make_model_files(
        [Source(f"{server.url}/iris/model.joblib")],
        StorageSettings(cache="/cache"),
        revision="iris-predictor-00001",
        uid="u-1",
        namespace=namespace,
        annotations={},
    )
    command = [part.replace(STORE, str(tmp_path)) for part in made.init_containers[0]["command"]]
    command[command.index("python3")] = sys.executable
    subprocess.run(command, check=True, capture_output=True)
    shown = tmp_path / made.mounts[0]["subPath"]
    assert (shown / "model.joblib").read_bytes() == b"model"
    server.files.clear()
    subprocess.run(command, check=True, capture_output=True)
    assert len(server.asked) == 1


def test_files_without_a_store_are_in_the_folder_that_follows_their_uri(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["/a"], server.files["/b"] = b"1", b"2"
    code, _ = ended(run(f"{server.url}/a", f"{tmp_path}/one", f"{server.url}/b", f"{tmp_path}/two"))
    assert code == 0
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"one/a", "two/b"}


def test_a_download_that_was_killed_goes_on_from_there(server: FileServer, tmp_path: Path) -> None:
    arguments = ("--store", str(tmp_path), "--revision", "u/r", "--", f"{server.url}/model", ".")
    server.files["/model"] = BYTES
    server.break_after, server.hold_after_break = [1_500_000], True
    process = run(*arguments, wait=False)
    partial = tmp_path / "partial"
    assert server.broken.wait(60)
    wait_until(lambda: any(one.stat().st_size for one in partial.glob("*") if not one.suffix))
    process.send_signal(signal.SIGKILL)
    assert ended(process)[0] == -signal.SIGKILL
    server.released.set()
    came = next(one.stat().st_size for one in partial.glob("*") if not one.suffix)
    assert ended(run(*arguments))[0] == 0
    assert server.ranges("/model")[-1] == f"bytes={came}-"
    assert (tmp_path / "revisions/u/r/files/model").read_bytes() == BYTES


def test_one_that_is_told_to_stop_ends_at_once(server: FileServer, tmp_path: Path) -> None:
    server.files["/model"] = BYTES
    server.break_after, server.hold_after_break = [1_000_000], True
    process = run("--store", str(tmp_path), "--revision", "u/r", "--", f"{server.url}/model", ".", wait=False)
    assert server.broken.wait(60)
    process.terminate()
    assert ended(process)[0] == 143
    server.released.set()


def test_several_pods_at_once_fetch_once(server: FileServer, tmp_path: Path) -> None:
    server.files["/model"] = BYTES
    processes = [
        run("--store", str(tmp_path), "--revision", f"u/{name}", "--", f"{server.url}/model", ".", wait=False)
        for name in ("a", "b", "a", "b")
    ]
    assert [ended(process)[0] for process in processes] == [0] * 4
    for name in "ab":
        assert (tmp_path / f"revisions/u/{name}/files/model").read_bytes() == BYTES
    assert os.stat(tmp_path / "revisions/u/a/files/model").st_nlink == 3


def test_a_failure_is_said_and_leaves_no_revision(server: FileServer, tmp_path: Path) -> None:
    server.routes["/model"] = lambda _: (403, {}, b"")
    access = ("--access", "service account default, with no secrets")
    process = run("--store", str(tmp_path), "--revision", "u/r", *access, "--", f"{server.url}/model", ".")
    code, said = ended(process)
    assert code == 1
    assert said.endswith("403 Forbidden. The download ran with service account default, with no secrets\n")
    assert not (tmp_path / "revisions/u/r").exists()


def test_what_a_revision_has_stays_and_the_longest_unused_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = [put(store, bytes([number]) * 1000, str(number)) for number in range(4)]
    with store.alone("u/r"):
        store.complete("u/r", files[:1], {})
    assert store.evict(2500) == 2000
    assert [store.has(one.sha256) for one in files] == [True, False, False, True]
    assert store.evict(0) == 1000
    assert (store.folder("u/r") / "files" / "0").read_bytes() == bytes(1000)


def test_nothing_goes_while_somebody_adds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, b"1")
    with store.shared():
        assert store.evict(0) == 0
    assert store.evict(0) == 1


def test_revisions_that_nobody_has_needed_for_a_while_are_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = put(store, b"1")
    for name in ("u1/a", "u1/b", "u2/a"):
        with store.alone(name):
            store.complete(name, [file], {})
    made = [tmp_path / f"revisions/{name}" for name in ("u1/converted/a", "u1/converted/b")]
    for folder in made:
        folder.mkdir(parents=True)
        (folder / "form.onnx").touch()
    now = time.time()
    assert forget(tmp_path, {"u1/b"}, now, 100.0) == (0, 3)
    assert forget(tmp_path, {"u1/b", "u2/a"}, now + 99.0, 100.0) == (0, 2)
    assert list_converted(tmp_path) == made
    assert forget(tmp_path, {"u1/b", "u2/a"}, now + 101.0, 100.0) == (2, 0)
    assert list_converted(tmp_path) == made[1:]
    assert [store.is_complete(name) for name in ("u1/a", "u1/b", "u2/a")] == [False, True, True]
    assert forget(tmp_path, set(), now + 102.0, 100.0) == (0, 3)
    assert forget(tmp_path, set(), now + 300.0, 100.0) == (3, 0)
    assert list((tmp_path / "revisions").iterdir()) == []


def test_a_folder_without_its_mark_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = put(store, b"1")
    (store.folder("u/r") / "files").mkdir(parents=True)
    (store.folder("u/r") / "files" / "half").write_bytes(b"")
    with store.alone("u/r"):
        store.complete("u/r", [file], {"resolved": "x"})
    assert [one.name for one in (store.folder("u/r") / "files").iterdir()] == ["model"]
    assert json.loads((store.folder("u/r") / "complete").read_bytes())["resolved"] == "x"


def test_an_identity_whose_bytes_are_gone_is_not_known(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file = put(store, b"1")
    store.remember("here", [file])
    assert store.find("here") == [file]
    store.evict(0)
    assert store.find("here") is None
