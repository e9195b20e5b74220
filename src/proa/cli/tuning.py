"""Be Katib of a cluster, Proa's or any other: Experiments, Suggestions and Trials."""

from __future__ import annotations

import argparse
import ipaddress
from contextlib import AsyncExitStack

from proa.cli import component
from proa.cli.actions import add_action
from proa.cli.serve_options import add_place, find_database, open_listener
from proa.home import find_home

DESCRIPTION = """\
What tunes: docs/tuning.md. `proa up` has all of it; `serve` is for other clusters. To look at experiments, here or
elsewhere: proa experiments.
"""
SERVE_DESCRIPTION = """\
Be Katib of a cluster until SIGTERM or Ctrl-C: make its kinds known, carry out Experiments, and answer trials that push
metrics (DBManager). Several may run: the one that holds the lease works, the others wait for it. A cluster that
`proa up` runs has tuning already, and keeps the lease: start it with --without tuning.
"""
EPILOG = """\
examples:
  proa tuning serve --kubeconfig ~/.kube/config --database observations.db --image registry.example/proa:1
  proa tuning serve --database postgresql://proa@db/tuning --listen 0.0.0.0     in a pod: examples/tuning-elsewhere.yaml

What the process may do, and nothing else, is in examples/tuning-elsewhere.yaml. More: docs/tuning.md.
"""
PORT, HEALTH_PORT = 6789, 10263


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "carry out a cluster's Experiments, in a process of its own"
    serve = add_action(actions, "serve", summary, description=SERVE_DESCRIPTION, epilog=EPILOG)
    serve.add_argument(
        "--database",
        metavar="URL|FILE",
        help="points of metrics: a file (SQLite) or postgresql://… (default: the home's, for the home's cluster)",
    )
    serve.add_argument(
        "--image",
        default="",
        metavar="IMAGE",
        help="what has Proa, for the container that collects metrics in trials' pods "
        "(default: proa.local/python, which only Proa's nodes have)",
    )
    add_place(serve, "the DBManager", PORT)
    component.add_arguments(serve, "proa-tuning-operator", HEALTH_PORT, "--health-port")


def run(options: argparse.Namespace) -> int:
    """Serve."""
    from proa.client.protocol import Client
    from proa.ml.area import Part
    from proa.ml.grpc.door import Door
    from proa.ml.tuning.component import TuningSettings, make_parts
    from proa.ml.tuning.observations.observations import Observations
    from proa.standalone.areas import TUNING, AreaProcess

    database = find_database(options, find_home(options.home).tuning_database)
    listener = open_listener(options.listen, options.port)
    door = Door()
    door.listen(listener, is_host=ipaddress.ip_address(options.listen).is_loopback)

    def make(client: Client) -> list[Part]:
        async def serve(stack: AsyncExitStack, observations: Observations) -> None:
            from proa.ml.tuning.grpc.serving import serve_db_manager

            await serve_db_manager(stack, client, observations, door)

        return make_parts(TuningSettings(database, serve, options.image))

    with listener:
        return component.serve_area(TUNING, AreaProcess(make), options)
