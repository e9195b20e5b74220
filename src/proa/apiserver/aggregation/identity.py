"""Name what this server shows to remote API servers, by which they know that the X-Remote-* headers are true."""

from __future__ import annotations

from pathlib import Path

from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class ProxyIdentity:
    """The client certificate and key by which remote servers know this one, in PEM."""

    certificate: Path
    key: Path
