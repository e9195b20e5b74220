"""Pipelines that cannot run are refused at upload, with the place of each fault; those that can are not."""

# ruff: noqa: E501 one case a line

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.ml.pipelines.ir.document import Package, package_of, read_package
from proa.ml.pipelines.ir.problems import InvalidPipeline
from proa.ml.pipelines.ir.validation import check

PIPELINE = """
pipelineInfo: {name: train}
schemaVersion: 2.1.0
deploymentSpec:
  executors:
    exec-load: {container: {image: python:3.11, command: [load], resources: {resourceMemoryLimit: 1Gi}}}
    exec-fit: {container: {image: "{{$.inputs.parameters['image']}}", env: [{name: A, value: b}]}}
    exec-pick: {container: {image: python:3.11}}
    exec-notify: {container: {image: python:3.11}}
    exec-import: {importer: {artifactUri: {runtimeParameter: uri}, typeSchema: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}
components:
  comp-load:
    executorLabel: exec-load
    inputDefinitions: {parameters: {rows: {parameterType: NUMBER_INTEGER, defaultValue: 10.0, isOptional: true}}}
    outputDefinitions:
      artifacts: {data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}
      parameters: {sizes: {parameterType: LIST}, ok: {parameterType: BOOLEAN}}
  comp-fit:
    executorLabel: exec-fit
    inputDefinitions:
      artifacts: {data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}
      parameters:
        size: {parameterType: NUMBER_DOUBLE}
        image: {parameterType: STRING, defaultValue: python, isOptional: true}
        mode: {parameterType: STRING, literals: [fast, slow], defaultValue: fast, isOptional: true}
    outputDefinitions: {parameters: {score: {parameterType: NUMBER_DOUBLE}}}
  comp-loop:
    dag:
      outputs: {parameters: {scores: {valueFromParameter: {producerSubtask: fit, outputParameterKey: score}}}}
      tasks:
        fit:
          componentRef: {name: comp-fit}
          inputs:
            artifacts: {data: {componentInputArtifact: data}}
            parameters: {size: {componentInputParameter: item, parameterExpressionSelector: 'parseJson(string_value)["size"]'}}
          retryPolicy: {maxRetryCount: 2, backoffDuration: 1s, backoffFactor: 2.0, backoffMaxDuration: 60s}
    inputDefinitions:
      artifacts: {data: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}
      parameters: {item: {parameterType: STRUCT}, sizes: {parameterType: LIST}}
    outputDefinitions: {parameters: {scores: {parameterType: LIST}}}
  comp-pick:
    executorLabel: exec-pick
    inputDefinitions: {parameters: {scores: {parameterType: LIST}}}
    outputDefinitions: {parameters: {best: {parameterType: NUMBER_DOUBLE}}}
  comp-notify:
    executorLabel: exec-notify
    inputDefinitions: {parameters: {status: {parameterType: TASK_FINAL_STATUS, isOptional: true}}}
  comp-import:
    executorLabel: exec-import
    inputDefinitions: {parameters: {uri: {parameterType: STRING}}}
    outputDefinitions: {artifacts: {artifact: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}}
root:
  inputDefinitions: {parameters: {rows: {parameterType: NUMBER_INTEGER}, secret: {parameterType: STRING, defaultValue: s}}}
  outputDefinitions: {parameters: {best: {parameterType: NUMBER_DOUBLE}}}
  dag:
    outputs: {parameters: {best: {valueFromOneof: {parameterSelectors: [{producerSubtask: pick, outputParameterKey: best}]}}}}
    tasks:
      load: {componentRef: {name: comp-load}, inputs: {parameters: {rows: {componentInputParameter: rows}}}}
      loop:
        componentRef: {name: comp-loop}
        dependentTasks: [load]
        inputs:
          artifacts: {data: {taskOutputArtifact: {producerTask: load, outputArtifactKey: data}}}
          parameters: {sizes: {taskOutputParameter: {producerTask: load, outputParameterKey: sizes}}}
        iteratorPolicy: {parallelismLimit: 2}
        parameterIterator: {itemInput: item, items: {inputParameter: sizes}}
      pick:
        componentRef: {name: comp-pick}
        inputs:
          parameters:
            scores: {taskOutputParameter: {producerTask: loop, outputParameterKey: scores}}
            pipelinechannel--ok: {taskOutputParameter: {producerTask: load, outputParameterKey: ok}}
        triggerPolicy: {condition: "inputs.parameter_values['pipelinechannel--ok'] == true"}
      bring: {componentRef: {name: comp-import}, inputs: {parameters: {uri: {runtimeValue: {constant: "s3://b/x"}}}}}
      notify:
        componentRef: {name: comp-notify}
        dependentTasks: [pick]
        inputs: {parameters: {status: {taskFinalStatus: {producerTask: pick}}}}
        triggerPolicy: {strategy: ALL_UPSTREAM_TASKS_COMPLETED}
---
platforms:
  kubernetes:
    pipelineConfig: {activeDeadlineSeconds: 60, workspace: {size: 1Gi}}
    deploymentSpec:
      executors:
        exec-load:
          secretAsEnv: [{secretNameParameter: {componentInputParameter: secret}, keyToEnv: [{secretKey: k, envVar: V}]}]
          pvcMount: [{mountPath: /data, constant: claim}]
          tolerations: [{key: a, operator: Equal, value: b, effect: NoSchedule}]
          genericEphemeralVolume: [{volumeName: v, mountPath: /v, accessModes: [ReadWriteOnce], size: 1Gi}]
          nodeAffinity: [{matchExpressions: [{key: a, operator: In, values: [b]}], weight: 5}]
          podAffinity: [{topologyKey: host, matchPodLabels: {a: b}}]
          emptyDirMounts: [{volumeName: w, mountPath: /w, sizeLimit: 1Gi}]
          initContainers: [{name: first, image: busybox, restartPolicy: Always}]
          activeDeadlineSeconds: "30"
          imagePullPolicy: Always
"""
PACKAGE = read_package(PIPELINE)
LOAD = "platforms[kubernetes].deploymentSpec.executors[exec-load]"


