"""`proa pipelines serve`: Kubeflow Pipelines' operator and API in a process of its own, against any API server."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path
from typing import Any

from proa.cli import Failure, component
from proa.cli.actions import add_action
from proa.cli.serve_options import add_place, find_database, open_listener
from proa.cli.terminal import Terminal
from proa.home import find_home

DESCRIPTION = """\
Be Kubeflow Pipelines of a cluster, Proa's or any other, until SIGTERM or Ctrl-C: its API for kfp.Client(), and the
operator that carries runs out as pods. Several may run: the one that holds the lease works, the others wait for it.
A cluster that `proa up` runs has pipelines already, and keeps the lease: start it with --without pipelines.
"""
EPILOG = """\
examples:
  proa pipelines serve --kubeconfig ~/.kube/config --database pipelines.db --image registry.example/proa:1
  proa pipelines serve --database postgresql://proa@db/pipelines --listen 0.0.0.0     in a pod, as its account

In a terminal of its own: kfp.Client(host="http://127.0.0.1:8888", existing_token=...) with what
`kubectl create token ACCOUNT` prints. What the cluster must have, and the roles: docs/pipelines.md.
"""
NAME = "proa-pipelines-operator"
PORT, HEALTH_PORT = 8888, 10261


def add_arguments(actions: Any) -> None:
    """Add the action and its options."""
    summary = "be Kubeflow Pipelines of a cluster, in a process of its own"
    parser = add_action(actions, "serve", summary, description=DESCRIPTION, epilog=EPILOG)
    add_place(parser, "it", PORT)
    parser.add_argument(
        "--allow-anonymous",
        action="store_true",
        help="let requests without a token act as the service account ml-pipeline-visitor in namespace kubeflow",
    )
    parser.add_argument(
        "--database",
        metavar="URL|FILE",
        help="what was run: a file (SQLite) or postgresql://… (default: the home's, for the home's cluster)",
    )
    parser.add_argument(
        "--artifacts",
        type=Path,
        metavar="DIR",
        help="a folder for artifacts that pods share: of this machine, whose nodes have the label "
        "proa.local/machine=own (default: none, each namespace's ConfigMap kfp-launcher names a bucket)",
    )
    parser.add_argument(
        "--image",
        default="",
        metavar="IMAGE",
        help="what has `proa[s3]`, for containers that bring artifacts to and from buckets "
        "(default: proa.local/python, which only Proa's nodes have)",
    )
    parser.add_argument(
        "--node-ports",
        default="",
        metavar="ADDRESS",
        help="where this process, if it is not in the pods' network, reaches the cluster's NodePorts",
    )
    component.add_arguments(parser, NAME, HEALTH_PORT, "--health-port", argparse.SUPPRESS)


def serve(options: argparse.Namespace) -> int:
    """Serve."""
    from proa.ml.database.errors import DatabaseError
    from proa.ml.pipelines.component import PipelinesSettings
    from proa.objects.errors import ApiError
    from proa.process import log_to_stderr, run
    from proa.standalone.leading import Component
    from proa.standalone.pipelines import PipelinesProcess

    election = component.make_election(options)
    database = find_database(options, find_home(options.home).pipelines_database)
    listener = open_listener(options.listen, options.port)
    cluster = component.find_cluster(options)
    settings = PipelinesSettings(
        database,
        artifacts=options.artifacts.absolute() if options.artifacts is not None else None,
        image=options.image,
        node_ports=options.node_ports,
    )
    log_to_stderr(options.log_level)
    health = component.open_port(options)
    running = Component(NAME, NAME, cluster, election)
    process = PipelinesProcess(running, settings, needs_token=not options.allow_anonymous)

    def tell() -> None:
        told = f"  health http://127.0.0.1:{health.getsockname()[1]}" if health is not None else ""
        Terminal().line(f"pipelines serve as {running.identity}  {url_of(listener)}{told}")

    try:
        run(process.run(listener, health, tell))
    except (ApiError, DatabaseError) as error:
        raise Failure(getattr(error, "message", "") or str(error)) from error
    return 0


def url_of(listener: socket.socket) -> str:
    """Return the address to give to clients."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
