"""Find which revision a request is for: by Knative's headers, else by the host. Pure.

Source: Knative's pkg/activator/handler/context_handler.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from proa.ml.serving.kinds import NAMESPACE_HEADER, REVISION_HEADER
from proa.reconcile.protocol import Key


def find_revision(headers: Mapping[str, str], host: str) -> Key | None:
    """Return the revision; names of headers are in lower case, and `host` may have a port."""
    name, namespace = headers.get(REVISION_HEADER, ""), headers.get(NAMESPACE_HEADER, "")
    if name and namespace:
        return Key(namespace, name)
    parts = host.partition(":")[0].rstrip(".").lower().split(".")
    if len(parts) == 2 or (len(parts) > 2 and parts[2] == "svc"):
        return Key(parts[1], parts[0]) if parts[0] and parts[1] else None
    return None
