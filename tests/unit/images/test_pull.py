"""An image comes from its registry whole and as it should be, or not at all, whatever the registry does."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proa.images import registry as asking
from proa.images.authentication import parse_challenges
from proa.images.credentials import Credential, InvalidCredentials, find, read_docker_config
from proa.images.errors import (
    Cancelled,
    ImageError,
    ImageNotFound,
    InvalidImage,
    RegistryUnavailable,
    TooLarge,
    Unauthorized,
)
from proa.images.pull import LayerProgress, Pulled, pull
from proa.images.reference import parse
from proa.images.registries import InvalidConfiguration, Registries
from proa.images.store import ImageStore
from proa.images.transport import Stop
from proa.images.workers import Workers
from support.fake_registry import INDEX, MANIFEST, FakeRegistry, serve
from support.images import digest, make_archive


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_DELAY_SECONDS", 0.001)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serve(FakeRegistry()) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def get(store: ImageStore, registry: FakeRegistry, name: str = "app:v1", **options: Any) -> Pulled:
    registries = options.pop("registries", Registries())
    return pull(
        store, registries, parse(f"{registry.host}/{name}"), options.pop("credentials", ()), **options
    )


def test_an_image_comes_with_its_layers_once(store: ImageStore, registry: FakeRegistry) -> None:
    layers = [make_archive({f"f{i}": os.urandom(5000)}) for i in range(5)]
    target = registry.add_image("v1", [*layers, layers[0]], Cmd=["/f1"])
    seen: list[LayerProgress] = []

    image = get(store, registry, watch=seen.append).image

    assert image.tags == (f"{registry.host}/app:v1",)
    assert image.repo_digests == (f"{registry.host}/app@{target}",)
    assert [layer.diff_id for layer in image.layers] == [digest(layer) for layer in (*layers, layers[0])]
    assert {p.digest for p in seen if p.state == "done"} == {digest(layer) for layer in layers}
    assert len([path for path in registry.paths() if "/blobs/" in path]) == 6
    registry.asked.clear()
    assert get(store, registry).image == image
    assert registry.paths() == []  # what the tag means is asked with HEAD, and it is here


def test_a_tag_that_moves_is_followed(store: ImageStore, registry: FakeRegistry) -> None:
    registry.add_image("v1", Cmd=["old"])
    old = get(store, registry).image
    registry.add_image("v1", Cmd=["new"])

    assert get(store, registry).image.config["config"] == {"Cmd": ["new"]}
    assert store.resolve(f"{registry.host}/app@{old.target.digest}") is not None


def test_an_index_gives_this_machines_image(store: ImageStore, registry: FakeRegistry) -> None:
    entries = []
    for system, architecture in (
        ("linux", "s390x"),
        ("windows", "amd64"),
        ("linux", "amd64"),
        ("linux", "arm64"),
    ):
        found = registry.add_image("x", Cmd=[architecture])
        platform = {"os": system, "architecture": architecture}
        size = len(registry.manifests[found][1])
        entries.append({"mediaType": MANIFEST, "digest": found, "size": size, "platform": platform})
    top = registry.add_manifest("v1", INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})

    image = get(store, registry, platform="linux/amd64").image

    assert image.target.digest == top
    assert image.manifest.digest == entries[2]["digest"]
    with pytest.raises(InvalidImage, match=r"no match for platform in manifest: linux/riscv64 .*linux/s390x"):
        get(store, registry, platform="linux/riscv64")


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_download_that_is_cut_goes_on(store: ImageStore, registry: FakeRegistry, has_ranges: bool) -> None:
    layer = make_archive({"f": os.urandom(300_000)})
    registry.add_image("v1", [layer])
    registry.has_ranges = has_ranges
    registry.cuts = {digest(layer): [100_000, 50_000, 1] if has_ranges else [100_000]}

    get(store, registry)

    ranges = [headers.get("Range") for _, path, headers in registry.asked if path.endswith(digest(layer))]
    assert ranges == (
        [None, "bytes=100000-", "bytes=150000-", "bytes=150001-"] if has_ranges else [None, "bytes=100000-"]
    )


def test_a_download_goes_on_where_a_process_before_was_killed(
    store: ImageStore, registry: FakeRegistry
) -> None:
    layer = make_archive({"f": os.urandom(300_000)})
    registry.add_image("v1", [layer])
    (store.incoming / f"{digest(layer)[7:]}.part").write_bytes(layer[:200_000])

    get(store, registry)

    assert "bytes=200000-" in [headers.get("Range") for _, _, headers in registry.asked]
    assert [*store.incoming.iterdir()] == []


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (lambda data: b"x" + data[1:], InvalidImage, "it is not what it should be"),
        (lambda data: data + b"x", TooLarge, "has more than its"),
        (lambda data: data[:-1], RegistryUnavailable, "the connection was cut"),
    ],
    ids=["another", "longer", "shorter"],
)
def test_a_blob_that_is_not_what_it_should_be_is_refused(
    store: ImageStore, registry: FakeRegistry, spoil: Any, kind: type[ImageError], words: str
) -> None:
    layer = make_archive({"f": os.urandom(3000)})
    registry.add_image("v1", [layer])
    registry.blobs[digest(layer)] = spoil(layer)

    with pytest.raises(kind, match=words):
        get(store, registry)

    assert store.images() == []
    assert not store.blobs.has(digest(layer))
    registry.blobs[digest(layer)] = layer
    get(store, registry)  # nothing of what was wrong is left


def test_a_layer_that_is_not_what_the_configuration_says_is_refused(
    store: ImageStore, registry: FakeRegistry
) -> None:
    registry.add_image("v1", [make_archive({"f": b"1"})])
    other = make_archive({"f": b"2"})
    media_type, data = registry.manifests["v1"]
    lied = data.replace(digest(make_archive({"f": b"1"})).encode(), digest(other).encode())
    registry.manifests["v1"] = registry.manifests[digest(lied)] = (media_type, lied)
    registry.blobs[digest(other)] = other

    with pytest.raises(InvalidImage, match="as the image says"):
        get(store, registry)
    assert [*store.layers.all()] == []


def test_a_manifest_with_another_digest_is_refused(store: ImageStore, registry: FakeRegistry) -> None:
    asked = registry.add_image("v1")
    registry.manifests[asked] = registry.manifests[registry.add_image("v2", Cmd=["other"])]

    with pytest.raises(InvalidImage, match="as it should"):
        get(store, registry, f"app@{asked}")


def test_what_fails_for_the_moment_is_tried_again(store: ImageStore, registry: FakeRegistry) -> None:
    registry.add_image("v1")
    registry.busy = [503, 429, 500]
    get(store, registry)
    registry.busy = [503] * 20
    with pytest.raises(RegistryUnavailable, match="503 BUSY: later"):
        get(store, registry, "app:v2")


def test_what_is_not_there_is_said_as_containerd_does(store: ImageStore, registry: FakeRegistry) -> None:
    with pytest.raises(ImageNotFound) as missing:
        get(store, registry)
    name = f"{registry.host}/app:v1"
    assert str(missing.value) == (
        f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {name}: not found'
    )


def test_a_registry_that_is_not_there_is_unavailable(store: ImageStore) -> None:
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1:1: connection refused"):
        pull(store, Registries(), parse("127.0.0.1:1/app"))


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_who_knows_the_password_may_pull(store: ImageStore, registry: FakeRegistry, scheme: str) -> None:
    registry.add_image("v1")
    registry.users, registry.scheme = {"jack": "aye"}, scheme
    known = Credential(registry.host, "jack", "aye", source="uid/default/key")
    wrong = Credential(f"{registry.host}/app", "jack", "nay")

    with pytest.raises(Unauthorized):
        get(store, registry)
    with pytest.raises(Unauthorized):
        get(store, registry, credentials=[wrong])
    registry.asked.clear()
    assert get(store, registry, credentials=[known]).credential == known
    assert len([path for path in registry.paths() if path.startswith("/token")]) == (scheme == "bearer")
    assert get(store, registry, credentials=[known, wrong]).credential == known  # each is tried
    assert "aye" not in repr(known)


def test_a_password_does_not_follow_to_another_host(store: ImageStore, registry: FakeRegistry) -> None:
    registry.add_image("v1")
    registry.users, registry.scheme = {"jack": "aye"}, "basic"
    with serve(FakeRegistry(blobs=registry.blobs)) as elsewhere:
        registry.redirect = f"http://{elsewhere.host}"
        get(store, registry, credentials=[Credential(registry.host, "jack", "aye")])
        assert elsewhere.asked
        assert not any("Authorization" in headers for _, _, headers in elsewhere.asked)


def test_mirrors_come_first_and_the_registry_itself_last(store: ImageStore, registry: FakeRegistry) -> None:
    registry.add_image("v1")
    registries = Registries(
        {"mirrors": {"docker.io": {"endpoint": ["http://127.0.0.1:1", f"http://{registry.host}"]}}}
    )

    image = pull(store, registries, parse("app:v1")).image

    assert image.tags == ("docker.io/library/app:v1",)
    assert all(path.endswith("?ns=docker.io") for path in registry.paths())
    assert [e.url for e in registries.endpoints("docker.io")][-1] == "https://registry-1.docker.io"


@pytest.mark.parametrize("place", ["", "mirror"])
def test_a_mirror_hears_its_own_password_and_not_the_registry_s(
    store: ImageStore, registry: FakeRegistry, place: str
) -> None:
    registry.add_image("v1")
    registry.users, registry.scheme = {"jack": "aye"}, "basic"
    with serve(FakeRegistry(blobs=registry.blobs, manifests=registry.manifests)) as mirror:
        mirror.users, mirror.scheme = {"mirror's": "own"}, "basic"
        configs = {mirror.host: {"auth": {"username": "mirror's", "password": "own"}}} if place else {}
        mirrors = {registry.host: {"endpoint": [f"http://{mirror.host}"]}}
        registries = Registries({"mirrors": mirrors, "configs": configs})
        known = [Credential(registry.host, "jack", "aye")]
        pull(store, registries, parse(f"{registry.host}/app:v1"), known)
        sent = {headers["Authorization"] for _, _, headers in mirror.asked if "Authorization" in headers}
        assert sent == ({"Basic " + base64.b64encode(b"mirror's:own").decode()} if place else set())
        assert bool(registry.asked) is not bool(place)


def test_a_pull_is_called_off_at_once(store: ImageStore, registry: FakeRegistry) -> None:
    layer = make_archive({"f": os.urandom(100_000)})
    registry.add_image("v1", [layer])
    registry.cuts = {digest(layer): [0]}
    stop, failed = Stop(), []

    def work() -> None:
        try:
            get(store, registry, stop=stop)
        except ImageError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert registry.stalled.wait(60)
    stop.set()
    thread.join()

    assert [type(error) for error in failed] == [Cancelled]


def test_several_pulls_of_one_image_download_it_once(store: ImageStore, registry: FakeRegistry) -> None:
    layer = make_archive({"f": os.urandom(500_000)})
    registry.add_image("v1", [layer])
    threads = [threading.Thread(target=get, args=(ImageStore(store.directory), registry)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.resolve(f"{registry.host}/app:v1") is not None
    assert len([path for path in registry.paths() if path.endswith(digest(layer))]) == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"schemaVersion": 1}, "schema 1"),
        ({"layers": None}, "no layers"),
        ({"layers": [{"digest": "sha256:0", "size": 1}]}, "no digest"),
        ({"layers": [{"digest": f"sha256:{'0' * 64}", "size": -1}]}, "size -1"),
        (
            {"layers": [{"mediaType": "text/plain", "digest": f"sha256:{'0' * 64}", "size": 1}]},
            "layers of type",
        ),
        (
            {"config": {"mediaType": "application/wasm", "digest": f"sha256:{'0' * 64}", "size": 1}},
            "no image of a cont",
        ),
        ({"layers": [{}] * 501}, "501 layers"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(
    store: ImageStore, registry: FakeRegistry, spoil: dict[str, Any], words: str
) -> None:
    import json

    registry.add_image("v1")
    document = json.loads(registry.manifests["v1"][1])
    registry.add_manifest("v1", MANIFEST, {**document, **spoil})

    with pytest.raises(ImageError, match=words):
        get(store, registry)


@pytest.mark.parametrize(
    ("place", "image", "fits"),
    [
        ("https://index.docker.io/v1/", "nginx", True),
        ("docker.io", "team/app", True),
        ("ghcr.io", "nginx", False),
        ("ghcr.io", "ghcr.io/team/app", True),
        ("ghcr.io/team", "ghcr.io/team/app", True),
        ("ghcr.io/tea", "ghcr.io/team/app", False),
        ("*.corp.test", "eu.corp.test/app", True),
        ("*.corp.test", "a.b.corp.test/app", False),
        ("corp.test:5000", "corp.test/app", False),
        ("https://corp.test:5000/v2/", "corp.test:5000/app", True),
    ],
)
def test_which_credentials_are_for_an_image(place: str, image: str, fits: bool) -> None:
    assert bool(find([Credential(place, "u")], parse(image))) == fits


def test_the_longest_path_is_tried_first() -> None:
    found = find([Credential("ghcr.io", "a"), Credential("ghcr.io/team", "b")], parse("ghcr.io/team/app"))
    assert [one.username for one in found] == ["b", "a"]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"auths": 1}', '{"auths": {"a": {"auth": "%"}}}', '{"auths": {"a": {"auth": "YQ=="}}}'],
)
def test_credentials_that_make_no_sense_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(InvalidCredentials) as refused:
        read_docker_config(text)
    assert "YQ" not in str(refused.value)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"mirror": {}}, "mirror is not known, only configs, mirrors"),
        ({"mirrors": {"docker.io": {"endpoint": ["mirror:5000"]}}}, "must begin with https:// or http://"),
        ({"mirrors": {"docker.io": {"endpoint": "x"}}}, "must be a list of URLs"),
        ({"configs": {"a": {"tls": {"insecure": True}}}}, "configs.a.tls: insecure is not known"),
        ([], "must be a mapping"),
    ],
)
def test_a_configuration_that_cannot_be_understood_is_refused(document: Any, words: str) -> None:
    with pytest.raises(InvalidConfiguration, match=words):
        Registries(document)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t",service="b c",scope="repository:x:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "b c", "scope": "repository:x:pull,push"})],
        ),
        ('Negotiate, Basic realm="a\\"b"', [("negotiate", {}), ("basic", {"realm": 'a"b'})]),
        ("", []),
    ],
)
def test_challenges_are_read(text: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(text) == expected


def test_unpacking_is_called_off_too(
    store: ImageStore, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add_image("v1")
    stop, begun, failed = Stop(), threading.Event(), []
    real = Workers.run

    def run(self: Workers, job: str, **arguments: Any) -> Any:
        if job == "unpack":
            pipe = store.incoming / "pipe"
            os.mkfifo(pipe)
            begun.set()
            return real(self, job, **{**arguments, "blob": "pipe"})  # nobody ever writes to it
        return real(self, job, **arguments)

    def work() -> None:
        try:
            get(store, registry, stop=stop)
        except ImageError as error:
            failed.append(error)

    monkeypatch.setattr(Workers, "run", run)
    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    while thread.is_alive():  # the worker may not have its job yet
        stop.set()
        thread.join(0.05)

    assert [type(error) for error in failed] == [Cancelled]
