"""Turn records into what tables hold, and back: JSON that keeps every value (NaN, great integers, any text)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proa.ml.database.engine import Transaction
from proa.ml.database.errors import Invalid
from proa.ml.pipelines.records import Artifact, Values

MAX_NAME = 256
MAX_NAMESPACE = 63
MAX_DESCRIPTION = 64 << 10
SPEC_BYTES = 32 << 20
"""The most that a document may have, as upstream's limit of an uploaded file."""

encode = json.JSONEncoder(separators=(",", ":")).encode
decode: Callable[[str], Any] = json.JSONDecoder().decode


def check_text(what: str, value: str, limit: int = MAX_NAME) -> str:
    """Return text that both engines can hold; raise Invalid, in upstream's words (apiserver/validation/length.go)."""
    if len(value) > limit:
        raise Invalid(f"{what} length cannot exceed {limit}")
    if "\0" in value or value != value.encode(errors="replace").decode():
        raise Invalid(f"{what} has characters that are none")
    return value


def clean_text(value: str) -> str:
    """Return text that both engines can hold, with a mark in the place of what is none."""
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()


def encode_document(
    pipeline_spec: Mapping[str, Any], platform_spec: Mapping[str, Any]
) -> tuple[str, str, str]:
    """Return (hash, pipeline spec, platform spec): one document is stored once, however many runs it has."""
    pipeline, platform = encode(pipeline_spec), encode(platform_spec)
    if len(pipeline) + len(platform) > SPEC_BYTES:
        raise Invalid(f"the pipeline is too large: {len(pipeline) + len(platform)} bytes of {SPEC_BYTES}")
    if not pipeline_spec and not platform_spec:
        return "", pipeline, platform
    return hashlib.sha256(f"{len(pipeline)}:{pipeline}{platform}".encode()).hexdigest(), pipeline, platform


def keep_document(transaction: Transaction, document: tuple[str, str, str]) -> str:
    """Store a document unless it is there; return its hash, "" for none."""
    sql = f"SELECT 1 FROM documents WHERE hash = ?{transaction.for_update}"  # nobody shall drop it meanwhile
    if document[0] and not transaction.rows(sql, document[:1]):
        transaction.run(
            "INSERT INTO documents (hash, pipeline_spec, platform_spec) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            document,
        )
    return document[0]


def find_documents(transaction: Transaction, hashes: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Return (pipeline spec, platform spec) of each."""
    wanted = sorted({hash for hash in hashes if hash})
    if not wanted:
        return {}
    sql = f"SELECT hash, pipeline_spec, platform_spec FROM documents WHERE hash IN ({marks(wanted)})"
    return {
        hash: (decode(pipeline), decode(platform))
        for hash, pipeline, platform in transaction.rows(sql, wanted)
    }


def drop_document(transaction: Transaction, hash: str) -> None:
    """Remove a document that nothing refers to any more."""
    transaction.rows(f"SELECT 1 FROM documents WHERE hash = ?{transaction.for_update}", (hash,))
    transaction.run(
        """DELETE FROM documents WHERE hash = ?
           AND NOT EXISTS (SELECT 1 FROM run_bodies WHERE document = documents.hash)
           AND NOT EXISTS (SELECT 1 FROM pipeline_versions WHERE document = documents.hash)
           AND NOT EXISTS (SELECT 1 FROM recurring_runs WHERE document = documents.hash)""",
        (hash,),
    )


def encode_values(values: Values) -> str:
    """Return parameters, and the ids of artifacts."""
    artifacts = {name: [artifact.id for artifact in found] for name, found in values.artifacts.items()}
    return encode({"parameters": dict(values.parameters), "artifacts": artifacts})


def decode_values(document: Mapping[str, Any], artifacts: Mapping[str, Artifact]) -> Values:
    """Return the values whose artifacts are among those."""
    return Values(
        document["parameters"],
        {name: tuple([artifacts[id] for id in ids]) for name, ids in document["artifacts"].items()},
    )


def marks(values: Sequence[Any]) -> str:
    """Return as many `?`."""
    return ", ".join("?" * len(values))
