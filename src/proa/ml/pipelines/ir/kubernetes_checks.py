"""Check the platform document: what Kubernetes adds to executors, and what holds for the whole pipeline.

Field by field as kubernetes_platform/proto/kubernetes_executor_config.proto lists them; what the API server would
refuse of a Pod is told here, where a person can still mend it. Source: backend/src/v2/driver/k8s.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.ml.pipelines.ir.components import executors, input_parameters, output_parameters, tasks_of
from proa.ml.pipelines.ir.document import CREATE_PVC_IMAGE, DELETE_PVC_IMAGE, Package
from proa.ml.pipelines.ir.executor_checks import check_quantity
from proa.ml.pipelines.ir.platform import kubernetes_of
from proa.ml.pipelines.ir.problems import Problems

Json = Mapping[str, Any]
Check = Callable[[Any, str, Problems], None]

ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
PULL_POLICIES = ("Always", "Never", "IfNotPresent")
LAUNCHER = "kfp-launcher"
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")


def check_platform(package: Package, problems: Problems) -> None:
    """Note what is wrong with a package's platform document; its pipeline was checked before."""
    kubernetes = kubernetes_of(package.platform_spec)
    if kubernetes.get("config"):
        problems.add("platforms[kubernetes].config", "is not supported")
    _check_pipeline(kubernetes.get("pipelineConfig", {}), "platforms[kubernetes].pipelineConfig", problems)
    known = executors(package.pipeline_spec)
    for label, config in kubernetes.get("deploymentSpec", {}).get("executors", {}).items():
        path = f"platforms[kubernetes].deploymentSpec.executors[{label}]"
        if label not in known:
            problems.add(path, "there is no such executor in deploymentSpec")
            continue
        image = known[label].get("container", {}).get("image", "")
        if config and image in (CREATE_PVC_IMAGE, DELETE_PVC_IMAGE):
            problems.add(path, "a task that makes or removes a claim has no pod that this could apply to")
        elif config and "container" not in known[label]:
            problems.add(path, "an importer has no pod that this could apply to")
        _check_executor(config, path, problems)
        _check_references(package.pipeline_spec, label, config, path, problems)


def _check_pipeline(config: Json, path: str, problems: Problems) -> None:
    seconds = (
        "resourceTtlOnCompletion",
        "resourceTtlOnSuccess",
        "resourceTtlOnFailure",
        "activeDeadlineSeconds",
    )
    for field in seconds:
        if config.get(field, 0) < 0:
            problems.add(f"{path}.{field}", "must not be negative")
    if "workspace" in config:
        size = config["workspace"].get("size", "")
        if not size:
            problems.add(f"{path}.workspace.size", "is empty")
        check_quantity(size, f"{path}.workspace.size", problems)


def _check_executor(config: Json, path: str, problems: Problems) -> None:
    for field, check in _FIELDS.items():
        value = config.get(field)
        if isinstance(value, list):
            for index, item in enumerate(value):
                check(item, f"{path}.{field}[{index}]", problems)
        elif value is not None:
            check(value, f"{path}.{field}", problems)
    names = [container.get("name") for container in config.get("initContainers", ())]
    for index, name in enumerate(names):
        if name in names[:index]:
            problems.add(f"{path}.initContainers[{index}].name", f'duplicate name "{name}"')


def _require(item: Json, path: str, problems: Problems, *fields: str) -> None:
    for field in fields:
        if not item.get(field):
            problems.add(f"{path}.{field}", "is required")


def _require_one(item: Json, path: str, problems: Problems, *fields: str) -> None:
    if not any(item.get(field) for field in fields):
        problems.add(path, f"has none of {', '.join(fields)}")


def _one_of(value: str, known: tuple[str, ...], path: str, problems: Problems) -> None:
    if value not in known:
        problems.add(
            path, f'unsupported value: "{value}". It should be one of {", ".join(filter(None, known))}'
        )


def _secret_volume(item: Json, path: str, problems: Problems) -> None:
    _require(item, path, problems, "mountPath")
    _require_one(item, path, problems, "secretNameParameter", "secretName")


