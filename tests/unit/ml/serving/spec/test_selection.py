"""Which runtime serves a model, and what is said where none does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.ml.serving.spec.services import make_model, make_runtime

from proa.client.protocol import Object
from proa.ml.serving.spec.selection import NotServed, select_runtime
from proa.objects import meta

OWN = {"namespace": "default"}


def select(runtimes: list[Object], name: str = "sklearn", version: str = "", **fields: Any) -> Any:
    workers = {"workerSpec": fields.pop("workers")} if "workers" in fields else {}
    own = [runtime for runtime in runtimes if meta.namespace(runtime)]
    of_cluster = [runtime for runtime in runtimes if not meta.namespace(runtime)]
    return select_runtime({"model": make_model(name, version, **fields), **workers}, own, of_cluster)


CHOICES: dict[str, tuple[list[Object], dict[str, Any], str]] = {
    "the only one": ([make_runtime("a", "sklearn")], {}, "a"),
    "one of the format": ([make_runtime("a", "xgboost"), make_runtime("b", "sklearn")], {}, "b"),
    "the namespace's first": ([make_runtime("a", "sklearn=9"), make_runtime("b", "sklearn", **OWN)], {}, "b"),
    "a higher priority": ([make_runtime("a", "sklearn=1"), make_runtime("b", "sklearn=2")], {}, "b"),
    "any priority before none": ([make_runtime("a", "sklearn"), make_runtime("b", "sklearn=1")], {}, "b"),
    "the newest": ([make_runtime("a", "sklearn"), make_runtime("b", "sklearn", made="2026-02-01")], {}, "b"),
    "the name": ([make_runtime("b", "sklearn"), make_runtime("a", "sklearn")], {}, "a"),
    "priority before age": (
        [make_runtime("a", "sklearn=2"), make_runtime("b", "sklearn=1", made="2026-02-01")],
        {},
        "a",
    ),
    "the lowest protocol before age": (
        [
            make_runtime("a", "sklearn", protocolVersions=["v2", "v1"]),
            make_runtime("b", "sklearn", protocolVersions=[], made="2026-02-01"),
        ],
        {},
        "a",
    ),
    "a version": (
        [make_runtime("a", "sklearn:0=2"), make_runtime("b", "sklearn:1=1")],
        {"version": "1"},
        "b",
    ),
    "no version is any": ([make_runtime("a", "sklearn:7")], {}, "a"),
    "the first priority of the name, whatever its version": (
        [make_runtime("a", "sklearn:0=3", "sklearn:1=1"), make_runtime("b", "sklearn:1=2")],
        {"version": "1"},
        "a",
    ),
    "v1 where nothing is said": (
        [make_runtime("a", "sklearn=2", protocolVersions=["v2"]), make_runtime("b", "sklearn=1")],
        {},
        "b",
    ),
    "the protocol": (
        [make_runtime("a", "sklearn=1"), make_runtime("b", "sklearn=2", protocolVersions=["v2"])],
        {"protocolVersion": "v2"},
        "b",
    ),
    "any protocol": (
        [make_runtime("a", "sklearn", protocolVersions=[])],
        {"protocolVersion": "grpc-v2"},
        "a",
    ),
    "neither disabled nor of many models": (
        [
            make_runtime("a", "sklearn=9", disabled=True),
            make_runtime("b", "sklearn=9", multiModel=True),
            make_runtime("c", "sklearn=1"),
        ],
        {},
        "c",
    ),
    "with workers where there are any": (
        [make_runtime("a", "sklearn=9"), make_runtime("b", "sklearn=1", workerSpec={"containers": []})],
        {"workers": {}},
        "b",
    ),
    "the one that is named": (
        [make_runtime("a", "sklearn=9"), make_runtime("b", "-sklearn", protocolVersions=["v2"])],
        {"runtime": "b"},
        "b",
    ),
    "the namespace's of that name": (
        [make_runtime("b", "sklearn"), make_runtime("b", "sklearn", **OWN)],
        {"runtime": "b"},
        "b",
    ),
}


@pytest.mark.parametrize(("runtimes", "model", "expected"), CHOICES.values(), ids=CHOICES)
def test_the_runtime_is(runtimes: list[Object], model: dict[str, Any], expected: str) -> None:
    selected = select(runtimes, **model)
    assert meta.name(selected.runtime) == expected
    assert selected.is_cluster == (not meta.namespace(selected.runtime))
    if any(meta.namespace(runtime) for runtime in runtimes):
        assert not selected.is_cluster
    assert meta.name(select(runtimes[::-1], **model).runtime) == expected, "whatever the order of the list"


@pytest.mark.parametrize(
    ("protocols", "said", "expected"),
    [
        (["v2", "v1"], "", "v1"),
        (["grpc-v2", "v2"], "", "v2"),
        ([], "", ""),
        (["v2", "v1"], "v2", "v2"),
    ],
)
def test_a_model_that_says_no_protocol_has_its_runtimes_first(
    protocols: list[str], said: str, expected: str
) -> None:
    runtime = make_runtime("a", "sklearn", protocolVersions=protocols)
    model = {"protocolVersion": said} if said else {}
    assert select([runtime], runtime="a", **model).protocol == expected


REFUSED: dict[str, tuple[list[Object], dict[str, Any], str, str, str]] = {
    "no runtime at all": (
        [],
        {},
        "NoSupportingRuntime",
        "No runtime found to support specified framework/version",
        "no runtime found to support predictor with model type: sklearn; runtimes are there for no format",
    ),
    "no such format": (
        [make_runtime("a", "xgboost"), make_runtime("b", "onnx")],
        {"name": "pmml"},
        "NoSupportingRuntime",
        "No runtime found to support specified framework/version",
        "model type: pmml; runtimes are there for onnx, xgboost",
    ),
    "no such version": (
        [make_runtime("a", "sklearn:1", "sklearn:2")],
        {"version": "3"},
        "NoSupportingRuntime",
        "No runtime found to support specified framework/version",
        "model type: sklearn 3; there is sklearn 1, sklearn 2",
    ),
    "not by this protocol": (
        [make_runtime("a", "mlflow", protocolVersions=["v2"])],
        {"name": "mlflow"},
        "NoSupportingRuntime",
        "No runtime found to support specified framework/version",
        "model type: mlflow by protocol v1; there is a (v2): say protocolVersion, or runtime",
    ),
    "not by itself": (
        [make_runtime("a", "-sklearn")],
        {},
        "NoSupportingRuntime",
        "No runtime found to support specified framework/version",
        "there is a (v1): say protocolVersion, or runtime",
    ),
    "nobody of that name": (
        [make_runtime("a", "sklearn")],
        {"runtime": "b"},
        "RuntimeNotRecognized",
        "Waiting for runtime to become available",
        "No ServingRuntimes or ClusterServingRuntimes with the name: b",
    ),
    "one that is disabled": (
        [make_runtime("a", "sklearn", disabled=True)],
        {"runtime": "a"},
        "RuntimeDisabled",
        "Specified runtime is disabled",
        "specified runtime a is disabled",
    ),
    "one of another protocol": (
        [make_runtime("a", "sklearn")],
        {"runtime": "a", "protocolVersion": "v2"},
        "NoSupportingRuntime",
        "Specified runtime does not support specified protocol version",
        "specified runtime a does not support specified protocol version v2: it has v1",
    ),
    "one of another format": (
        [make_runtime("a", "sklearn:1")],
        {"runtime": "a", "name": "onnx", "version": "1"},
        "NoSupportingRuntime",
        "Specified runtime does not support specified framework/version",
        "specified runtime a does not support specified framework/version onnx 1: it has sklearn 1",
    ),
}


@pytest.mark.parametrize(("runtimes", "model", "reason", "message", "words"), REFUSED.values(), ids=REFUSED)
def test_what_nobody_serves_is_told_in_upstreams_words(
    runtimes: list[Object], model: dict[str, Any], reason: str, message: str, words: str
) -> None:
    with pytest.raises(NotServed) as refused:
        select(runtimes, **model)
    assert (refused.value.reason, refused.value.message) == (reason, message)
    assert refused.value.words.endswith(words)
