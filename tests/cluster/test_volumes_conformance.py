"""What containers find in their volumes, as upstream's conformance suite asks, and what they may put there.

All pods start together; each test looks at what some of them said. Follows test/e2e/common/storage.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from support.pods_api import Object, Pods, phase, python, shell, state

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

DATA = {"data-1": "value-1", "data-2": "value-2", "data-3": "value-3"}
DUMP = bytes([0xDE, 0xCA, 0xFE, 0xBA, 0xD0, 0xFE, 0xFF])
ITEMS: list[Object] = [{"key": "data-2", "path": "path/to/data-2"}]
ITEMS_0400: list[Object] = [{**ITEMS[0], "mode": 0o400}]
ONE, MAPPED = "/v/data-1", "/v/path/to/data-2"
NON_ROOT = {"runAsUser": 1000}
GROUP = {"runAsUser": 1000, "fsGroup": 1001}
LOOK = 'for file in {files}; do echo "$file $(stat -Lc %a:%g $file) $(cat $file)"; done'
Case = tuple[Object, Object, list[str]]


def volume(kind: str, **more: Any) -> Object:
    """Build a volume of a ConfigMap or Secret called data, `projected-…` of a projection with it alone."""
    kind = kind.removeprefix("projected-")
    named = {"secretName" if kind == "secret" else "name": "data"}
    return {"name": "v", kind: {**named, **more}}


def projected(kind: str, default_mode: int | None = None, **more: Any) -> Object:
    """Build a projected volume of one ConfigMap or Secret called data."""
    mode = {} if default_mode is None else {"defaultMode": default_mode}
    return {"name": "v", "projected": {"sources": [{kind: {"name": "data", **more}}], **mode}}


def look(*files: str, mounts: tuple[str, ...] = ("v:/v",), **more: Any) -> Object:
    """Build a container that says of each file its path, mode, group and content."""
    places = [mount.split(":") for mount in mounts]
    script = LOOK.format(files=" ".join(files))
    volume_mounts = [{"name": name, "mountPath": path, "readOnly": True} for name, path in places]
    return shell("main", script, volumeMounts=volume_mounts, **more)


def of_keys(kind: str) -> dict[str, Case]:
    """Return the cases of volumes of a ConfigMap or Secret, projected or not."""
    name = kind.removeprefix("projected-")
    is_projected = kind != name

    def make(default_mode: int | None = None, **more: Any) -> Object:
        if is_projected:
            return projected(name, default_mode, **more)
        return volume(name, **more, **({} if default_mode is None else {"defaultMode": default_mode}))

    second = {**make(), "name": "w"}
    return {
        f"{kind}-plain": (look(ONE), {"volumes": [make()]}, [f"{ONE} 644:0 value-1"]),
        f"{kind}-mode": (look(ONE), {"volumes": [make(0o400)]}, [f"{ONE} 400:0 value-1"]),
        f"{kind}-items": (look(MAPPED), {"volumes": [make(items=ITEMS)]}, [f"{MAPPED} 644:0 value-2"]),
        f"{kind}-item-mode": (
            look(MAPPED), {"volumes": [make(items=ITEMS_0400)]}, [f"{MAPPED} 400:0 value-2"],
        ),
        f"{kind}-non-root": (
            look(ONE), {"volumes": [make()], "securityContext": NON_ROOT}, [f"{ONE} 644:0 value-1"],
        ),
        f"{kind}-items-non-root": (
            look(MAPPED), {"volumes": [make(items=ITEMS)], "securityContext": NON_ROOT}, [f"{MAPPED} 644:0 value-2"],
        ),
        f"{kind}-group": (
            look(ONE), {"volumes": [make(0o440)], "securityContext": GROUP}, [f"{ONE} 440:1001 value-1"],
        ),
        f"{kind}-twice": (
            look(ONE, "/w/data-1", mounts=("v:/v", "w:/w")),
            {"volumes": [make(), second]},
            [f"{ONE} 644:0 value-1", "/w/data-1 644:0 value-1"],
        ),
    }  # fmt: skip


def downward(*items: Object, default_mode: int | None = None) -> dict[str, Object]:
    """Build a volume of the pod's own fields, and the same as a projection, by the name of the case."""
    mode = {} if default_mode is None else {"defaultMode": default_mode}
    return {
        "downward": {"name": "v", "downwardAPI": {"items": list(items), **mode}},
        "projected-downward": {
            "name": "v",
            "projected": {"sources": [{"downwardAPI": {"items": list(items)}}], **mode},
        },
    }


