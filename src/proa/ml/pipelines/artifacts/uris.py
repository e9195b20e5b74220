"""Artifacts' URIs, and the paths that containers know them by: parsed once, bounded, never leading out of their root.

Schemes and local paths are the SDK's (dsl/types/artifact_types.py) and the launcher's (backend/src/v2/component/
launcher_v2.go, LocalPathForURI); what a pipeline root may be is backend/src/v2/objectstore/config.go's.
"""

from __future__ import annotations

import functools
import hashlib
import re

from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.objects.quick_dataclass import dataclass

LOCAL_FOLDERS = {"minio": "minio", "s3": "s3", "gs": "gcs"}
"""Below which folder of a container each scheme of a bucket is found."""
OWN = ".proa"
"""Below a task's folder: what is no artifact."""
KFP = (OWN, "kfp")
"""Below a task's folder: what its container has at /tmp/kfp."""
DELIVERED = (OWN, "delivered")
"""Below a task's folder in a bucket: the sign that all of it is there."""
PIP_CACHE = ".pip-cache"
"""Beside the buckets, none of which begins with a dot: what steps of the namespace have downloaded and built with pip.

Whoever may run a step in the namespace may change it; what other namespaces have is out of reach."""
MAX_URI_LENGTH = 2048
MAX_PARTS = 64

_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9]*)://(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Uri:
    """A place in a bucket. `key` has no slash at its ends; "" is the bucket itself. `query` is a pipeline root's."""

    scheme: str
    bucket: str
    key: str
    query: str = ""

    def __str__(self) -> str:
        """Return it as it is written, without its query."""
        return f"{self.scheme}://{self.bucket}/{self.key}" if self.key else f"{self.scheme}://{self.bucket}"

    @property
    def local_path(self) -> str:
        """Where a container finds it."""
        return f"/{LOCAL_FOLDERS[self.scheme]}/{self.bucket}/{self.key}".rstrip("/")

    @property
    def parts(self) -> tuple[str, ...]:
        """The key's names."""
        return tuple(self.key.split("/")) if self.key else ()

    def below(self, *names: str) -> Uri:
        """Return what is below it; raise ArtifactError for names that lead elsewhere."""
        if "" in names:
            raise ArtifactError(f"artifact URI {str(self)!r}: a name below it is empty")
        return parse("/".join([str(self), *names]))

    def is_within(self, other: Uri) -> bool:
        """Tell whether it is `other`, or below it."""
        same = (self.scheme, self.bucket) == (other.scheme, other.bucket)
        return same and (not other.key or self.key == other.key or self.key.startswith(other.key + "/"))


@functools.lru_cache(maxsize=4096)
def parse(uri: str) -> Uri:
    """Read a URI of a bucket (minio, s3, gs); raise ArtifactError, which says what would work."""
    if len(uri) > MAX_URI_LENGTH:
        raise ArtifactError(f"artifact URI {uri[:80]!r}…: longer than {MAX_URI_LENGTH} characters")
    found = _URI.fullmatch(uri)
    scheme = found["scheme"] if found else ""
    if found is None or scheme not in LOCAL_FOLDERS:
        known = ", ".join(f"{scheme}://" for scheme in LOCAL_FOLDERS)
        raise ArtifactError(f"artifact URI {uri!r}: not one of {known}")
    path, _, query = found["rest"].partition("?")
    bucket, _, key = path.partition("/")
    key = key.rstrip("/")
    parts = key.split("/") if key else []
    if not _BUCKET.fullmatch(bucket):
        raise ArtifactError(f"artifact URI {uri!r}: {bucket!r} is not the name of a bucket")
    if any(part in ("", ".", "..") or _CONTROL.search(part) or len(part.encode()) > 255 for part in parts):
        raise ArtifactError(
            f"artifact URI {uri!r}: empty names, '.', '..' and control characters lead nowhere"
        )
    if len(parts) > MAX_PARTS:
        raise ArtifactError(f"artifact URI {uri!r}: more than {MAX_PARTS} folders deep")
    return Uri(scheme, bucket, key, query)


def local_path(uri: str) -> str:
    """Return the path at which a container finds an artifact; "" where its scheme has none (as https://)."""
    if uri.startswith("oci://"):
        return f"/oci/{uri[len('oci://') :].replace('/', '_')}/models"
    found = _URI.fullmatch(uri)
    return parse(uri).local_path if found and found["scheme"] in LOCAL_FOLDERS else ""


def uri_of_path(path: str) -> str:
    """Return the URI of a container's path, as the SDK does when a step sets an artifact's path; "" for others."""
    for scheme, folder in LOCAL_FOLDERS.items():
        if path.startswith(f"/{folder}/"):
            return f"{scheme}://{path[len(folder) + 2 :]}"
    return ""


def make_task_root(root: str, pipeline: str, run_id: str, task: str, salt: str) -> str:
    """Return the folder of one attempt of a task: `{root}/{pipeline}/{run id}/{task}/{salt}`.

    Names are made fit for a path where they are not. Raises ArtifactError for a root with a query.
    """
    parsed = parse(root)
    if parsed.query:
        raise ArtifactError(
            f"pipeline root {root!r}: how to reach a bucket is read from the ConfigMap kfp-launcher (providers, or the"
            " query of its defaultPipelineRoot): leave out the query"
        )
    return str(parsed.below(*(_nameable(name) for name in (pipeline, run_id, task, salt))))


def make_run_root(root: str, pipeline: str, run_id: str) -> str:
    """Return the folder of all that a run produced, and of nothing else."""
    return str(parse(root).below(_nameable(pipeline), _nameable(run_id)))


def make_salt(run_id: str, path: str, attempt: int) -> str:
    """Return the last folder of an attempt's root: the same whenever it is asked for, another for each attempt."""
    return hashlib.sha256(f"{run_id}\0{path}\0{attempt}".encode()).hexdigest()[:32]


def _nameable(name: str) -> str:
    return _UNNAMEABLE.sub("-", name).strip(".-")[:128] or "-"
