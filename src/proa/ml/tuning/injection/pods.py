"""A pod template with the collector in it: labels, environment, the shared folder, the sidecar, the wrapped command.

The collector is an init container that restarts always: it is there before the training starts, and is ended after it.
It gets no privileges: what the primary container says of who it runs as, and nothing else, so that it is admitted
wherever the training is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.tuning.injection.checkpoints import with_checkpoints
from proa.ml.tuning.injection.collection import PROMETHEUS_PORT, Collection, program_arguments
from proa.ml.tuning.injection.places import Place, as_field, find_container, replaced
from proa.ml.tuning.injection.settings import Settings
from proa.ml.tuning.injection.wrapping import wrap
from proa.ml.tuning.kinds import COLLECTOR_CONTAINER, METRICS_VOLUME, TRIAL_LABEL, TRIAL_NAME_VARIABLE
from proa.ml.tuning.records import Problem

Json = dict[str, Any]

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_UNTIL_READY = "i=0; until [ -s /dev/termination-log ] || [ $i -ge 200 ]; do sleep 0.05; i=$((i+1)); done"
"""A container's first process loses a SIGTERM that comes before it is ready for it: a short training's end."""
_IDENTITY = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "seLinuxOptions", "appArmorProfile")


def make_template(place: Place, collection: Collection, settings: Settings, *, wraps: bool) -> Json | Problem:
    """Return the template of the place with all that the trial's pods get.

    `wraps`: the container's own command is the one that runs (a TrainJob may say another).
    """
    template = _marked(place.template, collection)
    index = find_container(template, collection.container)
    assert index is not None
    main = _named(template["spec"]["containers"][index], collection.trial)
    spec: Json = template["spec"]
    if settings.checkpoints is not None and not place.is_excluded(collection.primary):
        spec, main = with_checkpoints(spec, main, collection.trial, settings, _security(main))
    if (collection.is_ours or collection.custom) and not place.is_excluded(collection.primary):
        path = (*place.path, "spec", "containers", index)
        made = _collected(spec, main, place, collection, settings, as_field(path), wraps=wraps)
        if isinstance(made, Problem):
            return made
        spec, main = made
        annotations = (template.get("metadata") or {}).get("annotations") or {}
        if collection.output and DEFAULT_CONTAINER not in annotations:
            annotations = {**annotations, DEFAULT_CONTAINER: COLLECTOR_CONTAINER}
            template = {**template, "metadata": {**template["metadata"], "annotations": annotations}}
    return {**template, "spec": {**spec, "containers": replaced(spec["containers"], (index,), main)}}


def wrapped(
    container: Mapping[str, Any], command: Any, collection: Collection, field: str
) -> list[str] | Problem | None:
    """Return the command with which the container runs `command`; None to leave it as it is."""
    if not collection.needs_command:
        return None
    if not command or not isinstance(command, list):
        reason = "its output" if collection.output else "early stopping"
        return Problem(
            f"{field}.command",
            f"is needed for {reason}: say the command of container {container.get('name')} here, since that of its "
            "image is not known, or choose another kind of metrics collector (File, TensorFlowEvent, Push)",
        )
    return wrap([str(word) for word in command], collection.output, collection.stop)


def _marked(template: Mapping[str, Any], collection: Collection) -> Json:
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), **collection.labels, TRIAL_LABEL: collection.trial}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _named(container: Mapping[str, Any], trial: str) -> Json:
    """Tell the container its trial's name, by which it may report metrics itself."""
    env = list(container.get("env") or ())
    if not any(entry.get("name") == TRIAL_NAME_VARIABLE for entry in env):
        env.append({"name": TRIAL_NAME_VARIABLE, "value": trial})
    return {**container, "env": env}


