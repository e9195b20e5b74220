"""What processes of one component share: which server, the lease, health, the log, and the run itself."""

from __future__ import annotations

import argparse
import socket
from typing import TYPE_CHECKING

from proa.cli import Failure, UsageError
from proa.cli.terminal import Terminal
from proa.home import find_home

if TYPE_CHECKING:
    from proa.client.kubeconfig import Cluster
    from proa.standalone.areas import AreaProcess
    from proa.standalone.leading import Component, Election, Work

LOG_LEVELS = ("debug", "info", "warning", "error")


def add_arguments(
    parser: argparse.ArgumentParser,
    lease: str,
    port: int,
    health_flag: str = "--port",
    kubeconfig: str | None = None,
) -> None:
    """Add the options that all of them have. `kubeconfig` is SUPPRESS below a verb that has that option itself."""
    parser.set_defaults(health_flag=health_flag)
    server = parser.add_argument_group("the API server")
    server.add_argument(
        "--kubeconfig",
        metavar="FILE",
        default=kubeconfig,
        help="where it is and as whom to ask it (default: in a pod its service account, else the home's kubeconfig)",
    )
    server.add_argument("--context", default="", help="the kubeconfig's context (default: its current one)")
    election = parser.add_argument_group(
        "leader election: of several equal processes one works, the others wait"
    )
    election.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="contend for the lease (default)",
    )
    election.add_argument(
        "--lease-namespace",
        default="kube-system",
        metavar="NAME",
        help="where the lease is (default: kube-system)",
    )
    election.add_argument("--lease-name", default=lease, metavar="NAME", help=f"its name (default: {lease})")
    election.add_argument(
        "--lease-duration",
        type=int,
        default=15,
        metavar="SECONDS",
        help="how long others wait for a silent leader (15)",
    )
    election.add_argument(
        "--renew-deadline",
        type=float,
        default=10,
        metavar="SECONDS",
        help="how long a leader tries to renew (10)",
    )
    election.add_argument(
        "--retry-period",
        type=float,
        default=2,
        metavar="SECONDS",
        help="how often it is renewed, or tried for (2)",
    )
    process = parser.add_argument_group("the process")
    process.add_argument(
        health_flag,
        dest="health_port",
        type=int,
        default=port,
        metavar="N",
        help="the port on 127.0.0.1 for /healthz, /livez, /readyz and /metrics "
        f"(default: {port}; 0: any free one; -1: none)",
    )
    process.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(default: info)")


def find_cluster(options: argparse.Namespace) -> Cluster:
    """Return the API server that is meant; raise Failure."""
    from proa.client.kubeconfig import in_cluster, load_kubeconfig
    from proa.objects.errors import BadRequest

    try:
        if options.kubeconfig is None and (pod := in_cluster()) is not None:
            return pod
        return load_kubeconfig(options.kubeconfig or find_home(options.home).kubeconfig, options.context)
    except BadRequest as error:
        raise Failure(error.message) from None


def make_election(options: argparse.Namespace) -> Election:
    """Return what the options say of the lease; raise UsageError for them, and for the port of health."""
    from proa.reconcile.leader_election import Timing
    from proa.standalone.leading import Election

    timing = Timing(options.lease_duration, options.renew_deadline, options.retry_period)
    try:
        timing.check()
    except ValueError as error:
        raise UsageError(f"--lease-duration, --renew-deadline, --retry-period: {error}") from None
    if not -1 <= options.health_port <= 65535:
        raise UsageError(
            f"{options.health_flag} {options.health_port}: a port is a number from 0 (any free one) to 65535, or -1 "
            "for none"
        )
    return Election(options.lease_name, options.lease_namespace, timing, options.leader_elect)


def run_component(component: Component, work: Work, options: argparse.Namespace) -> int:
    """Be the process until it is told to stop; one line says that it has begun."""
    from proa.process import log_to_stderr, run

    log_to_stderr(options.log_level)
    listener = open_port(options)
    health = f"  health http://127.0.0.1:{listener.getsockname()[1]}" if listener else ""
    terminal = Terminal()
    run(
        component.run(
            work, listener, lambda: terminal.line(f"{options.verb} run as {component.identity}{health}")
        )
    )
    return 0


def serve_area(name: str, process: AreaProcess, options: argparse.Namespace) -> int:
    """Be the process of an area of ML, whose lease is called `name`; raise Failure for what ends it."""
    from proa.ml.database.errors import DatabaseError
    from proa.objects.errors import ApiError
    from proa.standalone.leading import Component

    running = Component(
        name, name, find_cluster(options), make_election(options), depths=process.queue_depths
    )
    try:
        return run_component(running, process.work, options)
    except (ApiError, DatabaseError) as error:
        raise Failure(getattr(error, "message", "") or str(error)) from error


def open_port(options: argparse.Namespace) -> socket.socket | None:
    """Return the socket for health, None where none is wanted; raise Failure."""
    from proa.standalone.health import listen

    port: int = options.health_port
    if port == -1:
        return None
    try:
        return listen(port)
    except OSError as error:
        raise Failure(
            f"{options.health_flag} {port}: {error.strerror}; 0 takes any free port, -1 none"
        ) from None
