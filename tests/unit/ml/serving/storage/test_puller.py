"""A server of many models has those that its ConfigMap names, each in a folder, told by V2's repository extension."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.ml.serving.storage.puller import Plan, Puller, plan, read_config
from support.file_server import FileServer, run_file_server


@pytest.fixture
def server() -> Iterator[FileServer]:
    with run_file_server() as served:
        served.routes["/v2/"] = lambda _: (200, {}, b"{}")
        yield served


def spec(uri: str, memory: str = "1Gi") -> dict[str, str]:
    return {"storageUri": uri, "framework": "sklearn", "memory": memory}


@pytest.mark.parametrize(
    ("wanted", "pulled", "expected"),
    [
        ({}, {}, Plan((), ())),
        ({"a": spec("1")}, {}, Plan((), ("a",))),
        ({}, {"a": spec("1")}, Plan(("a",), ())),
        ({"a": spec("1")}, {"a": spec("1")}, Plan((), ())),
        ({"a": spec("1", "2Gi")}, {"a": spec("1")}, Plan((), ())),
        ({"a": spec("2")}, {"a": spec("1")}, Plan((), ("a",))),
    ],
    ids=["nothing", "new", "gone", "as it was", "more memory", "another"],
)
def test_a_plan_leads_to_what_is_wanted(wanted: object, pulled: object, expected: Plan) -> None:
    assert plan(wanted, pulled) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../x", ".hidden", "", "a/b", 1])
def test_a_name_that_leads_elsewhere_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="no model's name"):
        read_config(json.dumps([{"modelName": name, "modelSpec": {}}]).encode())


def test_models_come_change_and_go(server: FileServer, tmp_path: Path) -> None:
    server.files["/one/model"], server.files["/two/model"] = b"1", b"2"
    puller = Puller(tmp_path, server.url, {}, 1 << 20)
    assert puller.bring({"a": spec(f"{server.url}/one/model"), "b": spec(f"{server.url}/two/model")}, 0.0)
    assert (tmp_path / "a" / "model").read_bytes() == b"1"
    assert puller.bring({"a": spec(f"{server.url}/two/model")}, 0.0)
    assert (tmp_path / "a" / "model").read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store", "a"]
    asked = [
        one.path.removeprefix("/v2/repository/models/") for one in server.asked if one.path.startswith("/v2/")
    ]
    assert asked == ["a/load", "b/load", "b/unload", "a/load"]
    again = Puller(tmp_path, server.url, {}, 1 << 20)
    assert plan({"a": spec(f"{server.url}/two/model")}, again.pulled) == Plan((), ())


def test_a_model_that_fails_waits_and_the_others_are_served(server: FileServer, tmp_path: Path) -> None:
    server.files["/model"] = b"1"
    puller = Puller(tmp_path, server.url, {}, 1 << 20)
    wanted = {"bad": spec(f"{server.url}/none"), "good": spec(f"{server.url}/model")}
    assert not puller.bring(wanted, 0.0)
    assert (tmp_path / "good").is_dir()
    assert (tmp_path / ".store" / "ready").exists()
    server.files["/none"] = b"2"
    assert not puller.bring(wanted, 0.5)
    assert puller.bring(wanted, 1.5)


def test_what_the_server_cannot_load_is_tried_again(server: FileServer, tmp_path: Path) -> None:
    server.files["/model"] = b"1"
    server.routes["/v2/"] = lambda _: (503, {}, b"it is no model")
    puller = Puller(tmp_path, server.url, {}, 1 << 20)
    assert not puller.bring({"a": spec(f"{server.url}/model")}, 0.0)
    assert puller.pulled == {}
    server.routes["/v2/"] = lambda _: (200, {}, b"{}")
    assert puller.bring({"a": spec(f"{server.url}/model")}, 2.0)
