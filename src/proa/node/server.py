"""Answer what the API server asks of this node: logs, exec, attach, port-forward, connections to pods.

Implements `client.kubelet_api.KubeletApi`. Follows pkg/kubelet/kubelet_pods.go (validateContainerLogStatus,
RunInContainer) and pkg/registry/core/pod/strategy.go (LogLocation) for words.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson

from proa.client.kubelet_api import ByteStream, ExecOptions, ExecSession, LogOptions, PodRef
from proa.client.protocol import Object
from proa.node.log_reader import read_log
from proa.node.runtime_cache import RuntimeCache
from proa.node.runtimes.protocol import Container, Runtime, RuntimeFailure, Sandbox
from proa.node.static_pods import translate
from proa.node.usage import UsageReader
from proa.objects.errors import BadRequest, InternalError, NotFound, ServiceUnavailable
from proa.objects.meta import name, uid
from proa.objects.pods import container_statuses
from proa.reconcile.protocol import Cache

JSON = "application/json"


class KubeletServer:
    """One node's answers. `pods` is the cache of the node's pods."""

    def __init__(
        self,
        runtime: Runtime,
        cache: RuntimeCache,
        pods: Cache,
        now: Callable[[], float],
        usage: UsageReader,
    ) -> None:
        self._runtime = runtime
        self._cache = cache
        self._pods = pods
        self._now = now
        self._usage = usage

    async def container_logs(self, pod: PodRef, options: LogOptions) -> AsyncIterator[bytes]:
        """Return the log's chunks; raise BadRequest where the container is not known or has not started."""
        found = self._pod(pod)
        container_name = choose_container(found, options.container)
        container = self._logged_container(found, container_name, options.previous)
        path = Path(container.config.log_path)
        if not path.parent.is_dir():
            raise BadRequest(
                f'container "{container_name}" in pod "{pod.name}" is waiting to start - no logs yet'
            )

        def is_running() -> bool:
            current = self._cache.find_container(container.id)
            return current is not None and current.state != "Exited"

        return read_log(path, options, self._now(), is_running, lambda: self._cache.wait_exited(container.id))

    async def exec(self, pod: PodRef, options: ExecOptions) -> ExecSession:
        """Start a command in a running container."""
        container = self._running_container(pod, options.container)
        try:
            return await self._runtime.exec(
                container.id, options.command, stdin=options.stdin, tty=options.tty
            )
        except RuntimeFailure as failure:
            raise InternalError(f"error executing command in container: {failure.message}") from failure

    async def attach(self, pod: PodRef, options: ExecOptions) -> ExecSession:
        """Join the streams of a running container's main process."""
        container = self._running_container(pod, options.container)
        try:
            return await self._runtime.attach(container.id)
        except RuntimeFailure as failure:
            raise InternalError(f"error attaching to container: {failure.message}") from failure

    async def port_forward(self, pod: PodRef, port: int) -> ByteStream:
        """Connect to a TCP port on the pod's loopback."""
        found = self._pod(pod)
        sandbox = self._sandbox(found)
        words = f"failed to forward port {port} in pod {pod.namespace}/{pod.name}"
        return await self._dial(sandbox.id, "127.0.0.1", port, words)

    async def dial(self, host: str, port: int) -> ByteStream:
        """Connect to an address on the pod network."""
        return await self._dial("", host, port, f"error trying to reach {host}:{port}")

    def find_pod(self, namespace: str, name: str, pod_uid: str = "") -> Object | None:
        """Return a pod of this node, None where it has none of that name (and uid, unless "")."""
        found = self._pods.get(name, namespace)
        return found if found is not None and pod_uid in ("", uid(found)) else None

    async def document(self, path: str) -> tuple[str, bytes] | None:
        """Return (content type, body) of one of the kubelet's own pages, None where there is none."""
        try:
            return await self._document(path)
        except RuntimeFailure as failure:
            raise ServiceUnavailable(failure.message) from failure

    async def _document(self, path: str) -> tuple[str, bytes] | None:
        pods = [translate(pod) for pod in self._pods.list()]
        match path.rstrip("/"):
            case "/healthz":
                return "text/plain; charset=utf-8", b"ok"
            case "/pods":
                return JSON, orjson.dumps(
                    {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}
                )
            case "/stats/summary":
                return JSON, orjson.dumps(await self._usage.summary(pods))
            case "/metrics/resource":
                return "text/plain; version=0.0.4; charset=utf-8", await self._usage.resource_metrics(pods)
        return None

    async def _dial(self, sandbox_id: str, host: str, port: int, words: str) -> ByteStream:
        try:
            connection = await self._runtime.dial(sandbox_id, host, port)
        except (OSError, RuntimeFailure) as error:
            raise ServiceUnavailable(f"{words}: {error}") from error
        connection.setblocking(False)
        return SocketStream(connection)

    def _pod(self, pod: PodRef) -> Object:
        found = self._pods.get(pod.name, pod.namespace)
        if found is None or (pod.uid and uid(found) != pod.uid):
            raise NotFound(f'pods "{pod.name}" not found', name=pod.name, kind="pods")
        return translate(found)

    def _sandbox(self, pod: Object) -> Sandbox:
        sandboxes = self._cache.sandboxes(uid(pod))
        if not sandboxes or sandboxes[0].state != "Ready":
            raise BadRequest(f"pod {name(pod)} is not running: it has no sandbox")
        return sandboxes[0]

    def _running_container(self, pod: PodRef, wanted: str) -> Container:
        found = self._pod(pod)
        container_name = choose_container(found, wanted)
        newest = self._attempts(found, container_name)[:1]
        if not newest or newest[0].state != "Running":
            raise InternalError(f'unable to upgrade connection: container not found ("{container_name}")')
        return newest[0]

    def _attempts(self, pod: Object, container_name: str) -> list[Container]:
        attempts = [c for c in self._cache.containers(uid(pod)) if c.config.name == container_name]
        return [c for c in attempts if c.state != "Created"]

    def _logged_container(self, pod: Object, container_name: str, previous: bool) -> Container:
        attempts = self._attempts(pod, container_name)
        if previous:
            ended = [c for c in attempts[1:] if c.state == "Exited"]
            if not ended:
                raise BadRequest(
                    f'previous terminated container "{container_name}" in pod "{name(pod)}" not found'
                )
            return ended[0]
        if attempts:
            return attempts[0]
        waiting = waiting_reason(pod, container_name)
        if waiting:
            raise BadRequest(
                f'container "{container_name}" in pod "{name(pod)}" is waiting to start: {waiting}'
            )
        raise BadRequest(f'container "{container_name}" in pod "{name(pod)}" is not available')


