"""Ask noded for what the runtime protocol names: its operations as calls over one connection (connection.py)."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proa.node.noded import netlink, overlay
from proa.node.noded.connection import KILLED_EXIT_CODE, NodedConnection, Revive
from proa.node.noded.decode import container_from, sandbox_from
from proa.node.noded.descriptors import close_all
from proa.node.noded.images import HOST_IMAGES, find_image
from proa.node.noded.sessions import AttachSession, ExecSession, ReadPipe
from proa.node.runtimes.protocol import (
    Container,
    ContainerConfig,
    ContainerStats,
    DiskUsage,
    Image,
    Resources,
    RuntimeEvent,
    RuntimeFailure,
    RuntimeStatus,
    Sandbox,
    SandboxConfig,
    SocketKind,
)


class NodedClient:
    """A connection to one node's noded: implements `Runtime` and `NodeNetwork`."""

    def __init__(self, connection: NodedConnection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, directory: Path, revive: Revive | None = None) -> NodedClient:
        """Connect to the noded of a node's directory; raise OSError when none answers."""
        return cls(await NodedConnection.open(directory, revive))

    async def close(self) -> None:
        """Let go of the connection; noded and its containers go on."""
        await self._connection.close()

    # Runtime

    async def status(self) -> RuntimeStatus:
        """Return what this node's isolation really is."""
        return RuntimeStatus(**await self._call("status"))

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Make a sandbox."""
        return sandbox_from(await self._call("run_sandbox", config=asdict(config)))

    async def update_sandbox(self, sandbox_id: str, resources: Resources) -> None:
        """Give all of a pod other limits."""
        await self._call("update_sandbox", identifier=sandbox_id, resources=asdict(resources))

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what is left in it and take its network away."""
        await self._call("stop_sandbox", identifier=sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Forget it and its containers."""
        await self._call("remove_sandbox", identifier=sandbox_id)

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes."""
        return [sandbox_from(item) for item in (await self._call("list_sandboxes"))["items"]]

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Prepare a container and return its id."""
        if not config.layers and find_image(config.image) is None:
            raise RuntimeFailure(
                "ImageNotRunnable",
                f"image {config.image!r} cannot run here: this node has {', '.join(HOST_IMAGES)}",
            )
        answer = await self._call("create_container", sandbox_id=sandbox_id, config=asdict(config))
        return str(answer["id"])

    async def start_container(self, container_id: str) -> None:
        """Run it."""
        await self._call("start_container", identifier=container_id)

    async def update_container(
        self, container_id: str, resources: Resources, labels: Mapping[str, str]
    ) -> None:
        """Give a running container other limits, and these labels besides."""
        await self._call(
            "update_container", identifier=container_id, resources=asdict(resources), labels=dict(labels)
        )

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        """Stop it, and return when it has exited."""
        await self._call("stop_container", identifier=container_id, grace_seconds=grace_seconds)

    async def remove_container(self, container_id: str) -> None:
        """Forget it."""
        await self._call("remove_container", identifier=container_id)

    async def list_containers(self) -> list[Container]:
        """Return all containers."""
        return [container_from(item) for item in (await self._call("list_containers"))["items"]]

    async def get_container(self, container_id: str) -> Container | None:
        """Return one container, None when it is not known."""
        item = (await self._call("get_container", identifier=container_id))["item"]
        return container_from(item) if item is not None else None

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Yield events from now on; a resync comes first, and again after each reconnection."""
        return self._connection.events()

    def renewals(self) -> AsyncIterator[None]:
        """Yield whenever another noded than before answers, from this call on."""
        return self._connection.renewals()

    async def exec(self, container_id: str, argv: tuple[str, ...], *, stdin: bool, tty: bool) -> ExecSession:
        """Run another process in a container."""
        exec_id, ended = self._connection.begin_exec()
        try:
            _, fds = await self._connection.ask(
                "exec",
                {"id": container_id, "exec_id": exec_id, "argv": list(argv), "stdin": stdin, "tty": tty},
            )
        except BaseException:
            self._connection.forget_exec(exec_id)
            raise
        terminal = fds.pop() if tty else -1
        input_fd = fds.pop(0) if stdin and not tty else -1
        outputs = [("stdout", terminal)] if tty else list(zip(("stdout", "stderr"), fds, strict=True))

        async def kill() -> None:
            self._connection.forget_exec(exec_id)
            with contextlib.suppress(RuntimeFailure):  # it has ended, or noded has
                await self._call("kill_exec", exec_id=exec_id)

        return ExecSession(input_fd, [ReadPipe(name, fd) for name, fd in outputs], terminal, ended, kill)

    async def attach(self, container_id: str) -> AttachSession:
        """Join the streams of a running container's main process."""
        answer, fds = await self._connection.ask("attach", {"id": container_id})
        input_fd = fds.pop(0) if answer["stdin"] else -1
        outputs = [ReadPipe(name, fd) for name, fd in zip(("stdout", "stderr"), fds, strict=False)]

        async def close_stdin() -> None:
            await self._call("close_stdin", identifier=container_id)

        async def exit_code() -> int:
            async for _ in self.events():
                try:
                    container = await self.get_container(container_id)
                except RuntimeFailure:
                    continue  # noded has ended; when it is back, a resync comes
                if container is None or container.state == "Exited":
                    return container.exit_code if container is not None else KILLED_EXIT_CODE
            return KILLED_EXIT_CODE

        return AttachSession(input_fd, outputs, input_fd if answer["tty"] else -1, close_stdin, exit_code)

    async def usage(self) -> dict[str, ContainerStats]:
        """Return what each running container has used, by its id."""
        answer = await self._call("usage")
        return {identifier: ContainerStats(*used) for identifier, used in answer["containers"].items()}

    async def mount_memory(self, path: str, size_bytes: int, group: int | None) -> None:
        """Mount a tmpfs at a folder, for containers to see."""
        await self._call("mount_memory", path=path, size_bytes=size_bytes, group=group)

    async def disk_usage(
        self, containers: Sequence[str], folders: Sequence[str]
    ) -> tuple[list[DiskUsage], list[DiskUsage]]:
        """Return what these containers have written to their roots, and what these folders hold."""
        if not containers and not folders:
            return [], []
        answer = await self._call("disk_usage", containers=list(containers), folders=list(folders))
        found = [DiskUsage(*used) for used in answer["used"]]
        return found[: len(containers)], found[len(containers) :]

    async def dial(self, sandbox_id: str, host: str, port: int) -> socket.socket:
        """Return a socket of a sandbox's network namespace, connected to host (an address) and port."""
        address = "127.0.0.1" if host in ("", "localhost") else host
        made = await self._socket_in(sandbox_id, "tcp", "::" if ":" in address else "", 0)
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
        except OSError as error:
            made.close()
            raise RuntimeFailure(
                "DialError", f"failed to connect to {address}:{port}: {_words(error)}"
            ) from error
        except BaseException:
            made.close()
            raise
        return made

    async def image(self, name: str) -> Image | None:
        """Return the image that this name means here, None when there is none."""
        return find_image(name)

    async def list_images(self) -> list[Image]:
        """Return the images that this node provides."""
        return [image for name in HOST_IMAGES if (image := find_image(name)) is not None]

    # NodeNetwork

    async def open_socket(self, kind: SocketKind, host: str = "", port: int = 0) -> socket.socket:
        """Return a socket of the node's network namespace."""
        return await self._socket_in("", kind, host, port)

    async def add_addresses(self, addresses: list[str]) -> None:
        """Give the node's loopback these addresses."""
        await self._call("add_addresses", addresses=addresses)

    async def remove_addresses(self, addresses: list[str]) -> None:
        """Take these addresses from the node's loopback."""
        await self._call("remove_addresses", addresses=addresses)

    async def link(self, other: NodedClient, here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
        """Wire this node's network to that of another on this machine; what is wired is left alone.

        Each is described by its `number`, `node_ip` and `pod_cidr`. Raises RuntimeFailure: nodes that do not share a
        network of their own, or a user namespace, cannot be wired.
        """
        _, fds = await other._connection.ask("namespace", {})
        try:
            _, surplus = await self._connection.ask("link", {"here": dict(here), "there": dict(there)}, fds)
            close_all(*surplus)
        finally:
            close_all(*fds)

    async def divert_outside(self, inside: list[str]) -> None:
        """Bring what is meant for other networks than those of `inside` to the node's own sockets."""
        await self._call("divert_outside", inside=inside)

    async def set_overlay(self, device: Mapping[str, Any], peers: list[dict[str, Any]]) -> None:
        """Bring the ways to other machines' nodes to `peers`, by a device that is made in this process' network.

        `device` is its `vni`, `local` address, `port`, `mtu`, and `node_ip`, of which its MAC is made; without any,
        what is there goes. Raises RuntimeFailure, OSError where this machine makes no such device.
        """
        if await self._has_overlay(device, peers):
            return
        _, (namespace,) = await self._connection.ask("namespace", {})
        route = netlink.Rtnetlink()
        try:
            route.send([make_overlay(device, namespace)])
        finally:
            route.close()
            close_all(namespace)
        if not await self._has_overlay(device, peers):
            raise RuntimeFailure("OverlayError", "the overlay's device is gone again")

    async def _has_overlay(self, device: Mapping[str, Any], peers: list[dict[str, Any]]) -> bool:
        answer = await self._call("overlay", device=dict(device), peers=peers)
        return not answer["missing"]

    async def ask_netfilter(self, request: bytes) -> bytes:
        """Send netlink messages to netfilter in the node's network, and return its answers."""
        said = await self._call("netfilter", messages=binascii.b2a_base64(request, newline=False).decode())
        return binascii.a2b_base64(said["answer"])

    async def shutdown(self) -> None:
        """End noded and every container of the node."""
        await self._call("shutdown")

    # Asking

    async def _socket_in(self, sandbox_id: str, kind: str, host: str, port: int) -> socket.socket:
        _, fds = await self._connection.ask(
            "socket", {"sandbox_id": sandbox_id, "kind": kind, "host": host, "port": port}
        )
        made = socket.socket(fileno=fds[0])
        made.setblocking(False)
        return made

    async def _call(self, operation: str, identifier: str = "", **arguments: Any) -> dict[str, Any]:
        result, fds = await self._connection.ask(
            operation, {"id": identifier, **arguments} if identifier else arguments
        )
        close_all(*fds)
        return result


def make_overlay(device: Mapping[str, Any], namespace: int) -> netlink.Message:
    """Return the request that makes an overlay's device in a node's namespace."""
    return netlink.new_vxlan(
        overlay.NAME,
        namespace=namespace,
        vni=device["vni"],
        local=device["local"],
        port=device["port"],
        mac=overlay.mac_of(device["node_ip"]),
        mtu=device["mtu"],
    )


def _words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
