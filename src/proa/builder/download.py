"""Fetch what ADD names by URL: over HTTP or HTTPS, bounded, checked against --checksum where it is given."""

from __future__ import annotations

import email.utils
import hashlib
import os
import posixpath
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

MAX_BYTES = 8 << 30
_PIECE = 1 << 20
_TIMEOUT_SECONDS = 60.0


class CannotDownload(Exception):
    """What a URL names cannot be had, or is not what it should be."""


def is_url(source: str) -> bool:
    """Tell whether a source of ADD is a URL."""
    return source.startswith(("http://", "https://"))


def download(url: str, folder: Path, checksum: str) -> str:
    """Put what the URL names into a folder (mode 0600, with its server's time); return its name there."""
    name = posixpath.basename(urllib.parse.urlsplit(url).path)
    name = urllib.parse.unquote(name)
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise CannotDownload(f"cannot determine a file name from {url}: give the target a name")
    kind, _, wanted = checksum.partition(":")
    if checksum and kind not in ("sha256", "sha384", "sha512"):
        raise CannotDownload(f"unsupported checksum {checksum!r}: sha256:…, sha384:… or sha512:…")
    digest = hashlib.new(kind or "sha256")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            path = folder / name
            with path.open("xb") as file:
                while piece := answer.read(_PIECE):
                    digest.update(piece)
                    file.write(piece)
                    if file.tell() > MAX_BYTES:
                        raise CannotDownload(f"{url} is larger than {MAX_BYTES >> 30} GiB")
            told = answer.headers.get("Last-Modified", "")
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise CannotDownload(f"failed to load {url}: {getattr(error, 'reason', error)}") from error
    if checksum and digest.hexdigest() != wanted:
        raise CannotDownload(f"digest mismatch: {url} has {kind}:{digest.hexdigest()}, not {checksum}")
    parsed = email.utils.parsedate_tz(told)
    modified = email.utils.mktime_tz(parsed) if parsed else 0
    os.chmod(path, 0o600)
    os.utime(path, (modified, modified))
    return name
