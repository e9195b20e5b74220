"""List experiments, show how far they are and what they found, wait for them, remove them."""

from __future__ import annotations

import argparse

from proa.cli.connecting import add_action, add_cluster_options

DESCRIPTION = """\
List experiments of hyper-parameters (Katib's, experiments.kubeflow.org), show their trials with a drawing of the
objective, the best parameters, why trials failed and what would help. They are made with `kubectl apply`, or with the
SDKs kubeflow-katib and kubeflow; what they are made of: docs/tuning.md.
"""
EPILOG = """\
examples:
  proa experiments ls -A -o wide
  proa experiments show NAME               its trials, the objective over them, the best parameters
  proa experiments show -f NAME            live, until it is over; lines where standard output is no terminal
  proa experiments show NAME --trial T     one trial: each metric over its steps
  proa experiments best NAME -o json       the best parameters, for a program
  proa experiments trials NAME --sort value --limit 5
  proa experiments wait NAME --timeout 600
  proa experiments delete NAME

Exit code of `show -f` and `wait`: 0 where the experiment has succeeded, 1 where it has failed.
"""
STATES = ("Pending", "Running", "Succeeded", "EarlyStopped", "Failed", "MetricsUnavailable", "Killed")
SHOWN_TRIALS = 10
_NAME = "the experiment's name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add_cluster_options(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(actions, "ls", "list experiments, the newest first", "text wide json yaml")
    listing.add_argument("-A", "--all-namespaces", action="store_true", help="those of all namespaces")
    show = add_action(
        actions,
        "show",
        "show an experiment: the objective over its trials, the best of them, and why others failed",
        "text json yaml",
        "  proa experiments show -f NAME\n  proa experiments show NAME --trial NAME-abcde\n",
    )
    show.add_argument("experiment", metavar="NAME", help=_NAME)
    show.add_argument(
        "-f", "--follow", action="store_true", help="until it is over; exit code 1 where it failed"
    )
    show.add_argument("--trial", default="", metavar="TRIAL", help="one trial, with its metrics over time")
    show.add_argument(
        "--db-manager",
        default="",
        metavar="HOST:PORT",
        help="where a trial's metrics over time are (default: the home's; of another cluster, a forwarded port)",
    )
    show.add_argument(
        "--limit",
        type=int,
        default=SHOWN_TRIALS,
        metavar="N",
        help=f"so many trials at most: those under way, then the best (default: {SHOWN_TRIALS})",
    )
    best = add_action(actions, "best", "print the best parameters so far", "text json yaml")
    best.add_argument("experiment", metavar="NAME", help=_NAME)
    trials = add_action(
        actions,
        "trials",
        "list an experiment's trials with their parameters and metrics",
        "text wide json yaml",
        "  proa experiments trials NAME --state Failed -o wide\n",
    )
    trials.add_argument("experiment", metavar="NAME", help=_NAME)
    trials.add_argument("--state", choices=STATES, default="", help="only those in this state")
    trials.add_argument(
        "--sort", choices=["created", "value"], default="created", help="in which order (default: created)"
    )
    trials.add_argument("--limit", type=int, default=0, metavar="N", help="so many at most (default: all)")
    wait = add_action(actions, "wait", "wait until an experiment has succeeded or failed", "")
    wait.add_argument("experiment", metavar="NAME", help=_NAME)
    wait.add_argument(
        "--timeout",
        type=float,
        default=None,
        metavar="SECONDS",
        help="for so long at most (default: for ever)",
    )
    delete = add_action(actions, "delete", "remove experiments with their trials and what these run", "")
    delete.add_argument("experiments", nargs="+", metavar="NAME", help=_NAME)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from proa.cli.experiments.acting import ACTIONS

    return ACTIONS[options.action](options)