def choose_container(pod: Object, wanted: str) -> str:
    """Return the container that is meant; raise BadRequest in upstream's words when that is not clear."""
    spec = pod["spec"]
    names = [c["name"] for c in spec["containers"]]
    init_names = [c["name"] for c in spec.get("initContainers") or []]
    ephemeral_names = [c["name"] for c in spec.get("ephemeralContainers") or []]
    if wanted:
        if wanted in (*names, *init_names, *ephemeral_names):
            return wanted
        raise BadRequest(f"container {wanted} is not valid for pod {name(pod)}")
    if len(names) == 1 and not init_names:
        return str(names[0])
    words = f"a container name must be specified for pod {name(pod)}, choose one of: [{' '.join(names)}]"
    if init_names:
        words += f" or one of the init containers: [{' '.join(init_names)}]"
    if ephemeral_names:
        words += f" or one of the ephemeral containers: [{' '.join(ephemeral_names)}]"
    raise BadRequest(words)


def waiting_reason(pod: Object, container_name: str) -> str:
    """Return why the container waits, by its status; ContainerCreating before it has one."""
    for known in container_statuses(pod):
        if known["name"] == container_name:
            waiting = (known.get("state") or {}).get("waiting")
            return str((waiting or {}).get("reason") or "") if waiting is not None else ""
    return "ContainerCreating"


class SocketStream:
    """`client.kubelet_api.ByteStream` over a connected, non-blocking socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    async def read(self, limit: int = 65536) -> bytes:
        """Return what arrived, b"" at the end."""
        try:
            return await self._loop.sock_recv(self._socket, limit)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""
        await self._loop.sock_sendall(self._socket, data)

    async def close_write(self) -> None:
        """Signal end of data to the other side."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    async def close(self) -> None:
        """Close both ways; a read under way ends."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._socket.close()
            return
        self._socket.close()
