"""Be Kubeflow's training of a cluster, Proa's or any other: JobSets, TrainJobs and PyTorchJobs."""

from __future__ import annotations

import argparse

from proa.cli import UsageError, component
from proa.cli.actions import add_action

DESCRIPTION = """\
What trains: docs/training.md. `proa up` has all of it; `serve` is for other clusters.
"""
SERVE_DESCRIPTION = """\
Be Kubeflow's training of a cluster until SIGTERM or Ctrl-C: make its kinds known, and carry out JobSets, TrainJobs and
PyTorchJobs. Several may run: the one that holds the lease works, the others wait for it. A cluster that `proa up` runs
has training already, and keeps the lease: start it with --without training.
"""
EPILOG = """\
examples:
  proa training serve --kubeconfig ~/.kube/config
  proa training serve --without jobset              where the cluster has upstream's JobSet already
  proa training serve                               in a pod, as its account: examples/training-elsewhere.yaml

What the process may do, and nothing else, is in examples/training-elsewhere.yaml.
"""
PARTS = ("jobset", "trainjob", "pytorchjob")
PORT = 10262


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "carry out JobSets, TrainJobs and PyTorchJobs of a cluster, in a process of its own"
    serve = add_action(actions, "serve", summary, description=SERVE_DESCRIPTION, epilog=EPILOG)
    serve.add_argument(
        "--without",
        default="",
        metavar="LIST",
        help=f"what somebody else carries out, with commas between: {', '.join(PARTS)}",
    )
    component.add_arguments(serve, "proa-training-operator", PORT)


def run(options: argparse.Namespace) -> int:
    """Serve."""
    from proa.ml.training.component import make_parts
    from proa.ml.training.runtimes.installation import install_runtimes
    from proa.standalone.areas import TRAINING, AreaProcess

    without = {name.strip() for name in options.without.split(",") if name.strip()}
    if unknown := sorted(without - set(PARTS)):
        raise UsageError(f"--without {', '.join(unknown)}: there is {', '.join(PARTS)}")
    if without == set(PARTS):
        raise UsageError("--without: nothing is left to be carried out")
    parts = make_parts(without)
    process = AreaProcess(lambda client: parts, None if "trainjob" in without else install_runtimes)
    return component.serve_area(TRAINING, process, options)