def _config_map_volume(item: Json, path: str, problems: Problems) -> None:
    _require(item, path, problems, "mountPath")
    _require_one(item, path, problems, "configMapNameParameter", "configMapName")


def _secret_variables(item: Json, path: str, problems: Problems) -> None:
    _require_one(item, path, problems, "secretNameParameter", "secretName")
    for index, pair in enumerate(item.get("keyToEnv", ())):
        _require(pair, f"{path}.keyToEnv[{index}]", problems, "secretKey", "envVar")


def _config_map_variables(item: Json, path: str, problems: Problems) -> None:
    _require_one(item, path, problems, "configMapNameParameter", "configMapName")
    for index, pair in enumerate(item.get("keyToEnv", ())):
        _require(pair, f"{path}.keyToEnv[{index}]", problems, "configMapKey", "envVar")


def _pull_secret(item: Json, path: str, problems: Problems) -> None:
    _require_one(item, path, problems, "secretNameParameter", "secretName")


def _claim(item: Json, path: str, problems: Problems) -> None:
    _require(item, path, problems, "mountPath")
    references = ("pvcNameParameter", "taskOutputParameter", "constant", "componentInputParameter")
    _require_one(item, path, problems, *references)


def _pull_policy(value: str, path: str, problems: Problems) -> None:
    _one_of(value, ("", *PULL_POLICIES), path, problems)


def _deadline(value: int, path: str, problems: Problems) -> None:
    if value < 0:
        problems.add(path, "must not be negative")


def _field_path(item: Json, path: str, problems: Problems) -> None:
    _require(item, path, problems, "name", "fieldPath")


def _toleration(item: Json, path: str, problems: Problems) -> None:
    if "tolerationJson" in item:
        return
    operator = item.get("operator", "")
    _one_of(operator, ("", "Exists", "Equal"), f"{path}.operator", problems)
    _one_of(item.get("effect", ""), _EFFECTS, f"{path}.effect", problems)
    if not item.get("key") and operator != "Exists":
        problems.add(f"{path}.operator", "operator must be Exists when `key` is empty")
    if operator == "Exists" and item.get("value"):
        problems.add(f"{path}.value", "value must be empty when `operator` is 'Exists'")


def _ephemeral_volume(item: Json, path: str, problems: Problems) -> None:
    _require(item, path, problems, "volumeName", "mountPath", "accessModes", "size")
    for index, mode in enumerate(item.get("accessModes", ())):
        _one_of(mode, ACCESS_MODES, f"{path}.accessModes[{index}]", problems)
    check_quantity(item.get("size", ""), f"{path}.size", problems)


def _node_affinity(item: Json, path: str, problems: Problems) -> None:
    for field in ("matchExpressions", "matchFields"):
        _requirements(item.get(field, ()), f"{path}.{field}", problems)
    _weight(item, path, problems)


def _pod_affinity(item: Json, path: str, problems: Problems) -> None:
    for field in ("matchPodExpressions", "matchNamespaceExpressions"):
        _requirements(item.get(field, ()), f"{path}.{field}", problems)
    _require(item, path, problems, "topologyKey")
    _weight(item, path, problems)


def _requirements(items: Any, path: str, problems: Problems) -> None:
    for index, requirement in enumerate(items):
        _require(requirement, f"{path}[{index}]", problems, "key")
        operator = requirement.get("operator", "")
        _one_of(operator, _OPERATORS, f"{path}[{index}].operator", problems)
        if operator in ("Exists", "DoesNotExist") and requirement.get("values"):
            problems.add(
                f"{path}[{index}].values",
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )
        elif operator in ("In", "NotIn") and not requirement.get("values"):
            problems.add(f"{path}[{index}].values", "must be specified when `operator` is 'In' or 'NotIn'")


def _weight(item: Json, path: str, problems: Problems) -> None:
    if "weight" in item and not 1 <= item["weight"] <= 100:
        problems.add(f"{path}.weight", "must be in the range 1-100")


def _shared_memory(item: Json, path: str, problems: Problems) -> None:
    _require(item, path, problems, "volumeName")
    check_quantity(item.get("size", ""), f"{path}.size", problems)