def of_field(path: str, field: str, **more: Any) -> Object:
    return {"path": path, "fieldRef": {"fieldPath": field}, **more}


def of_resource(resource: str) -> Object:
    return {"path": resource, "resourceFieldRef": {"containerName": "main", "resource": resource}}


RESOURCES = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}
AMOUNTS = {"limits.cpu": 2, "requests.cpu": 1, "limits.memory": 64 << 20, "requests.memory": 32 << 20}


def of_pod() -> dict[str, Case]:
    """Return the cases of volumes that show the pod itself."""
    found: dict[str, Case] = {}
    for kind, shown in downward(of_field("podname", "metadata.name")).items():
        name = f"{kind}-name"
        found[name] = (look("/v/podname"), {"volumes": [shown]}, [f"/v/podname 644:0 {name}"])
    for kind, shown in downward(of_field("podname", "metadata.name"), default_mode=0o400).items():
        name = f"{kind}-default-mode"
        found[name] = (look("/v/podname"), {"volumes": [shown]}, [f"/v/podname 400:0 {name}"])
    for kind, shown in downward(of_field("podname", "metadata.name", mode=0o400)).items():
        name = f"{kind}-item-mode"
        found[name] = (look("/v/podname"), {"volumes": [shown]}, [f"/v/podname 400:0 {name}"])
    for kind, shown in downward(*map(of_resource, AMOUNTS)).items():
        files = [f"/v/{resource}" for resource in AMOUNTS]
        lines = [f"/v/{resource} 644:0 {amount}" for resource, amount in AMOUNTS.items()]
        found[f"{kind}-resources"] = (look(*files, resources=RESOURCES), {"volumes": [shown]}, lines)
        files = ["/v/limits.cpu", "/v/limits.memory"]
        found[f"{kind}-of-node"] = (look(*files), {"volumes": [shown]}, [])
    return found


