"""Make this machine a node of a cluster on another one, and run that node: in the foreground, or detached."""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from proa.cli import Failure, UsageError
from proa.cli.terminal import Terminal
from proa.cli.up import ONE_ARENA, say_ready, start_verb, wait_until_written
from proa.home import Home, find_home
from proa.network.outside.modes import MODES

if TYPE_CHECKING:
    from proa.joining.membership import Membership

DESCRIPTION = """\
Make this machine a node of a cluster that runs on another one, and run that node. The cluster's API is found by its
address and trusted by its hash; the token lets this machine have a certificate of its own, which is renewed in time.
Root is needed. Run again without options, in the same home, it starts the node that has joined.
"""
EPILOG = """\
On the cluster's machine:
  proa up --detach --listen 192.0.2.1
  proa token create --print-join-command

Here:
  proa join --detach --server https://192.0.2.1:6443 --token abcdef.0123456789abcdef --ca-hash sha256:…
  proa down                    stop the node and its pods; `proa join --detach` starts it again
  proa join --server URL       the cluster has moved to another address
  proa leave                   be its node no more
Between all machines UDP port 8472 (the pods' network) must be open, and TCP port 10250 (the kubelet's) from the
cluster's to each.
"""
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--server", metavar="URL", help="the cluster's API, e.g. https://192.0.2.1:6443")
    parser.add_argument("--token", help="a token of `proa token create`; -: read it from standard input")
    parser.add_argument(
        "--ca-hash", metavar="sha256:HEX", help="the hash of the public key of the cluster's authority"
    )
    parser.add_argument("--name", help="the node's name (default: this machine's)")
    parser.add_argument(
        "--detach", action="store_true", help="return when the node is ready, and leave it running"
    )
    parser.add_argument(
        "--kubelet-port",
        type=int,
        metavar="N",
        help="where the cluster reaches this node (default: 10250; 0: any free one)",
    )
    parser.add_argument(
        "--node-ports", metavar="ADDR", help="the address on which NodePorts are offered here (default: the one that "
        "leads to the cluster)",
    )  # fmt: skip
    parser.add_argument(
        "--outside-network",
        choices=MODES,
        default="yes",
        help="whether pods here reach this machine's networks, as with `proa up` (default: yes)",
    )
    parser.add_argument(
        "--kubelet-config",
        metavar="FILE",
        help="a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) for this node, as with `proa up`",
    )
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Join, where that is still to be done, and run the node."""
    from proa.joining.membership import JoinFailure, read_membership

    home = find_home(options.home)
    if home.settings.exists():
        raise Failure(f"{home.path} has a cluster of its own: join with another --home")
    try:
        membership = read_membership(home)
        is_new = membership is None
        membership = check_same(membership, options, home) if membership else enrol(home, options)
    except JoinFailure as failure:
        raise Failure(str(failure)) from None
    try:
        return run_detached(home, membership) if options.detach else run_here(home, membership, options)
    except Failure:
        if is_new:
            forget(home)
        raise


def check_same(membership: Membership, options: argparse.Namespace, home: Home) -> Membership:
    """Refuse to be a node of two clusters, or to be called otherwise; a cluster may have moved to another address."""
    already = (
        f"{home.path} is node {membership.node_name} of {membership.server} already: `proa leave` ends that"
    )
    if options.name and options.name != membership.node_name:
        raise Failure(already)
    asked = (options.server or membership.server).rstrip("/")
    if asked == membership.server:
        return membership
    if home.is_running():
        raise Failure(f"the node runs: `proa down` first, then it can go to {asked}")
    import asyncio

    from proa.joining.enrolment import move

    if (moved := asyncio.run(move(home, membership, asked))) is None:
        raise Failure(already)
    return moved


def enrol(home: Home, options: argparse.Namespace) -> Membership:
    """Have this machine known to the cluster; what fails leaves nothing."""
    import asyncio

    from proa.joining.enrolment import Wanted, enrol
    from proa.joining.membership import JoinFailure

    wanted = read_wanted(options)
    if os.geteuid() != 0:
        raise Failure(
            "a node that joins another machine's cluster needs root, for its way to other nodes is a VXLAN device of "
            "this machine's network: run it with sudo. (`proa up` needs none: its nodes are all on this machine)"
        )
    if wanted.kubelet_port:
        check_port(wanted.kubelet_port, wanted.server)
    was_there = home.path.exists()
    home.make()
    try:
        return asyncio.run(enrol(home, Wanted(**wanted._asdict())))
    except (JoinFailure, OSError, KeyboardInterrupt):
        forget(home)
        if not was_there and home.path.exists() and not any(home.path.iterdir()):
            home.path.rmdir()
        raise


def read_wanted(options: argparse.Namespace) -> Any:
    """Return what is asked for; raise UsageError where that cannot be."""
    from proa.joining.enrolment import Wanted

    missing = [name for name in ("server", "token", "ca_hash") if not getattr(options, name)]
    if missing:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise UsageError(
            f"{listed}: needed to join; `proa token create --print-join-command` on the cluster's machine prints all"
        )
    server = options.server.rstrip("/")
    parts = urlsplit(server)
    if parts.scheme != "https" or not parts.hostname or parts.path or parts.query:
        raise UsageError(f"--server {options.server}: a URL like https://192.0.2.1:6443")
    token = sys.stdin.readline().strip() if options.token == "-" else options.token  # noqa: S105 - "-" is no token
    if not re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token):
        raise UsageError("--token: six characters, a dot, and sixteen, of a-z and 0-9")
    if not re.fullmatch(r"sha256:[0-9a-fA-F]{64}", options.ca_hash):
        raise UsageError(f"--ca-hash {options.ca_hash}: sha256: and 64 hexadecimal digits")
    name = options.name or socket.gethostname().lower()
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name}: lower-case letters, digits, dots and dashes, at most 63")
    port = 10250 if options.kubelet_port is None else options.kubelet_port
    if not 0 <= port <= 65535:
        raise UsageError(f"--kubelet-port {port}: a port is a number from 0 (any free one) to 65535")
    if options.node_ports:
        check_address(options.node_ports)
    kubelet_config = os.path.abspath(options.kubelet_config) if options.kubelet_config else ""
    return Wanted(
        server,
        token,
        options.ca_hash,
        name,
        port,
        options.node_ports or "",
        options.outside_network,
        kubelet_config,
    )


def check_address(address: str) -> None:
    """Refuse what is no address."""
    import ipaddress

    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise UsageError(f"--node-ports {address}: an IP address of this machine, e.g. 127.0.0.1") from None


def check_port(port: int, server: str) -> None:
    """Find out before anything is asked of the cluster whether the kubelet can have its port."""
    from proa.cluster import StartFailure, listen
    from proa.joining.enrolment import find_addresses

    try:
        listen(find_addresses(server)[1], port).close()
    except StartFailure as failure:
        raise Failure(
            f"{str(failure).split(';')[0]}, which is the kubelet's: another kubelet may run here; `--kubelet-port 0` "
            "takes any free port"
        ) from None


def run_here(home: Home, membership: Membership, options: argparse.Namespace) -> int:
    """Be the node until told to stop."""
    if options.ready_fd is not None:
        for name in ONE_ARENA:
            os.environ.pop(name, None)
    from proa.cluster import StartFailure
    from proa.joining.membership import JoinFailure
    from proa.joining.process import AlreadyRunning, be_node

    try:
        be_node(home, membership, say_ready(options, ready_line))
    except AlreadyRunning:
        raise Failure(f"the node runs already; stop it with `proa down`: {home.path}") from None
    except (JoinFailure, StartFailure) as failure:
        raise Failure(str(failure)) from None
    return 0


def run_detached(home: Home, membership: Membership) -> int:
    """Start the node in a session of its own, and wait for its word."""
    terminal = Terminal()
    if not home.is_running():
        terminal.line(ready_line(start_verb(home, "join", [], terminal)))
        return 0
    terminal.line(f"already running: {ready_line(wait_until_written(home))}")
    return 0


def ready_line(server: dict[str, Any]) -> str:
    """Return the one line that says what this machine is now."""
    return f"ready in {server['startSeconds']:.2f} s: node {server['node']} of {server['server']}"


def forget(home: Home) -> None:
    """Leave nothing of a join that did not come to be: processes, keys, and the Node where one was made."""
    from proa.cli.leave import leave

    leave(home, 10.0, Terminal(sys.stderr), is_quiet=True)
