"""Pods: defaults, rules, changes, and what kubectl shows."""

from __future__ import annotations

from typing import Any

import pytest

from proa.apiserver.handlers.shapes import cells_of
from proa.apiserver.resources.core.pod import DEFINITION, grace_seconds
from proa.apiserver.resources.core.pod_defaults import pull_policy_for

Object = dict[str, Any]
NOW = 1_767_225_600.0
START = "2026-01-01T00:00:00Z"


def make_pod(containers: list[Object] | None = None, **spec: Any) -> Object:
    mains = containers if containers is not None else [{"name": "c", "image": "app:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": mains, **spec},
    }


def with_container(**fields: Any) -> Object:
    return make_pod([{"name": "c", "image": "app:1", **fields}])


def test_a_new_pod_is_pending_with_upstreams_defaults(kinds: Any) -> None:
    pod = kinds.create(make_pod())
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert pod["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "app:1",
                "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "resources": {},
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {},
        "enableServiceLinks": True,
    }


def test_limits_become_requests_and_decide_the_qos_class(kinds: Any) -> None:
    pod = kinds.create(with_container(resources={"limits": {"cpu": "1", "memory": "1Gi"}}))
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}
    assert pod["status"]["qosClass"] == "Guaranteed"


@pytest.mark.parametrize(
    ("image", "policy"),
    [("a", "Always"), ("a:latest", "Always"), ("a:1", "IfNotPresent"), ("host:5000/a", "Always"),
     ("a@sha256:00", "IfNotPresent")],
)  # fmt: skip
def test_only_latest_images_are_always_pulled(image: str, policy: str) -> None:
    assert pull_policy_for(image) == policy


RULES: list[tuple[Object, str]] = [
    (make_pod([]), "spec.containers: Required value"),
    (make_pod([{"name": "c"}]), "spec.containers[0].image: Required value"),
    (
        make_pod([{"name": "c", "image": "a"}, {"name": "c", "image": "b"}]),
        'spec.containers[1].name: Duplicate value: "c"',
    ),
    (
        with_container(imagePullPolicy="Sometimes"),
        'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: '
        '"Always", "IfNotPresent", "Never"',
    ),
    (
        with_container(ports=[{"containerPort": 70000}]),
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        with_container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ),
    (
        with_container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    (
        with_container(livenessProbe={"periodSeconds": 5}),
        "spec.containers[0].livenessProbe: Required value: must specify a handler type",
    ),
    (
        with_container(livenessProbe={"exec": {"command": ["x"]}, "successThreshold": 2}),
        "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    (
        with_container(
            env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
        ),
        'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
    ),
    (
        make_pod(restartPolicy="Never!"),
        'spec.restartPolicy: Unsupported value: "Never!": supported values: "Always", "OnFailure", "Never"',
    ),
    (
        make_pod(volumes=[{"name": "v", "configMap": {"name": "m"}, "emptyDir": {}}]),
        "spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type",
    ),
    (
        make_pod(
            volumes=[
                {
                    "name": "v",
                    "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "spec.nodeName"}}]},
                }
            ]
        ),
        'spec.volumes[0].downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": '
        'supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", '
        '"metadata.uid"',
    ),
    (
        make_pod(tolerations=[{"operator": "Exists", "tolerationSeconds": 3}]),
        "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
    ),
    (
        make_pod(initContainers=[{"name": "i", "image": "x", "lifecycle": {}}]),
        "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
    ),
]


@pytest.mark.parametrize(("pod", "problem"), RULES, ids=[problem.split(":")[0] for _, problem in RULES])
def test_a_wrong_pod_is_refused_in_upstreams_words(kinds: Any, pod: Object, problem: str) -> None:
    assert kinds.problems(pod) == [problem]


def test_a_volume_may_show_the_pods_labels_and_annotations(kinds: Any) -> None:
    paths = ("metadata.labels", "metadata.annotations", "metadata.labels['a']", "metadata.uid")
    items = [{"path": f"p{index}", "fieldRef": {"fieldPath": path}} for index, path in enumerate(paths)]
    downward, projected = {"items": items}, {"sources": [{"downwardAPI": {"items": items}}]}

    pod = make_pod(volumes=[{"name": "v", "downwardAPI": downward}, {"name": "p", "projected": projected}])

    assert kinds.problems(pod) == []


def test_a_pod_that_uses_much_is_fine(kinds: Any) -> None:
    pod = with_container(
        ports=[{"containerPort": 80, "name": "web"}],
        env=[{"name": "N", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
        envFrom=[{"configMapRef": {"name": "m"}}],
        readinessProbe={"httpGet": {"path": "/", "port": "web"}},
        lifecycle={"preStop": {"sleep": {"seconds": 1}}},
        volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "a/b"}],
    )
    pod["spec"] |= {
        "volumes": [{"name": "v"}],
        "initContainers": [
            {"name": "i", "image": "x", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 1}}}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}],
    }  # fmt: skip
    assert kinds.problems(pod) == []


