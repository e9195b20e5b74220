"""Running containers are resized in place, as upstream asks (test/e2e/common/node/pod_resize.go)."""

from __future__ import annotations

from typing import Any

import pytest

from proa.objects.quantity import to_millis
from support.pods_api import Object, Pods, condition, container_status, is_ready, shell

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("containers")]

Said = tuple[str, str, str, str]
"""CPU request and limit, memory request and limit; "" for none."""

BURSTABLE: dict[str, tuple[Said, Said]] = {
    "c1": (("20m", "", "", ""), ("25m", "35m", "", "")),
    "c2": (("", "", "35Mi", ""), ("", "", "30Mi", "50Mi")),
    "c3": (("20m", "", "35Mi", ""), ("20m", "", "30Mi", "")),
    "c4": (("20m", "", "", ""), ("15m", "", "35Mi", "")),
    "c5": (("", "", "35Mi", ""), ("20m", "", "40Mi", "")),
    "c6": (("20m", "", "35Mi", ""), ("20m", "", "35Mi", "")),
}


def guaranteed(cpu: str, memory: str) -> Said:
    return cpu, cpu, memory, memory


CASES: dict[str, dict[str, tuple[Said, Said]]] = {
    "burstable": BURSTABLE,
    "equivalents": {"c1": (("2m", "10m", "", ""), ("1m", "5m", "", ""))},
    "increase": {
        "c1": (guaranteed("20m", "35Mi"), guaranteed("25m", "40Mi")),
        "c2": (guaranteed("22m", "37Mi"), guaranteed("27m", "42Mi")),
        "c3": (guaranteed("24m", "39Mi"), guaranteed("19m", "34Mi")),
    },
    "decrease": {
        "c1": (guaranteed("20m", "35Mi"), guaranteed("25m", "40Mi")),
        "c2": (guaranteed("22m", "37Mi"), guaranteed("17m", "32Mi")),
        "c3": (guaranteed("24m", "39Mi"), guaranteed("19m", "34Mi")),
    },
    "mixed": {
        "c1": (guaranteed("20m", "35Mi"), guaranteed("25m", "35Mi")),
        "c2": (guaranteed("22m", "37Mi"), guaranteed("17m", "42Mi")),
        "c3": (guaranteed("24m", "39Mi"), guaranteed("29m", "44Mi")),
    },
}


def resources(said: Said) -> Object:
    """Return a container's resources."""
    cpu, cpu_limit, memory, memory_limit = said
    found: dict[str, Any] = {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"cpu": cpu_limit, "memory": memory_limit},
    }
    kept = {kind: {k: v for k, v in amounts.items() if v} for kind, amounts in found.items()}
    return {kind: amounts for kind, amounts in kept.items() if amounts}


def has(pod: Object, wanted: dict[str, Said]) -> bool:
    """Tell whether each container has been given this, and the change is over."""
    pending = any(condition(pod, type) for type in ("PodResizePending", "PodResizeInProgress"))
    return not pending and all(
        container_status(pod, name).get("resources", {}) == resources(said)
        and container_status(pod, name).get("allocatedResources", {}) == resources(said).get("requests", {})
        for name, said in wanted.items()
    )


@pytest.fixture(scope="module")
def running(pods: Pods) -> Pods:
    """Return the pods, on their way."""
    for name, containers in CASES.items():
        parts = [shell(c, "sleep 1000", resources=resources(old)) for c, (old, _) in containers.items()]
        pods.run(name, *parts)
    pods.run("replaced", shell("c1", "sleep 1000", resources=resources(guaranteed("20m", "35Mi"))))
    return pods


@pytest.mark.parametrize("name", CASES)
def test_running_containers_are_resized_and_back(running: Pods, name: str) -> None:
    """[sig-node] Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed
    (including adding limits and requests) [MinimumKubeletVersion:1.34] [Conformance]
    [sig-node] Pod InPlace Resize Container burstable pods - extended resize with equivalents [Conformance]
    [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem
    on c1, c2, decrease cpu & mem on c3 - net increase [MinimumKubeletVersion:1.34] [Conformance]
    [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem
    on c1, decrease cpu & mem on c2, c3 - net decrease [MinimumKubeletVersion:1.34] [Conformance]
    [sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU
    (c1,c3), memory (c2, c3) ; decrease: CPU (c2) [MinimumKubeletVersion:1.34] [Conformance]"""
    old = {c: said for c, (said, _) in CASES[name].items()}
    new = {c: said for c, (_, said) in CASES[name].items()}
    before = running.until(name, lambda pod: is_ready(pod) and has(pod, old))
    path = f"{running.path(name=name)}/resize"

    asked = [{"name": c, "resources": resources(said)} for c, said in new.items()]
    running.api.patch(path, {"spec": {"containers": asked}})
    after = running.until(name, lambda pod: has(pod, new))

    assert running.exec(name, "true", container="c1") == ""
    for container in new:
        was, is_now = container_status(before, container), container_status(after, container)
        assert (is_now["containerID"], is_now["restartCount"]) == (was["containerID"], 0)
    if name in ("increase", "decrease", "mixed"):  # limits and requests are never taken away
        asked = [{"name": c, "resources": resources(said)} for c, said in old.items()]
        running.api.patch(path, {"spec": {"containers": asked}})
        running.until(name, lambda pod: has(pod, old))


def test_a_pod_is_resized_by_replacing_it(running: Pods) -> None:
    """[sig-node] Pod InPlace Resize Container resize pod via the replace endpoint [MinimumKubeletVersion:1.34]"""
    pod = running.ready("replaced")
    pod["spec"]["containers"][0]["resources"] = resources(guaranteed("25m", "40Mi"))

    running.api.send("PUT", f"{running.path(name='replaced')}/resize", pod)

    found = running.until("replaced", lambda pod: has(pod, {"c1": guaranteed("25m", "40Mi")}))
    quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    node = running.api.get(f"/api/v1/nodes/{found['spec']['nodeName']}")
    if "cgroup-cpu" not in (node["metadata"].get("annotations") or {}).get("proa.local/missing-features", ""):
        assert running.exec("replaced", "sh", "-c", quota).strip() == str(to_millis("25m") * 100)


def test_a_whole_pod_is_resized(pods: Pods) -> None:
    had = resources(("100m", "200m", "64Mi", "128Mi"))
    wanted = resources(("150m", "300m", "96Mi", "160Mi"))
    pods.run("whole", shell("c1", "sleep 1000"), resources=had)
    pods.until("whole", lambda pod: is_ready(pod) and pod["status"].get("resources") == had)

    pods.api.patch(f"{pods.path(name='whole')}/resize", {"spec": {"resources": wanted}})

    pod = pods.until("whole", lambda pod: pod["status"].get("resources") == wanted)
    assert pod["status"]["allocatedResources"] == wanted["requests"]
    assert container_status(pod)["restartCount"] == 0
