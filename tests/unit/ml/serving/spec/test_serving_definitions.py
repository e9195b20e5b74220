"""What the API server says of InferenceServices, runtimes, TrainedModels and InferenceGraphs when they are applied."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
import pytest
import yaml

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Object, User
from proa.ml.area import ensure_definitions
from proa.ml.serving.component import DEFINITIONS as FILES
from proa.ml.serving.kinds import (
    CLUSTER_SERVING_RUNTIMES,
    INFERENCE_GRAPHS,
    INFERENCE_SERVICES,
    SERVING_RUNTIMES,
    TRAINED_MODELS,
)
from proa.objects.errors import BadRequest, Invalid
from proa.objects.resource import NAMESPACES, Resource
from proa.store.memory import MemoryStore

KINDS = (
    INFERENCE_SERVICES,
    SERVING_RUNTIMES,
    CLUSTER_SERVING_RUNTIMES,
    TRAINED_MODELS,
    INFERENCE_GRAPHS,
)
MODEL = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/iris"}
CUSTOM = [{"name": "kserve-container", "image": "mine"}]
CANARY = {"predictor": {"name": "next", "model": MODEL}, "trafficPercent": 10}


class Server:
    """An API server that knows the kinds of serving."""

    def __init__(self) -> None:
        server = ApiServer(MemoryStore(), DEFINITIONS)
        self.client = ApiClient(LocalTransport(server.handle, User("admin", ("system:masters",))))
        asyncio.run(ensure_definitions(self.client, FILES))
        asyncio.run(self.client.create(NAMESPACES, {"metadata": {"name": "default"}}))
        self._made = 0

    def create(self, resource: Resource, spec: Any, name: str = "", query: str = "") -> Object:
        self._made += 1
        metadata = {"name": name or f"made-{self._made}"}
        namespace = "default" if resource.namespaced else None
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        path = resource.path(namespace) + query
        return asyncio.run(self.client.request("POST", path, {**body, "spec": spec}))

    def update(self, resource: Resource, obj: Object) -> Object:
        return asyncio.run(self.client.update(resource, obj))


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


def said_of(server: Server, resource: Resource, spec: Any, name: str = "") -> str:
    with pytest.raises(Invalid) as refused:
        server.create(resource, spec, name)
    return refused.value.message


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_definition_is_json_and_yaml_and_of_a_kind_that_is_known(file: Any) -> None:
    definition = orjson.loads(file.read_bytes())
    assert yaml.safe_load(file.read_text()) == definition
    known = {kind.qualified_name: kind for kind in KINDS}
    kind = known[definition["metadata"]["name"]]
    assert definition["spec"]["names"]["kind"] == kind.kind
    assert (definition["spec"]["scope"] == "Namespaced") == kind.namespaced
    assert [version["name"] for version in definition["spec"]["versions"]] == [kind.version]


GOOD_SERVICES: dict[str, Any] = {
    "a model": {"predictor": {"model": MODEL}},
    "an old form": {
        "predictor": {"sklearn": {"storageUri": "gs://a/b", "resources": {"limits": {"cpu": 1}}}}
    },
    "no storage at all": {"predictor": {"triton": {"args": ["--x"]}}},
    "a container": {"predictor": {"containers": CUSTOM}},
    "a container of any name": {"predictor": {"containers": [{"name": "web", "image": "mine"}]}},
    "a model and a transformer in its pod": {
        "predictor": {"model": MODEL, "containers": [{"name": "transformer-container", "image": "mine"}]}
    },
    "all three components": {
        "predictor": {
            "model": MODEL,
            "minReplicas": 0,
            "maxReplicas": 3,
            "scaleMetric": "rps",
            "scaleTarget": 10,
        },
        "transformer": {"containers": CUSTOM, "logger": {"mode": "all", "url": "http://sink"}},
        "explainer": {"art": {"type": "SquareAttack", "config": {"nb_classes": "10"}}},
    },
    "no most": {"predictor": {"model": MODEL, "minReplicas": 4, "maxReplicas": 0}},
    "several URIs": {
        "predictor": {
            "model": {"modelFormat": {"name": "sklearn"}},
            "storageUris": [{"uri": "s3://a/b"}, {"uri": "s3://c", "mountPath": "/mnt/models/more"}],
        }
    },
    "pods as they are": {
        "predictor": {
            "model": MODEL,
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "securityContext": {"runAsUser": 1000},
            "volumes": [{"name": "data", "emptyDir": {}}],
        }
    },
    "canaries": {"predictor": {"model": MODEL}, "canary": [CANARY]},
}


@pytest.mark.parametrize("spec", GOOD_SERVICES.values(), ids=GOOD_SERVICES)
def test_it_is_kept_as_it_is_written(server: Server, spec: Any) -> None:
    made = server.create(INFERENCE_SERVICES, spec)["spec"]
    for uri in made["predictor"].get("storageUris", ()):
        assert uri.pop("mountPath").startswith("/mnt/models")
    for uri in spec["predictor"].get("storageUris", ()):
        uri.pop("mountPath", None)
    assert made == spec


ONE = "exactly one of [SKLearn, XGBoost, Tensorflow, PyTorch, Triton, ONNX, HuggingFace, PMML, LightGBM, Paddle, Model"
BAD_SERVICES: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "spec.predictor: Required value"),
    "a quantity that is none": (
        {"predictor": {"model": {**MODEL, "resources": {"requests": {"cpu": "1x"}}}}},
        'spec.predictor.model.resources.requests.cpu: Invalid value: "1x": ',
    ),
    "an empty predictor": ({"predictor": {}}, ONE),
    "two models": ({"predictor": {"model": MODEL, "sklearn": {}}}, ONE),
    "a model and a container of its own": ({"predictor": {"model": MODEL, "containers": CUSTOM}}, ONE),
    "no format": (
        {"predictor": {"model": {"storageUri": "s3://a"}}},
        "spec.predictor.model.modelFormat: Required",
    ),
    "a name": (
        {"predictor": {"sklearn": {"name": "mine"}}},
        "spec.predictor.sklearn.name: Invalid value: the 'name' field is not allowed in standard predictor",
    ),
    "fewer than none": (
        {"predictor": {"model": MODEL, "minReplicas": -1}},
        "'MinReplicas' cannot be less than 0",
    ),
    "at most less than none": (
        {"predictor": {"model": MODEL, "maxReplicas": -1}},
        "'MaxReplicas' cannot be less than 0",
    ),
    "more than at most": (
        {"predictor": {"model": MODEL, "minReplicas": 3, "maxReplicas": 2}},
        "'MinReplicas' cannot be greater than MaxReplicas",
    ),
    "concurrency": (
        {"predictor": {"model": MODEL, "containerConcurrency": -1}},
        "parallelism cannot be less than 0",
    ),
    "too much of a canary": (
        {"predictor": {"model": MODEL, "canaryTrafficPercent": 101}},
        "spec.predictor.canaryTrafficPercent: Invalid value: 101",
    ),
    "a metric": ({"predictor": {"model": MODEL, "scaleMetric": "gpu"}}, 'Unsupported value: "gpu"'),
    "a logger's mode": (
        {"predictor": {"model": MODEL, "logger": {"mode": "some"}}},
        'Unsupported value: "some"',
    ),
    "a logger without mode": (
        {"predictor": {"model": MODEL, "logger": {"url": "http://x"}}},
        "invalid logger type",
    ),
    "a logger's storage": (
        {"predictor": {"model": MODEL, "logger": {"mode": "all", "storage": {"path": "x"}}}},
        "invalid logger storage configuration",
    ),
    "an environment": (
        {"predictor": {"containers": [{**CUSTOM[0], "env": [{"name": "PYTHONPATH", "value": "/x"}]}]}},
        'setting PYTHONPATH in container "kserve-container" is not allowed for security reasons',
    ),
    "one of an old form": (
        {"predictor": {"sklearn": {"env": [{"name": "PYTHONPATH", "value": "/x"}]}}},
        "setting PYTHONPATH is not allowed for security reasons",
    ),
    "an empty transformer": (
        {"predictor": {"model": MODEL}, "transformer": {}},
        "[PodSpec] must be specified in Transf",
    ),
    "an empty explainer": (
        {"predictor": {"model": MODEL}, "explainer": {}},
        "[ART, PodSpec] must be specified in Expl",
    ),
    "two ways to a model": (
        {"predictor": {"model": MODEL, "storageUris": [{"uri": "s3://a"}]}},
        "Setting both StorageURI and StorageURIs is not supported.",
    ),
    "a way out": (
        {"predictor": {"containers": CUSTOM, "storageUris": [{"uri": "s3://a", "mountPath": "/mnt/../etc"}]}},
        "storage path cannot contain '..' for security reasons: /mnt/../etc",
    ),
    "a transformer's own model": (
        {
            "predictor": {
                "model": MODEL,
                "containers": [
                    {"name": "transformer-container", "env": [{"name": "STORAGE_URI", "value": "s3://a"}]}
                ],
            }
        },
        "storage uri should not be specified in transformer container",
    ),
    "several workers": (
        {"predictor": {"model": MODEL, "workerSpec": {"containers": [{"name": "a"}, {"name": "b"}]}}},
        "setting multiple containers in workerSpec is not allowed",
    ),
    "more than all": (
        {
            "predictor": {"model": MODEL},
            "canary": [
                {**CANARY, "trafficPercent": 60},
                {"predictor": {"name": "other", "model": MODEL}, "trafficPercent": 60},
            ],
        },
        "sum of canary trafficPercent values (120) must be <= 100",
    ),
    "a canary twice": (
        {"predictor": {"model": MODEL}, "canary": [CANARY, CANARY]},
        "canary predictor.name is duplicated",
    ),
    "a canary of the same name": (
        {"predictor": {"name": "next", "model": MODEL}, "canary": [CANARY]},
        'canary predictor.name "next" conflicts with stable predictor name',
    ),
    "a nameless canary": (
        {"predictor": {"model": MODEL}, "canary": [{"predictor": {"model": MODEL}, "trafficPercent": 1}]},
        "spec.canary[0].predictor.name: Required value",
    ),
    "a canary that scales": (
        {
            "predictor": {"model": MODEL},
            "canary": [{**CANARY, "predictor": {**CANARY["predictor"], "maxReplicas": 3}}],
        },
        'canary "next" must not set maxReplicas (canary uses fixed replicas)',
    ),
    "a canary of more": (
        {
            "predictor": {"model": MODEL},
            "canary": [{**CANARY, "predictor": {**CANARY["predictor"], "minReplicas": 2}}],
        },
        "canary minReplicas must not exceed stable predictor minReplicas",
    ),
    "a canary of a container": (
        {"predictor": {"containers": CUSTOM}, "canary": [CANARY]},
        "canary requires a stable predictor with a model",
    ),
}


@pytest.mark.parametrize(("spec", "words"), BAD_SERVICES.values(), ids=BAD_SERVICES)
def test_a_service_is_refused_in_upstreams_words(server: Server, spec: Any, words: str) -> None:
    assert words in said_of(server, INFERENCE_SERVICES, spec)


UNKNOWN = {
    "predictor.modle": {"predictor": {"modle": MODEL}},
    "predictor.model.storageURI": {"predictor": {"model": {**MODEL, "storageURI": "s3://a"}}},
    "predictor.model.resources.request": {"predictor": {"model": {**MODEL, "resources": {"request": {}}}}},
    "predictor.sklearn.uri": {"predictor": {"sklearn": {"uri": "s3://a"}}},
    "predictor.logger.sink": {"predictor": {"model": MODEL, "logger": {"mode": "all", "sink": "http://a"}}},
    "transformer.custom": {
        "predictor": {"model": MODEL},
        "transformer": {"containers": CUSTOM, "custom": {}},
    },
    "explainer.alibi": {"predictor": {"model": MODEL}, "explainer": {"alibi": {}}},
}


@pytest.mark.parametrize(("field", "spec"), UNKNOWN.items(), ids=UNKNOWN)
def test_a_field_that_is_not_there_is_told_to_kubectl(server: Server, field: str, spec: Any) -> None:
    with pytest.raises(BadRequest, match=f'strict decoding error: unknown field "spec.{field}"'):
        server.create(INFERENCE_SERVICES, spec, query="?fieldValidation=Strict")


@pytest.mark.parametrize("name", ["1st", "a.b", "9"])
def test_names_begin_with_a_letter_and_have_no_dots(server: Server, name: str) -> None:
    words = f'the InferenceService "{name}" is invalid: a InferenceService name must consist of lower case alphanumeric'
    assert words in said_of(server, INFERENCE_SERVICES, {"predictor": {"model": MODEL}}, name)
    root = {"nodes": {"root": {"routerType": "Sequence", "steps": []}}}
    assert f'the InferenceGraph "{name}" is invalid' in said_of(server, INFERENCE_GRAPHS, root, name)


def test_a_predictor_that_is_called_otherwise_has_another_model(server: Server) -> None:
    made = server.create(INFERENCE_SERVICES, {"predictor": {"name": "one", "model": MODEL}})
    renamed = {**made, "spec": {"predictor": {"name": "two", "model": MODEL}}}
    with pytest.raises(Invalid, match=r"predictor.name change requires a model change \(e.g. storageUri\)"):
        server.update(INFERENCE_SERVICES, renamed)
    renamed["spec"]["predictor"]["model"] = {**MODEL, "storageUri": "s3://models/other"}
    assert server.update(INFERENCE_SERVICES, renamed)["metadata"]["generation"] == 2


def step(**fields: Any) -> Object:
    return {"serviceName": "a", **fields}


def graph(router: str = "Sequence", *steps: Object) -> Object:
    return {"nodes": {"root": {"routerType": router, "steps": list(steps or (step(),))}}}


BAD_GRAPHS: dict[str, tuple[Any, str]] = {
    "no root": (
        {"nodes": {"start": {"routerType": "Sequence"}}},
        "InferenceGraph needs a node with name 'root'",
    ),
    "a router": (graph("Random"), 'Unsupported value: "Random"'),
    "no target": (graph("Sequence", {"name": "one"}), 'Step ("one") does not specify an inference target'),
    "two targets": (
        graph("Sequence", step(name="one", serviceUrl="http://a")),
        'Step ("one") specifies more than one of nodeName, serviceName, serviceUrl',
    ),
    "weights": (
        graph("Splitter", step(weight=20), step(weight=70)),
        "splitter node: the sum of traffic weights for all routing targets should be 100",
    ),
    "no weight": (graph("Splitter", step(weight=100), step()), "missing the 'Weight'"),
    "names": (graph("Sequence", step(name="a"), step(name="a")), "more than one step with the same name"),
    "nowhere": (
        graph("Sequence", {"nodeName": "next"}),
        "a step leads to a node that the graph does not have",
    ),
    "a dependency": (graph("Sequence", step(dependency="None")), 'Unsupported value: "None"'),
}


@pytest.mark.parametrize(("spec", "words"), BAD_GRAPHS.values(), ids=BAD_GRAPHS)
def test_a_graph_is_refused_in_upstreams_words(server: Server, spec: Any, words: str) -> None:
    assert words in said_of(server, INFERENCE_GRAPHS, spec)


def test_graphs_of_every_router_are_taken(server: Server) -> None:
    nodes = {
        "root": {"routerType": "Sequence", "steps": [step(), {"nodeName": "split", "data": "$response"}]},
        "split": {"routerType": "Splitter", "steps": [step(weight=20), step(serviceName="b", weight=80)]},
        "both": {"routerType": "Ensemble", "steps": [step(name="a"), step(name="b", dependency="Hard")]},
        "one": {"routerType": "Switch", "steps": [step(condition="[@this].#(x==1)")]},
    }
    made = server.create(INFERENCE_GRAPHS, {"nodes": nodes, "minReplicas": 0})
    assert made["spec"] == {"nodes": nodes, "minReplicas": 0}


def trained(**fields: Any) -> Object:
    model = {"framework": "sklearn", "memory": "256Mi", "storageUri": "s3://models/a", **fields}
    return {"inferenceService": "many", "model": model}


def test_a_trained_model_has_a_place_and_keeps_its_memory(server: Server) -> None:
    words = said_of(server, TRAINED_MODELS, trained(storageUri="ftp://models/a"))
    assert (
        "storageUri field is invalid. The storage uri must start with one of the prefixes: s3://, gs://"
        in words
    )
    assert '(the storage uri given is "ftp://models/a")' in words
    assert "must consist of alphanumeric characters" in said_of(server, TRAINED_MODELS, trained(), "a.b")
    made = server.create(TRAINED_MODELS, trained())
    same = server.update(TRAINED_MODELS, {**made, "spec": trained(memory="0.25Gi")})
    with pytest.raises(Invalid, match=re.escape('The memory was "0.25Gi" but it is updated to "1Gi"')):
        server.update(TRAINED_MODELS, {**same, "spec": trained(memory="1Gi")})


def test_a_runtime_says_one_priority_a_format_and_keeps_its_workers(server: Server) -> None:
    def runtime(*priorities: int, **fields: Any) -> Object:
        formats = [
            {"name": "sklearn", "version": str(index), "autoSelect": True, "priority": priority}
            for index, priority in enumerate(priorities)
        ]
        return {"supportedModelFormats": formats, "containers": CUSTOM, **fields}

    for kind in (SERVING_RUNTIMES, CLUSTER_SERVING_RUNTIMES):
        assert "different priorities assigned" in said_of(server, kind, runtime(1, 2))
        assert "spec.containers: Required value" in said_of(server, kind, {"supportedModelFormats": []})
        server.create(kind, runtime(1, 2, disabled=True))
        made = server.create(kind, runtime(1, 1, workerSpec={"containers": CUSTOM}))
        with pytest.raises(Invalid, match="removing workerSpec where it already exists is not allowed"):
            server.update(kind, {**made, "spec": runtime(1)})
