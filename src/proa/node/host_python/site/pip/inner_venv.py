"""Let a virtual environment made in a container see what the environment of the image has, where it asks for that.

`python3 -m venv --system-site-packages`, as steps of pipelines with `use_venv` have it, means the packages of the
image. Its Python may be in a virtual environment itself, and then those of the Python below are meant: almost none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_FILE = "proa-image-packages.pth"


def join_environment(path: Sequence[str], site: str) -> list[str]:
    """Return the path, with `site` (the image's packages) last where this Python is to see them, from now on."""
    if not site or site in path or not _wants_system_packages():
        return [*path]
    import sysconfig

    with open(os.path.join(sysconfig.get_path("purelib"), _FILE), "w", encoding="utf-8") as file:
        file.write(site + "\n")
    return [*path, site]


def _wants_system_packages() -> bool:
    if sys.prefix == sys.base_prefix:
        return False
    try:
        with open(os.path.join(sys.prefix, "pyvenv.cfg"), encoding="utf-8") as file:
            settings = dict(line.split("=", 1) for line in file if "=" in line)
    except OSError:
        return False
    return any(
        name.strip() == "include-system-site-packages" and value.strip() == "true"
        for name, value in settings.items()
    )
