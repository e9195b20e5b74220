"""Run compiled pipelines without the SDK, with a live tree of their steps; keep pipelines; serve their API."""

from __future__ import annotations

import argparse

from proa.cli.pipelines import serving
from proa.cli.pipelines.asking import add_action, add_cluster_options, add_limit

DESCRIPTION = """\
Run compiled pipelines (YAML, of `kfp dsl compile` or kfp.compiler), and handle those that are kept in the cluster.
The cluster is the home's, or that of a kubeconfig: Proa's or any other that has Kubeflow Pipelines' API.
"""
EPILOG = """\
examples:
  proa pipelines run train.yaml -p epochs=3 -p 'layers=[64, 32]'     run a file, and watch its steps
  proa pipelines run train.yaml --detach -o json                     start it, and print the run
  proa pipelines upload train.yaml --name train                      keep it: a new version where there is one
  proa pipelines run train -p epochs=5                               run what is kept, the latest version
  proa pipelines ls --name train
  proa pipelines show train                                          its parameters and steps
  proa pipelines versions train
  proa pipelines rm train                                            it and its versions; runs stay
  proa pipelines serve --kubeconfig F --database pipelines.db        be Kubeflow Pipelines of any cluster

What runs did is shown by `proa runs`, and what runs at times by `proa recurring`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    add_cluster_options(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = add_action(
        actions,
        "run",
        "run a pipeline, and show its steps until it is over",
        "  proa pipelines run train.yaml -p epochs=3 -p 'layers=[64, 32]' -p 'labels={\"team\": \"a\"}'\n"
        "  proa pipelines run train.yaml --no-cache --detach\n\n"
        "Ctrl-C leaves the run going. Exit code 0: it succeeded; 1: it failed, or was terminated.",
    )
    run.add_argument(
        "pipeline", metavar="FILE|PIPELINE", help="a compiled pipeline, or one that is kept, by name or id"
    )
    run.add_argument(
        "-p",
        "--parameter",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter's value, as its type has it; lists and objects are JSON",
    )
    run.add_argument(
        "--version",
        default="",
        metavar="VERSION",
        help="of a kept pipeline, by name or id (default: the latest)",
    )
    run.add_argument(
        "--experiment", default="", metavar="NAME", help="which the run belongs to; it is made if need be"
    )
    run.add_argument(
        "--name", default="", metavar="NAME", help="of the run (default: the pipeline's, and the time)"
    )
    run.add_argument("--pipeline-root", default="", metavar="URI", help="below which its artifacts are kept")
    run.add_argument("--service-account", default="", metavar="NAME", help="as which its pods run")
    run.add_argument("--no-cache", action="store_true", help="run every step, whatever the cache has")
    run.add_argument("-d", "--detach", action="store_true", help="return when it is made; print its id")
    listing = add_action(actions, "ls", "list the pipelines that are kept")
    listing.add_argument("--name", default="", metavar="PART", help="only those whose name has this in it")
    add_limit(listing)
    show = add_action(actions, "show", "show a pipeline's parameters and steps")
    show.add_argument("pipeline", metavar="FILE|PIPELINE", help="a file, or one that is kept, by name or id")
    show.add_argument("--version", default="", metavar="VERSION", help="by name or id (default: the latest)")
    upload = add_action(actions, "upload", "keep a pipeline, or a new version of it")
    upload.add_argument("file", metavar="FILE", help="a compiled pipeline")
    upload.add_argument(
        "--name", default="", metavar="NAME", help="of the pipeline (default: the document's)"
    )
    upload.add_argument("--version", default="", metavar="NAME", help="of the version (default: the time)")
    upload.add_argument("--description", default="", metavar="TEXT", help="what it is for")
    versions = add_action(actions, "versions", "list a pipeline's versions")
    versions.add_argument("pipeline", metavar="PIPELINE", help="by name or id")
    add_limit(versions)
    serving.add_arguments(actions)
    remove = add_action(actions, "rm", "remove pipelines with their versions; their runs stay")
    remove.add_argument("pipelines", nargs="+", metavar="PIPELINE", help="by name or id")


def run(options: argparse.Namespace) -> int:
    """Do it."""
    if options.action == "run":
        from proa.cli.pipelines.running import run_pipeline

        return run_pipeline(options)
    if options.action == "serve":
        return serving.serve(options)
    from proa.cli.pipelines.kept import ACTIONS

    return ACTIONS[options.action](options)