def test_images_and_tolerations_may_change(kinds: Any) -> None:
    def change(pod: Object) -> None:
        pod["spec"]["containers"][0]["image"] = "app:2"
        pod["spec"]["tolerations"] = [{"key": "a", "operator": "Exists"}]
        pod["metadata"]["labels"] = {"new": "label"}

    assert kinds.update_problems(make_pod(), change) == []


def test_the_rest_of_a_pods_spec_may_not(kinds: Any) -> None:
    (problem,) = kinds.update_problems(make_pod(), lambda pod: pod["spec"].update(hostNetwork=True))
    assert problem.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    )


@pytest.mark.parametrize(
    ("node", "phase", "asked", "seconds"),
    [("n", "Running", None, 30), ("n", "Running", 0, 0), ("n", "Running", 5, 5), ("", "Pending", None, 0),
     ("n", "Succeeded", None, 0)],
)  # fmt: skip
def test_grace_is_for_pods_that_run(node: str, phase: str, asked: int | None, seconds: int) -> None:
    pod = {**make_pod(nodeName=node, terminationGracePeriodSeconds=30), "status": {"phase": phase}}
    assert grace_seconds(pod, asked) == seconds


def state(name: str, ready: bool = False, restarts: int = 0, **states: Object) -> Object:
    return {"name": name, "ready": ready, "restartCount": restarts, "state": states}


RUNNING: Object = {"running": {"startedAt": START}}
SIDECAR = {"name": "i", "image": "x", "restartPolicy": "Always"}
INIT = {"name": "i", "image": "x"}


@pytest.mark.parametrize(
    ("spec", "status", "shown"),
    [
        ({}, {"phase": "Pending"}, ("0/1", "Pending", "0")),
        (
            {},
            {"phase": "Running", "containerStatuses": [state("c", True, **RUNNING)]},
            ("1/1", "Running", "0"),
        ),
        (
            {},
            {"phase": "Running", "containerStatuses": [state("c", waiting={"reason": "CrashLoopBackOff"})]},
            ("0/1", "CrashLoopBackOff", "0"),
        ),
        (
            {},
            {"phase": "Failed", "containerStatuses": [state("c", terminated={"exitCode": 3})]},
            ("0/1", "ExitCode:3", "0"),
        ),
        (
            {"initContainers": [INIT]},
            {"phase": "Pending", "initContainerStatuses": [state("i", **RUNNING)]},
            ("0/1", "Init:0/1", "0"),
        ),
        (
            {"initContainers": [INIT]},
            {
                "phase": "Pending",
                "initContainerStatuses": [state("i", terminated={"exitCode": 1, "reason": "Error"})],
            },
            ("0/1", "Init:Error", "0"),
        ),
        (
            {"initContainers": [SIDECAR]},
            {
                "phase": "Running",
                "initContainerStatuses": [{**state("i", True, 2, **RUNNING), "started": True}],
                "containerStatuses": [state("c", True, **RUNNING)],
            },
            ("2/2", "Running", "2"),
        ),
    ],
)
def test_kubectl_shows_how_a_pod_is(spec: Object, status: Object, shown: tuple[str, str, str]) -> None:
    pod = {**make_pod(**spec), "status": status}
    pod["metadata"]["creationTimestamp"] = START
    row = cells_of(DEFINITION, pod, NOW + 65)
    assert tuple(row[1:4]) == shown
    assert row[0] == "p"
    assert row[4] == "65s"


def test_restarts_say_when_the_last_one_was() -> None:
    crashed = {**state("c", restarts=2, **RUNNING), "lastState": {"terminated": {"finishedAt": START}}}
    pod = {**make_pod(), "status": {"phase": "Running", "containerStatuses": [crashed]}}
    assert cells_of(DEFINITION, pod, NOW + 240)[3] == "2 (4m ago)"
