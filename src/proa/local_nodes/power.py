"""Keep which nodes are switched off: a file in a node's folder, that a start of the cluster leaves in force.

Off is off as a machine is whose plug was pulled: its pods end, its kubelet says nothing more. The command line writes
the file, and the server acts on it when it is told to look (SIGUSR1). Standard library only.
"""

from __future__ import annotations

from pathlib import Path

_FILE = "off"


def is_off(directory: Path) -> bool:
    """Tell whether the node of that folder is switched off."""
    return (directory / _FILE).exists()


def switch_off(directory: Path) -> None:
    """Have the node end, and stay so."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / _FILE).touch(mode=0o600)


def switch_on(directory: Path) -> None:
    """Have the node start."""
    (directory / _FILE).unlink(missing_ok=True)
