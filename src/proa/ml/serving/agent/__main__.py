"""`python -m proa.ml.serving.agent`: stand before a container that is not our model server."""

from __future__ import annotations

import logging
import sys

from proa import process
from proa.ml.serving.agent.settings import read_settings


async def _run() -> None:
    from proa.ml.serving.agent.running import run_agent

    await run_agent(_SETTINGS, process.told_to_stop())


if __name__ == "__main__":
    from proa.ml.serving.payloads.logger import SinkError

    _SETTINGS = read_settings(sys.argv[1:])
    process.log_to_stderr()
    try:
        process.run(_run())
    except (OSError, SinkError) as error:
        logging.getLogger("agent").error("%s", error)
        sys.exit(1)
