"""What the Kubernetes platform document makes of a step's pod.

Every field of KubernetesExecutorConfig has its function here or in affinity.py; `ir` has checked the document.
Source: extendPodSpecPatch of backend/src/v2/driver/k8s.go and kubernetes_executor_config.proto. Shared memory and pod
affinities, which upstream's driver leaves out, are carried out too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from proa.ml.pipelines.executor.affinity import make_affinity
from proa.ml.pipelines.executor.parameters import quote
from proa.ml.pipelines.executor.references import Fill, find_name, find_value
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.planning.messages import Launch
from proa.ml.pipelines.records import Json
from proa.objects.quick_dataclass import dataclass

PULL_POLICIES = ("Always", "Never", "IfNotPresent")
_NOT_OF_A_LABEL = re.compile(r"[^a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class Volumes:
    """Volumes and where `main` mounts them, in the order in which the document names them."""

    volumes: list[Json] = field(default_factory=list)
    mounts: list[Json] = field(default_factory=list)

    def add(self, name: str, source: Json, mount_path: str, **mount: str) -> None:
        """Mount a volume, by a name as near to `name` as a volume's can be."""
        label = _make_label(name)
        taken = {volume["name"]: volume for volume in self.volumes}
        while label in taken and taken[label] != {"name": label, **source}:
            label = _make_label(label + "-x")
        if label not in taken:
            self.volumes.append({"name": label, **source})
        self.mounts.append({"name": label, "mountPath": mount_path, **{k: v for k, v in mount.items() if v}})


@dataclass(frozen=True, slots=True)
class PodParts:
    """What goes into a pod beside its command. `own_volumes` are those that no task config passes on."""

    env: Sequence[Json] = ()
    resources: Json = field(default_factory=dict)
    volumes: Volumes = field(default_factory=Volumes)
    own_volumes: Volumes = field(default_factory=Volumes)
    node_selector: Json = field(default_factory=dict)
    tolerations: Sequence[Json] = ()
    affinity: Json = field(default_factory=dict)
    image_pull_policy: str = ""
    image_pull_secrets: Sequence[Json] = ()
    active_deadline_seconds: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    security_context: Json = field(default_factory=dict)
    init_containers: Sequence[Json] = ()


def make_pod_parts(
    launch: Launch, task: str, env: Sequence[Json], resources: Json, workspace_claim: str, fill: Fill
) -> PodParts:
    """Return the parts that the launch's platform document asks for, beside its own env and resources.

    Raises StepFailed for what cannot be resolved.
    """
    document = launch.platform
    ask = _Ask(launch, task, fill)
    metadata = document.get("podMetadata", {})
    return PodParts(
        env=[*env, *_make_env(ask)],
        resources=resources,
        volumes=_make_volumes(ask, workspace_claim),
        own_volumes=_make_own_volumes(document),
        node_selector=_make_node_selector(ask),
        tolerations=_make_tolerations(ask),
        affinity=make_affinity(document, ask.value, task),
        image_pull_policy=_check_pull_policy(document.get("imagePullPolicy", ""), task),
        image_pull_secrets=[
            {"name": name}
            for entry in document.get("imagePullSecret", [])
            if (name := ask.name(entry, "secretNameParameter", "secretName"))
        ],
        active_deadline_seconds=int(document.get("activeDeadlineSeconds", 0)),
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        security_context=document.get("securityContext", {}),
        init_containers=[_make_init_container(entry) for entry in document.get("initContainers", [])],
    )


@dataclass(frozen=True, slots=True)
class _Ask:
    launch: Launch
    task: str
    fill: Fill

    def value(self, reference: Mapping[str, Any]) -> Any:
        return find_value(self.launch, reference, self.task, self.fill)

    def name(self, entry: Mapping[str, Any], parameter: str, old_field: str) -> str:
        return find_name(self.launch, entry, parameter, old_field, self.task, self.fill)

    def entries(self, name: str) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.launch.platform.get(name, [])
        return found


def _make_env(ask: _Ask) -> list[Json]:
    env: list[Json] = []
    for name, source, key, parameter, old in (
        ("secretAsEnv", "secretKeyRef", "secretKey", "secretNameParameter", "secretName"),
        ("configMapAsEnv", "configMapKeyRef", "configMapKey", "configMapNameParameter", "configMapName"),
    ):
        for entry in ask.entries(name):
            found = ask.name(entry, parameter, old)
            optional = {"optional": entry["optional"]} if "optional" in entry else {}
            env += [
                {
                    "name": pair["envVar"],
                    "valueFrom": {source: {"name": found, "key": pair[key], **optional}},
                }
                for pair in entry.get("keyToEnv", [])
                if found
            ]
    return env + [
        {"name": entry["name"], "valueFrom": {"fieldRef": {"fieldPath": entry["fieldPath"]}}}
        for entry in ask.entries("fieldPathAsEnv")
    ]


