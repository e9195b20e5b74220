"""noded stays small: what it imports is what every node pays for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from proa.node.noded import linux

SOURCE = Path(linux.__file__).parents[3]
HEAVY = {
    "asyncio",
    "ssl",
    "typing",
    "dataclasses",
    "subprocess",
    "pathlib",
    "threading",
    "inspect",
    "orjson",
    "traceback",
}


def test_noded_imports_nothing_heavy() -> None:
    script = f"""
import sys; sys.path.insert(0, {str(SOURCE)!r})
import proa.node.noded.process
import json; print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith("proa.") and not name.startswith("proa.node")} == set()
