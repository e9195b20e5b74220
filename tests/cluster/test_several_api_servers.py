"""Several `proa apiserver`s on one real etcd: the same objects from each of them, and nothing is given out twice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from proa.client.api import ApiClient
from proa.client.kubeconfig import connect, load_kubeconfig, make_transport
from proa.client.protocol import Client, Object, Request, Response, Transport
from proa.objects.errors import Forbidden
from proa.objects.resource import (
    CLUSTER_ROLE_BINDINGS,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    ENDPOINTS,
    IP_ADDRESSES,
    NAMESPACES,
    SERVICES,
    Resource,
)
from support.clusters import ProaCommand
from support.etcd import Etcd, run_etcd

pytestmark = pytest.mark.cluster
SPACE = "default"
BOATS = Resource("example.com", "v1", "boats", "Boat")
ROLE = "cluster-admin"
PORT_RANGE = range(30000, 32768)


class Server:
    """One `proa apiserver`."""

    def __init__(self, etcd: Etcd, folder: Path, name: str) -> None:
        self.log = folder / f"{name}.log"
        self.kubeconfig = folder / f"{name}.kubeconfig"
        command = [sys.executable, "-m", "proa", "apiserver", "--store", f"etcd://{etcd.host}/several"]
        command += ["--pki", str(folder / "pki"), "--port", "0", "--write-kubeconfig", str(self.kubeconfig)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/"
            )

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 120
        while "apiserver ready" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


class As:
    """A transport that acts as somebody else."""

    def __init__(self, transport: Transport, user: str) -> None:
        self._transport = transport
        self._user = user

    async def send(self, request: Request) -> Response:
        request.headers["impersonate-user"] = self._user
        return await self._transport.send(request)

    async def close(self) -> None:
        await self._transport.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    with run_etcd() as running:
        yield running


@pytest.fixture
def servers(etcd: Etcd, folder: Path) -> Iterator[list[Server]]:
    """Return two that begin at the same moment, with nothing there."""
    started = [Server(etcd, folder, name) for name in ("one", "two")]
    try:
        for server in started:
            server.wait_ready()
        yield started
    finally:
        for server in started:
            server.end(signal.SIGKILL)


def with_clients(servers: list[Server], scenario: Callable[[Client, Client], Awaitable[None]]) -> None:
    async def main() -> None:
        one, two = (connect(server.kubeconfig) for server in servers)
        try:
            async with asyncio.timeout(200):
                await scenario(one, two)
        finally:
            await one.close()
            await two.close()

    asyncio.run(main())


def make_service(name: str, **spec: Any) -> Object:
    ports = [{"port": 80, "targetPort": 8080}]
    return {"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports, **spec}}


def make_definition() -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "boats.example.com"}, "spec": spec}


async def give_each_service_its_own(one: Client, two: Client) -> None:
    made = await asyncio.gather(
        *((one, two)[n % 2].create(SERVICES, make_service(f"s{n}"), SPACE) for n in range(80))
    )
    addresses = {service["spec"]["clusterIP"] for service in made}
    ports = {service["spec"]["ports"][0]["nodePort"] for service in made}
    assert (len(addresses), len(ports)) == (80, 80)
    assert ports <= {*PORT_RANGE}
    found = (await two.list(IP_ADDRESSES)).items
    owners = {address["metadata"]["name"]: address["spec"]["parentRef"]["name"] for address in found}
    assert {s["spec"]["clusterIP"]: s["metadata"]["name"] for s in made}.items() <= owners.items()

    wanted = make_service("wanted", clusterIP="10.96.0.77", ports=[{"port": 80, "nodePort": 30077}])
    answers = await asyncio.gather(
        *(
            (one, two)[n % 2].create(SERVICES, {**wanted, "metadata": {"name": f"wanted{n}"}}, SPACE)
            for n in range(10)
        ),
        return_exceptions=True,
    )
    refused = [str(answer) for answer in answers if isinstance(answer, Exception)]
    assert len(refused) == 9
    assert all("already allocated" in answer for answer in refused)


async def see_what_the_other_has_acknowledged(one: Client, two: Client) -> None:
    start = (await two.list(CONFIG_MAPS, SPACE)).resource_version
    written = []
    for number in range(30):
        here, there = (one, two) if number % 2 else (two, one)
        made = await here.create(CONFIG_MAPS, {"metadata": {"name": f"c{number}"}}, SPACE)
        assert await there.get(CONFIG_MAPS, f"c{number}", SPACE) == made
        written.append(made["metadata"]["resourceVersion"])
    for client in (one, two):
        seen: list[str] = []
        async with aclosing(client.watch(CONFIG_MAPS, SPACE, resource_version=start)) as events:
            async for event in events:
                if event.type == "ADDED":
                    seen.append(event.object["metadata"]["resourceVersion"])
                if len(seen) == len(written):
                    break
        assert seen == written


async def serve_kinds_and_rights_of_the_other_at_once(one: Client, two: Client, server: Server) -> None:
    user = ApiClient(As(make_transport(load_kubeconfig(server.kubeconfig)), "jane"))
    try:
        for number in range(8):
            with pytest.raises(Forbidden):
                await user.list(CONFIG_MAPS, SPACE)
            name = f"jane-{number}"
            binding = {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
            }
            await one.create(CLUSTER_ROLE_BINDINGS, binding)
            await user.list(CONFIG_MAPS, SPACE)
            await one.delete(CLUSTER_ROLE_BINDINGS, name)
    finally:
        await user.close()
    await one.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
    boat = await two.create(BOATS, {"metadata": {"name": "proa"}, "spec": {"hulls": 2}}, SPACE)
    assert await one.get(BOATS, "proa", SPACE) == boat
    await two.delete(CUSTOM_RESOURCE_DEFINITIONS, "boats.example.com")


def test_servers_that_share_an_etcd_are_one(etcd: Etcd, servers: list[Server], folder: Path) -> None:
    with_clients(servers, give_each_service_its_own)
    with_clients(servers, see_what_the_other_has_acknowledged)
    with_clients(servers, lambda a, b: serve_kinds_and_rights_of_the_other_at_once(a, b, servers[1]))

    alone = ProaCommand(folder / "home", sys.executable)
    refused = alone("up", "--detach", "--port", "0", "--store", f"etcd://{etcd.host}/several", check=False)
    assert refused.returncode == 1
    assert f"API servers share this part of etcd at {etcd.host}" in refused.stderr
    assert f"pid {servers[0].process.pid} on" in refused.stderr
    alone("reset", "--yes")

    # One is killed while both are written to; the other goes on, and takes the place of what was under way.
    servers[0].end(signal.SIGKILL)

    async def go_on(_: Client, left: Client) -> None:
        await left.create(NAMESPACES, {"metadata": {"name": "after"}})
        made = await asyncio.gather(
            *(left.create(SERVICES, make_service(f"a{n}"), "after") for n in range(20))
        )
        every = (await left.list(SERVICES)).items
        addresses = [service["spec"]["clusterIP"] for service in every]
        assert len(addresses) == len({*addresses}) == 80 + 1 + 1 + len(made)

    with_clients(servers, go_on)
    servers.append(Server(etcd, folder, "three"))
    servers[2].wait_ready()

    async def there_are_two_again(left: Client, new: Client) -> None:
        found = await new.get(ENDPOINTS, "kubernetes", SPACE)
        places = {(a["ip"], s["ports"][0]["port"]) for s in found["subsets"] for a in s["addresses"]}
        ports = {load_kubeconfig(server.kubeconfig).server.rpartition(":")[2] for server in servers[1:]}
        assert {str(port) for _, port in places} >= ports
        assert (await left.get(NAMESPACES, "after")) == (await new.get(NAMESPACES, "after"))

    with_clients(servers[1:], there_are_two_again)
    for server in servers[1:]:
        assert server.end(signal.SIGTERM) == 0
