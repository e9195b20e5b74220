"""What the API server says of experiments when they are applied."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.unit.ml.tuning.spec.experiments import (
    COMPLETE,
    FAILED,
    GONE,
    changed,
    make_experiment,
    make_job,
    make_parameter,
)

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import User
from proa.ml.tuning.kinds import EXPERIMENTS, SUGGESTIONS, TRIALS
from proa.ml.tuning.spec.definitions import FILES, ensure_definitions
from proa.objects.errors import Invalid
from proa.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES
from proa.store.memory import MemoryStore

SPACE = "parameters__0__feasibleSpace__"
COLLECTOR = "metricsCollectorSpec"


class Cluster:
    """An API server that knows the kinds of tuning."""

    def __init__(self) -> None:
        server = ApiServer(MemoryStore(), DEFINITIONS)
        self.client = ApiClient(LocalTransport(server.handle, User("admin", ("system:masters",))))
        assert asyncio.run(ensure_definitions(self.client)) == []
        asyncio.run(self.client.create(NAMESPACES, {"metadata": {"name": "default"}}))
        self._made = 0

    def create(self, experiment: Any, *, keeps_name: bool = False) -> Any:
        self._made += 1
        if not keeps_name:
            experiment = changed(experiment, {"metadata__name": f"trip-{self._made}"})
        return asyncio.run(self.client.create(EXPERIMENTS, experiment, "default"))

    def update(self, experiment: Any, subresource: str = "") -> Any:
        return asyncio.run(self.client.update(EXPERIMENTS, experiment, subresource))


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_definition_is_json_and_yaml_and_structural_beyond_templates(file: Path):
    definition = orjson.loads(file.read_bytes())
    assert yaml.safe_load(file.read_text()) == definition
    known = {resource.qualified_name: resource for resource in (EXPERIMENTS, SUGGESTIONS, TRIALS)}
    assert known[definition["metadata"]["name"]].plural == definition["spec"]["names"]["plural"]
    assert definition["spec"]["names"]["categories"] == ["all", "kubeflow", "katib"]


def test_definitions_are_renewed_and_somebody_elses_stay_as_they_are():
    cluster = Cluster()
    client = cluster.client

    async def spoil(name: str, labels: Any) -> Any:
        found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, f"{name}.kubeflow.org")
        version = {**found["spec"]["versions"][0], "additionalPrinterColumns": []}
        spec = {**found["spec"], "versions": [version]}
        metadata = {**found["metadata"], "labels": labels}
        return await client.update(CUSTOM_RESOURCE_DEFINITIONS, {**found, "metadata": metadata, "spec": spec})

    async def columns(name: str) -> Any:
        found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, f"{name}.kubeflow.org")
        return [c["name"] for c in found["spec"]["versions"][0].get("additionalPrinterColumns", ())]

    async def story() -> None:
        await spoil("trials", {"app.kubernetes.io/managed-by": "proa"})
        await spoil("suggestions", {})
        assert await ensure_definitions(client) == ["suggestions.kubeflow.org"]
        assert await columns("trials") == ["Type", "Status", "Age"]
        assert await columns("suggestions") == []

    asyncio.run(story())


def test_what_is_not_said_has_its_default(cluster):
    spec = cluster.create(make_experiment())["spec"]
    assert spec["parallelTrialCount"] == 3
    assert spec["resumePolicy"] == "Never"
    assert spec["metricsCollectorSpec"] == {"collector": {"kind": "StdOut"}}
    assert spec["parameters"][0]["feasibleSpace"]["distribution"] == "uniform"
    assert spec["trialTemplate"]["trialSpec"] == make_job()


NAS = {
    "graphConfig": {"numLayers": 1, "inputSizes": [32, 32, 3], "outputSizes": [10]},
    "operations": [
        {"operationType": "skip_connection"},
        {
            "operationType": "convolution",
            "parameters": [make_parameter("categorical", "size", list=["3", "5"])],
        },
    ],
}
NAS_PARAMETERS = [{"name": "space", "reference": "search-space"}]
CONFIG_MAP = {"configMapName": "templates", "configMapNamespace": "kubeflow", "templatePath": "job.yaml"}
GOOD: dict[str, dict[str, Any]] = {
    "an int with a step": {"parameters__0": make_parameter("int", min="1", max="9", step="2")},
    "a log scale": {
        "parameters__0": make_parameter("double", min="1e-5", max=".1", distribution="logUniform")
    },
    "an unknown distribution": {SPACE + "distribution": "unknown"},
    "one value": {SPACE + "max": "0.01"},
    "values": {"parameters__0": make_parameter("categorical", list=["sgd", "adam", "sgd"])},
    "numbers": {"parameters__0": make_parameter("discrete", list=["1", "2.5"])},
    "a network": {"parameters": GONE, "nasConfig": NAS, "trialTemplate__trialParameters": NAS_PARAMETERS},
    "what is known of the trial": {
        "trialTemplate__trialParameters": [
            {"name": "rate", "reference": "lr"},
            {"name": "me", "reference": "${trialSpec.Name}"},
        ]
    },
    "a template elsewhere": {
        "trialTemplate__trialSpec": GONE,
        "trialTemplate__configMap": CONFIG_MAP,
        "trialTemplate__successCondition": COMPLETE,
        "trialTemplate__failureCondition": FAILED,
    },
    "a file": {
        COLLECTOR: {
            "collector": {"kind": "File"},
            "source": {"fileSystemPath": {"path": "/m.log", "kind": "File", "format": "JSON"}},
        }
    },
    "a file with a filter": {
        COLLECTOR: {
            "collector": {"kind": "File"},
            "source": {
                "fileSystemPath": {"path": "/m.log"},
                "filter": {"metricsFormat": [r"([\w|-]+)\s*=\s*([+-]?\d+)"]},
            },
        }
    },
    "events": {
        COLLECTOR: {
            "collector": {"kind": "TensorFlowEvent"},
            "source": {"fileSystemPath": {"path": "/logs", "kind": "Directory"}},
        }
    },
    "a port": {
        COLLECTOR: {
            "collector": {"kind": "PrometheusMetric"},
            "source": {"httpGet": {"port": 8080, "path": "/m"}},
        }
    },
    "a port as text": {
        COLLECTOR: {"collector": {"kind": "PrometheusMetric"}, "source": {"httpGet": {"port": "8080"}}}
    },
    "a collector of one's own": {
        COLLECTOR: {
            "collector": {"kind": "Custom", "customCollector": {"name": "c", "image": "i", "args": ["-m"]}},
            "source": {"fileSystemPath": {"path": "/x", "kind": "Directory"}},
        }
    },
    "push": {COLLECTOR: {"collector": {"kind": "Push"}}},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_a_good_experiment_is_accepted(cluster, changes):
    cluster.create(make_experiment(**changes))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no objective": ({"objective": GONE}, "spec.objective: Required value"),
    "no metric": (
        {"objective__objectiveMetricName": GONE},
        "spec.objective.objectiveMetricName: Required value",
    ),
    "an objective of no type": (
        {"objective__type": "median"},
        'spec.objective.type: Unsupported value: "median": supported values: "minimize", "maximize"',
    ),
    "a metric twice": (
        {"objective__additionalMetricNames": ["accuracy"]},
        "spec.objective.additionalMetricNames: Invalid value: should not contain spec.objective.objectiveMetricName",
    ),
    "no algorithm": ({"algorithm": {}}, "spec.algorithm.algorithmName: Required value"),
    "no trials at once": ({"parallelTrialCount": 0}, "spec.parallelTrialCount: Invalid value: 0"),
    "more at once than in all": (
        {"maxTrialCount": 2},
        "spec.parallelTrialCount: Invalid value: should be less than or equal to spec.maxTrialCount (it is 3",
    ),
    "more failures than trials": (
        {"maxFailedTrialCount": 13},
        "spec.maxFailedTrialCount: Invalid value: should be less than or equal to spec.maxTrialCount",
    ),
    "an unknown policy": ({"resumePolicy": "Sometimes"}, 'spec.resumePolicy: Unsupported value: "Sometimes"'),
    "nothing to search": ({"parameters": []}, "spec.parameters or spec.nasConfig must be specified"),
    "two things to search": (
        {"nasConfig": NAS},
        "only one of spec.parameters and spec.nasConfig can be specified",
    ),
    "a parameter twice": (
        {"parameters": [make_parameter("double", min="0", max="1")] * 2},
        'spec.parameters[1]: Duplicate value: {"name":"lr"}',
    ),
    "an unknown type": (
        {"parameters__0__parameterType": "unknown"},
        'spec.parameters[0].parameterType: Unsupported value: "unknown"',
    ),
    "a number that is none": (
        {SPACE + "min": "low"},
        'spec.parameters[0].feasibleSpace.min: Invalid value: must be a number, such as "0.01"',
    ),
    "a number instead of text": (
        {SPACE + "min": 0.01},
        "spec.parameters[0].feasibleSpace.min: Invalid value",
    ),
    "more than the most": (
        {SPACE + "min": "0.2"},
        "spec.parameters[0].feasibleSpace.max: Invalid value: must be greater than feasibleSpace.min",
    ),
    "no most": (
        {SPACE + "max": GONE},
        "feasibleSpace.max and feasibleSpace.min must be specified for parameterType double and int",
    ),
    "a step backwards": (
        {SPACE + "step": "-1"},
        "spec.parameters[0].feasibleSpace.step: Invalid value: must be a number greater than 0",
    ),
    "values of a range": (
        {SPACE + "list": ["1"]},
        "feasibleSpace.list is not supported for parameterType double and int",
    ),
    "a range of values": (
        {"parameters__0": make_parameter("categorical", list=["1"], min="1")},
        "feasibleSpace .max, .min and .step is not supported",
    ),
    "no values": (
        {"parameters__0": make_parameter("discrete", list=[])},
        "feasibleSpace.list must have a value at least",
    ),
    "no space": ({"parameters__0__feasibleSpace": GONE}, "spec.parameters[0].feasibleSpace: Required value"),
    "a broken int": (
        {"parameters__0": make_parameter("int", min="0.5", max="2")},
        "min, max and step must be whole numbers for parameterType int",
    ),
    "the logarithm of nothing": (
        {SPACE + "min": "0", SPACE + "distribution": "logUniform"},
        "spec.parameters[0].feasibleSpace.min: Invalid value: must be greater than 0 for distribution",
    ),
    "an unknown distribution": (
        {SPACE + "distribution": "flat"},
        'feasibleSpace.distribution: Unsupported value: "flat"',
    ),
    "no template": ({"trialTemplate": GONE}, "spec.trialTemplate: Required value"),
    "no container": (
        {"trialTemplate__primaryContainerName": GONE},
        "spec.trialTemplate.primaryContainerName: Required value",
    ),
    "no source": (
        {"trialTemplate__trialSpec": GONE},
        "spec.trialTemplate.trialSpec or spec.trialTemplate.configMap must be specified",
    ),
    "two sources": (
        {"trialTemplate__configMap": CONFIG_MAP},
        "only one of spec.trialTemplate.trialSpec or spec.trialTemplate.configMap can be specified",
    ),
    "half a source": (
        {"trialTemplate__trialSpec": GONE, "trialTemplate__configMap": {"configMapName": "t"}},
        "spec.trialTemplate.configMap.templatePath: Required value",
    ),
    "a name": (
        {"trialTemplate__trialSpec__metadata": {"name": "x"}},
        "metadata.name and metadata.namespace in spec.trialTemplate must be omitted",
    ),
    "no kind": (
        {"trialTemplate__trialSpec__kind": GONE},
        "spec.trialTemplate.trialSpec.kind: Required value",
    ),
    "a kind without conditions": (
        {"trialTemplate__trialSpec__kind": "Workflow"},
        "spec.trialTemplate: Invalid value: successCondition and failureCondition must be specified",
    ),
    "a parameter of a trial twice": (
        {"trialTemplate__trialParameters": [{"name": "rate", "reference": "lr"}] * 2},
        "spec.trialTemplate.trialParameters[1]: Duplicate value",
    ),
    "a reference twice": (
        {"trialTemplate__trialParameters": [{"name": n, "reference": "lr"} for n in "ab"]},
        "parameter reference can't be duplicated",
    ),
    "a reference to nothing": (
        {
            "trialTemplate__trialParameters": [
                {"name": "rate", "reference": "lr"},
                {"name": "m", "reference": "momentum"},
            ]
        },
        "parameter reference does not exist in spec.parameters: momentum",
    ),
    "a parameter for nothing": (
        {
            "parameters": [
                make_parameter("double", min="0", max="1"),
                make_parameter("int", "layers", min="1", max="2"),
            ]
        },
        "must have a reference to each of spec.parameters; missing: layers",
    ),
    "braces": (
        {"trialTemplate__trialParameters": [{"name": "{rate}", "reference": "lr"}]},
        "name must not contain '{' or '}'",
    ),
    "an unknown collector": (
        {COLLECTOR: {"collector": {"kind": "Carrier"}}},
        'spec.metricsCollectorSpec.collector.kind: Unsupported value: "Carrier"',
    ),
    "a relative path": (
        {COLLECTOR: {"collector": {"kind": "File"}, "source": {"fileSystemPath": {"path": "m.log"}}}},
        "must be an absolute path",
    ),
    "a folder for a file": (
        {
            COLLECTOR: {
                "collector": {"kind": "File"},
                "source": {"fileSystemPath": {"path": "/m", "kind": "Directory"}},
            }
        },
        "must be File for collector kind File",
    ),
    "a filter for JSON": (
        {
            COLLECTOR: {
                "collector": {"kind": "File"},
                "source": {"fileSystemPath": {"path": "/m", "format": "JSON"}, "filter": {}},
            }
        },
        "filter must be nil when format of metrics file is json",
    ),
    "a format for events": (
        {
            COLLECTOR: {
                "collector": {"kind": "TensorFlowEvent"},
                "source": {"fileSystemPath": {"path": "/m", "format": "TEXT"}},
            }
        },
        "format must be empty for collector kind TensorFlowEvent",
    ),
    "a named port": (
        {COLLECTOR: {"collector": {"kind": "PrometheusMetric"}, "source": {"httpGet": {"port": "metrics"}}}},
        "port must be a positive integer value",
    ),
    "no collector of one's own": (
        {COLLECTOR: {"collector": {"kind": "Custom"}}},
        "metrics collector kind: Custom is required",
    ),
    "a filter of one group": (
        {COLLECTOR: {"source": {"filter": {"metricsFormat": ["(a)=1"]}}}},
        "two top subexpressions are required",
    ),
}


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD)
def test_a_bad_experiment_is_refused_with_words_that_name_the_field(cluster, changes, words):
    with pytest.raises(Invalid) as refusal:
        cluster.create(make_experiment(**changes))
    assert words in refusal.value.message


@pytest.mark.parametrize("name", ["0first", "has.dots", "a" * 41, "ends-"])
def test_a_name_leaves_room_for_those_of_trials(cluster, name):
    with pytest.raises(Invalid):
        cluster.create(changed(make_experiment(), {"metadata__name": name}), keeps_name=True)


def status(type: str, reason: str = "", trials: int = 12) -> Any:
    condition = {"type": type, "status": "True", "reason": reason}
    return {"trials": trials, "conditions": [{"type": "Created", "status": "True"}, condition]}


RUNNING = status("Running", trials=3)
ENOUGH = status("Succeeded", "ExperimentMaxTrialsReached")
GOAL = status("Succeeded", "ExperimentGoalReached")
RESTART = "Experiment can be restarted if it is in succeeded state by reaching max trials"
EDITABLE = "only spec.parallelTrialCount, spec.maxTrialCount and spec.maxFailedTrialCount are editable"
UPDATES: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "counts while it goes on": (
        "Never",
        RUNNING,
        {"maxTrialCount": 20, "parallelTrialCount": 4, "maxFailedTrialCount": 2},
        "",
    ),
    "no bound any more": ("Never", RUNNING, {"maxTrialCount": GONE}, ""),
    "fewer than there are": (
        "Never",
        RUNNING,
        {"maxTrialCount": 3},
        "spec.maxTrialCount: Invalid value: must be greater than status.trials count",
    ),
    "another goal": ("Never", RUNNING, {"objective__goal": 1}, EDITABLE),
    "another template": (
        "Never",
        RUNNING,
        {"trialTemplate__trialSpec__spec__template__spec__x": 1},
        EDITABLE,
    ),
    "another space": ("Never", RUNNING, {SPACE + "max": "0.2"}, EDITABLE),
    "a policy": ("Never", RUNNING, {"resumePolicy": "LongRunning"}, EDITABLE),
    "early stopping": ("Never", RUNNING, {"earlyStopping": {"algorithmName": "medianstop"}}, EDITABLE),
    "more after the end": ("LongRunning", ENOUGH, {"maxTrialCount": 20}, ""),
    "more from a volume": ("FromVolume", ENOUGH, {"maxTrialCount": 20}, ""),
    "more of what is over": ("Never", ENOUGH, {"maxTrialCount": 20}, RESTART),
    "more after the goal": ("LongRunning", GOAL, {"maxTrialCount": 20}, RESTART),
    "more after a failure": (
        "LongRunning",
        status("Failed", "ExperimentFailed"),
        {"maxTrialCount": 20},
        RESTART,
    ),
}


@pytest.mark.parametrize(("policy", "state", "changes", "words"), UPDATES.values(), ids=UPDATES)
def test_counts_can_be_changed_while_it_goes_on_or_may_go_on(cluster, policy, state, changes, words):
    made = cluster.create(make_experiment(resumePolicy=policy))
    made = cluster.update({**made, "status": state}, "status")
    wanted = changed(made, {f"spec__{path}": value for path, value in changes.items()})
    if not words:
        cluster.update(wanted)
        return
    with pytest.raises(Invalid) as refusal:
        cluster.update(wanted)
    assert words in refusal.value.message


def test_what_has_ended_can_still_be_labelled_and_told_more_of(cluster):
    made = cluster.create(make_experiment())
    made = cluster.update({**made, "status": ENOUGH}, "status")
    made = cluster.update(changed(made, {"metadata__labels": {"a": "b"}}))
    cluster.update({**made, "status": {**ENOUGH, "trials": 11}}, "status")
