"""Build and wire every component of one cluster: the only file that knows them all.

`Cluster.start` starts everything in the order in which each part needs the others; the stack that it is given stops it
all in reverse. The process around it is server.py.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import importlib
import logging
import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from proa.cluster_settings import (
    EVERYWHERE,
    FILE,
    LOOPBACK,
    BadSettings,
    Settings,
    Wanted,
    default_families,
    keep_settings,
    read_settings,
)
from proa.home import Home, write_private
from proa.local_nodes.addresses import (
    ACTIVATOR_PORT,
    API_ADDRESS,
    API_PORT,
    API_SERVICE_IP,
    DNS_SERVICE_IP,
    HOST_ADDRESS,
    PIPELINES_PORT,
    REGISTRY_NAME,
    REGISTRY_PORT,
    SERVICE_CIDR,
    SERVICE_CIDR_V6,
    TUNING_PORT,
    joined_pod_cidrs,
)
from proa.local_nodes.door import Listener, NodeDoor
from proa.local_nodes.node import Surroundings
from proa.local_nodes.node_set import LocalNodes
from proa.local_nodes.removal import remove_nodes
from proa.ml.grpc.door import Door

if TYPE_CHECKING:
    import ssl

    from proa.apiserver.app import ApiServer
    from proa.apiserver.audit.log import AuditLog
    from proa.apiserver.audit.policy import AuditPolicy
    from proa.apiserver.pki import Pki
    from proa.apiserver.streams.remote_kubelet import RemoteKubelets
    from proa.client.kubelet_api import DistantKubelet, KubeletApi
    from proa.client.protocol import Client
    from proa.httpd.server import HttpServer
    from proa.ml.area import Area
    from proa.ml.pipelines.component import Pipelines
    from proa.ml.serving.settings import ServingSettings
    from proa.ml.tuning.component import TuningSettings
    from proa.ml.tuning.observations.observations import Observations
    from proa.network.gateway.starter import GatewayStarter
    from proa.reconcile.manager import Manager
    from proa.registry.access import Access
    from proa.registry.server import RegistryServer
    from proa.scheduler.configuration import Configuration
    from proa.store.protocol import Store

logger = logging.getLogger(__name__)

SERVICE_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
LISTEN_ADVICE = {
    errno.EADDRINUSE: "; `--port 0` takes any free port",
    errno.EACCES: "; ports below 1024 are root's, `--port 0` takes any free port",
    errno.EADDRNOTAVAIL: "; `--listen` takes an address that this machine has",
}
LEASES = {
    "controllers": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "pipelines": "proa-pipelines-operator",
    "tuning": "proa-tuning-operator",
    "training": "proa-training-operator",
    "serving": "proa-serving-operator",
}
"""By which lease of kube-system each component that may run elsewhere (`--without`) is led."""
COMPONENTS = (
    "proa.apiserver.app",
    "proa.apiserver.bootstrap",
    "proa.httpd.server",
    "proa.apiserver.resources",
    "proa.client.local",
    "proa.controllers",
    "proa.network.host",
    "proa.network.network",
    "proa.node.kubelet",
    "proa.reconcile.manager",
    "proa.scheduler.cycle",
)
"""What is imported while noded boots and keys are written."""


GATEWAY_TIMEOUT_SECONDS = 30.0


class StartFailure(Exception):
    """The cluster cannot start; the message says why and what would help."""


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _end_on_failure(task: asyncio.Task[None]) -> None:
    """A component that ends by itself has failed: take the server down, pods go on, the next start finds them."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("%s has failed", task.get_name(), exc_info=error)
        os._exit(1)


