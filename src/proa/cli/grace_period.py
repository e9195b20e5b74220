"""Read `--node-monitor-grace-period`: how long a node may be silent before it counts as unreachable."""

from __future__ import annotations

import argparse

from proa.cli import UsageError

OPTION = "--node-monitor-grace-period"
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 24 * 3600.0
"""Of a shorter one nodes could not keep within, as they speak four times in it."""


def add_argument(parser: argparse._ActionsContainer, default: str) -> None:
    """Add the option; `default` says in words what holds without it."""
    parser.add_argument(
        OPTION,
        metavar="DURATION",
        help=f"how long a node may be silent before it counts as unreachable, as 10s or 2m (default: {default})",
    )


def read_seconds(text: str) -> float:
    """Return seconds; raise UsageError for what is no time, or no sensible one."""
    from proa.objects.durations import parse_duration

    try:
        seconds = parse_duration(text) / 1e9
    except ValueError:
        seconds = 0.0
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise UsageError(f"{OPTION} {text}: a time from 2s to 24h, as 50s or 2m")
    return seconds
