"""Tell whether an artifact is still what it was when it was recorded: for the cache, before each hit."""

from __future__ import annotations

from proa.ml.pipelines.artifacts import uris
from proa.ml.pipelines.artifacts.protocol import ArtifactStore
from proa.ml.pipelines.records import Artifact


async def verify(store: ArtifactStore, artifact: Artifact) -> str:
    """Return "" for one that is there and unchanged, else a sentence that says what became of it.

    One without a tag had nothing where it says when it was recorded: metrics, which are metadata alone, or an image.
    Raises ArtifactError where its place cannot be asked.
    """
    if not artifact.tag or not uris.local_path(artifact.uri) or artifact.uri.startswith("oci://"):
        return ""
    found = await store.stat(artifact.uri)
    if found is None:
        return f"artifact {artifact.name!r} at {artifact.uri} is gone"
    if found.tag != artifact.tag:
        return f"artifact {artifact.name!r} at {artifact.uri} has changed since it was recorded"
    return ""
