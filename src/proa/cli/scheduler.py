"""Run the scheduler alone, against any Kubernetes API server: what upstream's kube-scheduler does."""

from __future__ import annotations

import argparse

from proa.cli import component

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
"""
NAME = "kube-scheduler"
PORT = 10259


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    component.add_arguments(parser, NAME, PORT)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from proa.standalone.leading import Component
    from proa.standalone.scheduler import EVENT_SOURCE, work

    election = component.make_election(options)
    running = Component(NAME, EVENT_SOURCE, component.find_cluster(options), election)
    return component.run_component(running, work, options)
