"""Models' files come whole, once, and within bounds, by HTTP and from the node."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from proa.ml.serving.storage.fetching import Budget, fetch
from proa.ml.serving.storage.pieces import Model, Opened, Piece, StorageError, Surroundings
from proa.ml.serving.storage.sources import find
from proa.ml.serving.storage.store import Store
from support.file_server import Asked, FileServer, run_file_server

BYTES = bytes(range(256)) * 8192


@pytest.fixture
def server() -> Iterator[FileServer]:
    with run_file_server() as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def get(
    uri: str,
    store: Store,
    env: Mapping[str, str] | None = None,
    *,
    limit: int = 1 << 30,
    sources: Path | None = None,
    said: list[str] | None = None,
) -> dict[str, bytes]:
    """Return the files of a model by their paths."""
    lines = said if said is not None else []
    model = find(uri, Surroundings(env or {}, sources), say=lines.append, wait=lambda _: None)
    files = fetch(model, store, Budget(limit, lines.append), wait=lambda _: None)
    return {one.path: store.blob(one.sha256).read_bytes() for one in files}


def make_tar(members: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def make_zip(members: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def test_a_file_is_fetched_once_while_its_tag_stays(server: FileServer, store: Store) -> None:
    server.files["/m/model.onnx"] = BYTES
    assert get(f"{server.url}/m/model.onnx", store) == {"model.onnx": BYTES}
    said: list[str] = []
    assert get(f"{server.url}/m/model.onnx", store, said=said) == {"model.onnx": BYTES}
    server.files["/m/model.onnx"] = BYTES[1:]
    assert get(f"{server.url}/m/model.onnx", store) == {"model.onnx": BYTES[1:]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.tar.gz", make_tar({"./a/model.bin": b"1", "b.txt": b"2"})),
        ("m.tgz", make_tar({"a/model.bin": b"1", "b.txt": b"2"})),
        ("m.tar", make_tar({"a/model.bin": b"1", "b.txt": b"2"}, "w")),
        ("m.tar.xz", make_tar({"a/model.bin": b"1", "b.txt": b"2"}, "w:xz")),
        ("m.tar.bz2", make_tar({"a/model.bin": b"1", "b.txt": b"2"}, "w:bz2")),
        ("m.zip", make_zip({"a/model.bin": b"1", "b.txt": b"2"})),
    ],
    ids=["tar.gz", "tgz", "tar", "tar.xz", "tar.bz2", "zip"],
)
def test_an_archive_is_unpacked(name: str, data: bytes, server: FileServer, store: Store) -> None:
    server.files[f"/{name}"] = data
    assert get(f"{server.url}/{name}", store) == {"a/model.bin": b"1", "b.txt": b"2"}
    assert get(f"{server.url}/{name}", store) == {"a/model.bin": b"1", "b.txt": b"2"}
    assert {one.suffix for one in (store.root / "partial").iterdir()} == {".lock"}


def test_a_download_that_breaks_off_goes_on_from_there(server: FileServer, store: Store) -> None:
    server.files["/model"] = BYTES
    server.break_after = [1_000_000, 500_000]
    assert get(f"{server.url}/model", store) == {"model": BYTES}
    assert server.ranges("/model") == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_download_begins_anew_where_what_is_there_is_another_by_now(
    server: FileServer, store: Store
) -> None:
    server.files["/model"] = BYTES
    server.break_after = [1_000_000] * 6
    answers = iter(range(100))

    def changing(asked: Asked) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {"ETag": '"new"'}, BYTES[::-1] if next(answers) else BYTES

    server.routes["/model"] = changing
    server.break_after = [1_000_000]
    assert get(f"{server.url}/model", store) == {"model": BYTES[::-1]}


def test_a_server_that_cannot_now_is_asked_again_and_one_that_never_can_is_told_of(
    server: FileServer, store: Store
) -> None:
    answers = iter([503, 429, 200])
    server.routes["/model"] = lambda _: ((status := next(answers, 503)), {}, b"x" if status == 200 else b"")
    assert get(f"{server.url}/model", store) == {"model": b"x"}
    with pytest.raises(StorageError, match="503 Service Unavailable; given up after 4 attempts"):
        get(f"{server.url}/model", store)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "401 Unauthorized"), (403, "403 Forbidden"), (404, "404 Not Found")]
)
def test_a_refusal_is_told_with_what_the_server_said(
    status: int, words: str, server: FileServer, store: Store
) -> None:
    said = json.dumps({"message": "no such luck"}).encode()
    server.routes["/model"] = lambda _: (status, {"Content-Type": "application/json"}, said)
    with pytest.raises(StorageError, match=rf"{words} \(no such luck\)"):
        get(f"{server.url}/model?token=secret", store)


def test_nothing_secret_of_a_url_is_in_an_error(server: FileServer, store: Store) -> None:
    with pytest.raises(StorageError) as caught:
        get(f"{server.url}/model.bin?token=secret", store)
    assert "secret" not in str(caught.value)


def test_a_name_that_is_unknown_and_a_port_where_nobody_listens_are_told(store: Store) -> None:
    with pytest.raises(StorageError, match="its name is not known here"):
        get("http://models.invalid/model", store)
    with pytest.raises(StorageError, match="does not answer: Connection refused"):
        get("http://127.0.0.1:1/model", store)


def test_headers_of_a_host_are_sent_to_it_and_to_no_other(server: FileServer, store: Store) -> None:
    env = {"127.0.0.1-headers": json.dumps({"Authorization": "Bearer t", "X-Our-Token": "t"})}
    there = {"Location": f"http://localhost:{server.port}/there/model"}
    server.routes["/here/"] = lambda _: (302, there, b"")
    server.files["/there/model"] = b"1"
    assert get(f"{server.url}/here/model", store, env) == {"model": b"1"}
    assert [one.headers.get("Authorization") for one in server.asked] == ["Bearer t", None]
    assert [one.headers.get("X-Our-Token") for one in server.asked] == ["t", None]


def test_redirects_end_and_lead_to_no_file(server: FileServer, store: Store) -> None:
    server.routes["/around/"] = lambda asked: (302, {"Location": f"/around/x{asked.path}"}, b"")
    with pytest.raises(StorageError, match=r"redirect|302"):
        get(f"{server.url}/around/model", store)
    server.routes["/out/"] = lambda _: (302, {"Location": "file:///etc/passwd"}, b"")
    with pytest.raises(StorageError, match=r"not followed|302"):
        get(f"{server.url}/out/model", store)


def test_a_page_is_no_model(server: FileServer, store: Store) -> None:
    server.routes["/model"] = lambda _: (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>")
    with pytest.raises(StorageError, match="answered a web page, not a model"):
        get(f"{server.url}/model", store)


def test_a_digest_in_the_uri_is_what_the_file_must_be(server: FileServer, store: Store) -> None:
    server.files["/model"] = b"1"
    right = hashlib.sha256(b"1").hexdigest()
    assert get(f"{server.url}/model#sha256={right}", store) == {"model": b"1"}
    with pytest.raises(StorageError, match="model is not what it should be: its SHA-256 is 6b86b2"):
        get(f"{server.url}/model#sha256={'0' * 64}", store)
    with pytest.raises(StorageError, match="'6b86b' is no SHA-256 of 64 hexadecimal digits"):
        get(f"{server.url}/model#sha256=6b86b", store)


def test_a_model_has_a_limit_and_an_archive_cannot_exceed_it(server: FileServer, store: Store) -> None:
    server.files["/model"] = BYTES
    server.files["/bomb.zip"] = make_zip({"zeros": bytes(5_000_000)})
    server.files["/bomb.tar.gz"] = make_tar({"zeros": bytes(5_000_000)})
    for name in ("model", "bomb.zip", "bomb.tar.gz"):
        with pytest.raises(StorageError, match=r"more than 1\.0 MB, which is the limit"):
            get(f"{server.url}/{name}", store, limit=1_000_000)
    assert store.size() == 0


@pytest.mark.parametrize("name", ["../out", "a/../../out"])
@pytest.mark.parametrize("make", [make_tar, make_zip], ids=["tar", "zip"])
def test_an_archive_does_not_lead_out(name: str, make: object, server: FileServer, store: Store) -> None:
    kind = "m.tar.gz" if make is make_tar else "m.zip"
    server.files[f"/{kind}"] = make({name: b"x"})  # type: ignore[operator]
    with pytest.raises(StorageError, match="leads out of the model's folder"):
        get(f"{server.url}/{kind}", store)


def test_an_archives_links_are_refused(server: FileServer, store: Store) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo("model")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    server.files["/m.tar"] = data.getvalue()
    with pytest.raises(StorageError, match="'model', which is a link"):
        get(f"{server.url}/m.tar", store)


@pytest.mark.parametrize("name", ["m.tar.gz", "m.zip", "m.tar"])
def test_an_archive_that_is_none_is_told(name: str, server: FileServer, store: Store) -> None:
    server.files[f"/{name}"] = b"\x1f\x8bnonsense" * 100
    with pytest.raises(StorageError, match="the archive cannot be unpacked"):
        get(f"{server.url}/{name}", store)


def test_files_of_the_node_are_copied_and_links_that_lead_out_are_not(tmp_path: Path, store: Store) -> None:
    shown = tmp_path / "sources" / "0" / "a model"
    (shown / "sub").mkdir(parents=True)
    (shown / "a").write_bytes(b"1")
    (shown / "sub" / "b").symlink_to("../a")
    (shown / "empty").write_bytes(b"")
    sources = tmp_path / "sources"
    assert get("file:///home/me/a%20model", store, sources=sources) == {
        "a": b"1",
        "empty": b"",
        "sub/b": b"1",
    }
    (shown / "c").symlink_to("/etc/passwd")
    with pytest.raises(StorageError, match="c is a link that leads out of the folder"):
        get("file:///home/me/a%20model", store, sources=sources)
    with pytest.raises(StorageError, match="does not exist"):
        get("file:///home/me/other", store, sources=sources)


def test_patterns_say_which_files_of_several_are_fetched(tmp_path: Path, store: Store) -> None:
    for name in ("model.bin", "model.json", "README.md"):
        (tmp_path / "m").mkdir(exist_ok=True)
        (tmp_path / "m" / name).write_text(name)
    env = {"STORAGE_ALLOW_PATTERNS": '["model.*"]', "STORAGE_IGNORE_PATTERNS": "*.json"}
    assert list(get(f"file://{tmp_path}/m", store, env)) == ["model.bin"]


def test_what_has_no_tag_is_fetched_each_time_and_never_mixed(server: FileServer, store: Store) -> None:
    server.has_tags = False
    server.files["/model"] = BYTES
    server.break_after = [1_000_000]
    assert get(f"{server.url}/model", store) == {"model": BYTES}
    assert server.ranges("/model") == ["", ""]
    server.files["/model"] = b"other"
    assert get(f"{server.url}/model", store) == {"model": b"other"}


def test_an_empty_folder_is_no_model(tmp_path: Path, store: Store) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(StorageError, match="No model found in"):
        get(f"file://{tmp_path}/m", store)


def test_two_uris_of_the_same_bytes_are_kept_once(server: FileServer, store: Store) -> None:
    server.files["/a"] = server.files["/b"] = BYTES
    get(f"{server.url}/a", store)
    get(f"{server.url}/b", store)
    assert store.size() == len(BYTES)


def test_a_digest_that_a_server_tells_names_no_other_file_of_the_store(store: Store) -> None:
    other = store.root / "revisions" / "theirs"
    other.write_bytes(b"secret")

    def open_at(offset: int) -> Opened:
        raise AssertionError("nothing is to be fetched")

    for said in (str(other), "../../revisions/theirs", "AB" * 32):
        model = Model([Piece("model", 6, "hf", open_at, sha256=said)], "hf://some/model")
        with pytest.raises(StorageError, match="is no SHA-256"):
            fetch(model, store, Budget(1 << 20, print), wait=lambda _: None)
