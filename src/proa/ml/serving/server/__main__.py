"""The model server: `python -m proa.ml.serving.server --model_name NAME --model_dir FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from proa.ml.serving.server.options import read_options
from proa.ml.serving.server.telemetry import silence_telemetry


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; return the process' exit code."""
    from proa.ml.serving.server.serving import serve
    from proa.process import log_to_stderr, run

    options = read_options(arguments)
    silence_telemetry()
    log_to_stderr(options.log_level)
    run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
