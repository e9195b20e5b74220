"""Run the controllers that are asked for and can run: on what the server serves, with the files that were given.

What is left out, and why, is said in the log. Follows cmd/kube-controller-manager/app (controllermanager.go,
controller_descriptor.go, helper.go).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from proa.client.protocol import Client
from proa.controllers import make_controllers
from proa.controllers.settings import ControllerSettings
from proa.local_nodes.addresses import joined_pod_cidrs
from proa.objects.resource import Resource
from proa.reconcile.discovery import resources_of
from proa.reconcile.manager import Manager, component_name
from proa.reconcile.protocol import Controller
from proa.standalone.leading import Connections

logger = logging.getLogger(__name__)

NAME = "kube-controller-manager"
RETRY_SECONDS = 2.0
UPSTREAM_NAMES = {
    "bootstrap-signer-controller": "bootstrapsigner",
    "certificatesigningrequest-approving-controller": "csrapproving",
    "certificatesigningrequest-cleaner-controller": "csrcleaner",
    "certificatesigningrequest-signing-controller": "csrsigning",
    "endpoints-controller": "endpoint",
    "endpointslice-controller": "endpoint-slice",
    "node-lifecycle-controller": "node-controller",
    "persistentvolume-binder-controller": "persistentvolume-controller",
    "root-ca-certificate-publisher-controller": "root-ca-publisher",
    "serviceaccount-token-controller": "token-controller",
    "token-cleaner-controller": "tokencleaner",
}
"""Upstream's names of controllers (cmd/kube-controller-manager/names) that are called otherwise here, after what their
events say that they come from; all others are as upstream, with or without `-controller` at the end."""


class Files(NamedTuple):
    """What some controllers need of this machine; those whose files are not given are left out.

    `root_ca` is PEM text: what pods are told to trust.
    """

    root_ca: str = ""
    signing_certificate: Path | None = None
    signing_key: Path | None = None
    account_key: Path | None = None
    volumes: Path | None = None

    def missing(self) -> dict[str, str]:
        """Return the controllers that cannot run, and the options that they miss."""
        needs = {
            "csrsigning": (
                "--cluster-signing-cert-file and --cluster-signing-key-file",
                self.signing_certificate and self.signing_key,
            ),
            "token-controller": ("--service-account-private-key-file", self.account_key),
            "root-ca-publisher": (
                "--root-ca-file, and the kubeconfig has no certificate authority",
                self.root_ca,
            ),
            "local-path-provisioner": ("--local-path-directory", self.volumes),
        }
        return {name: f"without {option}" for name, (option, given) in needs.items() if not given}

    def settings(self) -> ControllerSettings:
        """Return what controllers are told; no controller that runs asks for what is not there."""
        nowhere = Path()
        return ControllerSettings(
            self.root_ca,
            self.volumes or nowhere,
            self.signing_certificate or nowhere,
            self.signing_key or nowhere,
            self.account_key or nowhere,
            pod_cidrs=joined_pod_cidrs(),
        )


def known_names(controllers: Iterable[Controller]) -> dict[str, str]:
    """Return every name by which a controller may be asked for, and its own."""
    own = {controller.NAME: controller.NAME for controller in controllers}
    long = {component_name(controller): controller.NAME for controller in controllers}
    upstream = {alias: name for alias, name in UPSTREAM_NAMES.items() if name in own}
    return {**upstream, **long, **own}


def find_unknown(asked: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the entries of a `--controllers` list that name nothing."""
    return [entry for entry in asked if entry != "*" and entry.removeprefix("-") not in known]


def is_enabled(name: str, asked: Sequence[str], known: Mapping[str, str]) -> bool:
    """Tell whether a `--controllers` list has a controller: by its name, unless as `-name`, or else by `*`."""
    named = {known.get(entry, entry) for entry in asked if not entry.startswith("-")}
    refused = {known.get(entry[1:], entry[1:]) for entry in asked if entry.startswith("-")}
    return name in named or ("*" in named and name not in refused)


def find_unserved(controller: Controller, served: Collection[Resource]) -> list[str]:
    """Return what a controller watches and the server does not have."""
    return [w.resource.qualified_name for w in controller.WATCHES if w.resource not in served]


class ControllerProcess:
    """What `proa controllers` does while it leads. Each time begins with controllers that remember nothing.

    `grace_seconds` is how long a node may be silent; None is the default.
    """

    def __init__(self, asked: Sequence[str], files: Files, grace_seconds: float | None = None) -> None:
        self._asked = asked
        self._files = files
        self._grace_seconds = grace_seconds
        self._manager: Manager | None = None

    async def work(self, connections: Connections) -> None:
        """Run controllers until cancelled; raise what one of their own tasks fails with."""
        controllers = make_controllers()
        served = await _find_served(connections.client, controllers)
        manager = self._manager = Manager(
            connections.client,
            self._choose(controllers, served),
            self._settings(),
            client_of=connections.client_of,
        )
        await manager.run()

    def _settings(self) -> ControllerSettings:
        settings = self._files.settings()
        if self._grace_seconds is None:
            return settings
        return dataclasses.replace(settings, node_monitor_grace_seconds=self._grace_seconds)

    def queue_depths(self) -> Mapping[str, float]:
        """Return how many keys wait, for each controller."""
        return self._manager.queue_depths() if self._manager is not None else {}

    def _choose(self, controllers: Sequence[Controller], served: Collection[Resource]) -> list[Controller]:
        known, missing = known_names(controllers), self._files.missing()
        chosen = []
        for controller in controllers:
            if not is_enabled(controller.NAME, self._asked, known):
                logger.info("controller is not asked for controller=%s", controller.NAME)
            elif why := missing.get(controller.NAME):
                logger.warning("controller left out controller=%s reason=%s", controller.NAME, why)
            elif unserved := find_unserved(controller, served):
                why = f"the server has no {', '.join(unserved)}"
                logger.warning("controller left out controller=%s reason=%s", controller.NAME, why)
            else:
                chosen.append(controller)
        logger.info("controllers run: %s", " ".join(controller.NAME for controller in chosen))
        return chosen


async def _find_served(client: Client, controllers: Iterable[Controller]) -> set[Resource]:
    """Return what the server has in the group versions that the controllers watch, once it answers for all of them."""
    versions = sorted({watch.resource.api_version for c in controllers for watch in c.WATCHES})
    told: set[str] = set()
    while True:
        answers = await asyncio.gather(*(resources_of(client, version) for version in versions))
        problems = {answer for answer in answers if isinstance(answer, str)}
        if not problems:
            return {found.resource for answer in answers if not isinstance(answer, str) for found in answer}
        for problem in problems - told:
            logger.warning("the server does not say what it serves error=%s", problem)
        told = problems
        await asyncio.sleep(RETRY_SECONDS)