def _make_volumes(ask: _Ask, workspace_claim: str) -> Volumes:
    made = Volumes()
    if workspace_claim:
        claim = {"persistentVolumeClaim": {"claimName": workspace_claim}}
        made.add("kfp-workspace", claim, "/kfp-workspace")
    for entry in ask.entries("pvcMount"):
        name = _claim_name(ask, entry)
        source: Json = {"persistentVolumeClaim": {"claimName": name}}
        made.add(name, source, entry["mountPath"], subPath=entry.get("subPath", ""))
    for entry in ask.entries("secretAsVolume"):
        if name := ask.name(entry, "secretNameParameter", "secretName"):
            source = {"secret": {"secretName": name, "optional": entry.get("optional", False)}}
            made.add(name, source, entry["mountPath"])
    for entry in ask.entries("configMapAsVolume"):
        if name := ask.name(entry, "configMapNameParameter", "configMapName"):
            source = {"configMap": {"name": name, "optional": entry.get("optional", False)}}
            made.add(name, source, entry["mountPath"])
    return made


def _claim_name(ask: _Ask, entry: Mapping[str, Any]) -> str:
    """Return the claim that a pvcMount names in the field that takes references, or in one of the old ones."""
    if "pvcNameParameter" not in entry and "constant" not in entry:
        entry = {"pvcNameParameter": entry}
    name = ask.name(entry, "pvcNameParameter", "constant")
    if not name:
        raise StepFailed(
            f"task '{ask.task}': the claim to mount has no name: pass the input that it comes from"
        )
    return name


def _make_own_volumes(document: Mapping[str, Any]) -> Volumes:
    made = Volumes()
    for entry in document.get("genericEphemeralVolume", []):
        made.add(entry["volumeName"], {"ephemeral": _make_claim_template(entry)}, entry["mountPath"])
    for entry in document.get("emptyDirMounts", []):
        source = {name: entry[name] for name in ("medium", "sizeLimit") if entry.get(name)}
        made.add(entry["volumeName"], {"emptyDir": source}, entry["mountPath"])
    if "enabledSharedMemory" in document:
        entry = document["enabledSharedMemory"]
        size = {"sizeLimit": entry["size"]} if entry.get("size") else {}
        name = entry.get("volumeName") or "shm"
        made.add(name, {"emptyDir": {"medium": "Memory", **size}}, "/dev/shm")  # noqa: S108
    return made


def _make_claim_template(entry: Mapping[str, Any]) -> Json:
    spec: Json = {
        "accessModes": entry.get("accessModes", []),
        "resources": {"requests": {"storage": entry["size"]}},
    }
    if not entry.get("defaultStorageClass"):
        spec["storageClassName"] = entry.get("storageClassName", "")
    return {"volumeClaimTemplate": {"metadata": dict(entry.get("metadata", {})), "spec": spec}}


def _make_node_selector(ask: _Ask) -> Json:
    entry = ask.launch.platform.get("nodeSelector", {})
    if "nodeSelectorJson" not in entry:
        return dict(entry.get("labels", {}))
    labels = ask.value(entry["nodeSelectorJson"])
    if labels is None:
        return {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise StepFailed(
            f"task '{ask.task}': its node selector is {quote(labels)}, and not labels of nodes such as"
            ' {"disk": "ssd"}'
        )
    return labels


def _make_tolerations(ask: _Ask) -> list[Json]:
    made: list[Json] = []
    for entry in ask.entries("tolerations"):
        if "tolerationJson" not in entry:
            made.append({name: _as_int(name, value) for name, value in entry.items()})
            continue
        value = ask.value(entry["tolerationJson"])
        found = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, dict) for item in found):
            raise StepFailed(f"task '{ask.task}': {quote(value)} is neither a toleration nor a list of them")
        made += [item for item in found if item]
    return made


def _as_int(name: str, value: Any) -> Any:
    """Return tolerationSeconds, an int64, as a number: protobuf's JSON has it as a string."""
    return int(value) if name == "tolerationSeconds" else value


def _check_pull_policy(policy: str, task: str) -> str:
    if policy and policy not in PULL_POLICIES:
        raise StepFailed(
            f"task '{task}': unsupported value: {policy}. ImagePullPolicy should be one of 'Always', 'Never' or"
            " 'IfNotPresent'"
        )
    return policy


def _make_init_container(entry: Mapping[str, Any]) -> Json:
    made: Json = {"name": entry["name"], "image": entry["image"]}
    for name in ("command", "args", "env", "restartPolicy", "resources"):
        if entry.get(name):
            made[name] = entry[name]
    if mounts := entry.get("volumeMounts"):
        made["volumeMounts"] = [
            {"name": mount["volumeName"], "mountPath": mount["mountPath"]} for mount in mounts
        ]
    return made


def _make_label(name: str) -> str:
    """Return a name as a volume may have it: a DNS label, with a hash where something had to give."""
    label = _NOT_OF_A_LABEL.sub("-", name.lower()).strip("-") or "volume"
    if label == name and len(label) <= 63:
        return label
    return f"{label[:54].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