class Cluster:
    """Every component of one cluster, in one process. What is started is stopped by the stack, in reverse."""

    def __init__(self, home: Home, stack: AsyncExitStack) -> None:
        self.home = home
        self._stack = stack
        self.is_stopping = False
        """Whether it is to end, pods included; a start that fails leaves the pods that it found alone."""
        self.removed_nodes: list[str] = []
        """Those that the cluster had before, when it was to have more."""
        self.registry_address = ""
        """Where the host reaches the cluster's registry."""
        self.pipelines_address = ""
        """Where the host reaches the pipelines' API, with a token."""
        self.tuning_address = ""
        """Where this user's programs reach Katib's DBManager."""
        self.settings: Settings
        self._client: Client
        self._manager: Manager
        self._nodes: LocalNodes
        self._gateway: GatewayStarter
        self._pipelines: Pipelines | None = None
        self._tuning_door = Door()
        self._activator_door = Door()
        self._areas: list[Area] = []
        self._remote_kubelets: RemoteKubelets

    @property
    def url(self) -> str:
        """Return the API server's address, as clients on the host use it."""
        return url_of(self.settings.address, self.settings.port)

    @property
    def _service_cidr(self) -> str:
        return f"{SERVICE_CIDR},{SERVICE_CIDR_V6}" if "IPv6" in self.settings.ip_families else SERVICE_CIDR

    async def start(self, wanted: Wanted) -> None:
        """Start everything; return when the API answers, default/kubernetes exists and the nodes are Ready."""
        kept = self._read_settings()
        if kept is None and wanted.ip_families is None:
            wanted = wanted._replace(ip_families=default_families())
        families = wanted.ip_families or (kept.ip_families if kept else "")
        is_dual = "IPv6" in families
        self._nodes = LocalNodes(self.home, wanted.nodes or (kept.nodes if kept else 1), is_dual=is_dual)
        self._stack.push_async_callback(self._end_nodes)
        booting = self._nodes.boot()
        try:
            await asyncio.sleep(0)  # noded boots in a process of its own while this one goes on
            listener = self._listen(wanted, kept)
            keys = asyncio.get_running_loop().run_in_executor(None, self._ensure_pki)  # waits for the disk
            self._choose_components(wanted)
            opened = await self._open_store(wanted.store, wanted.encryption_config)
            for module in COMPONENTS:
                importlib.import_module(module)
            pki = await keys
            self._remote_kubelets = self._make_remote_kubelets(pki)
            server = self._make_api_server(opened, pki, wanted)
            self._stack.push_async_callback(server.close)
            self._client = make_client(server, "system:apiserver", "system:masters")
            await self._make_policy(server)
            await self._wait_for_nodes(booting)
        except BaseException:
            booting.cancel()
            await asyncio.gather(booting, return_exceptions=True)
            raise
        make_http = await self._serve(server, pki, listener)
        await asyncio.gather(self._make_system_objects(server, pki), self._make_areas(server))
        self.removed_nodes = self._nodes.surplus
        await remove_nodes(self.home, self.removed_nodes, self._client)
        aggregating = asyncio.create_task(server.aggregator.run(), name="aggregator")
        self._stack.push_async_callback(_cancel, aggregating)
        aggregating.add_done_callback(_end_on_failure)
        await self._start_components(server, pki, make_http)

    def start_in_background(self) -> None:
        """Begin what looks at everything and nobody waits for: garbage collection, once the cluster is ready."""
        self._manager.start_self_watching()
        self._nodes.look()  # a switch may have been turned meanwhile
        self._gateway.start()
        if self._pipelines is not None:
            self._pipelines.start_in_background()
        for area in self._areas:
            area.start(self._manager.informers, self._manager.events)

    def look_at_switches(self) -> None:
        """Have nodes follow their switches (`proa nodes start` and `stop`)."""
        if hasattr(self, "_nodes"):
            self._nodes.look()

    async def _wait_for_nodes(self, booting: asyncio.Task[None]) -> None:
        from proa.node.runtimes.protocol import RuntimeFailure

        try:
            await booting
        except RuntimeFailure as failure:
            raise StartFailure(f"{failure.message}; `proa doctor` tells what this machine lacks") from None

    async def _end_nodes(self) -> None:
        """End the nodes; a start that has failed leaves those alone that an earlier server's pods still run on."""
        await self._nodes.end(is_stopping=self.is_stopping)

    async def _open_store(self, wanted: str | None, encryption_config: str | None) -> Store:
        """Open the store that this home was made with, or make the one that is wanted."""
        from proa.store.choice import choose, open_store
        from proa.store.protocol import StoreError

        try:
            choice = choose(self.settings.store, wanted, self.home.store)
            encryption = self.settings.encryption if encryption_config is None else encryption_config
            store = await open_store(choice, self.home.store, self.settings.id, encryption)
        except ValueError as error:
            raise StartFailure(f"--store {error}") from None
        except StoreError as error:
            raise StartFailure(str(error)) from None
        self._stack.push_async_callback(store.close)
        self._keep(self.settings._replace(store=choice, encryption=encryption), self.settings)
        return store

    def _choose_components(self, wanted: Wanted) -> None:
        """Keep what runs elsewhere, and how the rest is configured, where that can be carried out."""
        kept = self.settings
        settings = kept._replace(
            without=kept.without if wanted.without is None else wanted.without,
            scheduler_config=kept.scheduler_config
            if wanted.scheduler_config is None
            else wanted.scheduler_config,
            kubelet_config=kept.kubelet_config if wanted.kubelet_config is None else wanted.kubelet_config,
            pipelines_database=kept.pipelines_database
            if wanted.pipelines_database is None
            else wanted.pipelines_database.removeprefix(FILE),
            pipelines_port=kept.pipelines_port if wanted.pipelines_port is None else wanted.pipelines_port,
            tuning_database=kept.tuning_database
            if wanted.tuning_database is None
            else wanted.tuning_database.removeprefix(FILE),
            tuning_port=kept.tuning_port if wanted.tuning_port is None else wanted.tuning_port,
        )
        self._scheduling = make_scheduling(settings.scheduler_config) if settings.scheduler_config else None
        self._kubelet_changes = read_kubelet_changes(settings.kubelet_config)
        self._keep(settings, kept)

    def _open_audit(self, wanted: Wanted) -> tuple[AuditPolicy | None, AuditLog | None]:
        """Return what is to be noted of requests, and where; (None, None) where nothing is. What works is kept."""
        kept = self.settings
        settings = kept._replace(
            audit_policy=kept.audit_policy if wanted.audit_policy is None else wanted.audit_policy,
            audit_log=kept.audit_log if wanted.audit_log is None else wanted.audit_log,
        )
        path = settings.audit_log or str(self.home.audit_log)
        policy, log = make_audit(settings.audit_policy, path) if settings.audit_policy else (None, None)
        self._keep(settings, kept)
        return policy, log

    def _make_api_server(self, store: Store, pki: Pki, wanted: Wanted) -> ApiServer:
        from proa.apiserver.aggregation.identity import ProxyIdentity
        from proa.apiserver.app import ApiServer, ApiSettings
        from proa.apiserver.resources import DEFINITIONS

        audit_policy, audit_log = self._open_audit(wanted)
        settings = ApiSettings(
            service_cidr=self._service_cidr,
            advertise_address=self.settings.address,
            advertise_port=self.settings.port,
            token_private_key=pki.service_account.key,
            token_public_key=pki.service_account.certificate,
            proxy_identity=ProxyIdentity(pki.front_proxy_client.certificate, pki.front_proxy_client.key),
            audit_policy=audit_policy,
        )
        return ApiServer(store, DEFINITIONS, settings, kubelet=self._dial_kubelet, audit_log=audit_log)

    async def _serve(self, server: ApiServer, pki: Pki, listener: socket.socket) -> Callable[[], HttpServer]:
        """Listen on the host; return what makes further HTTP servers, for pods."""
        from proa.httpd.server import HttpServer, make_server_context

        context = make_server_context(
            str(pki.server.certificate), str(pki.server.key), str(pki.authority.certificate)
        )
        http = HttpServer(server.handle, context)
        self._stack.push_async_callback(http.close)
        await http.serve(listener)
        return lambda: HttpServer(server.handle, context)

    async def _make_policy(self, server: ApiServer) -> None:
        """See that the roles and bindings are there by which everybody but the administrator may do anything."""
        from proa.apiserver.authorization.bootstrap_policy import ensure_policy
        from proa.apiserver.bootstrap import ensure_namespaces

        await ensure_namespaces(self._client)
        await ensure_policy(server.catalog)

    async def _make_system_objects(self, server: ApiServer, pki: Pki) -> None:
        """See that namespaces, default/kubernetes, DNS, the default storage class and the trust of others are there."""
        from proa.apiserver.aggregation.trust import publish_authentication
        from proa.apiserver.bootstrap import ensure, ensure_system_objects
        from proa.controllers.local_path.controller import make_storage_class
        from proa.network.dns import service_object
        from proa.network.gateway.starter import make_ingress_class
        from proa.node.runtime_classes import make_runtime_class
        from proa.objects.resource import INGRESS_CLASSES, RUNTIME_CLASSES, SERVICES, STORAGE_CLASSES

        await server.catalog.allocators.claims.repair()
        address = (API_ADDRESS, API_PORT)
        if not self._nodes.has_own_network:
            address = (self.settings.address, self.settings.port)
        await ensure_system_objects(
            self._client, service_cidr=self._service_cidr, address=address[0], port=address[1]
        )
        await ensure(self._client, SERVICES, service_object(DNS_SERVICE_IP), "kube-system")
        await ensure(self._client, STORAGE_CLASSES, make_storage_class(), None)
        await ensure(self._client, INGRESS_CLASSES, make_ingress_class(), None)
        for handler in self._nodes.handlers:
            await ensure(self._client, RUNTIME_CLASSES, make_runtime_class(handler), None)
        await publish_authentication(self._client, pki)

    async def _start_components(
        self, server: ApiServer, pki: Pki, make_http: Callable[[], HttpServer]
    ) -> None:
        """Start controllers, scheduler and nodes on shared informers; return when the nodes are Ready."""
        from proa.controllers import make_controllers, make_server_controllers
        from proa.controllers.settings import ControllerSettings
        from proa.metrics.server import ACCOUNT as METRICS_ACCOUNT
        from proa.metrics.server import MetricsServer
        from proa.network.load_balancers import ACCOUNT as BALANCER_ACCOUNT
        from proa.reconcile.manager import Manager

        without = self.settings.without.split(",")
        await self._hold_leases(without)
        self.home.volumes.mkdir(mode=0o700, exist_ok=True)
        settings = ControllerSettings(
            pki.authority.certificate.read_text(),
            self.home.volumes,
            pki.authority.certificate,
            pki.authority.key,
            pki.service_account.key,
            node_monitor_grace_seconds=self.settings.node_monitor_grace_seconds,
            pod_cidrs=joined_pod_cidrs(is_dual="IPv6" in self.settings.ip_families),
            api_addresses=(API_ADDRESS,),
        )
        manager = self._manager = Manager(
            make_client(server, "system:kube-controller-manager"),
            [*make_server_controllers(), *(make_controllers() if "controllers" not in without else ())],
            settings,
            client_of=lambda account: make_account_client(server, account),
        )
        informers, events = manager.informers, manager.events
        registry = self._open_registry(server, pki)
        others: dict[int, Callable[[socket.socket], Listener]] = {
            REGISTRY_PORT: lambda listener: registry.listen(listener, is_host=False)
        }
        if "pipelines" not in without:
            self._pipelines = self._make_pipelines(server)
            others[PIPELINES_PORT] = self._pipelines.listen
        if "tuning" not in without:
            self._open_tuning_door()
            others[TUNING_PORT] = self._tuning_door.listen
        if "serving" not in without:
            others[ACTIVATOR_PORT] = self._activator_door.listen
        around = Surroundings(
            informers,
            events,
            lambda node: make_client(server, f"system:node:{node}", "system:nodes"),
            lambda noded: NodeDoor(noded, make_http, others),
            self.settings.node_monitor_grace_seconds,
            self.settings.outside_network,
            make_account_client(server, BALANCER_ACCOUNT),
            self._kubelet_changes,
            registry_name=REGISTRY_NAME,
        )
        metrics = MetricsServer(make_account_client(server, METRICS_ACCOUNT), informers, time.time)
        for api in metrics.apis:
            server.aggregator.embed(api)
        self._stack.push_async_callback(manager.stop)
        self._stack.push_async_callback(lambda: self._nodes.stop(drain=self.is_stopping))
        await asyncio.gather(manager.start_reconciling(), self._nodes.start(around, self.settings.listen))
        self._make_gateway(server, manager)
        if "scheduler" not in without:
            self._start_scheduler(server, manager)
        measuring = asyncio.create_task(metrics.run(), name="metrics")
        self._stack.push_async_callback(_cancel, measuring)
        measuring.add_done_callback(_end_on_failure)
        following = asyncio.create_task(self._nodes.run(), name="nodes")
        self._stack.push_async_callback(_cancel, following)
        following.add_done_callback(_end_on_failure)

    def _make_gateway(self, server: ApiServer, manager: Manager) -> None:
        """Have what carries out Ingresses and Gateways wait for the first."""
        from proa.network.gateway.starter import ACCOUNT, GatewayStarter

        place = self._nodes.lend_entrance(lambda: self._gateway.renew())
        self._gateway = GatewayStarter(
            make_account_client(server, ACCOUNT),
            manager.informers,
            manager.events.recorder(ACCOUNT),
            place,
            self.home.gateway,
            self.settings.listen,
            time.time,
        )
        self._stack.push_async_callback(self._gateway.stop)

    def _open_registry(self, server: ApiServer, pki: Pki) -> RegistryServer:
        """Listen for the cluster's registry on the host's loopback; nodes open doors of their own to it."""
        from proa.registry.server import RegistryServer, listen_on_loopback

        loop = asyncio.get_running_loop()

        def make_access() -> Access:
            from proa.registry.access import ACCOUNT, ApiAccess

            return ApiAccess(loop, make_account_client(server, ACCOUNT))

        def make_context() -> ssl.SSLContext:
            from proa.httpd.server import make_server_context

            return make_server_context(str(pki.server.certificate), str(pki.server.key))

        hosts = frozenset({LOOPBACK, "localhost", REGISTRY_NAME, API_ADDRESS})
        registry = RegistryServer(self.home.images, make_access, make_context, hosts)
        self._stack.push_async_callback(registry.close)
        listener = listen_on_loopback()
        if listener is not None:
            on_host = registry.listen(listener, is_host=True)
            self._stack.callback(on_host.close)
            self.registry_address = f"{LOOPBACK}:{on_host.port}"
        return registry

    def _make_pipelines(self, server: ApiServer) -> Pipelines:
        """Have pipelines wait for the first request, on the host's loopback and at the API server's own address."""
        from proa.ml.pipelines.component import ACCOUNT, Pipelines, PipelinesSettings
        from proa.network.outside import modes

        settings = self.settings
        has_loopback = settings.outside_network == modes.LOOPBACK
        pipelines = Pipelines(
            make_account_client(server, ACCOUNT),
            PipelinesSettings(
                database=settings.pipelines_database or str(self.home.pipelines_database),
                artifacts=self.home.artifacts,
                hosts=dict.fromkeys((modes.HOST_NAME, HOST_ADDRESS), LOOPBACK) if has_loopback else None,
                node_ports=LOOPBACK,
                install=self._install_pipelines,
            ),
        )
        server.extensions[pipelines.NAME] = pipelines.handle
        self._stack.push_async_callback(pipelines.stop)
        listener = listen_if_free(LOOPBACK, settings.pipelines_port)
        if listener is not None:
            pipelines.listen(listener, needs_token=True)
            port = int(listener.getsockname()[1])
            self.pipelines_address = f"http://{LOOPBACK}:{port}"
            self._keep(settings._replace(pipelines_port=port), settings)
        return pipelines

    async def _install_pipelines(self) -> None:
        from proa.ml.pipelines.api.installation import install

        await install(self._client, API_ADDRESS, PIPELINES_PORT)

    def _open_tuning_door(self) -> None:
        """Listen on the host's loopback for whoever wants the points of trials' metrics."""
        listener = listen_if_free(LOOPBACK, self.settings.tuning_port)
        if listener is not None:
            port = int(listener.getsockname()[1])
            self._stack.callback(self._tuning_door.listen(listener, is_host=True).close)
            self.tuning_address = f"{LOOPBACK}:{port}"
            self._keep(self.settings._replace(tuning_port=port), self.settings)

    def _make_tuning_settings(self, server: ApiServer) -> TuningSettings:
        from proa.ml.tuning.component import ACCOUNT, TuningSettings

        async def serve(stack: AsyncExitStack, observations: Observations) -> None:
            from proa.ml.tuning.grpc.installation import install
            from proa.ml.tuning.grpc.serving import serve_db_manager

            client = make_account_client(server, ACCOUNT)
            await serve_db_manager(stack, client, observations, self._tuning_door)
            await install(self._client, API_ADDRESS, TUNING_PORT)

        database = self.settings.tuning_database or str(self.home.tuning_database)
        return TuningSettings(database, serve, dial=self._dial)

    async def _dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to what pods and Services have at that address."""
        return await asyncio.open_connection(sock=await self._nodes.connect(host, port))

    def _make_serving_settings(self) -> ServingSettings:
        from proa.ml.serving.settings import ServingSettings
        from proa.network.gateway.starter import CLASS_NAME

        async def prepare() -> None:
            from proa.network.gateway.installation import install

            await install(self._client, GATEWAY_TIMEOUT_SECONDS)

        return ServingSettings(
            self._activator_door,
            API_ADDRESS,
            ACTIVATOR_PORT,
            gateway_class=CLASS_NAME,
            model_cache=str(self.home.models),
            dial=self._nodes.connect,
            prepare=prepare,
        )

    async def _make_areas(self, server: ApiServer) -> None:
        """Have the areas of ML wait for their first objects; raise ApiError where their kinds cannot be made."""
        from proa.apiserver.custom_resources.shipped import create_missing
        from proa.ml.area import Area, ensure_definitions
        from proa.ml.serving import component as serving
        from proa.ml.training import component as training
        from proa.ml.tuning import component as tuning

        settings = self.settings
        serving_client = make_account_client(server, serving.ACCOUNT)
        serving_settings = self._make_serving_settings()

        async def install_serving() -> None:
            await serving.install(self._client, serving_settings)

        known = {
            "tuning": (tuning.ACCOUNT, tuning.make_parts(self._make_tuning_settings(server)), None),
            "training": (training.ACCOUNT, training.make_parts(), self._install_training),
            "serving": (
                serving.ACCOUNT,
                serving.make_parts(serving_client, serving_settings),
                install_serving,
            ),
        }
        without = settings.without.split(",")
        self._areas = [
            Area(make_account_client(server, account), parts, install)
            for name, (account, parts, install) in known.items()
            if name not in without
        ]
        for area in self._areas:
            self._stack.push_async_callback(area.stop)
        files = [file for area in self._areas for file in area.definitions]
        if others := await create_missing(server.catalog, files):
            await ensure_definitions(self._client, others)

    async def _install_training(self) -> None:
        from proa.ml.training.runtimes.installation import install

        await install(self._client)

    def _start_scheduler(self, server: ApiServer, manager: Manager) -> None:
        from proa.scheduler.cycle import DEFAULT_CONFIGURATION, Scheduler

        scheduler = Scheduler(
            make_client(server, "system:kube-scheduler"),
            manager.informers,
            manager.events.recorder,
            time.time,
            random.random,
            configuration=self._scheduling or DEFAULT_CONFIGURATION,
        )
        scheduling = asyncio.create_task(scheduler.run(), name="scheduler")
        self._stack.push_async_callback(scheduler.stop)
        scheduling.add_done_callback(_end_on_failure)

    async def _hold_leases(self, without: list[str]) -> None:
        """Keep standby components from working beside ours, or have them begin where we have none."""
        from proa.reconcile.held_lease import LedElsewhere, hold_for_good, let_go
        from proa.reconcile.leader_election import Lock

        identity = f"{socket.gethostname()}_{self.settings.id}"
        for component, lease in LEASES.items():
            lock = Lock(lease, identity)
            if component in without:
                await let_go(self._client, lock, time.time())
                continue
            try:
                await hold_for_good(self._client, lock, time.time())
            except LedElsewhere as elsewhere:
                verb = component if component in ("controllers", "scheduler") else f"{component} serve"
                raise StartFailure(
                    f"{elsewhere}: stop that `proa {verb}`, or start with `--without {component}`"
                ) from None

    async def _dial_kubelet(self, name: str) -> KubeletApi | DistantKubelet:
        """Return the kubelet that logs, exec and port-forward of a node's pods go to, of this machine or another."""
        from proa.objects.errors import ServiceUnavailable

        kubelet = self._nodes.find_kubelet(name) if name else self._nodes.find_any_kubelet()
        if kubelet is not None:
            return kubelet.server
        if not name or self._nodes.has(name):
            raise ServiceUnavailable(f'the kubelet of node "{name}" cannot be reached')
        return await self._remote_kubelets.find(name)

    def _make_remote_kubelets(self, pki: Pki) -> RemoteKubelets:
        from proa.apiserver.streams.remote_kubelet import Credentials, RemoteKubelets
        from proa.objects.resource import NODES

        files = Credentials(pki.authority.certificate, pki.kubelet_client.certificate, pki.kubelet_client.key)
        return RemoteKubelets(lambda name: self._client.get(NODES, name), files, self._nodes.dial)

    def _read_settings(self) -> Settings | None:
        try:
            return read_settings(self.home)
        except BadSettings as error:
            raise StartFailure(str(error)) from None

    def _listen(self, wanted: Wanted, kept: Settings | None) -> socket.socket:
        """Return the listening socket; the port, address and nodes are this cluster's from now on."""
        address = wanted.listen or (kept.listen if kept else LOOPBACK)
        port = wanted.port if wanted.port is not None else (kept.port if kept else API_PORT)
        listener = listen(address, port)
        number = int(listener.getsockname()[1])
        if kept:
            settings = kept._replace(port=number, listen=address)
        else:
            from proa.apiserver.registry.metadata import new_uid

            settings = Settings(new_uid(), number, address)
        self._keep(settings.with_nodes(wanted), kept)
        return listener

    def _keep(self, settings: Settings, kept: Settings | None) -> None:
        """Go on with these settings, and keep them for later starts."""
        keep_settings(self.home, settings, kept)
        self.settings = settings

    def _ensure_pki(self) -> Pki:
        """Make or find the keys, and write the kubeconfig."""
        from proa.apiserver.pki import ensure_pki, find_own_names

        names = {LOOPBACK, "localhost", self.settings.address, API_SERVICE_IP, API_ADDRESS, *SERVICE_NAMES}
        names.add(REGISTRY_NAME)
        if self.settings.listen in EVERYWHERE:
            names |= find_own_names()
        pki = ensure_pki(self.home.pki, sorted(names), datetime.now(UTC))
        kubeconfig = make_kubeconfig(self.url, pki)
        if not self.home.kubeconfig.exists() or self.home.kubeconfig.read_text() != kubeconfig:
            write_private(self.home.kubeconfig, kubeconfig)
        return pki


