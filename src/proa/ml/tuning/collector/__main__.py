"""`python -m proa.ml.tuning.collector SETTINGS`: see program.py. SIGTERM is kept from the first line on, not lost."""

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})


def main() -> None:
    """Collect by the settings that are the last argument."""
    import json
    import sys

    from proa.ml.tuning.collector.program import Collector

    Collector(json.loads(sys.argv[-1])).run()


if __name__ == "__main__":
    main()