def test_a_pipeline_that_can_run_is_accepted() -> None:
    check(PACKAGE)


def put(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what sets a value in a document; places are dotted, and end in `-` to take away."""

    def change(document: dict[str, Any]) -> None:
        *parents, last = place.split(".")
        holder: Any = document["platform_spec" if place.startswith("platforms") else "pipeline_spec"]
        for name in parents:
            holder = holder[int(name)] if isinstance(holder, list) else holder.setdefault(name, {})
        if last.startswith("-"):
            del holder[last[1:]]
        else:
            holder[int(last) if isinstance(holder, list) else last] = value

    return change


TASKS, COMPONENTS, EXECUTORS = "root.dag.tasks.", "components.", "deploymentSpec.executors."
KUBERNETES = "platforms.kubernetes.deploymentSpec.executors.exec-load."
SELF = {"componentRef": {"name": "comp-self"}}
CALL = {"componentRef": {"name": "comp-pick"}}
PARAMETER = "components[comp-fit].inputDefinitions.parameters"

CASES = [
    ("schemaVersion", "1.0", "schemaVersion: KFP only supports schema version 2.1.0"),
    ("pipelineInfo.name", "", "pipelineInfo.name: name is empty"),
    ("pipelineInfo.name", "../../etc", "pipelineInfo.name: "),
    ("-root", None, "root: root component is empty"),
    ("root.-dag", None, "root: the root must be a dag"),
    (TASKS + "a/b", CALL, "root.dag.tasks[a/b]: a task's key must be"),
    (TASKS + "load.componentRef.name", "comp-none", 'root.dag.tasks[load].componentRef.name: cannot find component ref name="comp-none"'),
    (TASKS + "load.-componentRef", None, "root.dag.tasks[load].componentRef.name: component ref name is empty"),
    (TASKS + "load.dependentTasks", ["none"], 'root.dag.tasks[load].dependentTasks[0]: there is no task "none" beside it'),
    (TASKS + "load.dependentTasks", ["load"], "a task cannot wait for itself"),
    (TASKS + "load.dependentTasks", ["pick"], "tasks wait for one another: load -> pick -> load"),
    (TASKS + "load.retryPolicy", {"maxRetryCount": -1}, "retryPolicy.maxRetryCount: must be between 0"),
    (TASKS + "load.retryPolicy", {"backoffDuration": "-1s"}, "retryPolicy.backoffDuration: must be between 0s"),
    (TASKS + "loop.iteratorPolicy.parallelismLimit", -1, "parallelismLimit: must not be negative"),
    (TASKS + "loop.inputs.parameters.sizes", {}, "root.dag.tasks[loop].inputs.parameters[sizes]: has none of"),
    (TASKS + "loop.inputs.parameters.sizes.taskOutputParameter.producerTask", "x", 'producerTask: cannot find producer task "x"'),
    (TASKS + "loop.inputs.parameters.sizes.taskOutputParameter.outputParameterKey", "x", 'task load has no output parameter "x"'),
    (TASKS + "loop.inputs.artifacts.data.taskOutputArtifact.outputArtifactKey", "x", 'cannot find output artifact key "x" in producer task "load"'),
    (TASKS + "loop.inputs.-artifacts", None, "root.dag.tasks[loop].inputs.artifacts[data]: is required"),
    (TASKS + "loop.inputs.parameters.sizes.taskOutputParameter.outputParameterKey", "ok", "[sizes]: type mismatch: expect LIST, got BOOLEAN"),
    (TASKS + "load.inputs.parameters.rows", {"componentInputParameter": "x"}, 'parent DAG does not have input parameter "x"'),
    (TASKS + "load.inputs.parameters.rows", {"componentInputParameter": "secret"}, "expect NUMBER_INTEGER, got STRING"),
    (TASKS + "load.inputs.parameters.rows", {"runtimeValue": {"constant": "9"}}, "constant: type mismatch: expect NUMBER_INTEGER, got STRING"),
    (TASKS + "load.inputs.parameters.rows", {"runtimeValue": {"constant": 1.5}}, "expect NUMBER_INTEGER, got NUMBER_DOUBLE"),
    (TASKS + "load.inputs.parameters.rows", {"runtimeValue": {}}, "runtimeValue: has no constant"),
    (TASKS + "load.inputs.parameters.rows", {"runtimeValue": {"runtimeParameter": "x"}}, "runtime parameters are not supported"),
    (TASKS + "load.inputs.parameters.rows", {"taskFinalStatus": {"producerTask": "bring"}}, "only tasks with the strategy"),
    (TASKS + "pick.-inputs", None, "root.dag.tasks[pick].inputs.parameters[scores]: is required: it has no value and no default"),
    (TASKS + "loop.parameterIterator.itemInput", "x", "parameterIterator.itemInput: the component has no input x"),
    (TASKS + "loop.parameterIterator.items", {"inputParameter": "x"}, "items.inputParameter: the task has no input x"),
    (TASKS + "loop.parameterIterator.items", {"raw": "[1"}, "items.raw: is no JSON"),
    (TASKS + "loop.parameterIterator.items", {"raw": "{}"}, "items.raw: is no list"),
    (TASKS + "loop.parameterIterator.items", {}, "items: has neither raw nor inputParameter"),
    (TASKS + "pick.triggerPolicy.condition", "inputs.parameter_values['x'", "root.dag.tasks[pick].triggerPolicy.condition: compilation failed"),
    (TASKS + "pick.triggerPolicy.condition", "1 + 1", "must evaluate to bool"),
    (TASKS + "pick.triggerPolicy.condition", "inputs.parameter_values['x'] == 1", "the task has no input parameter x"),
    (TASKS + "pick.triggerPolicy.condition", "inputs.values['x'] == 1", "inputs has no field values"),
    ("root.dag.tasks", {"only": CALL | {"triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}}, "a DAG must contain one or more non-exit tasks"),
    ("root.dag.tasks", {}, "root.dag.tasks: a DAG must contain one or more tasks"),
    ("root.dag.outputs", {}, "root.dag.outputs.parameters[best]: is declared in outputDefinitions, and no task gives it"),
    ("root.-outputDefinitions", None, "root.dag.outputs.parameters[best]: is not declared in outputDefinitions"),
    ("root.dag.outputs.parameters.best.valueFromOneof.parameterSelectors.0.producerSubtask", "x", 'parameterSelectors[0].producerSubtask: the DAG has no task "x"'),
    ("root.dag.outputs.parameters.best.valueFromOneof.parameterSelectors.0.outputParameterKey", "x", 'task pick has no output parameter "x"'),
    ("root.dag.outputs.parameters.best.valueFromOneof.parameterSelectors", [], "has neither valueFromParameter nor valueFromOneof"),
    ("root.outputDefinitions.parameters.best.parameterType", "BOOLEAN", "type mismatch: best is declared BOOLEAN, got NUMBER_DOUBLE"),
    (COMPONENTS + "comp-load.executorLabel", "none", 'components[comp-load].executorLabel: executor(label="none") not found in deployment config'),
    (COMPONENTS + "comp-load.-executorLabel", None, "components[comp-load]: unknown component implementation"),
    (COMPONENTS + "comp-load.singlePlatformSpecs", [{"platform": "kubernetes"}], "platform specs of components are not supported"),
    (COMPONENTS + "comp-self", {"dag": {"tasks": {"a": SELF}}}, "components hold themselves: comp-self -> comp-self"),
    (COMPONENTS + "comp-loop.dag.tasks.fit.inputs.parameters.size.parameterExpressionSelector", "parseJson(", "parameterExpressionSelector: compilation failed"),
    (COMPONENTS + "comp-fit.inputDefinitions.parameters.size", {}, f"{PARAMETER}[size].parameterType: has unspecified type"),
    (COMPONENTS + "comp-fit.inputDefinitions.parameters.mode.defaultValue", "odd", "does not match any of the allowed literal values"),
    (COMPONENTS + "comp-fit.inputDefinitions.parameters.mode.literals", [1], "literals[0]: NUMBER_INTEGER is not of type STRING"),
    (COMPONENTS + "comp-fit.inputDefinitions.parameters.image.defaultValue", True, f"{PARAMETER}[image].defaultValue: BOOLEAN is not of type STRING"),
    (COMPONENTS + "comp-fit.inputDefinitions.parameters.a/b", {"parameterType": "STRING"}, "a name must be letters"),
    (COMPONENTS + "comp-load.outputDefinitions.artifacts.data.artifactType", {}, "has neither schemaTitle nor instanceSchema"),
    (COMPONENTS + "comp-load.outputDefinitions.artifacts.data.artifactType", {"schemaUri": "x"}, "SchemaUri is unsupported"),
    (EXECUTORS + "exec-load", {"resolver": {}}, "deploymentSpec.executors[exec-load].resolver: resolver executors are not supported"),
    (EXECUTORS + "exec-load", {"customJob": {}}, "customJob: custom job executors is Google Cloud only, it's not supported"),
    (EXECUTORS + "exec-load", {}, "deploymentSpec.executors[exec-load]: is neither a container nor an importer"),
    (EXECUTORS + "exec-load.container.lifecycle", {"preCacheCheck": {"command": ["x"]}}, "lifecycle.preCacheCheck: checks before the cache are not supported"),
    (EXECUTORS + "exec-load.container.image", "", "exec-load].container.image: is empty"),
    (EXECUTORS + "exec-load.container.resources.resourceMemoryLimit", "1 GB", "resourceMemoryLimit:"),
    (EXECUTORS + "exec-load.container.resources.accelerator", {"resourceCount": "two", "type": "gpu"}, '"two" is no whole number'),
    (EXECUTORS + "exec-load.container.env", [{"name": "A=B"}], "container.env[0].name:"),
    (EXECUTORS + "exec-import.importer.artifactUri", {}, "importer.artifactUri: has no constant"),
    (EXECUTORS + "exec-import.importer.typeSchema", {}, "importer.typeSchema: has neither"),
    ("platforms.kubernetes.deploymentSpec.executors.exec-none", {}, "executors[exec-none]: there is no such executor"),
    ("platforms.kubernetes.deploymentSpec.executors.exec-import", {"imagePullPolicy": "Never"}, "an importer has no pod"),
    ("platforms.kubernetes.pipelineConfig.workspace", {}, "pipelineConfig.workspace.size: is empty"),
    ("platforms.kubernetes.pipelineConfig.activeDeadlineSeconds", -5, "activeDeadlineSeconds: must not be negative"),
    ("platforms.kubernetes.config", {"a": 1}, "platforms[kubernetes].config: is not supported"),
    (KUBERNETES + "secretAsEnv.0.secretNameParameter.componentInputParameter", "x", f'{LOAD}.secretAsEnv[0].secretNameParameter.componentInputParameter: parent DAG of task load does not have input parameter "x"'),
    (KUBERNETES + "secretAsEnv.0.keyToEnv.0.envVar", "", "secretAsEnv[0].keyToEnv[0].envVar: is required"),
    (KUBERNETES + "secretAsVolume", [{"mountPath": "/s"}], "secretAsVolume[0]: has none of secretNameParameter, secretName"),
    (KUBERNETES + "configMapAsVolume", [{"configMapName": "a"}], "configMapAsVolume[0].mountPath: is required"),
    (KUBERNETES + "configMapAsEnv", [{}], "configMapAsEnv[0]: has none of"),
    (KUBERNETES + "pvcMount.0", {"mountPath": "/d"}, "pvcMount[0]: has none of"),
    (KUBERNETES + "pvcMount.0", {"mountPath": "/d", "taskOutputParameter": {"producerTask": "x"}}, 'there is no task "x" beside load'),
    (KUBERNETES + "imagePullSecret", [{}], "imagePullSecret[0]: has none of"),
    (KUBERNETES + "imagePullPolicy", "Sometimes", 'unsupported value: "Sometimes". It should be one of Always, Never, IfNotPresent'),
    (KUBERNETES + "activeDeadlineSeconds", "-1", "activeDeadlineSeconds: must not be negative"),
    (KUBERNETES + "fieldPathAsEnv", [{"name": "A"}], "fieldPathAsEnv[0].fieldPath: is required"),
    (KUBERNETES + "tolerations.0", {"operator": "Exists", "value": "x"}, "tolerations[0].value: value must be empty"),
    (KUBERNETES + "tolerations.0", {"value": "x"}, "operator must be Exists when `key` is empty"),
    (KUBERNETES + "tolerations.0.effect", "Never", "tolerations[0].effect: unsupported value"),
    (KUBERNETES + "genericEphemeralVolume.0.accessModes", ["Some"], "genericEphemeralVolume[0].accessModes[0]: unsupported value"),
    (KUBERNETES + "genericEphemeralVolume.0.size", "big", "genericEphemeralVolume[0].size:"),
    (KUBERNETES + "nodeAffinity.0.weight", 500, "nodeAffinity[0].weight: must be in the range 1-100"),
    (KUBERNETES + "nodeAffinity.0.matchExpressions.0.operator", "Is", "matchExpressions[0].operator: unsupported value"),
    (KUBERNETES + "nodeAffinity.0.matchExpressions.0.values", [], "must be specified when `operator` is 'In' or 'NotIn'"),
    (KUBERNETES + "podAffinity.0.-topologyKey", None, "podAffinity[0].topologyKey: is required"),
    (KUBERNETES + "enabledSharedMemory", {"volumeName": "shm", "size": "x"}, "enabledSharedMemory.size:"),
    (KUBERNETES + "emptyDirMounts.0.-mountPath", None, "emptyDirMounts[0].mountPath: is required"),
    (KUBERNETES + "securityContext", {"runAsUser": "-1"}, "securityContext.runAsUser: must be between 0 and"),
    (KUBERNETES + "securityContext", {"privileged": True}, 'securityContext.privileged: unknown field "privileged"'),
    (KUBERNETES + "initContainers.0.name", "kfp-launcher", '"kfp-launcher" is reserved'),
    (KUBERNETES + "initContainers.0.restartPolicy", "Never", "initContainers[0].restartPolicy: unsupported value"),
    (KUBERNETES + "initContainers", [{"name": "a", "image": "b"}] * 2, 'initContainers[1].name: duplicate name "a"'),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "problem"), CASES, ids=[f"{c[0]}: {c[2]}"[:110] for c in CASES])
def test_what_is_wrong_is_told_with_its_place(place: str, value: Any, problem: str) -> None:
    document = copy.deepcopy(PACKAGE.as_document())
    put(place, value)(document)
    with pytest.raises(InvalidPipeline) as caught:
        check(package_of(document))
    assert problem in str(caught.value)


def test_nested_pipelines_are_counted_with_all_that_they_repeat() -> None:
    spec = copy.deepcopy(PACKAGE.pipeline_spec)
    leaf = {"componentRef": {"name": "comp-notify"}}
    for level in range(10):
        inner = {"componentRef": {"name": f"comp-{level - 1}"}} if level else leaf
        spec["components"][f"comp-{level}"] = {"dag": {"tasks": {f"t{i}": inner for i in range(10)}}}
    spec["root"]["dag"]["tasks"]["many"] = {"componentRef": {"name": "comp-9"}}
    with pytest.raises(InvalidPipeline, match="tasks with all nested pipelines written out; at most 50000"):
        check(Package(spec))


def test_long_chains_of_tasks_are_no_trouble() -> None:
    spec = copy.deepcopy(PACKAGE.pipeline_spec)
    chain = {
        f"t{i}": {"componentRef": {"name": "comp-notify"}, "dependentTasks": [f"t{i + 1}"]}
        for i in range(5000)
    }
    chain["t5000"] = {"componentRef": {"name": "comp-notify"}}
    spec["root"]["dag"]["tasks"] |= chain
    check(Package(spec))
    chain["t5000"]["dependentTasks"] = ["t0"]
    spec["root"]["dag"]["tasks"] |= chain
    with pytest.raises(InvalidPipeline, match="tasks wait for one another"):
        check(Package(spec))


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=5),
    st.just([]), st.just({}), st.sampled_from(["load", "comp-loop", "item", "{{$.inputs.parameters['x']}}", "s3://x"]),
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_mutation_of_a_pipeline_ends_in_anything_but_a_refusal(data: st.DataObject) -> None:
    document = copy.deepcopy(PACKAGE.as_document())
    for _ in range(data.draw(st.integers(1, 4))):
        mutate(document, data)
    with suppress(InvalidPipeline):
        check(package_of(document))


def mutate(document: dict[str, Any], data: st.DataObject) -> None:
    """Change one place of the document: put in junk or a part of it, take it away, or rename it."""
    places = list(walk(document, ()))
    if not places:
        return
    holder, key = data.draw(st.sampled_from(places))
    kind = data.draw(st.sampled_from(["junk", "junk", "other", "remove", "rename"]))
    if kind == "junk":
        holder[key] = data.draw(JUNK)
    elif kind == "other":
        other, name = data.draw(st.sampled_from(places))
        holder[key] = copy.deepcopy(other[name])
    elif kind == "remove":
        del holder[key]
    elif isinstance(holder, dict):
        holder[data.draw(st.text(max_size=4))] = holder.pop(key)


def walk(value: Any, found: tuple[Any, ...]) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from walk(item, found)
