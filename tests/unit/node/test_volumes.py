"""Volumes on a real file system, in a temporary folder."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from proa.node.downward import DownwardSource
from proa.node.runtimes.protocol import Mount
from proa.node.volumes.atomic_writer import FileContent, UnsafePath, write_payload
from proa.node.volumes.errors import VolumeError
from proa.node.volumes.host_path import prepare_host_path
from proa.node.volumes.mounter import MountedVolumes, VolumeMounter, make_mounts
from proa.node.volumes.ownership import set_group
from proa.node.volumes.payloads import Token, sources_of
from proa.node.volumes.subpath import resolve_subpath
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, SECRETS, Resource

SOURCE = DownwardSource("10.243.0.1", "", {"cpu": "2"})
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="not on this machine: only root may give files to a group"
)


def content(path: Path) -> dict[str, str]:
    """Return what a container would read in a volume."""
    return {p.name: p.read_text() for p in path.iterdir() if not p.name.startswith("..")}


# The atomic writer


def test_files_change_all_at_once(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": FileContent(b"1"), "b": FileContent(b"1")})
    held = os.open(tmp_path / "..data", os.O_RDONLY | os.O_DIRECTORY)

    changed = write_payload(tmp_path, {"a": FileContent(b"2"), "c": FileContent(b"2")})

    assert changed
    assert content(tmp_path) == {"a": "2", "c": "2"}
    assert len([p for p in tmp_path.iterdir() if p.name.startswith("..2")]) == 1
    os.close(held)


def test_writing_the_same_changes_nothing(tmp_path: Path) -> None:
    payload = {"a": FileContent(b"1", 0o400), "d/e": FileContent(b"2")}
    write_payload(tmp_path, payload)
    before = os.readlink(tmp_path / "..data")

    assert not write_payload(tmp_path, payload)
    assert os.readlink(tmp_path / "..data") == before


def test_files_have_their_modes_and_folders(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": FileContent(b"1", 0o400), "d/e": FileContent(b"2", 0o755)})

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o400
    assert stat.S_IMODE((tmp_path / "d" / "e").stat().st_mode) == 0o755
    assert os.readlink(tmp_path / "d") == "..data/d"


@pytest.mark.parametrize("path", ["/a", "../a", "a/../b", "..a", ""])
def test_names_that_leave_the_volume_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePath):
        write_payload(tmp_path, {path: FileContent(b"")})


# The mounter


def make_pod(*volumes: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "u1", "labels": {"app": "x"}},
        "spec": {"volumes": list(volumes), "containers": [], **spec},
    }


class Api:
    """Objects by kind and name, and tokens."""

    def __init__(self, *objects: tuple[Resource, str, dict[str, Any]]) -> None:
        self.objects = {(resource, name): obj for resource, name, obj in objects}
        self.tokens = 0
        self.memory: dict[str, tuple[int, int | None]] = {}

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        if (resource, name) not in self.objects:
            raise NotFound(f'{resource.plural} "{name}" not found')
        return self.objects[resource, name]

    async def request_token(self, pod: Any, projection: Any) -> Token:
        self.tokens += 1
        return Token(f"token{self.tokens}", 100.0)

    async def mount_memory(self, path: str, size_bytes: int, group: int | None) -> None:
        self.memory[path] = (size_bytes, group)


def make_mounter(directory: Path, api: Api) -> VolumeMounter:
    return VolumeMounter(directory, api.get, api.request_token, api.mount_memory, 1 << 30)


def mount(directory: Path, pod: dict[str, Any], api: Api) -> MountedVolumes:
    return asyncio.run(make_mounter(directory, api).mount(pod, SOURCE))


API = Api(
    (CONFIG_MAPS, "c", {"data": {"a": "1", "b": "2"}, "binaryData": {"x": base64.b64encode(b"3").decode()}}),
    (SECRETS, "s", {"data": {"key": base64.b64encode(b"secret").decode()}}),
)


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"configMap": {"name": "c"}}, {"a": "1", "b": "2", "x": "3"}),
        ({"configMap": {"name": "c", "items": [{"key": "a", "path": "sub"}]}}, {"sub": "1"}),
        ({"configMap": {"name": "no", "optional": True}}, {}),
        ({"secret": {"secretName": "s"}}, {"key": "secret"}),
        (
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"labels": 'app="x"'},
        ),
        (
            {
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"path": "token"}},
                        {"configMap": {"name": "c", "items": [{"key": "a", "path": "ca.crt"}]}},
                        {"secret": {"name": "s"}},
                        {
                            "downwardAPI": {
                                "items": [
                                    {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
                                ]
                            }
                        },
                    ]
                }
            },
            {"token": "token1", "ca.crt": "1", "key": "secret", "namespace": "default"},
        ),
        ({"emptyDir": {}}, {}),
    ],
    ids=["configMap", "items", "optional", "secret", "downwardAPI", "projected", "emptyDir"],
)
def test_a_volume_holds_what_it_is_asked_to(
    tmp_path: Path, volume: dict[str, Any], expected: dict[str, str]
) -> None:
    API.tokens = 0
    mounted = mount(tmp_path, make_pod({"name": "v", **volume}), API)

    assert content(mounted.paths["v"]) == expected
    assert ("v" in mounted.read_only) == ("emptyDir" not in volume)


def test_nobody_else_can_look_into_a_pods_folder(tmp_path: Path) -> None:
    mounted = mount(
        tmp_path / "pods", make_pod({"name": "v", "secret": {"secretName": "s", "defaultMode": 0o400}}), API
    )

    assert stat.S_IMODE((tmp_path / "pods" / "u1").stat().st_mode) == 0o700
    assert mounted.paths["v"] == tmp_path / "pods" / "u1" / "volumes" / "kubernetes.io~secret" / "v"
    assert stat.S_IMODE((mounted.paths["v"] / "key").stat().st_mode) == 0o400


def test_a_token_says_when_to_come_again(tmp_path: Path) -> None:
    volume = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}

    assert mount(tmp_path, make_pod(volume), API).refresh_at == 100.0


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "no"}}, 'configmap "no" not found'),
        ({"secret": {"secretName": "no"}}, 'secret "no" not found'),
        (
            {"configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}},
            "references non-existent config key: z",
        ),
        (
            {"secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}},
            "references non-existent secret key: z",
        ),
        ({"persistentVolumeClaim": {"claimName": "no"}}, 'persistentvolumeclaim "no" not found'),
        ({"nfs": {"server": "x"}}, "no volume plugin matched: this node has none for nfs"),
        ({"configMap": {"name": "c", "items": [{"key": "a", "path": "../a"}]}}, "invalid path"),
    ],
)
def test_why_a_volume_is_not_ready(tmp_path: Path, volume: dict[str, Any], message: str) -> None:
    with pytest.raises(VolumeError) as caught:
        mount(tmp_path, make_pod({"name": "v", **volume}), API)

    assert str(caught.value).startswith(f'MountVolume.SetUp failed for volume "v" : {message}')


def test_what_was_only_the_pods_goes_with_it(tmp_path: Path) -> None:
    mounted = mount(tmp_path, make_pod({"name": "v", "emptyDir": {}}), API)
    (mounted.paths["v"] / "file").write_text("x")

    asyncio.run(make_mounter(tmp_path, API).unmount("u1"))

    assert not (tmp_path / "u1" / "volumes").exists()


@needs_root
def test_the_fs_group_owns_the_volume(tmp_path: Path) -> None:
    volumes = ({"name": "e", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}})

    mounted = mount(tmp_path, make_pod(*volumes, securityContext={"fsGroup": 4242}), API)

    assert mounted.paths["e"].stat().st_gid == 4242
    assert mounted.paths["e"].stat().st_mode & 0o2070 == 0o2070
    assert (mounted.paths["c"] / "a").stat().st_gid == 4242


# Claims and host paths


def claim_api(path: Path, *, phase: str = "Bound", uid: str = "c1", **source: Any) -> Api:
    return Api(
        (
            PERSISTENT_VOLUME_CLAIMS,
            "data",
            {
                "metadata": {"name": "data", "uid": "c1"},
                "spec": {"volumeName": "pv"},
                "status": {"phase": phase},
            },
        ),
        (
            PERSISTENT_VOLUMES,
            "pv",
            {
                "metadata": {"name": "pv"},
                "spec": {"claimRef": {"uid": uid}, **(source or {"hostPath": {"path": str(path)}})},
            },
        ),
    )


CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}


def test_a_claim_is_the_directory_of_its_volume(tmp_path: Path) -> None:
    for source in ({"hostPath": {"path": str(tmp_path)}}, {"local": {"path": str(tmp_path)}}):
        mounted = mount(tmp_path / "pods", make_pod(CLAIM), claim_api(tmp_path, **source))
        assert mounted.paths["v"] == tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phase": "Pending"}, "error processing PVC default/data: PVC is not bound"),
        ({"uid": "other"}, "error processing PVC default/data: PV pv is bound to another claim than data"),
        ({"local": {"path": "/proc/no"}}, 'path "/proc/no" does not exist'),
        ({"csi": {}}, "no volume plugin matched: PersistentVolume pv is neither hostPath nor local"),
    ],
)
def test_why_a_claim_is_not_ready(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        mount(tmp_path, make_pod(CLAIM), claim_api(tmp_path, **changes))


def test_host_paths_are_checked_and_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "sock"))
    server.close()

    assert prepare_host_path(str(tmp_path / "any"), "") == str(tmp_path / "any")
    prepare_host_path(str(tmp_path), "Directory")
    prepare_host_path(str(file), "File")
    prepare_host_path(str(tmp_path / "sock"), "Socket")
    prepare_host_path("/dev/null", "CharDevice")
    prepare_host_path(str(tmp_path / "new" / "folder"), "DirectoryOrCreate")
    prepare_host_path(str(tmp_path / "new" / "file"), "FileOrCreate")

    assert (tmp_path / "new" / "folder").is_dir()
    assert (tmp_path / "new" / "file").is_file()


@pytest.mark.parametrize(
    ("name", "type", "words"),
    [
        ("file", "Directory", "is not a directory"),
        ("file", "DirectoryOrCreate", "is not a directory"),
        (".", "File", "is not a file"),
        (".", "Socket", "is not a socket file"),
        ("no", "Directory", "No such file or directory"),
    ],
)
def test_a_host_path_of_another_type_is_refused(tmp_path: Path, name: str, type: str, words: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(VolumeError, match=f"hostPath type check failed: .*{words}"):
        prepare_host_path(str(tmp_path / name), type)


# Sub-paths and mounts


def test_a_subpath_is_made_inside_the_volume(tmp_path: Path) -> None:
    assert resolve_subpath(tmp_path, "a/b") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


def test_a_subpath_follows_links_that_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert resolve_subpath(tmp_path, "link/x") == tmp_path / "real" / "x"


@pytest.mark.parametrize("target", ["/etc", "../outside", "loop"])
def test_a_subpath_never_leaves_the_volume(tmp_path: Path, target: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (tmp_path / "outside").mkdir()
    (volume / "loop").symlink_to(target)

    with pytest.raises(VolumeError, match="is not within the volume path"):
        resolve_subpath(volume, "loop/passwd")


@pytest.mark.parametrize("subpath", ["/etc", "../a", "a/../../b"])
def test_a_subpath_that_points_up_is_refused(tmp_path: Path, subpath: str) -> None:
    with pytest.raises(VolumeError):
        resolve_subpath(tmp_path, subpath)


def test_a_subpath_of_a_config_map_is_one_file(tmp_path: Path) -> None:
    mounted = mount(tmp_path, make_pod({"name": "v", "configMap": {"name": "c"}}), API)
    container = {
        "name": "app",
        "volumeMounts": [{"name": "v", "mountPath": "/etc/a", "subPath": "a"}],
    }

    (found,) = make_mounts(container, mounted, {})

    assert Path(found.host_path).read_text() == "1"
    assert found.read_only


def test_mounts_follow_the_container(tmp_path: Path) -> None:
    mounted = MountedVolumes({"v": tmp_path, "w": tmp_path})
    container = {
        "name": "app",
        "volumeMounts": [
            {"name": "v", "mountPath": "/data/deep", "readOnly": True},
            {
                "name": "w",
                "mountPath": "/data",
                "subPathExpr": "$(POD)",
                "mountPropagation": "HostToContainer",
            },
        ],
    }

    assert make_mounts(container, mounted, {"POD": "web"}) == [
        Mount(str(tmp_path / "web"), "/data", propagation="rslave", within=str(tmp_path)),
        Mount(str(tmp_path), "/data/deep", read_only=True),
    ]


def test_an_unknown_volume_is_refused() -> None:
    container = {"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}

    with pytest.raises(VolumeError, match='cannot find volume "v" to mount into container "app"'):
        make_mounts(container, MountedVolumes(), {})


def test_which_objects_a_pod_shows() -> None:
    volumes = (
        {"name": "a", "configMap": {"name": "c"}},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "p", "projected": {"sources": [{"configMap": {"name": "ca"}}, {"secret": {"name": "s"}}]}},
    )

    assert sources_of(make_pod(*volumes)) == {
        (CONFIG_MAPS, "default", "c"),
        (CONFIG_MAPS, "default", "ca"),
        (SECRETS, "default", "s"),
    }


def test_the_group_of_a_volume_never_reaches_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "outside" / "secret").chmod(0o600)
    volume = tmp_path / "volume"
    (volume / "folder").mkdir(parents=True)
    (volume / "link").symlink_to(tmp_path / "outside" / "secret")
    (volume / "way").symlink_to(tmp_path / "outside")
    set_group(volume, os.getegid())
    assert (tmp_path / "outside" / "secret").stat().st_mode & 0o777 == 0o600
    assert (volume / "folder").stat().st_mode & 0o2070 == 0o2070


# Memory and tokens


@pytest.mark.parametrize(
    ("limit", "container", "size_bytes"),
    [
        (None, {}, 1 << 30),
        ("4Mi", {}, 4 << 20),
        ("4Mi", {"resources": {"limits": {"memory": "2Mi"}}}, 2 << 20),
        ("1Mi", {"resources": {"limits": {"memory": "2Mi"}}}, 1 << 20),
        ("0", {}, 1 << 30),
    ],
    ids=["the node's memory", "its own limit", "the pod's limit", "the smaller one", "0 is no limit"],
)
def test_an_empty_dir_of_memory_is_as_large_as_its_pod_may_use(
    tmp_path: Path, limit: str | None, container: dict[str, Any], size_bytes: int
) -> None:
    api = Api()
    medium = {"medium": "Memory"} | ({"sizeLimit": limit} if limit is not None else {})
    pod = make_pod({"name": "v", "emptyDir": medium}, securityContext={"fsGroup": 7})
    pod["spec"]["containers"] = [{"name": "app", **container}]
    mounted = mount(tmp_path, pod, api)
    assert api.memory == {str(mounted.paths["v"]): (size_bytes, 7)}


def test_a_medium_that_is_not_here_is_refused(tmp_path: Path) -> None:
    pod = make_pod({"name": "v", "emptyDir": {"medium": "HugePages"}})
    with pytest.raises(VolumeError, match="medium 'HugePages' of emptyDir"):
        mount(tmp_path, pod, Api())


@pytest.mark.skipif(os.geteuid() != 0, reason="not on this machine: only root may give files away")
@pytest.mark.parametrize(
    ("security", "of_container", "expected"),
    [
        ({}, {}, (0o644, 0, 0)),
        ({"runAsUser": 1001}, {}, (0o600, 1001, 0)),
        ({"runAsUser": 1001}, {"runAsUser": 1002}, (0o600, 1002, 0)),
        ({"fsGroup": 7}, {}, (0o640, 0, 7)),
        ({"fsGroup": 7, "runAsUser": 1001}, {}, (0o640, 1001, 7)),
    ],
    ids=["for all", "the pod's user", "the container's user", "the group", "both"],
)
def test_a_token_is_for_the_pods_user_or_group_alone(
    tmp_path: Path, security: dict[str, int], of_container: dict[str, int], expected: tuple[int, int, int]
) -> None:
    source = {"serviceAccountToken": {"path": "token"}}
    pod = make_pod({"name": "v", "projected": {"sources": [source]}}, securityContext=security)
    pod["spec"]["containers"] = [{"name": "app", "securityContext": of_container}]
    found = (mount(tmp_path, pod, Api()).paths["v"] / "token").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == expected
