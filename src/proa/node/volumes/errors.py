"""Say why a volume is not ready."""

from __future__ import annotations


class VolumeError(Exception):
    """One volume cannot be made ready now; trying again may help. The message is upstream's."""
