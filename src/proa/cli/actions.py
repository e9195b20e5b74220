"""Actions of a verb, as `serve` of `proa tuning`: a parser each, that looks like the others."""

from __future__ import annotations

import argparse
from typing import Any


def add_action(
    actions: Any, name: str, summary: str, *, description: str = "", epilog: str = ""
) -> argparse.ArgumentParser:
    """Return the parser of one action, which may be told the cluster's folder, as its verb may."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--home", metavar="DIR", default=argparse.SUPPRESS, help="the cluster's folder")
    return parser
