"""`python -m pip`: the quick answer where there is one, else the real pip, which installs where a container may."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .inner_venv import join_environment
from .installed import Installed
from .quick_answer import Wanted, find_answer
from .requirements import Unusual


def main(arguments: Sequence[str], path: Sequence[str]) -> int:
    """Return the exit code."""
    if arguments[:1] == ["install"]:
        try:
            wanted = Wanted(arguments[1:])
            answer = find_answer(
                wanted, Installed(join_environment(path, os.environ.get("PROA_PYTHON_SITE", "")))
            )
        except (Unusual, OSError):
            answer = None
        if answer is not None:
            for note in answer.notes:
                print(note, file=sys.stderr)
            for line in () if wanted.is_quiet else answer.satisfied:
                print(line)
            return 0
    from .hand_over import run

    return run(list(arguments), os.environ.get("PROA_PIP_TARGET", ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.path[1:]))
