"""Print the administrator's kubeconfig, or where it is."""

from __future__ import annotations

import argparse
import sys

from proa.cli import Failure
from proa.home import find_home

DESCRIPTION = """\
Print the kubeconfig of the cluster's administrator, or with --path the name of its file.
It holds a private key: whoever can read it is the cluster's administrator. The file is yours alone (0600).
"""
EPILOG = """\
examples:
  export KUBECONFIG=$(proa kubeconfig --path)
  kubectl --kubeconfig "$(proa kubeconfig --path)" get pods -A
  proa kubeconfig > ~/elsewhere.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--path", action="store_true", help="print the file's name instead of its content")


def run(options: argparse.Namespace) -> int:
    """Print it."""
    home = find_home(options.home)
    if not home.kubeconfig.exists():
        raise Failure(f"there is no cluster in {home.path} yet: start one with `proa up --detach`")
    if options.path:
        print(home.kubeconfig)
    else:
        sys.stdout.write(home.kubeconfig.read_text())
    return 0