def url_of(address: str, port: int) -> str:
    """Return the URL of an API server."""
    return f"https://{f'[{address}]' if ':' in address else address}:{port}"


def listen(address: str, port: int) -> socket.socket:
    """Return a listening socket; raise StartFailure."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise StartFailure(
            f"cannot listen on {address} port {port}: {error.strerror}{LISTEN_ADVICE.get(error.errno or 0, '')}"
        ) from None
    return listener


def listen_if_free(address: str, port: int) -> socket.socket | None:
    """Return a listening socket: at `port` if that is free, else at any; None where there is none at all."""
    for number in dict.fromkeys((port, 0)):
        with contextlib.suppress(StartFailure):
            return listen(address, number)
    return None


def make_scheduling(path: str) -> Configuration:
    """Read the scheduler's configuration; raise StartFailure where it cannot be carried out."""
    from proa.scheduler.configuration import BadConfiguration
    from proa.scheduler.profiles import load_configuration

    try:
        return load_configuration(path)
    except BadConfiguration as error:
        raise StartFailure(f"--scheduler-config {error}") from None


def read_kubelet_changes(path: str) -> Mapping[str, Any]:
    """Read what the kubelets' configuration changes, nothing for ""; raise StartFailure where it cannot be done."""
    if not path:
        return {}
    from proa.node.configuration import BadConfiguration, load_configuration

    try:
        return load_configuration(path)
    except BadConfiguration as error:
        raise StartFailure(f"--kubelet-config {error}") from None


