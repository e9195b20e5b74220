"""Find out by trying what isolation this machine gives, and say for each lack what would mend it.

Each answer comes from the real operation, in a noded of its own that is gone at once: nothing is guessed from
versions or files. `proa doctor` prints it, and the ladder (ladder.py) climbs by the same code.
"""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_PROBE_SECONDS = 20.0


def probe_features() -> Mapping[str, str]:
    """Return what works: names mapped to "" (it does), or to why not and what would help.

    `root`, `rootless-subids`, `rootless` are the rungs; the rest is what the highest of them has here.
    """
    return {**_probe_rungs(), **_probe_node()}


def chosen_level() -> str:
    """Return the rung that a node started now would stand on."""
    rungs = _probe_rungs()
    return next((name for name, why in rungs.items() if not why), "process")


@functools.cache
def _probe_rungs() -> dict[str, str]:
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("main.py")), "proa-noded-probe"]
    answer = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=True, text=True)
    return dict(json.loads(answer.stdout))


@functools.cache
def _probe_node() -> dict[str, str]:
    from proa.node.noded.launch import NodedSettings, ensure_noded, stop_noded

    async def ask(directory: Path) -> dict[str, str]:
        client = await ensure_noded(directory, NodedSettings(node_name="probe"))
        try:
            return dict((await client.status()).features)
        finally:
            await client.close()
            await stop_noded(directory)

    with tempfile.TemporaryDirectory(prefix="proa-probe-") as folder:
        return asyncio.run(ask(Path(folder) / "node"))
