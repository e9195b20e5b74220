"""http:// and https://: one file, or an archive. Headers of a host are in the environment, HOST-headers, as JSON.

What a server says of a file (ETag, else Last-Modified) tells whether it is still the one that is here, or half here.
Source: KServe's python/storage (_download_from_uri), pkg/credentials/https.
"""

from __future__ import annotations

import json
import posixpath
import urllib.parse
from collections.abc import Mapping

from proa.ml.serving.storage.archives import kind_of
from proa.ml.serving.storage.pieces import Model, Opened, Piece, StorageError, Surroundings
from proa.ml.serving.storage.web import Answer, Web


def find(uri: str, around: Surroundings) -> Model:
    """Return the file behind a URL."""
    parts = urllib.parse.urlsplit(uri)
    name = urllib.parse.unquote(posixpath.basename(parts.path))
    if not parts.hostname or name in ("", ".", ".."):
        raise StorageError(f"No filename contained in URI: {uri}")
    web, headers = Web(around.env), headers_of(parts.hostname, around.env)
    first = web.get(uri, headers)
    if first.headers.get("Content-Type", "").startswith("text/html") and not name.endswith((".html", ".htm")):
        first.close()
        raise StorageError(
            f"{parts.scheme}://{parts.hostname}{parts.path} answered a web page, not a model: is there a login"
            " before it? Headers for this host come from a secret with the keys https-host and headers"
        )
    tag = _tag_of(first)
    piece = Piece(
        path=name,
        size=first.size if not first.headers.get("Content-Encoding") else None,
        identity=f"{uri}\n{tag}\n{first.size}" if tag else "",
        open=_Opening(web, uri, headers, tag, first),
        unpack=kind_of(name) or kind_of(parts.query),
    )
    host = parts.netloc.rpartition("@")[2]
    return Model([piece], f"{parts.scheme}://{host}{parts.path}" + (f" {tag}" if tag else ""))


def headers_of(host: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return what is sent to a host beside the request; raise StorageError."""
    try:
        found = json.loads(env.get(f"{host}-headers") or "{}")
        return {str(name): str(value) for name, value in found.items()}
    except (ValueError, AttributeError):
        raise StorageError(f"the secret with the headers for {host}: `headers` is no JSON object") from None


def _tag_of(answer: Answer) -> str:
    """Return what If-Range may name; a weak tag tells nothing of bytes."""
    tag = answer.headers.get("ETag", "")
    return answer.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


class _Opening:
    """The first answer is not asked for twice, unless a part of it is here already."""

    def __init__(self, web: Web, uri: str, headers: Mapping[str, str], tag: str, first: Answer) -> None:
        self._web, self._uri, self._headers, self._tag = web, uri, headers, tag
        self._first: Answer | None = first

    def __call__(self, offset: int) -> Opened:
        first, self._first = self._first, None
        if first is not None and not offset:
            return Opened(0, first.chunks())
        if first is not None:
            first.close()
        return self._web.stream(self._uri, self._headers, offset=offset, tag=self._tag)