def _collected(
    spec: Json,
    main: Json,
    place: Place,
    collection: Collection,
    settings: Settings,
    field: str,
    *,
    wraps: bool,
) -> tuple[Json, Json] | Problem:
    mount = None
    if collection.folder:
        mount = _mount_of(main, collection.folder)
        if mount is None:
            mount = {"name": METRICS_VOLUME, "mountPath": collection.folder}
            spec = _with_volume(spec, METRICS_VOLUME, {"emptyDir": {}})
            main = _with_mount(main, mount)
    if wraps:
        command = wrapped(main, main.get("command"), collection, field)
        if isinstance(command, Problem):
            return command
        if command is not None:
            main = {**main, "command": command}
    if collection.stop and collection.output:
        main = _unbuffered(main)
    if collection.custom:
        return _with_custom(spec, collection, mount), main
    port = _port(main, collection, field)
    if isinstance(port, Problem):
        return port
    collector = _collector(main, place, collection, settings, mount, port)
    return {**spec, "initContainers": [*(spec.get("initContainers") or ()), collector]}, main


def _collector(
    main: Json, place: Place, collection: Collection, settings: Settings, mount: Json | None, port: int | None
) -> Json:
    unknown = place.unknown(collection.primary)
    names = {label: f"PRIMARY_{index}" for index, label in enumerate(sorted(unknown))}
    arguments = program_arguments(collection, port, {names[label]: value for label, value in unknown.items()})
    container: Json = {
        "name": COLLECTOR_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": list(settings.command),
        "args": arguments,
        "env": [_label_variable(name, label) for label, name in names.items()],
        "restartPolicy": "Always",
        "resources": dict(settings.resources),
        "securityContext": _security(main),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", _UNTIL_READY]}}}
        if settings.waits
        else {},
        "volumeMounts": [mount] if mount else [],
    }
    return {key: value for key, value in container.items() if value not in ("", [], {})}


def _with_custom(spec: Json, collection: Collection, mount: Json | None) -> Json:
    """Add the author's own collector as upstream does: it sees the training's processes, and ends by itself."""
    custom = _named(collection.custom or {}, collection.trial)
    if mount and _mount_of(custom, collection.folder) is None:
        custom = _with_mount(custom, mount)
    return {**spec, "containers": [*spec["containers"], custom], "shareProcessNamespace": True}


def _security(main: Mapping[str, Any]) -> Json:
    """Return what Pod Security's `restricted` asks for, as the user that the training runs as, whose file it reads."""
    own = main.get("securityContext") or {}
    identity = {key: own[key] for key in _IDENTITY if own.get(key) is not None}
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, **identity}


def _port(main: Json, collection: Collection, field: str) -> int | Problem | None:
    if collection.kind != "PrometheusMetric":
        return None
    port = (collection.source.get("httpGet") or {}).get("port") or PROMETHEUS_PORT
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for entry in main.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    return Problem(f"{field}.ports", f"has none named {port!r}, which source.httpGet.port asks for")


def _mount_of(container: Mapping[str, Any], folder: str) -> Json | None:
    """Return the volume mount of the container that the folder is in, if its author has made one there."""
    mounts = [
        m
        for m in container.get("volumeMounts") or ()
        if f"{folder}/".startswith(str(m.get("mountPath", "")).rstrip("/") + "/")
    ]
    found: Json | None = max(mounts, key=lambda m: len(m["mountPath"]), default=None)
    return found


def _with_mount(container: Mapping[str, Any], mount: Json) -> Json:
    return {**container, "volumeMounts": [*(container.get("volumeMounts") or ()), mount]}


def _with_volume(spec: Json, name: str, source: Json) -> Json:
    return {**spec, "volumes": [*(spec.get("volumes") or ()), {"name": name, **source}]}


def _unbuffered(main: Json) -> Json:
    """Have Python tell its lines at once: rules are of no use on lines that come at the end."""
    env = main.get("env") or []
    if any(entry.get("name") == "PYTHONUNBUFFERED" for entry in env):
        return main
    return {**main, "env": [*env, {"name": "PYTHONUNBUFFERED", "value": "1"}]}


def _label_variable(name: str, label: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{label}']"}}}
