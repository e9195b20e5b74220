"""Each scheme finds a model's files: buckets, the hub, registries, Git, MLflow."""

from __future__ import annotations

import hashlib
import io
import ipaddress
import json
import os
import platform
import shutil
import ssl
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from proa.ml.serving.storage.fetching import Budget, fetch
from proa.ml.serving.storage.pieces import StorageError, Surroundings
from proa.ml.serving.storage.sources import find
from proa.ml.serving.storage.store import Store
from support.etcd import free_port
from support.file_server import Answer, Asked, FileServer, run_file_server
from support.sdk_venvs import TORCH, VENVS, make_sdk_venv
from support.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS, open_bucket, run_seaweedfs

FILES = {"config.json": b"{}", "sub/model.safetensors": bytes(range(256)) * 4096}


@pytest.fixture
def server() -> Iterator[FileServer]:
    with run_file_server() as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def get(uri: str, store: Store, env: Mapping[str, str]) -> dict[str, bytes]:
    model = find(uri, Surroundings(env), wait=lambda _: None)
    files = fetch(model, store, Budget(1 << 30, lambda _: None), wait=lambda _: None)
    return {one.path: store.blob(one.sha256).read_bytes() for one in files}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


# buckets


@pytest.fixture(scope="module")
def weed() -> Iterator[SeaweedFS]:
    import obstore

    with run_seaweedfs() as started:
        started.make_bucket("models")
        bucket = open_bucket(started.endpoint, "models")
        for path, data in FILES.items():
            obstore.put(bucket, f"iris/1/{path}", data)
        obstore.put(bucket, "iris/10/other", b"x")
        obstore.put(bucket, "packed/model.tar.gz", make_layer({"a": b"1"}))
        yield started


def keys_of(weed: SeaweedFS, **more: str) -> dict[str, str]:
    known = {"AWS_ENDPOINT_URL": f"http://{weed.endpoint}", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**known, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, **more}


def test_a_buckets_folder_an_object_and_an_archive(weed: SeaweedFS, store: Store) -> None:
    env = keys_of(weed)
    assert get("s3://models/iris/1", store, env) == FILES
    assert get("s3://models/iris/1/", store, env) == FILES
    assert get("s3://models/iris/1/config.json", store, env) == {"config.json": b"{}"}
    assert get("s3://models/packed", store, env) == {"a": b"1"}


