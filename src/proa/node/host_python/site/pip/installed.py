"""What is installed: read from the names of folders, as `importlib.metadata` would say it, without its cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from .requirements import Requirement, normalize

_SUFFIX = ".dist-info"


class Installed:
    """The projects that a path's folders have; the first folder that has one counts."""

    def __init__(self, path: Sequence[str]) -> None:
        self._found: dict[str, tuple[str, str]] = {}
        for folder in dict.fromkeys(path):
            for name in _entries(folder):
                if name.endswith(_SUFFIX):
                    project, _, version = name.removesuffix(_SUFFIX).rpartition("-")
                    self._found.setdefault(normalize(project), (version, os.path.join(folder, name)))

    def find_version(self, project: str) -> str:
        """Return the version of a project by its normalized name, "" for none."""
        return self._found.get(project, ("", ""))[0]

    def find_folder(self, project: str) -> str:
        """Return the folder that it was installed into."""
        return os.path.dirname(self._found[project][1])

    def dependencies(self, project: str) -> Iterator[Requirement]:
        """Yield what a project needs, that of extras left out. Raises Unusual, and OSError where it does not say."""
        with open(
            os.path.join(self._found[project][1], "METADATA"), encoding="utf-8", errors="replace"
        ) as file:
            for line in file:
                if not line.strip():
                    return
                if line.startswith("Requires-Dist:") and "extra ==" not in line:
                    yield Requirement(line.partition(":")[2].strip())


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder or ".")
    except OSError:  # a zip file, or no folder at all
        return []
