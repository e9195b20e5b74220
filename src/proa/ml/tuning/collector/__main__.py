"""`python -m proa.ml.tuning.collector KEY=VALUE...`: see program.py, and asked.py for the keys."""

from proa.ml.tuning.collector import ends


def main() -> None:
    """Collect as the arguments say."""
    ends.keep()
    import sys

    from proa.ml.tuning.collector.asked import Asked
    from proa.ml.tuning.collector.program import Collector

    Collector(Asked(sys.argv[1:])).run()


if __name__ == "__main__":
    main()
