"""Train, serve, heal, scale and roll out a real model on a real cluster, with live progress."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import signal
import tempfile
from pathlib import Path
from typing import Any

from proa.cli import Failure
from proa.cli.terminal import Terminal, print_json
from proa.home import Home, find_home

DESCRIPTION = """\
Train a classifier of handwritten digits in a Job, serve it with a Deployment behind a Service, and then, under
steady traffic, kill a process, delete a pod, scale, roll out a better model without a failed request, and roll back.
All of it runs on the cluster in this home (started if need be) in the namespace digits-demo, in real containers.
"""
EPILOG = """\
The cluster stays up afterwards, to look around with kubectl, unless --rm is given: then the demo uses a cluster of
its own in a temporary folder (or the one in --home) and removes what it made. An interrupted demo stops what it
started. Needs scikit-learn: pip install 'proa[demo]'.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--rm", action="store_true", help="remove everything that the demo made")
    parser.add_argument(
        "-o",
        "--output",
        choices=["text", "json"],
        default="text",
        help="print the summary as (default: text)",
    )


def run(options: argparse.Namespace) -> int:
    """Tell the story; afterwards leave the cluster as the options say."""
    if importlib.util.find_spec("sklearn") is None:
        raise Failure("the demo trains with scikit-learn: pip install 'proa[demo]'")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    if options.rm and not options.home:
        with tempfile.TemporaryDirectory(prefix="proa-demo-") as folder:
            return tell(Home(Path(folder, "home")), options)
    return tell(find_home(options.home), options)


def tell(home: Home, options: argparse.Namespace) -> int:
    """Start the cluster where it does not run, tell the story, and clean up after it."""
    import sys

    from proa.cli.demo.story import Story

    terminal = Terminal(sys.stderr if options.output == "json" else None)
    was_running, had_cluster = home.is_running(), home.settings.exists()
    story = Story(home, terminal)
    finished = False
    try:
        story.start_cluster(port=0 if options.rm else None)
        summary = asyncio.run(story.run())
        finished = True
        report(summary, options, terminal, home)
    finally:
        if options.rm or not finished:
            clean_up(story, terminal, was_running=was_running, had_cluster=had_cluster, remove=options.rm)
    return 0


def clean_up(story: Any, terminal: Terminal, *, was_running: bool, had_cluster: bool, remove: bool) -> None:
    """Take away what the demo made, and nothing else: its namespace, and the cluster if it was not there before."""
    from proa.cli.down import stop
    from proa.cli.reset import remove as remove_home

    home = story.home
    if (had_cluster or was_running) and home.is_running():
        asyncio.run(story.remove_namespace())
    if not was_running:
        stop(home, 30.0, terminal)
        terminal.step("the cluster is stopped")
    if remove and not had_cluster and home.path.exists():
        remove_home(home)
        terminal.step(f"{home.path} is removed")


def report(summary: dict[str, Any], options: argparse.Namespace, terminal: Terminal, home: Home) -> None:
    """Print the closing summary."""
    if options.output == "json":
        print_json(summary)
        return
    from proa.cli.demo.story import print_summary

    print_summary(summary, terminal, None if options.rm else home)
