"""What `proa pipelines|tuning|serving serve` share: where clients reach them, and where their database is."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from pathlib import Path

from proa.cli import Failure, UsageError
from proa.home import find_home

DATABASE_SERVERS = ("postgresql://", "postgres://")


def add_place(parser: argparse.ArgumentParser, who: str, port: int) -> None:
    """Add where `who` answers clients."""
    parser.add_argument(
        "--listen", default="127.0.0.1", metavar="ADDRESS", help=f"where {who} answers (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=int, default=port, metavar="N", help=f"(default: {port}; 0: any free one)"
    )


def find_database(options: argparse.Namespace, own: Path) -> str:
    """Return the database's URL or path; the home's is that of the home's own cluster alone."""
    from proa.client.kubeconfig import in_cluster

    if options.database:
        given: str = options.database
        return given if given.startswith(DATABASE_SERVERS) else str(Path(given).absolute())
    home = find_home(options.home)
    if options.kubeconfig is not None:
        is_own = Path(options.kubeconfig).absolute() == home.kubeconfig.absolute()
    else:
        is_own = in_cluster() is None
    if not is_own:
        raise UsageError("serve: --database FILE or --database postgresql://… is needed for another cluster")
    return str(own)


def open_listener(address: str, port: int) -> socket.socket:
    """Return the socket for clients; raise UsageError, Failure."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise UsageError(f"--listen {address}: an IP address is needed") from None
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: a port is a number from 0 (any free one) to 65535")
    try:
        return socket.create_server(
            (str(ip), port), family=socket.AF_INET6 if ip.version == 6 else socket.AF_INET
        )
    except OSError as error:
        raise Failure(f"--listen {address} --port {port}: {error.strerror}") from None
