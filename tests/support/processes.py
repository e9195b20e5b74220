"""Look for processes, as a person would with ps."""

from __future__ import annotations

from pathlib import Path


def find_processes(text: str) -> set[int]:
    """Return the ids of processes whose command line contains `text`."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.add(int(entry.name))
    return found
