"""`python -m proa.ml.tuning.collector KEY=VALUE...`: see program.py, and asked.py for the keys."""

from proa.ml.tuning.collector import ends


def main() -> None:
    """Collect as the arguments say."""
    ends.keep()
    import sys

    from proa.ml.tuning.collector.asked import Asked
    from proa.ml.tuning.collector.program import Collector, say

    asked = Asked(sys.argv[1:])
    say(asked, "\n")  # ready: who waits for this file to have something in it goes on
    try:
        Collector(asked).run()
    except Exception as error:
        say(asked, f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
