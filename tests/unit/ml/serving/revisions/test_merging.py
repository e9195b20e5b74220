"""A component merged with its runtime, as KServe merges it."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.serving.revisions.image_tags import image_of
from proa.ml.serving.revisions.merging import merge_component
from proa.ml.serving.revisions.placeholders import BadPlaceholder, fill
from proa.ml.serving.revisions.sources import find_sources
from proa.ml.serving.revisions.words import CannotMake


def make_isvc(predictor: dict[str, Any], **components: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "iris",
            "namespace": "ml",
            "uid": "u",
            "labels": {"team": "a"},
            "annotations": {"note": "x", "autoscaling.knative.dev/window": "10s", "kept-back": "y"},
        },
        "spec": {"predictor": predictor, **components},
    }


def make_runtime(**spec: Any) -> dict[str, Any]:
    container = {
        "name": "kserve-container",
        "image": "server:1.0",
        "args": ["--model_name={{.Name}}", "--team={{.Labels.team}}"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
    }
    return {"metadata": {"name": "rt"}, "spec": {"containers": [container], **spec}}


MODEL = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m"}


def main_of(merged: Any) -> dict[str, Any]:
    found: dict[str, Any] = merged.spec["containers"][0]
    return found


def test_a_models_container_is_merged_by_name_and_arguments_of_both_are_kept():
    model = {
        **MODEL,
        "runtimeVersion": "2.0",
        "args": ["--more"],
        "env": [{"name": "B", "value": "2"}],
        "resources": {"requests": {"cpu": "2"}},
    }

    main = main_of(merge_component(make_isvc({"model": model}), "predictor", make_runtime()))

    assert main["args"] == ["--model_name=iris", "--team=a", "--more"]
    assert {entry["name"]: entry["value"] for entry in main["env"]} == {
        "A": "1",
        "B": "2",
        "INFERENCE_SERVICE_NAME": "iris",
    }
    assert main["resources"]["requests"] == {"cpu": "2", "memory": "1Gi"}
    assert main["image"] == "server:2.0"
    assert not {"modelFormat", "storageUri", "runtimeVersion"} & main.keys()


def test_pods_get_what_the_runtime_and_the_predictor_say_and_the_predictor_wins():
    runtime = make_runtime(
        nodeSelector={"disk": "ssd", "zone": "a"},
        volumes=[{"name": "cache", "emptyDir": {}}],
        labels={"team": "runtime", "tier": "r"},
        annotations={"scrape": "yes"},
    )
    predictor = {"model": MODEL, "nodeSelector": {"zone": "b"}, "minReplicas": 2, "labels": {"tier": "p"}}

    merged = merge_component(make_isvc(predictor), "predictor", runtime, ["kept-back"])

    assert merged.spec["nodeSelector"] == {"disk": "ssd", "zone": "b"}
    assert merged.spec["volumes"] == [{"name": "cache", "emptyDir": {}}]
    assert not {"minReplicas", "model", "labels"} & merged.spec.keys()
    assert merged.labels == {
        "team": "a",
        "tier": "p",
        "serving.kserve.io/inferenceservice": "iris",
        "component": "predictor",
    }
    assert merged.annotations == {"scrape": "yes", "note": "x"}


def test_a_transformer_beside_the_predictor_and_other_containers_come_after_it():
    predictor = {
        "model": MODEL,
        "containers": [{"name": "transformer-container", "image": "mine"}, {"name": "sidecar", "image": "s"}],
    }
    runtime = make_runtime()
    runtime["spec"]["containers"].append({"name": "helper", "image": "h"})

    merged = merge_component(make_isvc(predictor), "predictor", runtime)

    names = [container["name"] for container in merged.spec["containers"]]
    assert names == ["kserve-container", "transformer-container", "helper", "sidecar"]


def test_a_transformer_is_told_where_its_predictor_is():
    own = {"containers": [{"image": "t", "args": ["--model_name=other"]}], "containerConcurrency": 3}
    isvc = make_isvc({"model": MODEL, "name": "blue"}, transformer=own)

    main = main_of(merge_component(isvc, "transformer", None))

    assert main["name"] == "kserve-container"
    assert main["args"] == [
        "--model_name=other",
        *("--predictor_host", "iris-blue-predictor.ml"),
        *("--http_port", "8080"),
        *("--workers", "3"),
    ]


def test_a_custom_predictors_model_is_where_its_variable_says():
    env = [{"name": "STORAGE_URI", "value": "gs://b/m"}]
    isvc = make_isvc({"containers": [{"name": "own", "image": "x", "env": env}]})

    assert find_sources(isvc, "predictor").uris == (("gs://b/m", "/mnt/models"),)
    assert main_of(merge_component(isvc, "predictor", None))["name"] == "kserve-container"


@pytest.mark.parametrize(
    ("predictor", "runtime", "words"),
    [
        pytest.param(
            {"model": MODEL}, {"metadata": {"name": "r"}, "spec": {}}, "no container", id="no container"
        ),
        pytest.param(
            {"model": MODEL},
            {"metadata": {"name": "r"}, "spec": {"containers": [{"name": "other"}]}},
            "failed to find kserve-container in ServingRuntime containers",
            id="no main container",
        ),
        pytest.param(
            {"model": {**MODEL, "args": ["{{ .Spec.x }}"]}},
            make_runtime(),
            "failed to replace placeholders in serving runtime rt Container kserve-container",
            id="unknown placeholder",
        ),
        pytest.param({}, None, "spec.predictor: name a model", id="nothing"),
    ],
)
def test_what_cannot_be_merged_is_said(predictor, runtime, words):
    with pytest.raises(CannotMake, match=words):
        merge_component(make_isvc(predictor), "predictor", runtime)


@pytest.mark.parametrize(
    ("image", "version", "server", "gpu", "expected"),
    [
        ("a/b:1", "2", "", False, "a/b:2"),
        ("a/b", "2", "", False, "a/b:2"),
        ("a/b@sha256:0", "2", "", False, "a/b@sha256:0"),
        ("a/b:1", "", "torchserve", True, "a/b:1-gpu"),
        ("a/b:1", "", "torchserve", False, "a/b:1"),
        ("vllm/vllm:1", "", "vllmserver", False, "vllm/vllm-cpu:1"),
        ("vllm/vllm:1", "", "vllmserver", True, "vllm/vllm:1"),
        ("a/b:1", "", "", True, "a/b:1"),
    ],
)
def test_an_images_tag_follows_version_and_gpu(image, version, server, gpu, expected):
    resources = {"limits": {"nvidia.com/gpu": "1"}} if gpu else {}

    assert image_of({"image": image, "resources": resources}, version, server) == expected


def test_placeholders_are_those_of_go_templates_that_runtimes_have():
    isvc = make_isvc({})

    assert fill('{{.Namespace}}/{{ .Name }}-{{index .Labels "team"}}{{.Labels.none}}', isvc) == "ml/iris-a"
    with pytest.raises(BadPlaceholder, match="is not known"):
        fill("{{ range }}", isvc)
