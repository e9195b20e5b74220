"""Run an API server alone, one of several that share one etcd: what upstream's kube-apiserver does."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from proa.cli import Failure, UsageError, component
from proa.cli.terminal import Terminal

DESCRIPTION = """\
Run an API server in a process of its own, on an etcd that several of them share, until SIGTERM or Ctrl-C.
There are no nodes, controllers or scheduler in it: see `proa controllers` and `proa scheduler`.
"""
EPILOG = """\
All servers of a cluster have the same --store and the same --pki, whose files the first one makes. None runs beside a
`proa up` on the same store, which has its store for itself.

examples:
  proa apiserver --store etcd://10.0.0.5:2379 --pki /etc/proa/pki --write-kubeconfig ~/.kube/config
  proa apiserver --store etcd://10.0.0.5:2379 --pki /etc/proa/pki --listen 0.0.0.0 --port 6444
"""
PORT = 6443


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument(
        "--store",
        required=True,
        metavar="STORE",
        help="the etcd: etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds://…[?ca=FILE][&cert=FILE&key=FILE]",
    )
    parser.add_argument(
        "--pki",
        required=True,
        metavar="DIR",
        help="the cluster's authorities and token key, the same for all servers; what is missing is made",
    )
    parser.add_argument(
        "--listen", default="127.0.0.1", metavar="ADDR", help="the address to serve on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"its port (default: {PORT}; 0: any free one)"
    )
    parser.add_argument(
        "--advertise-address",
        default="",
        metavar="ADDR",
        help="by which the cluster's members reach this server (default: --listen, or this machine's address)",
    )
    parser.add_argument(
        "--write-kubeconfig",
        default="",
        metavar="FILE",
        help="write the administrator's kubeconfig there (0600)",
    )
    parser.add_argument(
        "--encryption-config", default="", metavar="FILE", help="an EncryptionConfiguration, the same for all"
    )
    parser.add_argument(
        "--audit-policy", default="", metavar="FILE", help="a Policy for the audit log, or `default`"
    )
    parser.add_argument(
        "--audit-log", default="", metavar="FILE", help="the audit log (default: standard output)"
    )
    parser.add_argument("--log-level", choices=component.LOG_LEVELS, default="info", help="(default: info)")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from proa.process import log_to_stderr, run

    check(options)
    from proa.cluster import StartFailure
    from proa.standalone.apiserver import Wanted, run_server

    terminal = Terminal()
    asked = {name: getattr(options, name) for name in Wanted._fields}
    for name in ("write_kubeconfig", "encryption_config"):
        asked[name] = os.path.abspath(asked[name]) if asked[name] else ""
    wanted = Wanted(**{**asked, "pki": Path(os.path.abspath(options.pki))})
    log_to_stderr(options.log_level)
    try:
        run(run_server(wanted, lambda url: terminal.line(f"apiserver ready: {url}")))
    except StartFailure as error:
        raise Failure(str(error)) from None
    return 0


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be."""
    import ipaddress

    if not options.store.startswith(("etcd://", "etcds://")):
        raise UsageError(
            f"--store {options.store}: an etcd, as etcd://HOST:PORT; a log is one server's alone"
        )
    if not 0 <= options.port <= 65535:
        raise UsageError(f"--port {options.port}: a port is a number from 0 (any free one) to 65535")
    for name in ("listen", "advertise_address"):
        if given := getattr(options, name):
            try:
                ipaddress.ip_address(given)
            except ValueError:
                option = name.replace("_", "-")
                raise UsageError(f"--{option} {given}: an IP address, e.g. 127.0.0.1") from None