ALL_IN_ONE = {
    "name": "v",
    "projected": {
        "sources": [
            {"configMap": {"name": "data", "items": [{"key": "data-1", "path": "config/one"}]}},
            {"secret": {"name": "data", "items": [{"key": "data-2", "path": "secret/two"}]}},
            {"downwardAPI": {"items": [of_field("podname", "metadata.name")]}},
        ]
    },
}
CASES: dict[str, Case] = {
    **of_keys("configMap"),
    **of_keys("secret"),
    **of_keys("projected-configMap"),
    **of_keys("projected-secret"),
    **of_pod(),
    "combined": (
        look("/v/config/one", "/v/secret/two", "/v/podname"),
        {"volumes": [ALL_IN_ONE]},
        ["/v/config/one 644:0 value-1", "/v/secret/two 644:0 value-2", "/v/podname 644:0 combined"],
    ),
    "binary": (
        shell("main", "od -An -tx1 /v/dump", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        {"volumes": [volume("configMap")]},
        [" de ca fe ba d0 fe ff"],
    ),
    "side-by-side": (
        look("/v/data-1", "/w/data-1", mounts=("v:/v", "w:/w")),
        {"volumes": [volume("configMap"), {**volume("secret"), "name": "w"}]},
        ["/v/data-1 644:0 value-1", "/w/data-1 644:0 value-1"],
    ),
}


@pytest.fixture(scope="module")
def started(pods: Pods) -> Iterator[Pods]:
    """Return the pods, all on their way; another namespace has a Secret of the same name."""
    pods.add("configmaps", "data", data=DATA, binaryData={"dump": base64.b64encode(DUMP).decode()})
    pods.add("secrets", "data", stringData=DATA)
    other = Pods(pods.api, f"{pods.namespace}-other")
    pods.api.post("/api/v1/namespaces", {"metadata": {"name": other.namespace}})
    other.add("secrets", "data", stringData={"data-1": "of another namespace"})
    for name, (container, spec, _) in CASES.items():
        pods.run(name.lower(), container, **spec)
    for name, (container, spec) in EMPTY.items():
        pods.run(name, container, **spec)
    yield pods
    pods.api.send("DELETE", f"/api/v1/namespaces/{other.namespace}")


@pytest.mark.parametrize("name", [name for name in CASES if not name.endswith("-of-node")])
def test_a_volume_shows_what_it_is_made_of(started: Pods, name: str) -> None:
    """[sig-storage] ConfigMap binary data should be reflected in volume
    [sig-storage] ConfigMap should be consumable from pods in volume
    [sig-storage] ConfigMap should be consumable from pods in volume as non-root
    [sig-storage] ConfigMap should be consumable from pods in volume with defaultMode set
    [sig-storage] ConfigMap should be consumable from pods in volume with mappings
    [sig-storage] ConfigMap should be consumable from pods in volume with mappings and Item mode set
    [sig-storage] ConfigMap should be consumable from pods in volume with mappings as non-root
    [sig-storage] ConfigMap should be consumable in multiple volumes in the same pod
    [sig-storage] Downward API volume should provide container's cpu limit
    [sig-storage] Downward API volume should provide container's cpu request
    [sig-storage] Downward API volume should provide container's memory limit
    [sig-storage] Downward API volume should provide container's memory request
    [sig-storage] Downward API volume should provide podname only
    [sig-storage] Downward API volume should set DefaultMode on files
    [sig-storage] Downward API volume should set mode on item file
    [sig-storage] EmptyDir wrapper volumes should not conflict
    [sig-storage] Projected combined should project all components that make up the projection API
    [sig-storage] Projected configMap should be consumable from pods in volume
    [sig-storage] Projected configMap should be consumable from pods in volume as non-root
    [sig-storage] Projected configMap should be consumable from pods in volume with defaultMode set
    [sig-storage] Projected configMap should be consumable from pods in volume with mappings
    [sig-storage] Projected configMap should be consumable from pods in volume with mappings and Item mode set
    [sig-storage] Projected configMap should be consumable from pods in volume with mappings as non-root
    [sig-storage] Projected configMap should be consumable in multiple volumes in the same pod
    [sig-storage] Projected downwardAPI should provide container's cpu limit
    [sig-storage] Projected downwardAPI should provide container's cpu request
    [sig-storage] Projected downwardAPI should provide container's memory limit
    [sig-storage] Projected downwardAPI should provide container's memory request
    [sig-storage] Projected downwardAPI should provide podname only
    [sig-storage] Projected downwardAPI should set DefaultMode on files
    [sig-storage] Projected downwardAPI should set mode on item file
    [sig-storage] Projected secret should be consumable from pods in volume
    [sig-storage] Projected secret should be consumable from pods in volume as non-root with defaultMode and fsGroup set
    [sig-storage] Projected secret should be consumable from pods in volume with defaultMode set
    [sig-storage] Projected secret should be consumable from pods in volume with mappings
    [sig-storage] Projected secret should be consumable from pods in volume with mappings and Item Mode set
    [sig-storage] Projected secret should be consumable in multiple volumes in a pod
    [sig-storage] Secrets should be able to mount in a volume regardless of a different secret existing with same name
    in different namespace
    [sig-storage] Secrets should be consumable from pods in volume
    [sig-storage] Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set
    [sig-storage] Secrets should be consumable from pods in volume with defaultMode set
    [sig-storage] Secrets should be consumable from pods in volume with mappings
    [sig-storage] Secrets should be consumable from pods in volume with mappings and Item Mode set
    [sig-storage] Secrets should be consumable in multiple volumes in a pod"""
    assert started.output(name.lower()).splitlines() == CASES[name][2]


@pytest.mark.parametrize("kind", ["downward", "projected-downward"])
def test_what_is_not_limited_is_shown_as_what_the_node_has(started: Pods, kind: str) -> None:
    """[sig-storage] Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not
    set
    [sig-storage] Downward API volume should provide node allocatable (memory) as default memory limit if the limit is
    not set
    [sig-storage] Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not
    set
    [sig-storage] Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is
    not set"""
    cpu, memory = (line.split()[-1] for line in started.output(f"{kind}-of-node").splitlines())
    node = started.get(f"{kind}-of-node")["spec"]["nodeName"]
    allocatable = started.api.get(f"/api/v1/nodes/{node}")["status"]["allocatable"]
    assert cpu == allocatable["cpu"]
    assert int(memory) == int(allocatable["memory"].removesuffix("Ki")) * 1024


# Empty directories

WRITE = """umask 0
printf 'mount-tester new file' > /v/file && chmod {mode} /v/file
[ "$(stat -fc %T /v)" = tmpfs ] && echo memory || echo disk
stat -c '%a' /v
stat -c '%a:%u' /v/file
cat /v/file"""
MODES = ("0644", "0666", "0777")
USERS: dict[str, Object] = {"root": {}, "non-root": {"runAsUser": 1001}}
MEDIA = {"disk": "", "memory": "Memory"}


def writes(user: str, mode: str, medium: str) -> tuple[Object, Object]:
    mounts = [{"name": "v", "mountPath": "/v"}]
    volumes = [{"name": "v", "emptyDir": {"medium": MEDIA[medium]}}]
    container = shell("main", WRITE.format(mode=mode), volumeMounts=mounts)
    return container, {"volumes": volumes, "securityContext": USERS[user]}


EMPTY: dict[str, tuple[Object, Object]] = {
    f"empty-{user}-{mode}-{medium}": writes(user, mode, medium)
    for user in USERS
    for mode in MODES
    for medium in MEDIA
}


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("user", USERS)
def test_an_empty_dir_is_for_everybody(started: Pods, user: str, mode: str, medium: str) -> None:
    """[sig-storage] EmptyDir volumes should support (non-root,0644,default)
    [sig-storage] EmptyDir volumes should support (non-root,0644,tmpfs)
    [sig-storage] EmptyDir volumes should support (non-root,0666,default)
    [sig-storage] EmptyDir volumes should support (non-root,0666,tmpfs)
    [sig-storage] EmptyDir volumes should support (non-root,0777,default)
    [sig-storage] EmptyDir volumes should support (non-root,0777,tmpfs)
    [sig-storage] EmptyDir volumes should support (root,0644,default)
    [sig-storage] EmptyDir volumes should support (root,0644,tmpfs)
    [sig-storage] EmptyDir volumes should support (root,0666,default)
    [sig-storage] EmptyDir volumes should support (root,0666,tmpfs)
    [sig-storage] EmptyDir volumes should support (root,0777,default)
    [sig-storage] EmptyDir volumes should support (root,0777,tmpfs)
    [sig-storage] EmptyDir volumes volume on default medium should have the correct mode
    [sig-storage] EmptyDir volumes volume on tmpfs should have the correct mode"""
    owner = USERS[user].get("runAsUser", 0)
    said = started.output(f"empty-{user}-{mode}-{medium}").splitlines()
    assert said == [medium, "777", f"{mode[1:]}:{owner}", "mount-tester new file"]


def test_containers_share_an_empty_dir_of_memory_with_their_group(pods: Pods) -> None:
    """[sig-storage] EmptyDir volumes pod should support shared volumes between containers"""
    mounts = [{"name": "v", "mountPath": "/v"}]
    wait = "until [ -f /v/file ]; do sleep 0.05; done; cat /v/file; stat -c %g:%a /v; stat -c %g /v/file"
    pods.run(
        "shared",
        shell("reader", wait, volumeMounts=mounts),
        shell("writer", "printf 'shared data\\n' > /v/.new; mv /v/.new /v/file", volumeMounts=mounts),
        volumes=[{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
        securityContext={"fsGroup": 1234, "runAsUser": 1001},
    )

    assert phase(pods.ended("shared")) == "Succeeded"
    assert pods.log("shared", "reader").splitlines() == ["shared data", "1234:2777", "1234"]


def test_an_empty_dir_of_memory_is_full_when_its_limit_is_reached(pods: Pods) -> None:
    pods.run(
        "full",
        shell("main", "head -c 3000000 /dev/zero > /v/file", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        volumes=[{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
    )
    assert phase(pods.ended("full")) == "Failed"
    assert "No space left on device" in pods.log("full")


def test_a_pod_that_outgrows_its_disk_is_evicted(pods: Pods) -> None:
    limits = {"limits": {"ephemeral-storage": "2Mi"}}
    fill = "head -c {size} /dev/zero > {path}; exec sleep 60"
    pods.run("outgrows-root", shell("main", fill.format(size=4_000_000, path="/tmp/file"), resources=limits))
    pods.run(
        "outgrows-volume",
        shell(
            "main",
            fill.format(size=2_000_000, path="/v/file"),
            volumeMounts=[{"name": "v", "mountPath": "/v"}],
        ),
        volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
    )
    words = {
        "outgrows-root": "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        "outgrows-volume": 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
    }
    for name, message in words.items():
        status = pods.ended(name)["status"]
        assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", message)
        assert [event["message"] for event in pods.events(name, "Evicted")] == [message]


def test_many_volumes_of_many_pods_do_not_get_mixed_up(pods: Pods) -> None:
    """[sig-storage] EmptyDir wrapper volumes should not cause race condition when used for configmaps"""
    for number in range(30):
        pods.add("configmaps", f"racey-{number}", data={"data": str(number)})
    volumes = [{"name": f"v{n}", "configMap": {"name": f"racey-{n}"}} for n in range(30)]
    mounts = [{"name": f"v{n}", "mountPath": f"/v/{n}"} for n in range(30)]
    script = "for n in $(seq 0 29); do cat /v/$n/data; echo; done"
    for number in range(3):
        pods.run(f"racey-{number}", shell("main", script, volumeMounts=mounts), volumes=volumes)

    for number in range(3):
        assert pods.output(f"racey-{number}").split() == [str(n) for n in range(30)]


# Updates

SHOWN = ("config", "projected-config", "secret", "projected-secret", "own", "projected-own")
WAIT = """
import os, time
def read(path):
    try:
        return open(path).read()
    except FileNotFoundError:
        return None
def wait(wanted):
    while (found := {path: read(path) for path in wanted}) != wanted:
        time.sleep(0.02)
wait(%r)
"""


def changing(name: str, kind: str) -> Object:
    """Build a volume of three objects of which two may be missing."""
    key = "secretName" if kind == "secret" else "name"
    if name.startswith("projected-"):
        sources = [{kind: {"name": f"live-{n}", "optional": True}} for n in ("update", "delete", "create")]
        return {"name": name, "projected": {"sources": sources}}
    return {"name": name, kind: {key: f"live-{name}", "optional": True}}


def test_volumes_follow_what_they_show(pods: Pods) -> None:
    """[sig-storage] ConfigMap optional updates should be reflected in volume
    [sig-storage] ConfigMap updates should be reflected in volume
    [sig-storage] Downward API volume should update annotations on modification
    [sig-storage] Downward API volume should update labels on modification
    [sig-storage] Projected configMap optional updates should be reflected in volume
    [sig-storage] Projected configMap updates should be reflected in volume
    [sig-storage] Projected downwardAPI should update annotations on modification
    [sig-storage] Projected downwardAPI should update labels on modification
    [sig-storage] Projected secret optional updates should be reflected in volume
    [sig-storage] Secrets optional updates should be reflected in volume"""
    kinds = {"configMap": ("configmaps", "data"), "secret": ("secrets", "stringData")}
    for plural, key in kinds.values():
        pods.add(plural, "live-update", **{key: {"update": "before"}})
        pods.add(plural, "live-delete", **{key: {"delete": "here"}})
    volumes, before, after = _changing_volumes()
    mounts = [{"name": shown["name"], "mountPath": f"/v/{shown['name']}"} for shown in volumes]
    pods.run(
        "live",
        python("main", WAIT % after, volumeMounts=mounts),
        initContainers=[python("before", WAIT % before, volumeMounts=mounts)],
        volumes=volumes,
        metadata={"labels": {"key": "one"}, "annotations": {"builder": "bar"}},
    )
    pods.until("live", lambda pod: state(pod, "main", "running"))

    for plural, key in kinds.values():
        pods.api.patch(pods.path(plural, "live-update"), {key: {"update": "after"}})
        pods.api.send("DELETE", pods.path(plural, "live-delete"))
        pods.add(plural, "live-create", **{key: {"create": "new"}})
    changed = {"metadata": {"labels": {"key": "two"}, "annotations": {"builder": "foo"}}}
    pods.api.patch(pods.path(name="live"), changed)

    pods.output("live")


def _changing_volumes() -> tuple[list[Object], dict[str, str | None], dict[str, str | None]]:
    """Return volumes, and what is at which path in them before and after all that they show has changed."""
    volumes: list[Object] = []
    before: dict[str, str | None] = {}
    after: dict[str, str | None] = {}
    for kind in ("configMap", "secret"):
        for name in ("update", "delete", "create"):
            volumes.append(changing(name, kind) | {"name": f"{kind.lower()}-{name}"})
        volumes.append(changing(f"projected-{kind.lower()}", kind))
        for place in ("{kind}-{name}", "projected-{kind}"):
            paths = {
                name: f"/v/{place.format(kind=kind.lower(), name=name)}/{name}"
                for name in ("update", "delete", "create")
            }
            before |= {paths["update"]: "before", paths["delete"]: "here", paths["create"]: None}
            after |= {paths["update"]: "after", paths["delete"]: None, paths["create"]: "new"}
    items = [of_field("labels", "metadata.labels"), of_field("annotations", "metadata.annotations")]
    for kind, shown in downward(*items).items():
        volumes.append(shown | {"name": kind})
        before |= {f"/v/{kind}/labels": 'key="one"', f"/v/{kind}/annotations": 'builder="bar"'}
        after |= {f"/v/{kind}/labels": 'key="two"', f"/v/{kind}/annotations": 'builder="foo"'}
    return volumes, before, after


# Parts of volumes

PARTS: dict[str, tuple[Object, str, str]] = {
    "configmap": (volume("configMap"), "data-1", "value-1"),
    "secret": (volume("secret"), "data-1", "value-1"),
    "projected": (projected("configMap"), "data-1", "value-1"),
    "downward": (downward(of_field("podname", "metadata.name"))["downward"], "podname", "part-downward"),
}


def test_a_part_of_a_volume_is_mounted_where_the_pod_says(started: Pods) -> None:
    """[sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod
    [sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing
    file
    [sig-storage] Subpath Atomic writer volumes should support subpaths with downward pod
    [sig-storage] Subpath Atomic writer volumes should support subpaths with projected pod
    [sig-storage] Subpath Atomic writer volumes should support subpaths with secret pod"""
    for name, (shown, part, _) in PARTS.items():
        mounts = [
            {"name": "v", "mountPath": "/part", "subPath": part},
            {"name": "v", "mountPath": "/etc/resolv.conf", "subPath": part},
        ]
        script = "cat /part; echo; cat /etc/resolv.conf; echo"
        started.run(f"part-{name}", shell("main", script, volumeMounts=mounts), volumes=[shown])

    for name, (*_, content) in PARTS.items():
        assert started.output(f"part-{name}").split() == [content, content]
