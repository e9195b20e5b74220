"""Name the pod of an attempt: the same whenever it is asked for, so that making it twice is found out by its name."""

from __future__ import annotations

import hashlib
import re

LONGEST = 63
"""A pod's name is a host name (DNS label) as well."""
_READABLE = 22
_NOT_IN_LABELS = re.compile(r"[^a-z0-9]+")


def pod_name(pipeline: str, run_id: str, path: str, attempt: int) -> str:
    """Return `pipeline-task-hash-attempt`, cut to fit: hash is of run and path, attempt counts from 0."""
    code = hashlib.sha256(f"{run_id}\0{path}".encode()).hexdigest()[:10]
    task = path.rpartition("/")[2]
    parts = [_fit(pipeline), _fit(task), code, str(attempt)]
    return "-".join(part for part in parts if part)[-LONGEST:].lstrip("-")


def claim_name(run_id: str, path: str) -> str:
    """Return the unique beginning of a claim that a task makes, as upstream's is a UUID: the same each time."""
    return "claim-" + hashlib.sha256(f"{run_id}\0{path}".encode()).hexdigest()[:20]


def _fit(text: str) -> str:
    return _NOT_IN_LABELS.sub("-", text.lower()).strip("-")[:_READABLE].strip("-")
