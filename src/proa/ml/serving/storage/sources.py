"""Find a model by its URI: which scheme is asked, and what every scheme has in common (patterns, a digest, waiting)."""

from __future__ import annotations

import fnmatch
import json
import re
import time
from collections.abc import Callable, Mapping

from proa.ml.serving.storage.fetching import FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS
from proa.ml.serving.storage.pieces import Interrupted, Model, StorageError, Surroundings

ATTEMPTS = 4
"""Before somebody else is told: the kubelet starts the container again."""
SCHEMES = (
    "s3",
    "gs",
    "http",
    "https",
    "hf",
    "oci",
    "git",
    "git+https",
    "mlflow",
    "file",
    "az",
    "abfs",
    "abfss",
)
_SHA256 = re.compile(r"#sha256[=:](.*)$")


def find(
    uri: str,
    around: Surroundings,
    sha256: str = "",
    say: Callable[[str], None] = lambda _: None,
    wait: Callable[[float], None] = time.sleep,
) -> Model:
    """Return a model's pieces; raise StorageError.

    A URI may end with #sha256=…: what the single file, or the archive, must be.
    """
    if found := _SHA256.search(uri):
        uri, sha256 = uri[: found.start()], found[1].lower()
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise StorageError(f"{sha256[:80]!r} is no SHA-256 of 64 hexadecimal digits")
    model = _patiently(lambda: _find(uri, around), say, wait)
    pieces = model.pieces
    if len(pieces) > 1 and not model.layers:
        pieces = [one for one in pieces if _is_wanted(one.path, around.env)]
    if sha256:
        if len(pieces) != 1:
            raise StorageError(
                f"{uri} has {len(pieces)} files: a SHA-256 can be given of a single one, or an archive"
            )
        pieces = [pieces[0]._replace(sha256=sha256, identity=f"{pieces[0].identity}\n{sha256}")]
    return model._replace(pieces=pieces)


def _find(uri: str, around: Surroundings) -> Model:
    """Ask the scheme; only its module is imported."""
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme in ("http", "https"):
        from proa.ml.serving.storage import git, http_files, objects

        if objects.is_azure(uri):
            return objects.find(uri, around)
        return git.find(uri, around) if git.is_git(uri) else http_files.find(uri, around)
    if scheme in ("s3", "gs", "az", "abfs", "abfss"):
        from proa.ml.serving.storage import objects

        return objects.find(uri, around)
    if scheme == "hf":
        from proa.ml.serving.storage import hugging_face

        return hugging_face.find(uri, around)
    if scheme == "oci" or scheme.startswith("oci+"):
        from proa.ml.serving.storage import registry

        return registry.find(uri, around)
    if scheme in ("git", "git+https", "git+http"):
        from proa.ml.serving.storage import git

        return git.find(uri, around)
    if scheme == "mlflow":
        from proa.ml.serving.storage import mlflow

        return mlflow.find(uri, around, _find_unless_mlflow)
    if scheme == "file" or uri.startswith("/"):
        from proa.ml.serving.storage import local

        return local.find(uri, around)
    known = ", ".join(f"{one}://" for one in SCHEMES)
    raise StorageError(f"Cannot recognize storage type for {uri}: there are {known}")


def _find_unless_mlflow(uri: str, around: Surroundings) -> Model:
    if uri.startswith("mlflow:"):
        raise StorageError(f"MLflow's registry names itself as the place of a model: {uri}")
    return _find(uri, around)


def _patiently(find: Callable[[], Model], say: Callable[[str], None], wait: Callable[[float], None]) -> Model:
    seconds = FIRST_WAIT_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return find()
        except Interrupted as error:
            if attempt == ATTEMPTS:
                raise StorageError(f"{error}; given up after {ATTEMPTS} attempts") from None
            say(f"{error}; again in {seconds:.1f} s")
            wait(seconds)
            seconds = min(2 * seconds, LAST_WAIT_SECONDS)
    raise AssertionError


def _is_wanted(path: str, env: Mapping[str, str]) -> bool:
    """Return whether STORAGE_ALLOW_PATTERNS and STORAGE_IGNORE_PATTERNS let a file be fetched."""
    allowed, ignored = _patterns(env, "STORAGE_ALLOW_PATTERNS"), _patterns(env, "STORAGE_IGNORE_PATTERNS")
    if allowed and not any(fnmatch.fnmatch(path, one) for one in allowed):
        return False
    return not any(fnmatch.fnmatch(path, one) for one in ignored)


def _patterns(env: Mapping[str, str], name: str) -> list[str]:
    text = env.get(name, "").strip()
    try:
        found = json.loads(text) if text else []
    except ValueError:
        found = text.split(",")
    return [str(one).strip() for one in (found if isinstance(found, list) else [found]) if str(one).strip()]
