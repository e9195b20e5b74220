"""hf://OWNER/MODEL[:REVISION | @REVISION]: a model of the Hugging Face hub, or of what speaks its API (HF_ENDPOINT).

The revision is made a commit first, so that all files are of one. Each file is verified by the digest that the hub
has of it: SHA-256 of large ones, Git's of small ones.

Source: the hub's API (/api/models/…/revision, /tree; /resolve) as its own client uses it.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from proa.ml.serving.storage.pieces import Model, Opened, Piece, StorageError, Surroundings
from proa.ml.serving.storage.web import Refused, Web, quoted

ENDPOINT = "https://huggingface.co"
_NAME = re.compile(r"[\w][\w.-]{0,95}")
MAX_PAGES = 1000


def find(uri: str, around: Surroundings) -> Model:
    """Return a model's files."""
    repository, revision = _parse(uri)
    endpoint = (around.env.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
    token = around.env.get("HF_TOKEN", "").strip()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    web = Web(around.env)
    api = f"{endpoint}/api/models/{repository}"
    try:
        about = web.get_json(f"{api}/revision/{urllib.parse.quote(revision, safe='')}", headers)
        commit = about["sha"] if isinstance(about, dict) else ""
        entries = _entries(web, f"{api}/tree/{commit}?recursive=true&expand=false", headers)
    except Refused as error:
        raise StorageError(_explained(error, repository, revision, bool(token))) from None
    except KeyError:
        raise StorageError(f"{endpoint} does not speak the hub's API: is HF_ENDPOINT right?") from None
    files = f"{endpoint}/{repository}/resolve/{commit}"
    pieces = [
        _piece(web, one, f"{files}/{quoted(one['path'])}", headers)
        for one in entries
        if one["type"] == "file"
    ]
    return Model(pieces, f"hf://{repository}@{commit}")


def _parse(uri: str) -> tuple[str, str]:
    parts = uri.removeprefix("hf://").strip("/").split("/")
    name, at, revision = parts[-1].partition("@")
    if not at:
        name, _, revision = name.partition(":")
    names = [*parts[:-1], name]
    if len(names) > 2 or not all(_NAME.fullmatch(one) for one in names):
        raise StorageError(
            f"Invalid Hugging Face URI format. Expected 'hf://owner/model[:revision]', got '{uri}'"
        )
    return "/".join(names), revision or "main"


def _entries(web: Web, url: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Return what is in a revision, of all pages that there are."""
    import json

    found: list[dict[str, Any]] = []
    host = urllib.parse.urlsplit(url)[:2]
    for _ in range(MAX_PAGES):
        answer = web.get(url, headers)
        found += json.loads(answer.read())
        following = re.search(r'<([^>]+)>;\s*rel="next"', answer.headers.get("Link", ""))
        if following is None:
            return found
        url = urllib.parse.urljoin(url, following[1])
        if urllib.parse.urlsplit(url)[:2] != host:
            raise StorageError("the hub's list of files goes on at another host")
    raise StorageError(f"the hub's list of files has more than {MAX_PAGES} pages")


def _piece(web: Web, entry: dict[str, Any], url: str, headers: dict[str, str]) -> Piece:
    large = entry.get("lfs") or {}
    path = str(entry["path"])
    if ".." in path.split("/") or path.startswith("/"):
        raise StorageError(f"the hub names a file {path!r}, which leads out of the model's folder")
    sha256, git = str(large.get("oid", "")), "" if large else str(entry.get("oid", ""))

    def open_at(offset: int) -> Opened:
        return web.stream(url, headers, offset=offset)

    size = int(large.get("size", entry["size"]))
    identity = f"hf\n{sha256 or git}\n{size}" if sha256 or git else ""
    return Piece(path, size, identity, open_at, sha256=sha256, git_sha1=git)


def _explained(error: Refused, repository: str, revision: str, has_token: bool) -> str:
    if error.status in (401, 403):
        help_ = "does its token have access to it?" if has_token else "it needs HF_TOKEN, as of a secret"
        return f"HuggingFace authentication failed for {repository} ({error}): {help_}"
    if error.status == 404:
        return f"HuggingFace resource '{repository}' not found, or it has no revision '{revision}' ({error})"
    return str(error)
