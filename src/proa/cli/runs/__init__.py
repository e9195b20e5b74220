"""List runs of pipelines, show what they did and made, read their logs, retry, terminate, archive and remove them."""

from __future__ import annotations

import argparse

from proa.cli.pipelines.asking import add_action, add_cluster_options, add_limit

DESCRIPTION = """\
List the runs of pipelines; show one's steps, parameters, metrics and artifacts; read logs; retry, terminate, archive.
A run is named by its id, or by its name: the newest of that name.
"""
EPILOG = """\
examples:
  proa runs ls --state FAILED --experiment nightly
  proa runs show RUN                     its steps, what they were given and made, why each hit or missed the cache
  proa runs show RUN train               one step: everything of it, metrics and curves drawn
  proa runs show -f RUN                  live, until it is over
  proa runs logs -f RUN train
  proa runs retry RUN                    from the failed steps on; what succeeded is kept
  proa runs artifacts RUN
  proa runs download RUN train/model -O model.joblib
  proa runs terminate RUN
"""
STATES = ("PENDING", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CANCELING", "CANCELED", "PAUSED")
_RUN = "by id, or by name: the newest of that name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add_cluster_options(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(
        actions, "ls", "list runs, the newest first", "  proa runs ls --state FAILED --limit 5\n"
    )
    listing.add_argument("--state", choices=STATES, default="", help="only those in this state")
    listing.add_argument("--experiment", default="", metavar="NAME", help="only those of this experiment")
    listing.add_argument("--name", default="", metavar="PART", help="only those whose name has this in it")
    listing.add_argument(
        "--archived", action="store_true", help="those that are archived, in place of the others"
    )
    add_limit(listing)
    show = add_action(actions, "show", "show a run's steps and what they made, or one step whole")
    show.add_argument("run_name", metavar="RUN", help=_RUN)
    show.add_argument("step", nargs="?", default="", metavar="STEP", help="by name, path or id")
    show.add_argument(
        "-f", "--follow", action="store_true", help="until it is over; exit code 1 where it failed"
    )
    logs = add_action(actions, "logs", "print the logs of a run's steps", "  proa runs logs -f RUN train\n")
    logs.add_argument("run_name", metavar="RUN", help=_RUN)
    logs.add_argument(
        "step", nargs="?", default="", metavar="STEP", help="by name, path or id (default: all of them)"
    )
    logs.add_argument(
        "-f", "--follow", action="store_true", help="go on as they are written, until the step is over"
    )
    summaries = {
        "retry": "go on with runs that failed, from the steps that did not succeed",
        "terminate": "end runs that are under way",
        "archive": "put runs away: they are no longer listed, and can be brought back",
        "unarchive": "bring archived runs back",
        "rm": "remove runs and their history; artifacts stay where they are",
    }
    for name, summary in summaries.items():
        one = add_action(actions, name, summary)
        one.add_argument("runs", nargs="+", metavar="RUN", help=_RUN)
    artifacts = add_action(actions, "artifacts", "list what a run made: name, type, where it is")
    artifacts.add_argument("run_name", metavar="RUN", help=_RUN)
    download = add_action(
        actions,
        "download",
        "save an artifact's file; a folder as .tar.gz",
        "  proa runs download RUN train/model -O model.joblib\n",
    )
    download.add_argument("run_name", metavar="RUN", help=_RUN)
    download.add_argument("artifact", metavar="ARTIFACT", help="by id, by name, or as step/name")
    download.add_argument(
        "-O", "--to", default="", metavar="FILE", help="where (default: its name, here); -: standard output"
    )


def run(options: argparse.Namespace) -> int:
    """Do it."""
    if options.action in ("show", "artifacts", "download"):
        from proa.cli.runs.showing import ACTIONS as SHOWING

        return SHOWING[options.action](options)
    from proa.cli.runs.acting import ACTIONS

    return ACTIONS[options.action](options)
