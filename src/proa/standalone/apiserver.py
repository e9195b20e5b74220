"""Run an API server alone, one of several that share one etcd: the same objects, revisions and keys from each of them.

Nothing is decided by one of them for the others: the store judges writes, and claims of addresses and ports
(apiserver/claims.py) and the endpoints of default/kubernetes (apiserver/members.py) are in it. Follows
pkg/controlplane/instance.go.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from proa.apiserver.aggregation.identity import ProxyIdentity
from proa.apiserver.aggregation.trust import publish_authentication
from proa.apiserver.app import ApiServer, ApiSettings
from proa.apiserver.authorization.bootstrap_policy import ensure_policy
from proa.apiserver.bootstrap import ensure_namespaces, ensure_shared_objects
from proa.apiserver.members import Members, Place
from proa.apiserver.pki import Pki, ensure_shared_pki, find_own_names
from proa.apiserver.resources import DEFINITIONS
from proa.apiserver.streams.remote_kubelet import Credentials, RemoteKubelets, connect_tcp
from proa.client.kubelet_api import ByteStream
from proa.client.protocol import Client, Object
from proa.cluster import (
    LEASES,
    SERVICE_NAMES,
    StartFailure,
    listen,
    make_account_client,
    make_audit,
    make_client,
    make_kubeconfig,
    url_of,
)
from proa.cluster_settings import EVERYWHERE, LOOPBACK
from proa.controllers import make_server_controllers
from proa.home import write_private
from proa.httpd.server import HttpServer, make_server_context
from proa.local_nodes.addresses import API_SERVICE_IP, SERVICE_CIDR
from proa.objects.errors import ApiError, ServiceUnavailable
from proa.objects.resource import NODES
from proa.process import told_to_stop
from proa.reconcile.held_lease import let_go
from proa.reconcile.leader_election import Lock
from proa.reconcile.manager import Manager
from proa.store.choice import open_shared_store
from proa.store.protocol import Store, StoreError

logger = logging.getLogger(__name__)

BEGIN_SECONDS = 90.0
"""How long a start tries to make what a cluster cannot be without: others may be about to, and a crash leaves claims
that count for a minute."""
RETRY_SECONDS = 0.5
REPAIR_SECONDS = 180.0
"""How often claims without an owner are looked for, as upstream does."""


class Wanted(NamedTuple):
    """What a `proa apiserver` is asked for, each as the option of that name; "" for none."""

    store: str
    pki: Path
    listen: str = LOOPBACK
    port: int = 6443
    advertise_address: str = ""
    encryption_config: str = ""
    audit_policy: str = ""
    audit_log: str = ""
    write_kubeconfig: str = ""


async def run_server(wanted: Wanted, when_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; raise StartFailure, for what fails later too. `when_ready` is told the URL."""
    stop = told_to_stop()
    async with AsyncExitStack() as stack:
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        starting = asyncio.create_task(_start(wanted, stack, failed))
        stopping = asyncio.create_task(stop.wait())
        stack.push_async_callback(_end, stopping)
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            await _end(starting)
            return
        when_ready(starting.result())
        await asyncio.wait((asyncio.ensure_future(stopping), failed), return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()


async def _start(wanted: Wanted, stack: AsyncExitStack, failed: asyncio.Future[None]) -> str:
    """Start everything; return the server's URL."""
    listener = listen(wanted.listen, wanted.port)
    stack.callback(listener.close)
    place = Place(_advertised(wanted), int(listener.getsockname()[1]))
    url = url_of(EVERYWHERE.get(wanted.listen, wanted.listen), place.port)
    pki = await asyncio.get_running_loop().run_in_executor(None, _ensure_pki, wanted, place)
    if wanted.write_kubeconfig:
        write_private(Path(wanted.write_kubeconfig), make_kubeconfig(url, pki))
    holder = str(uuid.uuid4())
    store = await _open_store(wanted, holder)
    stack.push_async_callback(store.close)
    server = _make_server(store, pki, wanted, place)
    stack.push_async_callback(server.close)
    client = make_client(server, "system:apiserver", "system:masters")
    await _insist(lambda: _make_objects(server, client, pki, place))
    context = make_server_context(
        str(pki.server.certificate), str(pki.server.key), str(pki.authority.certificate)
    )
    http = HttpServer(server.handle, context)
    stack.push_async_callback(http.close)
    await http.serve(listener)
    members = Members(client, place, holder)
    stack.push_async_callback(_leave, members)  # first nobody is sent here any more, then nobody is answered
    await _insist(members.keep)
    manager = Manager(
        make_client(server, "system:kube-controller-manager"),
        make_server_controllers(),
        client_of=lambda account: make_account_client(server, account),
    )
    for name, work in (
        ("aggregator", server.aggregator.run),
        ("members", members.run),
        ("claims", lambda: _repair_claims(server)),
        ("controllers", manager.run),
    ):
        task = asyncio.ensure_future(work())
        task.add_done_callback(lambda task, name=name: _report(name, task, failed))  # type: ignore[misc]
        stack.push_async_callback(_end, task)
    return url


def _advertised(wanted: Wanted) -> str:
    """Return the address by which others in the cluster reach this server."""
    if wanted.advertise_address:
        return wanted.advertise_address
    if wanted.listen not in EVERYWHERE:
        return wanted.listen
    own = sorted(name for name in find_own_names() if name[:1].isdigit() and not name.startswith("127."))
    return own[0] if own else LOOPBACK


def _ensure_pki(wanted: Wanted, place: Place) -> Pki:
    names = {LOOPBACK, "localhost", place.address, API_SERVICE_IP, *SERVICE_NAMES}
    names |= find_own_names() if wanted.listen in EVERYWHERE else {wanted.listen}
    own = wanted.pki / "servers" / f"{place.address}_{place.port}"
    try:
        return ensure_shared_pki(wanted.pki, own, sorted(names), datetime.now(UTC))
    except OSError as error:
        raise StartFailure(f"--pki: {error.filename or wanted.pki}: {error.strerror}") from None


async def _open_store(wanted: Wanted, holder: str) -> Store:
    try:
        return await open_shared_store(wanted.store, holder, wanted.encryption_config)
    except (StoreError, ValueError) as error:
        raise StartFailure(f"--store {wanted.store}: {error}") from None


def _make_server(store: Store, pki: Pki, wanted: Wanted, place: Place) -> ApiServer:
    path = wanted.audit_log or "-"
    policy, log = make_audit(wanted.audit_policy, path) if wanted.audit_policy else (None, None)
    nodes: Client

    async def find_node(name: str) -> Object:
        return await nodes.get(NODES, name)

    settings = ApiSettings(
        service_cidr=SERVICE_CIDR,
        advertise_address=place.address,
        advertise_port=place.port,
        token_private_key=pki.service_account.key,
        token_public_key=pki.service_account.certificate,
        proxy_identity=ProxyIdentity(pki.front_proxy_client.certificate, pki.front_proxy_client.key),
        audit_policy=policy,
    )
    files = Credentials(pki.authority.certificate, pki.kubelet_client.certificate, pki.kubelet_client.key)
    kubelets = RemoteKubelets(find_node, files, _dial)
    server = ApiServer(store, DEFINITIONS, settings, kubelet=kubelets.find, audit_log=log)
    nodes = make_client(server, "system:apiserver", "system:masters")
    return server


async def _dial(host: str, port: int) -> ByteStream:
    """Connect to a pod by this machine's own network, as upstream's server does."""
    try:
        return await connect_tcp(host, port)
    except (OSError, TimeoutError) as error:
        raise ServiceUnavailable(f"error trying to reach {host}:{port}: {error or 'no answer'}") from error


async def _make_objects(server: ApiServer, client: Client, pki: Pki, place: Place) -> None:
    """See that everything is there that a cluster cannot be without; what others make meanwhile is left as it is."""
    await ensure_namespaces(client)
    await ensure_policy(server.catalog)
    await server.catalog.repair_claims()
    await ensure_shared_objects(client, service_cidr=SERVICE_CIDR, port=place.port)
    await publish_authentication(client, pki)
    for lease in LEASES.values():  # a `proa up` that had this store before may have left them held
        await let_go(client, Lock(lease, ""), time.time())


async def _insist(work: Callable[[], Awaitable[None]]) -> None:
    """Try until it works: others do the same at the same time."""
    deadline = time.monotonic() + BEGIN_SECONDS
    while True:
        try:
            return await work()
        except (ApiError, StoreError) as error:
            if time.monotonic() > deadline:
                raise StartFailure(f"what every cluster has cannot be made: {error}") from None
            logger.info("another try at what every cluster has error=%s", error)
        await asyncio.sleep(RETRY_SECONDS)


async def _repair_claims(server: ApiServer) -> None:
    while True:
        await asyncio.sleep(REPAIR_SECONDS)
        try:
            await server.catalog.repair_claims()
        except StoreError as error:
            logger.warning("claims of addresses and ports not looked at error=%s", error)


async def _leave(members: Members) -> None:
    try:
        async with asyncio.timeout(5):
            await members.leave()
    except (ApiError, TimeoutError) as error:
        logger.warning("the endpoints of default/kubernetes have this server still error=%s", error)


async def _end(task: asyncio.Future[None] | asyncio.Task[str] | asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _report(name: str, task: asyncio.Future[None], failed: asyncio.Future[None]) -> None:
    """A component that ends by itself has failed, and the server ends with it."""
    if not task.cancelled() and (error := task.exception()) is not None and not failed.done():
        logger.critical("%s has failed", name, exc_info=error)
        failed.set_exception(StartFailure(f"{name} has failed: {error}"))
