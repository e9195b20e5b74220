"""Be KServe of a cluster, Proa's or any other: InferenceServices, InferenceGraphs and TrainedModels."""

from __future__ import annotations

import argparse
import ipaddress

from proa.cli import UsageError, component
from proa.cli.actions import add_action
from proa.cli.serve_options import add_place, open_listener

DESCRIPTION = """\
What serves models: docs/serving.md. `proa up` has all of it; `serve` is for other clusters.
"""
SERVE_DESCRIPTION = """\
Be KServe of a cluster until SIGTERM or Ctrl-C: make its kinds and runtimes known, carry out InferenceServices,
InferenceGraphs and TrainedModels, scale them, and hold the requests of those that are scaled to zero (the activator).
Several may run: the one that holds the lease works, the others wait for it. A cluster that `proa up` runs has serving
already, and keeps the lease: start it with --without serving.
"""
EPILOG = """\
examples:
  proa serving serve --kubeconfig ~/.kube/config --image registry.example/proa:1
  proa serving serve --listen 0.0.0.0 --advertise $(POD_IP)     in a pod: examples/serving-elsewhere.yaml

What the process may do, and nothing else, is in examples/serving-elsewhere.yaml. More: docs/serving.md.
"""
PORT, HEALTH_PORT = 8012, 10264


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "carry out a cluster's InferenceServices, in a process of its own"
    serve = add_action(actions, "serve", summary, description=SERVE_DESCRIPTION, epilog=EPILOG)
    serve.add_argument(
        "--image",
        default="",
        metavar="IMAGE",
        help="what has Proa and the formats' libraries, for model servers and what helps them "
        "(default: proa.local/python, which only Proa's nodes have)",
    )
    serve.add_argument(
        "--model-cache",
        default="",
        metavar="FOLDER",
        help="a folder of every node where models' files are kept, for namespaces whose pod security lets them mount "
        "it (default: none, each pod fetches its own)",
    )
    add_place(serve, "the activator", PORT)
    serve.add_argument(
        "--advertise",
        default="",
        metavar="ADDRESS",
        help="where the cluster's nodes reach the activator (default: what --listen says)",
    )
    component.add_arguments(serve, "proa-serving-operator", HEALTH_PORT, "--health-port")


def run(options: argparse.Namespace) -> int:
    """Serve."""
    from proa.ml.grpc.door import Door
    from proa.ml.serving.component import install, make_parts
    from proa.ml.serving.settings import HOST_IMAGE, ServingSettings
    from proa.standalone.areas import SERVING, AreaProcess

    address = check_advertised(options.advertise or options.listen)
    listener = open_listener(options.listen, options.port)
    door = Door()
    door.listen(listener)
    settings = ServingSettings(
        door,
        address,
        int(listener.getsockname()[1]) if address else 0,
        image=options.image or HOST_IMAGE,
        model_cache=options.model_cache,
        finds_way=True,
    )
    process = AreaProcess(
        lambda client: make_parts(client, settings), lambda client: install(client, settings)
    )
    with listener:
        return component.serve_area(SERVING, process, options)


def check_advertised(text: str) -> str:
    """Return the address that others connect to, "" where nobody can: loopback; raise UsageError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"--advertise {text}: an IP address is needed") from None
    if address.is_unspecified:
        raise UsageError(f"--listen {text} says not where nodes reach it: add --advertise ADDRESS")
    return "" if address.is_loopback else str(address)
