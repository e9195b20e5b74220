"""Run the scheduler alone, against any Kubernetes API server: what upstream's kube-scheduler does."""

from __future__ import annotations

import argparse

from proa.cli import Failure, component

DESCRIPTION = """\
Run the scheduler in a process of its own, against any Kubernetes API server, until SIGTERM or Ctrl-C.
Several may run: the one that holds the lease works, the others wait for it. A cluster that `proa up` runs has a
scheduler already, and keeps the lease: start it with --without scheduler to run one here.
"""
EPILOG = """\
On SIGTERM what is under way is ended, the lease is let go, and the exit code is 0.

examples:
  proa scheduler --kubeconfig ~/.kube/config
  proa scheduler --port 0 --log-level debug
  proa scheduler --config scheduler.yaml
"""
NAME = "kube-scheduler"
PORT = 10259


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): profiles with names, plugins and their "
        "arguments; what it says of leader election and clients is said by options here",
    )
    component.add_arguments(parser, NAME, PORT)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from functools import partial

    from proa.scheduler.configuration import BadConfiguration, Configuration
    from proa.scheduler.profiles import load_configuration
    from proa.standalone.leading import Component
    from proa.standalone.scheduler import EVENT_SOURCE, work

    try:
        configuration = load_configuration(options.config) if options.config else Configuration()
    except BadConfiguration as error:
        raise Failure(f"--config {error}") from None

    election = component.make_election(options)
    running = Component(NAME, EVENT_SOURCE, component.find_cluster(options), election)
    return component.run_component(running, partial(work, configuration=configuration), options)
