"""Behave as a container runtime would, in memory: for tests of what stands on the protocol, and nothing else.

Containers run until a test ends them (`exit`) or they are stopped; programs named in `commands` answer exec;
`addresses` maps (host, port) on the pod network to real ones that `dial` connects to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import field, replace
from itertools import count
from pathlib import Path
from typing import Literal

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
)
from proa.objects.quick_dataclass import dataclass

PYTHON = Image("proa.local/python", "proa.local/python@sha256:" + "0" * 64, 1000, command=("python3",))


@dataclass(slots=True)
class FakeSession:
    """`client.kubelet_api.ExecSession` with an answer known beforehand; what is written comes back."""

    exit_code: int = 0
    pieces: list[tuple[Literal["stdout", "stderr"], bytes]] = field(default_factory=list)
    written: bytearray = field(default_factory=bytearray)
    hangs: bool = False
    closed: bool = False

    async def write(self, data: bytes) -> None:
        self.written += data

    async def close_stdin(self) -> None:
        self.pieces.append(("stdout", bytes(self.written)))

    async def resize(self, width: int, height: int) -> None:
        self.pieces.append(("stdout", f"{width}x{height}".encode()))

    async def output(self) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]:
        for piece in self.pieces:
            yield piece
        if self.hangs:
            await asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return self.exit_code

    async def close(self) -> None:
        self.closed = True


class FakeRuntime:
    """`node.runtimes.protocol.Runtime` in memory. `now` gives the times of what happens."""

    def __init__(self, now: Callable[[], float], *, level: Literal["root", "rootless"] = "root") -> None:
        self._now = now
        self._level: Literal["root", "rootless"] = level
        self._numbers = count(1)
        self._listeners: list[asyncio.Queue[RuntimeEvent]] = []
        self.sandboxes: dict[str, Sandbox] = {}
        self.containers: dict[str, Container] = {}
        self.memory: dict[str, tuple[int, int | None]] = {}
        self.disk: dict[str, DiskUsage] = {}
        self.images: dict[str, Image] = {PYTHON.name: PYTHON}
        self.commands: dict[str, Callable[[], FakeSession]] = {}
        self.addresses: dict[tuple[str, int], tuple[str, int]] = {}
        self.used: dict[str, ContainerStats] = {}
        """What containers have used, by id; unknown of others."""
        self.calls: list[str] = []
        self.failures: dict[str, list[RuntimeFailure]] = {}
        self.exit_on_start: dict[str, list[int]] = {}
        """Exit codes, by container name, of programs that end at once."""
        self.stop_exit_code = 143
        self.stop_delay: Callable[[float], float] | None = None
        self.sandboxes_at_once = 0
        self.most_sandboxes_at_once = 0

    # What tests do

    def exit(self, container_id: str, code: int, *, reason: str = "") -> None:
        """End a container's program."""
        container = self.containers[container_id]
        if container.state != "Running":
            return
        ended = replace(container, state="Exited", exit_code=code, finished_at=self._now(), reason=reason)
        self.containers[container_id] = replace(ended, signal=code - 128 if code > 128 else 0)
        self._tell(RuntimeEvent("exited", container_id, container.sandbox_id))

    def newest(self, name: str) -> Container:
        """Return the newest container of that name."""
        found = [c for c in self.containers.values() if c.config.name == name]
        return max(found, key=lambda c: (c.config.attempt, c.created_at))

    def fail_next(self, call: str, reason: str, message: str) -> None:
        """Make the next call of that name fail."""
        self.failures.setdefault(call, []).append(RuntimeFailure(reason, message))

    def lose_everything(self) -> None:
        """Behave as a noded that was killed and started anew: containers are dead, sandboxes gone."""
        for container in [*self.containers.values()]:
            if container.state == "Running":
                self.exit(container.id, 137, reason="ContainerStatusUnknown")
        self.sandboxes = {i: replace(s, state="NotReady") for i, s in self.sandboxes.items()}
        self._tell(RuntimeEvent("resync"))

    # The protocol

    async def status(self) -> RuntimeStatus:
        self._called("status", "")
        features = (
            {} if self._level == "root" else {"cgroup-memory": "no delegation", "cgroup-cpu": "no delegation"}
        )
        return RuntimeStatus("fake", "1", self._level, features, "10.243.0.1", "10.244.1.0/24")

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        self._called("run_sandbox", config.name)
        self.sandboxes_at_once += 1
        self.most_sandboxes_at_once = max(self.most_sandboxes_at_once, self.sandboxes_at_once)
        await asyncio.sleep(0)
        self.sandboxes_at_once -= 1
        number = next(self._numbers)
        ip = "10.243.0.1" if config.host_network else f"10.244.1.{number + 1}"
        sandbox = Sandbox(f"sandbox{number}", config, ip, "Ready", self._now())
        self.sandboxes[sandbox.id] = sandbox
        return sandbox

    async def update_sandbox(self, sandbox_id: str, resources: Resources) -> None:
        self._called("update_sandbox", self.sandboxes[sandbox_id].config.name)
        sandbox = self.sandboxes[sandbox_id]
        self.sandboxes[sandbox_id] = replace(sandbox, config=replace(sandbox.config, resources=resources))

    async def stop_sandbox(self, sandbox_id: str) -> None:
        self._called("stop_sandbox", sandbox_id)
        for container in [*self.containers.values()]:
            if container.sandbox_id == sandbox_id:
                self.exit(container.id, 137)
        if sandbox_id in self.sandboxes:
            self.sandboxes[sandbox_id] = replace(self.sandboxes[sandbox_id], state="NotReady")

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        self._called("remove_sandbox", sandbox_id)
        self.sandboxes.pop(sandbox_id, None)
        self.containers = {i: c for i, c in self.containers.items() if c.sandbox_id != sandbox_id}

    async def list_sandboxes(self) -> list[Sandbox]:
        return [*self.sandboxes.values()]

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        self._called("create_container", config.name)
        if self.sandboxes[sandbox_id].state != "Ready":
            raise RuntimeFailure("CreateContainerError", "the sandbox is not ready")
        container = Container(f"c{next(self._numbers)}", sandbox_id, config, "Created", self._now())
        self.containers[container.id] = container
        return container.id

    async def start_container(self, container_id: str) -> None:
        container = self.containers[container_id]
        self._called("start_container", container.config.name)
        self.containers[container_id] = replace(container, state="Running", started_at=self._now(), pid=1)
        if container.config.log_path:
            _make_log(Path(container.config.log_path))
        self._tell(RuntimeEvent("started", container_id, container.sandbox_id))
        codes = self.exit_on_start.get(container.config.name)
        if codes:
            self.exit(container_id, codes.pop(0))

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        self._called("stop_container", f"{container_id} {grace_seconds:g}")
        container = self.containers.get(container_id)
        if container is None or container.state != "Running":
            return
        if self.stop_delay is not None:
            await asyncio.sleep(self.stop_delay(grace_seconds))
        self.exit(container_id, self.stop_exit_code)

    async def remove_container(self, container_id: str) -> None:
        self._called("remove_container", container_id)
        self.containers.pop(container_id, None)

    async def list_containers(self) -> list[Container]:
        return [*self.containers.values()]

    async def get_container(self, container_id: str) -> Container | None:
        return self.containers.get(container_id)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            yield RuntimeEvent("resync")
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)

    async def exec(self, container_id: str, argv: tuple[str, ...], *, stdin: bool, tty: bool) -> FakeSession:
        self._called("exec", " ".join(argv))
        make = self.commands.get(argv[0]) if argv else None
        if make is None:
            raise RuntimeFailure(
                "ExecFailed", f'exec: "{argv[0] if argv else ""}": executable file not found in $PATH'
            )
        return make()

    async def attach(self, container_id: str) -> FakeSession:
        return FakeSession(pieces=[("stdout", b"attached")])

    async def update_container(
        self, container_id: str, resources: Resources, labels: Mapping[str, str]
    ) -> None:
        self._called("update_container", self.containers[container_id].config.name)
        container = self.containers[container_id]
        config = replace(container.config, resources=resources, labels={**container.config.labels, **labels})
        self.containers[container_id] = replace(container, config=config)

    async def usage(self) -> dict[str, ContainerStats]:
        self._called("usage", "node")
        running = [c.id for c in self.containers.values() if c.state == "Running"]
        return {identifier: self.used.get(identifier, ContainerStats(-1, -1)) for identifier in running}

    async def mount_memory(self, path: str, size_bytes: int, group: int | None) -> None:
        self._called("mount_memory", path)
        self.memory[path] = (size_bytes, group)

    async def disk_usage(
        self, containers: Sequence[str], folders: Sequence[str]
    ) -> tuple[list[DiskUsage], list[DiskUsage]]:
        self._called("disk_usage", "node")
        nothing = DiskUsage(0, 0)
        return [self.disk.get(c, nothing) for c in containers], [self.disk.get(f, nothing) for f in folders]

    async def dial(self, sandbox_id: str, host: str, port: int) -> socket.socket:
        target = self.addresses.get((host, port))
        if target is None:
            raise ConnectionRefusedError(111, "Connection refused")
        connection = socket.socket()
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, target)
        except BaseException:
            connection.close()
            raise
        return connection

    async def image(self, name: str) -> Image | None:
        return self.images.get(name)

    async def list_images(self) -> list[Image]:
        return [*self.images.values()]

    def _called(self, call: str, about: str) -> None:
        self.calls.append(f"{call} {about}")
        failures = self.failures.get(call)
        if failures:
            raise failures.pop(0)

    def _tell(self, event: RuntimeEvent) -> None:
        for queue in self._listeners:
            queue.put_nowait(event)


def _make_log(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
