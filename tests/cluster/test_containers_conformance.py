"""What containers find around them, as upstream's conformance suite asks: environment, users, files, last words.

All pods start together; each test looks at what one of them said. Follows test/e2e/common/node.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.pods_api import Pods, phase, python, shell, state

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("containers")]

DATA = {"data-1": "value-1", "data-2": "value-2", "data-3": "value-3"}
PREFIXES = ("p-", "p.", "p_", "#p@", "1 ")
WORKDIR = [{"name": "workdir", "emptyDir": {}}]
POD_NAME = {"name": "POD_NAME", "value": "foo"}


def env(*variables: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "main", "image": "proa.local/python", "command": ["env"], "env": list(variables), **more}


def of_key(kind: str, name: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {kind: {"name": "data", "key": "data-1"}}}


def of_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def of_resource(name: str, resource: str, **more: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, **more}}}


def sources(kind: str) -> list[dict[str, Any]]:
    return [{kind: {"name": "data"}}, *({kind: {"name": "data"}, "prefix": p} for p in PREFIXES)]


PREFIXED = [f"{p}{key}={value}" for p in ("", *PREFIXES) for key, value in DATA.items()]
RESOURCES = {
    "requests": {"cpu": "250m", "memory": "32Mi", "ephemeral-storage": "32Mi"},
    "limits": {"cpu": "1250m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
}
RESOURCE_VARIABLES = [
    of_resource("CPU_LIMIT", "limits.cpu"),
    of_resource("CPU_MILLIS", "limits.cpu", divisor="1m"),
    of_resource("MEMORY_LIMIT", "limits.memory"),
    of_resource("CPU_REQUEST", "requests.cpu"),
    of_resource("MEMORY_REQUEST", "requests.memory"),
    of_resource("MEMORY_MEBI", "requests.memory", divisor="1Mi"),
    of_resource("STORAGE_LIMIT", "limits.ephemeral-storage", divisor="1Mi"),
]
WHO = "echo $(id -u):$(id -g)"

SAID: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "configmap-key": (env(of_key("configMapKeyRef", "CONFIG_DATA_1")), {}, ["CONFIG_DATA_1=value-1"]),
    "configmap-all": (env(envFrom=sources("configMapRef")), {}, PREFIXED),
    "secret-key": (env(of_key("secretKeyRef", "SECRET_DATA")), {}, ["SECRET_DATA=value-1"]),
    "secret-all": (env(envFrom=sources("secretRef")), {}, PREFIXED),
    "arguments": (
        {
            "name": "main",
            "image": "proa.local/python",
            "command": ["echo"],
            "args": ["override", "arguments"],
        },
        {},
        ["override arguments"],
    ),
    "command": (
        {"name": "main", "image": "proa.local/python", "command": ["printf", "entrypoint-2"]},
        {},
        ["entrypoint-2"],
    ),
    "resources": (
        env(*RESOURCE_VARIABLES, resources=RESOURCES),
        {},
        [
            "CPU_LIMIT=2",
            "CPU_MILLIS=1250",
            "MEMORY_LIMIT=67108864",
            "CPU_REQUEST=1",
            "MEMORY_REQUEST=33554432",
            "MEMORY_MEBI=32",
            "STORAGE_LIMIT=64",
        ],
    ),
    "composed": (
        env(
            {"name": "FOO", "value": "foo-value"},
            {"name": "BAR", "value": "bar-value"},
            {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
        ),
        {},
        ["FOO=foo-value", "BAR=bar-value", "FOOBAR=foo-value;;bar-value"],
    ),
    "expanded-command": (
        shell("main", 'TEST_VAR=wrong echo "$(TEST_VAR)"', env=[{"name": "TEST_VAR", "value": "test-value"}]),
        {},
        ["test-value"],
    ),
    "expanded-arguments": (
        {
            **shell("main", "", env=[{"name": "TEST_VAR", "value": "test-value"}]),
            "command": ["sh", "-c"],
            "args": ['TEST_VAR=wrong echo "$(TEST_VAR)"'],
        },
        {},
        ["test-value"],
    ),
    "subpath": (
        shell(
            "main",
            "test -d /testcontainer/foo; echo $?",
            env=[POD_NAME],
            volumeMounts=[
                {"name": "workdir", "mountPath": "/logscontainer", "subPathExpr": "$(POD_NAME)"},
                {"name": "workdir", "mountPath": "/testcontainer"},
            ],
        ),
        {"volumes": WORKDIR},
        ["0"],
    ),
    "container-user": (
        shell("main", WHO, securityContext={"runAsUser": 1001, "runAsGroup": 2002}),
        {"securityContext": {"runAsUser": 1002}},
        ["1001:2002"],
    ),
    "pod-user": (
        shell("main", WHO),
        {"securityContext": {"runAsUser": 1001, "runAsGroup": 2002}},
        ["1001:2002"],
    ),
    "nobody": (shell("main", "id -u", securityContext={"runAsUser": 65534}), {}, ["65534"]),
    "unprivileged": (
        shell(
            "main",
            "ip link add dummy0 type dummy 2>&1 || true; ip link show dummy0 2>/dev/null || echo none",
            securityContext={"privileged": False},
        ),
        {},
        ["none"],
    ),
    "read-only-root": (
        shell(
            "main",
            "touch /file 2>/dev/null; ls /file 2>/dev/null || echo refused",
            securityContext={"readOnlyRootFilesystem": True},
        ),
        {},
        ["refused"],
    ),
    "writable-root": (
        shell("main", "echo written > /file && cat /file", securityContext={"readOnlyRootFilesystem": False}),
        {},
        ["written"],
    ),
    "no-escalation": (
        shell(
            "main",
            "grep NoNewPrivs /proc/self/status",
            securityContext={"allowPrivilegeEscalation": False, "runAsUser": 1000},
        ),
        {},
        ["NoNewPrivs:\t1"],
    ),
    "aliases": (
        shell("main", "cat /etc/hosts"),
        {"hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]},
        ["# Entries added by HostAliases.", "123.45.67.89\tfoo\tbar"],
    ),
    "sysctls": (
        shell("main", "cat /proc/sys/kernel/shm_rmid_forced"),
        {"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}},
        ["1"],
    ),
    "log": (shell("main", "echo Hello World"), {}, ["Hello World"]),
    "itself": (
        env(
            of_field("POD_NAME", "metadata.name"),
            of_field("POD_NAMESPACE", "metadata.namespace"),
            of_field("POD_IP", "status.podIP"),
            of_field("HOST_IP", "status.hostIP"),
            of_field("HOST_IPS", "status.hostIPs"),
            of_field("POD_UID", "metadata.uid"),
            of_resource("CPU_LIMIT", "limits.cpu"),
            of_resource("MEMORY_LIMIT", "limits.memory"),
        ),
        {},
        [],
    ),
}
CASES = [name for name in SAID if name != "itself"]


@pytest.fixture(scope="module")
def started(pods: Pods) -> Pods:
    """Return the pods, all on their way."""
    pods.add("configmaps", "data", data=DATA)
    pods.add("secrets", "data", stringData=DATA)
    for name, (container, spec, _) in SAID.items():
        pods.run(name, container, **spec)
    return pods


@pytest.mark.parametrize("name", CASES)
def test_a_container_finds_what_its_pod_says(started: Pods, name: str) -> None:
    """[sig-node] ConfigMap should be consumable as environment variable names with various prefixes [Conformance]
    [sig-node] ConfigMap should be consumable via environment variable [Conformance] [NodeConformance]
    [sig-node] ConfigMap should be consumable via the environment [Conformance] [NodeConformance]
    [sig-node] Secrets should be consumable as environment variable names variable names with various prefixes
    [sig-node] Secrets should be consumable from pods in env vars [Conformance] [NodeConformance]
    [sig-node] Secrets should be consumable via the environment [Conformance] [NodeConformance]
    [sig-node] Containers should be able to override the image's default command (container entrypoint)
    [sig-node] Containers should be able to override the image's default command and arguments
    [sig-node] Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars
    [sig-node] Variable Expansion should allow composing env vars into new env vars [Conformance] [NodeConformance]
    [sig-node] Variable Expansion should allow substituting values in a container's args [Conformance]
    [sig-node] Variable Expansion should allow substituting values in a container's command [Conformance]
    [sig-node] Variable Expansion should allow substituting values in a volume subpath [Conformance]
    [sig-node] Security Context should support container.SecurityContext.RunAsUser And
    container.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]
    [sig-node] Security Context should support pod.Spec.SecurityContext.RunAsUser And
    pod.Spec.SecurityContext.RunAsGroup [LinuxOnly] [Conformance]
    [sig-node] Security Context When creating a container with runAsUser should run the container with uid 65534
    [sig-node] Security Context When creating a pod with privileged should run the container as unprivileged when false
    [sig-node] Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable
    rootfs when readOnlyRootFilesystem=false [Conformance] [NodeConformance]
    [sig-node] Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege
    escalation when false [LinuxOnly] [Conformance] [NodeConformance]
    [sig-node] Kubelet when scheduling a read only busybox container should not write to root filesystem [LinuxOnly]
    [sig-node] Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts
    [sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs [Conformance]
    [sig-node] Sysctls [LinuxOnly] should support sysctls [Environment:NotInUserNS] [Conformance]"""
    lines = started.output(name).splitlines()

    assert set(SAID[name][2]) <= set(lines), lines


def test_a_container_knows_its_pod_and_node(started: Pods) -> None:
    """[sig-node] Downward API should provide pod name, namespace and IP address as env vars [Conformance]
    [sig-node] Downward API should provide host IP as an env var [Conformance] [NodeConformance]
    [sig-node] Downward API should provide hostIPs as an env var [Conformance] [NodeConformance]
    [sig-node] Downward API should provide pod UID as env vars [Conformance] [NodeConformance]
    [sig-node] Downward API should provide default limits.cpu/memory from node allocatable [Conformance]"""
    found = dict(line.partition("=")[::2] for line in started.output("itself").splitlines())
    pod = started.get("itself")
    node = started.api.get(f"/api/v1/nodes/{pod['spec']['nodeName']}")["status"]["allocatable"]

    status = pod["status"]
    assert (found["POD_NAME"], found["POD_NAMESPACE"]) == ("itself", started.namespace)
    assert (found["POD_IP"], found["HOST_IP"]) == (status["podIP"], status["hostIP"])
    assert found["HOST_IPS"] == ",".join(one["ip"] for one in status["hostIPs"])
    assert found["POD_UID"] == pod["metadata"]["uid"]
    assert found["CPU_LIMIT"] == node["cpu"]
    assert int(found["MEMORY_LIMIT"]) == int(node["memory"].removesuffix("Ki")) * 1024


LAST_WORDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "custom": (
        shell(
            "main",
            "printf DONE > /dev/termination-custom-log",
            terminationMessagePath="/dev/termination-custom-log",
            securityContext={"runAsUser": 10000},
        ),
        "Succeeded",
        "DONE",
    ),
    "from-log": (
        shell("main", "printf DONE; false", terminationMessagePolicy="FallbackToLogsOnError"),
        "Failed",
        "DONE",
    ),
    "empty": (
        shell("main", "printf DONE; true", terminationMessagePolicy="FallbackToLogsOnError"),
        "Succeeded",
        "",
    ),
    "from-file": (
        shell(
            "main",
            "printf OK > /dev/termination-log; echo DONE",
            terminationMessagePolicy="FallbackToLogsOnError",
        ),
        "Succeeded",
        "OK",
    ),
}


def test_last_words_are_told(pods: Pods) -> None:
    """[sig-node] Container Runtime blackbox test on terminated container should report termination message as empty
    when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [Conformance] [NodeConformance]
    [sig-node] Container Runtime blackbox test on terminated container should report termination message from file when
    pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set [Conformance] [NodeConformance]
    [sig-node] Container Runtime blackbox test on terminated container should report termination message from log output
    if TerminationMessagePolicy FallbackToLogsOnError is set [Conformance] [NodeConformance]
    [sig-node] Container Runtime blackbox test on terminated container should report termination message if
    TerminationMessagePath is set as non-root user and at a non-default path [Conformance] [NodeConformance]"""
    for name, (container, *_) in LAST_WORDS.items():
        pods.run(f"words-{name}", container)

    for name, (_, expected_phase, message) in LAST_WORDS.items():
        pod = pods.ended(f"words-{name}")
        told = state(pod, "main", "terminated").get("message", "")
        assert (phase(pod), told) == (expected_phase, message), name


def test_a_pod_is_told_of_services(pods: Pods) -> None:
    """[sig-node] Pods should contain environment variables for services [Conformance] [NodeConformance]"""
    spec = {"ports": [{"port": 8765, "targetPort": 8080}], "selector": {"name": "server"}}
    service = pods.add("services", "fooservice", spec=spec)
    pods.run("client", shell("main", "env"))

    lines = pods.output("client").splitlines()

    address = service["spec"]["clusterIP"]
    assert {
        f"FOOSERVICE_SERVICE_HOST={address}",
        "FOOSERVICE_SERVICE_PORT=8765",
        f"FOOSERVICE_PORT=tcp://{address}:8765",
        "FOOSERVICE_PORT_8765_TCP_PORT=8765",
        "FOOSERVICE_PORT_8765_TCP_PROTO=tcp",
        f"FOOSERVICE_PORT_8765_TCP=tcp://{address}:8765",
        f"FOOSERVICE_PORT_8765_TCP_ADDR={address}",
    } <= set(lines)


def test_hosts_is_the_kubelets_unless_mounted_or_of_the_host(pods: Pods) -> None:
    """[sig-node] KubeletManagedEtcHosts should test kubelet managed /etc/hosts file [Conformance] [NodeConformance]"""
    managed = "# Kubernetes-managed hosts file."
    volumes = [{"name": "hosts", "hostPath": {"path": "/etc/hosts", "type": "File"}}]
    own = [{"name": "hosts", "mountPath": "/etc/hosts"}]
    script = "head -n 1 /etc/hosts"
    pods.run("hosts", shell("one", script), shell("two", script, volumeMounts=own), volumes=volumes)
    pods.run("hosts-of-node", shell("one", script), hostNetwork=True)

    pods.ended("hosts")
    pods.ended("hosts-of-node")

    assert pods.log("hosts", "one").strip() == managed
    assert pods.log("hosts", "two").strip() != managed
    assert pods.log("hosts-of-node").strip() != managed


def test_sysctls_that_are_none_are_refused(pods: Pods) -> None:
    """[sig-node] Sysctls [LinuxOnly] should reject invalid sysctls [Conformance] [NodeConformance]"""
    names = ("foo-", "kernel.shmmax", "safe-and-unsafe", "bar..", "kernel/shmmax")
    sysctls = [{"name": name, "value": "100000000"} for name in names]

    with pytest.raises(AssertionError) as refused:
        pods.run("invalid-sysctls", shell("main", "true"), securityContext={"sysctls": sysctls})

    told = set(re.findall(r'Invalid value: ."([^"\\]+)', str(refused.value)))
    assert {"foo-", "bar.."} <= told
    assert "kernel.shmmax" not in told


def test_a_variable_comes_from_what_an_init_container_wrote(pods: Pods) -> None:
    def of_file(name: str, key: str, **more: Any) -> dict[str, Any]:
        reference = {"volumeName": "workdir", "path": "config.env", "key": key, **more}
        return {"name": name, "valueFrom": {"fileKeyRef": reference}}

    mounts = [{"name": "workdir", "mountPath": "/work"}]
    writer = shell("writer", "echo \"CONFIG='one two'\" > /work/config.env", volumeMounts=mounts)
    pods.run(
        "from-file",
        env(of_file("SAID", "CONFIG"), of_file("LEFT_OUT", "OTHER", optional=True)),
        initContainers=[writer],
        volumes=WORKDIR,
    )
    pods.run("from-nowhere", env(of_file("SAID", "CONFIG")), volumes=WORKDIR)

    lines = pods.output("from-file").splitlines()
    assert "SAID=one two" in lines
    assert not [line for line in lines if line.startswith("LEFT_OUT")]
    pod = pods.until("from-nowhere", lambda pod: state(pod, "main", "waiting").get("message"))
    assert state(pod, "main", "waiting")["reason"] == "CreateContainerConfigError"
    pods.delete("from-nowhere")


def test_python_runs_where_nothing_is_said(pods: Pods) -> None:
    """An image's own command runs where a pod names none: Python reads no input, and ends."""
    pods.run("defaults", {"name": "main", "image": "proa.local/python"})
    pods.run("script", python("main", "print(1 + 1)"))

    assert pods.output("defaults") == ""
    assert pods.output("script") == "2\n"