def make_audit(policy: str, path: str) -> tuple[AuditPolicy, AuditLog]:
    """Read what is to be noted of requests, and open the log; raise StartFailure."""
    from proa.apiserver.audit.log import AuditLog
    from proa.apiserver.audit.policy import BadPolicy, read_policy

    try:
        return read_policy(policy), AuditLog(path)
    except BadPolicy as error:
        raise StartFailure(f"--audit-policy {error}") from None
    except OSError as error:
        raise StartFailure(f"--audit-log {path}: {error.strerror}") from None


def make_client(server: ApiServer, user: str, *groups: str, agent: str = "") -> Client:
    """Return an in-process client that the API server knows as `user`."""
    from proa.client.api import ApiClient
    from proa.client.local import LocalTransport
    from proa.client.protocol import User

    transport = LocalTransport(server.handle, User(user, (*groups, "system:authenticated")))
    return ApiClient(transport, agent or _user_agent(user))


def make_account_client(server: ApiServer, account: str) -> Client:
    """Return the client of a controller, which acts as its own service account, as upstream's do."""
    groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system")
    user = f"system:serviceaccount:kube-system:{account}"
    return make_client(server, user, *groups, agent="kube-controller-manager")


def make_kubeconfig(url: str, pki: Pki) -> str:
    """Return the administrator's kubeconfig, whole in one file."""

    def encoded(path: Any) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: proa
  cluster:
    server: {url}
    certificate-authority-data: {encoded(pki.authority.certificate)}
users:
- name: proa
  user:
    client-certificate-data: {encoded(pki.admin.certificate)}
    client-key-data: {encoded(pki.admin.key)}
contexts:
- name: proa
  context:
    cluster: proa
    user: proa
current-context: proa
"""


def _user_agent(user: str) -> str:
    """Return the name by which upstream's component of that user writes: it shows as a manager of fields."""
    component = user.removeprefix("system:")
    if component.startswith("node:"):
        return "kubelet"
    return {"apiserver": "kube-apiserver"}.get(component, component)
