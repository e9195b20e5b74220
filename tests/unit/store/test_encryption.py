"""What is encrypted at rest: on disk and in etcd never readable, in memory as it is, with errors that name the key."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import yaml
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import User
from proa.objects.resource import NAMESPACES, SECRETS
from proa.store.choice import open_store
from proa.store.encryption import read_encryption_config
from proa.store.log import LogStore
from proa.store.protocol import CannotOpen, Store
from proa.store.transformer import CannotDecrypt, Plain

KEY = "/registry/core/secrets/default/x"
ONE, TWO = bytes(range(32)), bytes(range(32, 64))


def write_config(
    folder: Path, *providers: object, resources: tuple[str, ...] = ("secrets",), name: str = "c"
) -> Path:
    path = folder / f"{name}.yaml"
    document = {
        "kind": "EncryptionConfiguration",
        "apiVersion": "apiserver.config.k8s.io/v1",
        "resources": [{"resources": list(resources), "providers": list(providers)}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def provider(kind: str, *keys: tuple[str, bytes]) -> dict[str, object]:
    return {kind: {"keys": [{"name": n, "secret": base64.b64encode(s).decode()} for n, s in keys]}}


IDENTITY: dict[str, object] = {"identity": {}}


@pytest.mark.parametrize("kind", ["aesgcm", "aescbc", "secretbox"])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 5000])
def test_what_is_sealed_opens_again_and_never_looks_the_same(tmp_path: Path, kind: str, size: int) -> None:
    transformer = read_encryption_config(write_config(tmp_path, provider(kind, ("k1", ONE))))
    value = b"v" * size
    sealed = transformer.seal(KEY, value)
    assert sealed.startswith(f"k8s:enc:{kind}:v1:k1:".encode())
    assert size < 10 or value[:10] not in sealed
    assert transformer.seal(KEY, value) != sealed
    assert transformer.open(KEY, sealed) == (value, False)


@pytest.mark.parametrize("kind", ["aesgcm", "secretbox"])
def test_a_changed_value_is_refused(tmp_path: Path, kind: str) -> None:
    transformer = read_encryption_config(write_config(tmp_path, provider(kind, ("k1", ONE))))
    sealed = transformer.seal(KEY, b"value")
    with pytest.raises(CannotDecrypt, match=rf'{KEY} cannot be decrypted with {kind}, key "k1" of .*c\.yaml'):
        transformer.open(KEY, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(CannotDecrypt):
        transformer.open(KEY, sealed[: len(f"k8s:enc:{kind}:v1:k1:") + 3])


def test_aesgcm_is_upstreams_format_and_binds_a_value_to_its_key(tmp_path: Path) -> None:
    transformer = read_encryption_config(write_config(tmp_path, provider("aesgcm", ("k1", ONE))))
    nonce = bytes(12)
    made = b"k8s:enc:aesgcm:v1:k1:" + nonce + AESGCM(ONE).encrypt(nonce, b"value", KEY.encode())
    assert transformer.open(KEY, made) == (b"value", False)
    with pytest.raises(CannotDecrypt):
        transformer.open(KEY + "2", made)


@pytest.mark.parametrize(("asked", "key", "is_sealed"), [
    ("secrets", "/registry/core/secrets/d/x", True), ("secrets", "/registry/core/configmaps/d/x", False),
    ("secrets", "/registry/example.com/secrets/d/x", False),
    ("deployments.apps", "/registry/apps/deployments/d/x", True),
    ("*.apps", "/registry/apps/deployments/d/x", True), ("*.apps", "/registry/batch/jobs/d/x", False),
    ("*.", "/registry/core/pods/d/x", True), ("*.", "/registry/apps/deployments/d/x", False),
    ("*.*", "/registry/example.com/widgets/x", True), ("secrets", "odd", False),
])  # fmt: skip
def test_resources_are_named_as_upstream_does(tmp_path: Path, asked: str, key: str, is_sealed: bool) -> None:
    path = write_config(tmp_path, provider("aesgcm", ("k", ONE)), resources=(asked,))
    assert (read_encryption_config(path).seal(key, b"v") != b"v") == is_sealed


SECRET_WORDS = "c2VjcmV0"


@pytest.mark.parametrize(("text", "words"), [
    ("{", "not YAML"), ("a: 'c2VjcmV0", "not YAML"), ("kind: 2024-99-99", "not YAML"), ("[" * 5000, "not YAML"),
    ("[]", 'kind: must be "EncryptionConfiguration"'),
    ("kind: EncryptionConfiguration\napiVersion: v1", "apiVersion: must be"),
    ("kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1", "resources: at least one"),
])  # fmt: skip
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(CannotOpen, match=words) as refused:
        read_encryption_config(path)
    assert SECRET_WORDS not in str(refused.value)


@pytest.mark.parametrize(("providers", "resources", "words"), [
    ((), ("secrets",), r"resources\[0\]\.providers: at least one"),
    ((IDENTITY,), (), r"resources\[0\]\.resources: at least one"),
    ((IDENTITY,), ("*",), r"is not allowed"), ((IDENTITY,), ("Secrets",), "is no resource"),
    (({"kms": {}},), ("secrets",), "'kms' is not served"), (({},), ("secrets",), "exactly one of"),
    (({"aesgcm": {}},), ("secrets",), r"providers\[0\]\.aesgcm\.keys: at least one"),
    ((provider("aesgcm", ("k", b"short")),), ("secrets",), r"keys\[0\]\.secret: must be 16 or 24 or 32 bytes.* is 5"),
    ((provider("secretbox", ("k", bytes(16))),), ("secrets",), "must be 32 bytes"),
    (({"aesgcm": {"keys": [{"name": "k", "secret": "c2VjcmV0!"}]}},), ("secrets",), "must be base64"),
    ((provider("aesgcm", ("a:b", ONE)),), ("secrets",), "have no colon"),
    ((provider("aesgcm", ("k", ONE), ("k", TWO)),), ("secrets",), "is there twice"),
])  # fmt: skip
def test_each_mistake_is_named_by_its_field_and_no_secret_is_shown(
    tmp_path: Path, providers: tuple[object, ...], resources: tuple[str, ...], words: str
) -> None:
    with pytest.raises(CannotOpen, match=words) as refused:
        read_encryption_config(write_config(tmp_path, *providers, resources=resources))
    assert SECRET_WORDS not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match=r"none\.yaml: No such file"):
        read_encryption_config(tmp_path / "none.yaml")


def in_log(folder: Path, config: Path | None, body: Callable[[LogStore], object]) -> None:
    """Run `body` on the log in `folder`, opened with a configuration."""

    async def main() -> None:
        store = LogStore(folder, transformer=read_encryption_config(config) if config else None)
        try:
            result = body(store)
            if asyncio.iscoroutine(result):
                await result
        finally:
            await store.close()

    asyncio.run(main())


def test_the_log_has_no_word_of_what_is_encrypted_compacted_or_deleted(tmp_path: Path) -> None:
    config = write_config(tmp_path, provider("aesgcm", ("k1", ONE)))

    async def write(store: LogStore) -> None:
        await store.put(KEY, lambda _: b"hush hush")
        await store.put("/registry/core/configmaps/default/x", lambda _: b"loud and clear")
        await store.put(KEY + "2", lambda _: b"hush")
        await store.delete(KEY + "2", lambda _: b"hush hush, gone")
        await store.compact(store.revision)
        assert store.get(KEY).value == b"hush hush"  # type: ignore[union-attr]

    def read(store: LogStore) -> None:
        assert store.get(KEY).value == b"hush hush"  # type: ignore[union-attr]
        assert not store.is_stale(KEY)

    folder = tmp_path / "store"
    in_log(folder, config, write)
    data = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"loud and clear" in data
    assert b"hush" not in data
    in_log(folder, config, read)


def test_a_wrong_key_is_told_of_when_the_server_starts_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    right = write_config(tmp_path, provider("aesgcm", ("k1", ONE)), name="right")
    in_log(folder, right, lambda store: store.put(KEY, lambda _: b"value"))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for config, words in (
        (write_config(tmp_path, provider("aesgcm", ("k1", TWO)), name="other"), "the key has another secret"),
        (write_config(tmp_path, provider("aesgcm", ("k2", ONE)), name="renamed"), 'key "k1".*add that key'),
        (None, "start it with --encryption-config FILE"),
    ):
        with pytest.raises(CannotDecrypt, match=words) as refused:
            asyncio.run(open_store("", folder, "", str(config or "")))
        assert KEY in str(refused.value)
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
    in_log(folder, right, lambda store: store.get(KEY))


def test_what_is_not_encrypted_is_read_only_where_identity_is_a_provider(tmp_path: Path) -> None:
    strict = read_encryption_config(write_config(tmp_path, provider("aesgcm", ("k1", ONE))))
    with pytest.raises(CannotDecrypt, match="is not encrypted"):
        strict.open(KEY, b"plain")
    lenient = read_encryption_config(write_config(tmp_path, provider("aesgcm", ("k1", ONE)), IDENTITY))
    assert lenient.open(KEY, b"plain") == (b"plain", True)
    assert Plain().open(KEY, b"plain") == (b"plain", False)


def make_client(store: Store) -> ApiClient:
    return ApiClient(
        LocalTransport(ApiServer(store, DEFINITIONS).handle, User("a", ("system:masters",))), "test"
    )


def test_a_replace_that_changes_nothing_writes_with_the_new_key(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    secret = {"metadata": {"name": "x"}, "data": {"k": "aHVzaA=="}}

    async def create(store: LogStore) -> None:
        client = make_client(store)
        await client.create(NAMESPACES, {"metadata": {"name": "default"}})
        await client.create(SECRETS, secret, "default")

    async def replace(store: LogStore) -> None:
        client = make_client(store)
        found = await client.get(SECRETS, "x", "default")
        written = await client.update(SECRETS, found)
        assert written["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]
        again = await client.update(SECRETS, written)
        assert again == written, "once it is written anew, nothing is to be done"

    async def read(store: LogStore) -> None:
        found = await make_client(store).get(SECRETS, "x", "default")
        assert found["data"] == secret["data"]
        assert orjson.loads(store.get(KEY).value) == found  # type: ignore[union-attr]

    in_log(folder, None, create)
    first = provider("aescbc", ("k1", ONE))
    in_log(folder, write_config(tmp_path, first, IDENTITY), replace)
    in_log(folder, write_config(tmp_path, provider("aesgcm", ("k2", TWO)), first), replace)
    in_log(folder, write_config(tmp_path, provider("aesgcm", ("k2", TWO))), read)