def test_a_key_of_the_secret_storage_config_says_where_and_as_whom(weed: SeaweedFS, store: Store) -> None:
    said = {"type": "s3", "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "us-east-1"}
    env = {
        "STORAGE_CONFIG": json.dumps({**said, "endpoint_url": "http://wrong"}),
        "STORAGE_OVERRIDE_CONFIG": json.dumps({"endpoint_url": f"http://{weed.endpoint}"}),
    }
    assert get("s3://models/iris/10", store, env) == {"other": b"x"}


def test_an_object_is_not_fetched_again_while_its_tag_stays(weed: SeaweedFS, store: Store) -> None:
    import obstore

    bucket = open_bucket(weed.endpoint, "models")
    obstore.put(bucket, "changing/model", b"1")
    assert get("s3://models/changing", store, keys_of(weed)) == {"model": b"1"}
    piece = find("s3://models/changing", Surroundings(keys_of(weed))).pieces[0]
    obstore.put(bucket, "changing/model", b"2")
    with pytest.raises(StorageError, match=r"Precondition|412"):
        list(piece.open(0).chunks)
    assert get("s3://models/changing", store, keys_of(weed)) == {"model": b"2"}


@pytest.mark.parametrize(
    ("uri", "env", "words"),
    [
        ("s3://models/none", {}, "No model found in s3://models/none: neither an object nor anything below"),
        ("s3://models/iris", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "Access denied to .*do the secret's keys belong"),
        ("s3://models/iris", {"AWS_ACCESS_KEY_ID": ""}, "Access denied to .*without cred"),
        ("s3://models/iris", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "does the endpoint answer from here"),
        ("s3://models/iris", {"AWS_CA_BUNDLE": "/nowhere.crt"}, "Failed to find ca bundle file"),
    ],
    ids=["nothing", "wrong key", "anonymous", "nobody", "no bundle"],
)  # fmt: skip
def test_a_bucket_that_gives_nothing_says_why(
    uri: str, env: dict[str, str], words: str, weed: SeaweedFS, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proa.ml.serving.storage.objects.RETRY_SECONDS", 0)
    with pytest.raises(StorageError, match=words) as caught:
        get(uri, store, keys_of(weed, **env))
    assert SECRET_KEY not in str(caught.value)


def serve_bucket(server: FileServer, objects: Mapping[str, bytes]) -> None:
    """Speak what S3's and Google's XML have in common, for the bucket `models`."""

    def route(asked: Asked) -> Answer:
        key = asked.path.removeprefix("/models").lstrip("/")
        if key in objects:
            data = objects[key]
            start = int(asked.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
            headers = {"ETag": f'"{sha256(data)}"', "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return (206 if start else 200), headers, data[start:]
        if key:
            return 404, {}, b""
        prefix = dict(parse_qsl(asked.query)).get("prefix", "")
        rows = [
            f"<Contents><Key>{name}</Key><Size>{len(data)}</Size><ETag>{sha256(data)}</ETag>"
            "<LastModified>2026-11-22T10:00:00Z</LastModified></Contents>"
            for name, data in objects.items()
            if name.startswith(prefix)
        ]
        return 200, {}, f"<ListBucketResult>{''.join(rows)}</ListBucketResult>".encode()

    server.routes["/models"] = route


def test_a_bucket_of_google(server: FileServer, store: Store, tmp_path: Path) -> None:
    serve_bucket(server, {f"iris/{path}": data for path, data in FILES.items()})
    key = {
        "gcs_base_url": server.url,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    (tmp_path / "key.json").write_text(json.dumps(key))
    server.break_after = [500_000]
    assert get("gs://models/iris", store, {"GOOGLE_APPLICATION_CREDENTIALS": f"{tmp_path}/key.json"}) == FILES


def test_a_server_is_trusted_by_the_ca_that_is_named_and_by_no_other(store: Store, tmp_path: Path) -> None:
    tls, bundle = make_tls(tmp_path)
    with run_file_server(tls) as server:
        server.files["/file"] = b"1"
        serve_bucket(server, {"iris/model": b"2"})
        s3 = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        named = {"CA_BUNDLE_CONFIGMAP_NAME": "ca", "CA_BUNDLE_VOLUME_MOUNT_POINT": str(bundle.parent)}
        assert get(f"{server.url}/file", store, named) == {"file": b"1"}
        assert get("s3://models/iris", store, {**s3, "AWS_CA_BUNDLE": str(bundle)}) == {"model": b"2"}
        assert get("s3://models/iris", store, {**s3, "S3_VERIFY_SSL": "0"}) == {"model": b"2"}
        with pytest.raises(StorageError, match="its certificate is not trusted"):
            get(f"{server.url}/file", store, {})


def make_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's side of TLS for 127.0.0.1, and the file of the CA that signed it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)

    def sign(name: str, key: Any, issuer: str, by: Any, *, is_ca: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
            )
        )
        if not is_ca:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(by, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = sign("tests' CA", ca_key, "tests' CA", ca_key, is_ca=True)
    own = sign("server", key, "tests' CA", ca_key, is_ca=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + own.public_bytes(pem))
    (folder / "ca").mkdir()
    bundle = folder / "ca" / "cabundle.crt"
    bundle.write_bytes(ca.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, bundle


# the hub


def serve_hub(server: FileServer, *, token: str = "") -> None:
    """Speak the hub's API for one model, org/model, with one commit on main and v1."""
    commit = "c0ffee" + "0" * 34

    def route(asked: Asked) -> Answer:
        if token and asked.headers.get("Authorization") != f"Bearer {token}":
            return as_json({"error": "Access to model org/model is restricted."}, 401)
        path = asked.path.removeprefix("/api/models/org/model/")
        if path in ("revision/main", "revision/v1", f"revision/{commit}"):
            siblings = [{"rfilename": name} for name in FILES]
            return as_json({"id": "org/model", "sha": commit, "siblings": siblings})
        if path.startswith(f"tree/{commit}"):
            if "cursor=2" in asked.query:
                return as_json([entry("sub/model.safetensors")])
            following = f'<{server.url}/api/models/org/model/tree/{commit}?cursor=2>; rel="next"'
            return as_json(
                [{"type": "directory", "path": "sub", "oid": "0", "size": 0}, entry("config.json")],
                Link=following,
            )
        found = asked.path.removeprefix(f"/org/model/resolve/{commit}/")
        if found in FILES:
            start = int(asked.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
            headers = {"X-Repo-Commit": commit, "ETag": f'"{sha256(FILES[found])}"', "Accept-Ranges": "bytes"}
            return (206 if start else 200), headers, FILES[found][start:]
        return as_json({"error": "Repository not found"}, 404)

    def entry(name: str) -> dict[str, Any]:
        data = FILES[name]
        found: dict[str, Any] = {"type": "file", "path": name, "size": len(data)}
        found["oid"] = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
        if name.endswith(".safetensors"):
            found["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
        return found

    server.routes["/"] = route


@pytest.mark.parametrize("uri", ["hf://org/model", "hf://org/model:v1", "hf://org/model@main"])
def test_a_model_of_the_hub(uri: str, server: FileServer, store: Store) -> None:
    serve_hub(server, token="t")
    server.break_after = [500_000]
    assert get(uri, store, {"HF_ENDPOINT": server.url, "HF_TOKEN": "t"}) == FILES
    asked = len(server.asked)
    assert get(uri, store, {"HF_ENDPOINT": server.url, "HF_TOKEN": "t"}) == FILES
    assert not any("/resolve/" in one.path for one in server.asked[asked:])


@pytest.mark.timeout(900)
def test_the_hubs_own_client_gets_the_same_of_this_server(server: FileServer, tmp_path: Path) -> None:
    if not (VENVS / "torch").exists():
        pytest.skip("not on this machine: no .venvs/torch")
    python = make_sdk_venv("torch", TORCH)  # it may be about to be made
    serve_hub(server, token="t")
    program = (
        "import sys; from huggingface_hub import HfApi, hf_hub_url\n"
        "api = HfApi(endpoint=sys.argv[1], token='t')\n"
        "commit = api.model_info('org/model', revision='main').sha\n"
        "found = api.list_repo_tree('org/model', revision=commit, recursive=True)\n"
        "for one in sorted(found, key=lambda one: one.path):\n"
        "    print(one.path, getattr(one, 'size', None), getattr(getattr(one, 'lfs', None), 'sha256', None))\n"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [str(python), "-c", program, server.url], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    digest = sha256(FILES["sub/model.safetensors"])
    assert done.stdout.splitlines() == [
        "config.json 2 None",
        "sub None None",
        f"sub/model.safetensors 1048576 {digest}",
    ]


@pytest.mark.parametrize(
    ("uri", "env", "words"),
    [
        ("hf://org/model", {}, "HuggingFace authentication failed for org/model .*it needs HF_TOKEN"),
        ("hf://org/other", {"HF_TOKEN": "t"}, "HuggingFace resource 'org/other' not found"),
        ("hf://org/model:v9", {"HF_TOKEN": "t"}, "has no revision 'v9'"),
        ("hf://a/b/c", {}, "Invalid Hugging Face URI format"),
        ("hf://a/", {}, "HuggingFace"),
        ("hf://a/:x", {}, "Invalid Hugging Face URI format"),
    ],
)
def test_a_model_that_the_hub_does_not_give(
    uri: str, env: dict[str, str], words: str, server: FileServer, store: Store
) -> None:
    serve_hub(server, token="t")
    with pytest.raises(StorageError, match=words):
        get(uri, store, {"HF_ENDPOINT": server.url, **env})


def test_a_file_that_is_not_what_the_hub_says_is_refused(server: FileServer, store: Store) -> None:
    serve_hub(server)
    honest = server.routes.pop("/")

    def lying(asked: Asked) -> Answer:
        status, headers, body = honest(asked)
        return status, headers, body.replace(b"{}", b"[]") if "resolve" in asked.path else body

    server.routes["/"] = lying
    with pytest.raises(StorageError, match=r"config\.json is not what it should be"):
        get("hf://org/model", store, {"HF_ENDPOINT": server.url})


# registries


def make_layer(members: Mapping[str, bytes], kind: str = "gz") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz" if kind == "gz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    if kind == "zstd":
        from backports import zstd

        return zstd.compress(data.getvalue())
    return data.getvalue()


def serve_registry(
    server: FileServer, layers: list[dict[str, Any]], blobs: list[bytes], *, token: str = ""
) -> str:
    """Speak the distribution API for team/iris:1, an index; return the image's digest."""
    manifest = json.dumps(
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers}
    ).encode()
    digest = f"sha256:{sha256(manifest)}"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    entries = [
        {"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": digest, "platform": {"os": "linux", "architecture": machine}},
    ]
    index = {"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    stored = {f"sha256:{sha256(blob)}": blob for blob in blobs}

    def route(asked: Asked) -> Answer:
        if asked.path == "/token":
            return as_json({"token": token if "scope=repository%3Ateam%2Firis%3Apull" in asked.query else ""})
        if token and asked.headers.get("Authorization") != f"Bearer {token}":
            challenge = f'Bearer realm="{server.url}/token",service="here"'
            return 401, {"WWW-Authenticate": challenge}, b""
        kind, _, name = asked.path.removeprefix("/v2/team/iris/").partition("/")
        if (kind, name) == ("manifests", "1"):
            return as_json(index)
        if (kind, name) == ("manifests", digest):
            return 200, {}, manifest
        return (200, {}, stored[name]) if kind == "blobs" and name in stored else as_json({"errors": []}, 404)

    server.routes["/"] = route
    return digest


def layer_of(
    blob: bytes, media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip", **about: Any
) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256(blob)}", "size": len(blob), **about}


def test_an_images_models_are_what_its_layers_make_together(server: FileServer, store: Store) -> None:
    blobs = [
        make_layer({"etc/passwd": b"root", "models/a": b"1", "models/sub/b": b"2", "models/old/c": b"3"}),
        make_layer({"models/.wh.a": b"", "models/old/.wh..wh..opq": b"", "models/old/d": b"4"}, "zstd"),
        make_layer({"models/sub/b": b"5"}, "tar"),
    ]
    kinds = ["tar+gzip", "tar+zstd", "tar"]
    layers = [
        layer_of(blob, f"application/vnd.oci.image.layer.v1.{kind}")
        for blob, kind in zip(blobs, kinds, strict=True)
    ]
    digest = serve_registry(server, layers, blobs, token="t")
    host = server.url.removeprefix("http://")
    for uri in (f"oci://{host}/team/iris:1", f"oci+fetch://{host}/team/iris@{digest}"):
        assert get(uri, store, {}) == {"sub/b": b"5", "old/d": b"4"}
    assert find(f"oci://{host}/team/iris:1", Surroundings({})).resolved == f"oci://{host}/team/iris@{digest}"


def test_an_artifacts_files_have_their_titles(server: FileServer, store: Store) -> None:
    title = {"annotations": {"org.opencontainers.image.title": "model.onnx"}}
    serve_registry(server, [layer_of(b"onnx", "application/octet-stream", **title)], [b"onnx"])
    assert get(f"oci://{server.url[7:]}/team/iris:1", store, {}) == {"model.onnx": b"onnx"}


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("team/iris:2", r"the registry has no .*/team/iris:2 \("),
        ("team/iris@sha256:" + "1" * 64, "the registry has no"),
        ("Team/iris", "Invalid OCI URI"),
    ],
)
def test_an_image_that_a_registry_does_not_have(
    reference: str, words: str, server: FileServer, store: Store
) -> None:
    serve_registry(server, [], [])
    with pytest.raises(StorageError, match=words):
        get(f"oci://{server.url[7:]}/{reference}", store, {})


def test_an_image_without_models_and_one_with_other_bytes(server: FileServer, store: Store) -> None:
    blob = make_layer({"other/a": b"1"})
    serve_registry(server, [layer_of(blob)], [blob])
    with pytest.raises(StorageError, match=r"No model found in .* below models/"):
        get(f"oci://{server.url[7:]}/team/iris:1", store, {})
    blob, other = make_layer({"models/a": b"1"}), make_layer({"models/a": b"2"})
    serve_registry(server, [layer_of(blob)], [blob])
    honest = server.routes.pop("/")
    server.routes["/"] = lambda asked: (200, {}, other) if "blobs" in asked.path else honest(asked)
    with pytest.raises(StorageError, match="is not what it should be"):
        get(f"oci://{server.url[7:]}/team/iris:1", store, {})


# Git


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve a repository by git's own daemon; return its URL, and commits by name."""
    if shutil.which("git") is None:
        pytest.skip("not on this machine: no git")
    root = tmp_path_factory.mktemp("git")
    work = root / "work"

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example", "-c", "init.defaultBranch=main"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=work, check=True, capture_output=True, text=True
        ).stdout.strip()

    work.mkdir()
    git("init")
    (work / "model.txt").write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    git("tag", "-a", "v1", "-m", "one")
    commits = {"v1": git("rev-parse", "HEAD")}
    (work / "model.txt").write_text("2")
    git("commit", "-am", "two")
    commits["main"] = git("rev-parse", "HEAD")
    git("checkout", "-b", "large")
    (work / "big.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    git("add", ".")
    git("commit", "-m", "large")
    git("checkout", "main")
    subprocess.run(
        ["git", "clone", "-q", "--bare", str(work), str(root / "served.git")], check=True, capture_output=True
    )
    subprocess.run(
        ["git", "-C", str(root / "served.git"), "config", "uploadpack.allowAnySHA1InWant", "true"], check=True
    )
    port = free_port()
    command = ["git", "daemon", f"--port={port}", "--listen=127.0.0.1", f"--base-path={root}", "--export-all"]
    daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield f"git://127.0.0.1:{port}/served.git", {**commits, "folder": str(root)}
    finally:
        daemon.terminate()
        daemon.wait()


def wait_for_port(port: int) -> None:
    import socket
    import time

    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


@pytest.mark.parametrize(
    ("revision", "text"), [("", b"2"), ("@main", b"2"), ("@v1", b"1"), ("@COMMIT", b"1")]
)
def test_a_revision_of_a_repository(
    revision: str, text: bytes, repository: tuple[str, dict[str, str]], store: Store
) -> None:
    url, commits = repository
    assert get(url + revision.replace("COMMIT", commits["v1"]), store, os.environ) == {"model.txt": text}


def test_a_repository_by_http_is_asked_as_whom_the_environment_says(
    repository: tuple[str, dict[str, str]], server: FileServer, store: Store
) -> None:
    def backend(asked: Asked) -> Answer:
        """Have git's own program answer, as a web server does (CGI)."""
        if asked.headers.get("Authorization") != "Basic bWU6cGFzcw==":
            return 401, {"WWW-Authenticate": 'Basic realm="git"'}, b""
        env = {**os.environ, "GIT_PROJECT_ROOT": repository[1]["folder"], "GIT_HTTP_EXPORT_ALL": "1"}
        env |= {"PATH_INFO": asked.path, "QUERY_STRING": asked.query, "REQUEST_METHOD": asked.method}
        env |= {"CONTENT_TYPE": asked.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(asked.body))}
        env |= {"HTTP_CONTENT_ENCODING": asked.headers.get("Content-Encoding", "")}
        env |= {"GIT_PROTOCOL": asked.headers.get("Git-Protocol", ""), "REMOTE_USER": "me"}
        done = subprocess.run(
            ["git", "http-backend"], input=asked.body, env=env, capture_output=True, check=True
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        return int(headers.pop("Status", "200 OK").split()[0]), headers, body

    server.routes["/served.git"] = backend
    uri = f"git+{server.url}/served.git@main"
    right = {**os.environ, "GIT_USERNAME": "me", "GIT_PASSWORD": "pass"}
    assert get(uri, store, right) == {"model.txt": b"2"}
    with pytest.raises(StorageError, match=r"Git authentication failed for .*: set GIT_USERNAME"):
        get(uri, store, os.environ)
    with pytest.raises(StorageError, match="do GIT_USERNAME and GIT_PASSWORD belong to it"):
        get(uri, store, {**right, "GIT_PASSWORD": "wrong"})


def test_a_repository_that_gives_nothing_says_why(
    repository: tuple[str, dict[str, str]], store: Store
) -> None:
    url, _ = repository
    with pytest.raises(StorageError, match="has no branch or tag 'v9'"):
        get(f"{url}@v9", store, os.environ)
    with pytest.raises(StorageError, match=r"git://127.*nothing\.git"):
        get(url.replace("served", "nothing"), store, os.environ)
    with pytest.raises(StorageError, match=r"big\.bin is in Git LFS"):
        get(f"{url}@large", store, os.environ)


@pytest.mark.parametrize(
    "uri",
    [
        "git+https://h/x.git@--upload-pack=touch",
        "git+https://h/x.git@a..b",
        "git+https:///x",
        "git+https://h",
    ],
)
def test_what_git_would_take_for_an_option_is_refused(uri: str, store: Store) -> None:
    with pytest.raises(StorageError):
        get(uri, store, os.environ)


# MLflow


def serve_mlflow(server: FileServer) -> None:
    """Answer as MLflow 3.17's server does."""
    version = {"name": "iris", "version": "2", "source": "models:/m-1", "current_stage": "None"}
    base = "/api/2.0/mlflow"

    def route(asked: Asked) -> Answer:
        if asked.headers.get("Authorization") != "Bearer t":
            return as_json({"error_code": "UNAUTHENTICATED", "message": "You are not authenticated."}, 401)
        path, query = asked.path, asked.query
        if path == f"{base}/registered-models/alias":
            if "alias=champion" in query and "name=iris" in query:
                return as_json({"model_version": version})
            return as_json(
                {"error_code": "INVALID_PARAMETER_VALUE", "message": "Registered model alias x not found."},
                400,
            )
        if path == f"{base}/registered-models/get-latest-versions":
            return as_json({"model_versions": [version]} if "stages=Production" in query else {})
        if path == f"{base}/model-versions/search":
            return as_json({"model_versions": [version]})
        if path == f"{base}/model-versions/get-download-uri":
            if "version=2" not in query:
                return as_json(
                    {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "Model Version not found"}, 404
                )
            return as_json({"artifact_uri": "models:/m-1"})
        if path == f"{base}/logged-models/m-1":
            return as_json({"model": {"info": {"artifact_uri": "mlflow-artifacts:/1/models/m-1/artifacts"}}})
        proxied = "/api/2.0/mlflow-artifacts/artifacts"
        if path == proxied:
            if query.endswith("sub"):
                return as_json({"files": [{"path": "model.bin", "is_dir": False, "file_size": 3}]})
            files = [{"path": "MLmodel", "is_dir": False, "file_size": 2}, {"path": "sub", "is_dir": True}]
            return as_json({"files": files})
        found = {"MLmodel": b"ml", "sub/model.bin": b"bin"}.get(
            path.removeprefix(f"{proxied}/1/models/m-1/artifacts/")
        )
        return (200, {}, found) if found else as_json({}, 404)

    server.routes["/"] = route


@pytest.mark.parametrize("uri", ["iris/2", "iris@champion", "iris/Production", "iris", "iris/latest"])
def test_a_model_of_mlflows_registry(uri: str, server: FileServer, store: Store) -> None:
    serve_mlflow(server)
    env = {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": "t"}
    assert get(f"mlflow://{uri}", store, env) == {"MLmodel": b"ml", "sub/model.bin": b"bin"}


@pytest.mark.parametrize(
    ("uri", "token", "words"),
    [
        ("iris/9", "t", "MLflow has no such model or version: 'iris'"),
        ("iris@other", "t", r"Registered model alias x not found"),
        ("iris/Staging", "t", "has no version in stage 'Staging'"),
        ("iris/2", "", "MLflow does not let us in .*set MLFLOW_TRACKING_TOKEN"),
        ("a/b/c", "t", "expected mlflow://MODEL/VERSION"),
    ],
)
def test_a_model_that_mlflow_does_not_give(
    uri: str, token: str, words: str, server: FileServer, store: Store
) -> None:
    serve_mlflow(server)
    with pytest.raises(StorageError, match=words):
        get(f"mlflow://{uri}", store, {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": token})


def test_mlflow_needs_an_address(store: Store) -> None:
    with pytest.raises(StorageError, match="needs MLFLOW_TRACKING_URI"):
        get("mlflow://iris/1", store, {})