def _empty_dir(item: Json, path: str, problems: Problems) -> None:
    _require(item, path, problems, "volumeName", "mountPath")
    check_quantity(item.get("sizeLimit", ""), f"{path}.sizeLimit", problems)


def _security_context(item: Json, path: str, problems: Problems) -> None:
    for field in ("runAsUser", "runAsGroup"):
        if not 0 <= item.get(field, 0) < 2**31:
            problems.add(f"{path}.{field}", "must be between 0 and 2147483647, inclusive")
    if item.get("runAsNonRoot") and item.get("runAsUser") == 0:
        problems.add(f"{path}.runAsUser", "is root, which runAsNonRoot forbids")


def _init_container(item: Json, path: str, problems: Problems) -> None:
    _require(item, path, problems, "name", "image")
    if item.get("name") == LAUNCHER:
        problems.add(f"{path}.name", f'"{LAUNCHER}" is reserved')
    _one_of(item.get("restartPolicy", ""), ("", "Always"), f"{path}.restartPolicy", problems)
    for index, mount in enumerate(item.get("volumeMounts", ())):
        _require(mount, f"{path}.volumeMounts[{index}]", problems, "volumeName", "mountPath")
    for index, variable in enumerate(item.get("env", ())):
        _require(variable, f"{path}.env[{index}]", problems, "name")
    for kind in ("requests", "limits"):
        for name, quantity in item.get("resources", {}).get(kind, {}).items():
            check_quantity(quantity, f"{path}.resources.{kind}[{name}]", problems)


_FIELDS: dict[str, Check] = {
    "secretAsVolume": _secret_volume,
    "secretAsEnv": _secret_variables,
    "pvcMount": _claim,
    "imagePullSecret": _pull_secret,
    "imagePullPolicy": _pull_policy,
    "configMapAsVolume": _config_map_volume,
    "configMapAsEnv": _config_map_variables,
    "activeDeadlineSeconds": _deadline,
    "fieldPathAsEnv": _field_path,
    "tolerations": _toleration,
    "genericEphemeralVolume": _ephemeral_volume,
    "nodeAffinity": _node_affinity,
    "podAffinity": _pod_affinity,
    "enabledSharedMemory": _shared_memory,
    "emptyDirMounts": _empty_dir,
    "securityContext": _security_context,
    "initContainers": _init_container,
}


def _check_references(spec: Json, label: str, config: Json, path: str, problems: Problems) -> None:
    """Note references that lead nowhere from one of the tasks that the executor carries out."""
    references = list(_references(config, path))
    if not references:
        return
    components = spec.get("components", {})
    for dag in (*components.values(), spec.get("root", {})):
        for key, task in tasks_of(dag).items():
            component = components[task["componentRef"]["name"]]
            if component.get("executorLabel") == label:
                for place, reference in references:
                    _check_reference(spec, dag, key, reference, place, problems)


def _references(value: Any, path: str) -> Any:
    """Yield each message of a config that refers to a parameter, with its place."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _references(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        if "componentInputParameter" in value or "taskOutputParameter" in value:
            yield path, value
        for field, item in value.items():
            if field != "runtimeValue":
                yield from _references(item, f"{path}.{field}")


def _check_reference(spec: Json, dag: Json, key: str, reference: Json, path: str, problems: Problems) -> None:
    inputs, tasks = input_parameters(dag), tasks_of(dag)
    if "componentInputParameter" in reference:
        name = reference["componentInputParameter"]
        if name not in inputs:
            problems.add(
                f"{path}.componentInputParameter",
                f'parent DAG of task {key} does not have input parameter "{name}"',
            )
        return
    source = reference["taskOutputParameter"]
    producer, output = source.get("producerTask", ""), source.get("outputParameterKey", "")
    if producer in tasks:
        component = spec["components"][tasks[producer]["componentRef"]["name"]]
        if output not in output_parameters(component):
            problems.add(f"{path}.taskOutputParameter", f'task {producer} has no output parameter "{output}"')
    else:
        problems.add(
            f"{path}.taskOutputParameter.producerTask", f'there is no task "{producer}" beside {key}'
        )
