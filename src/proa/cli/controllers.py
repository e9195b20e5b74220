"""Run controllers alone, against any Kubernetes API server: what upstream's kube-controller-manager does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from proa.cli import Failure, UsageError, component, grace_period

if TYPE_CHECKING:
    from proa.client.kubeconfig import Cluster
    from proa.standalone.controllers import Files

DESCRIPTION = """\
Run the controllers in a process of their own, against any Kubernetes API server, until SIGTERM or Ctrl-C.
Several may run: the one that holds the lease works, the others wait for it. A cluster that `proa up` runs has
controllers already, and keeps the lease: start it with --without controllers to run them here.
"""
EPILOG = """\
A controller whose files are not given, or whose kinds the server does not serve, is left out, and the log says so.
On SIGTERM what is under way is ended, the lease is let go, and the exit code is 0.

examples:
  proa controllers --kubeconfig ~/.kube/config
  proa controllers --port 0 --controllers '*,-garbage-collector'
  proa controllers --cluster-signing-cert-file pki/ca.crt --cluster-signing-key-file pki/ca.key
"""
NAME = "kube-controller-manager"
PORT = 10257


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    component.add_arguments(parser, NAME, PORT)
    chosen = parser.add_argument_group("controllers")
    chosen.add_argument(
        "--controllers",
        default="*",
        metavar="LIST",
        help="which, with commas between: NAME, -NAME for one not to run, * for all others (default: *); "
        "`proa controllers --list` names them",
    )
    grace_period.add_argument(chosen, "50s")
    chosen.add_argument("--list", action="store_true", help="print the names of all controllers, and return")
    chosen.add_argument(
        "--use-service-account-credentials",
        action="store_true",
        help="have each controller act as its own service account of kube-system, with tokens asked for with the "
        "kubeconfig's user, who may then do no more than that and read",
    )
    files = parser.add_argument_group("files that some controllers need")
    files.add_argument(
        "--root-ca-file",
        metavar="FILE",
        help="whom pods are told to trust (default: the kubeconfig's authority)",
    )
    files.add_argument(
        "--cluster-signing-cert-file",
        metavar="FILE",
        help="the certificate of the authority that signs requests",
    )
    files.add_argument("--cluster-signing-key-file", metavar="FILE", help="its private key")
    files.add_argument(
        "--service-account-private-key-file",
        metavar="FILE",
        help="what signs tokens that are kept in Secrets",
    )
    files.add_argument(
        "--local-path-directory",
        metavar="DIR",
        help="where volumes of the class local-path are made, on each node",
    )


def run(options: argparse.Namespace) -> int:
    """Run them."""
    from proa.controllers import make_controllers
    from proa.standalone.controllers import ControllerProcess, find_unknown, known_names
    from proa.standalone.leading import Component

    known = known_names(make_controllers())
    if options.list:
        print("\n".join(sorted(set(known.values()))))
        return 0
    asked = [entry.strip() for entry in options.controllers.split(",") if entry.strip()]
    if unknown := find_unknown(asked, known):
        raise UsageError(
            f"--controllers: there is no {', '.join(unknown)}; `proa controllers --list` names all"
        )
    if bool(options.cluster_signing_cert_file) != bool(options.cluster_signing_key_file):
        raise UsageError("--cluster-signing-cert-file and --cluster-signing-key-file go together")
    election = component.make_election(options)
    cluster = component.find_cluster(options)
    process = ControllerProcess(asked, read_files(options, cluster), read_grace_seconds(options))
    running = Component(
        NAME,
        NAME,
        cluster,
        election,
        uses_accounts=options.use_service_account_credentials,
        depths=process.queue_depths,
    )
    return component.run_component(running, process.work, options)


def read_grace_seconds(options: argparse.Namespace) -> float | None:
    """Return how long a node may be silent, None for upstream's default."""
    asked = options.node_monitor_grace_period
    return grace_period.read_seconds(asked) if asked is not None else None


def read_files(options: argparse.Namespace, cluster: Cluster) -> Files:
    """Return what was given; raise Failure for what cannot be read."""
    from proa.standalone.controllers import Files

    def readable(name: str) -> Path | None:
        given = getattr(options, name.replace("-", "_"))
        if not given:
            return None
        path = Path(given).absolute()
        try:
            path.open("rb").close()
        except OSError as error:
            raise Failure(f"--{name} {given}: {error.strerror}") from None
        return path

    root_ca = readable("root-ca-file")
    authority = root_ca.read_bytes() if root_ca else cluster.authority or b""
    return Files(
        authority.decode(),
        readable("cluster-signing-cert-file"),
        readable("cluster-signing-key-file"),
        readable("service-account-private-key-file"),
        Path(options.local_path_directory).absolute() if options.local_path_directory else None,
    )
