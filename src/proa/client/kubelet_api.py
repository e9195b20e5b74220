"""What the API server asks of a node: the kubelet's HTTP API (logs, exec, attach, port-forward) as calls.

The kubelet implements `KubeletApi`; the API server's streaming handlers use it through a `KubeletDialer`
that `cluster.py` hands them. Source of the semantics: cri-api RuntimeService and pkg/kubelet/server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, Protocol, runtime_checkable

from proa.client.protocol import Request, Response
from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod on this node, by name; `uid` may be empty."""

    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query of GET pods/{name}/log (v1.PodLogOptions). `since_time` is RFC 3339."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since_seconds: int | None = None
    since_time: str = ""
    tail_lines: int | None = None
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """The query of pods/{name}/exec and attach."""

    container: str = ""
    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False


class ExecSession(Protocol):
    """A running command's three streams."""

    async def write(self, data: bytes) -> None:
        """Send to its standard input."""

    async def close_stdin(self) -> None:
        """Signal end of input."""

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters; no effect without a TTY."""

    def output(self) -> AsyncIterator[tuple[Literal["stdout", "stderr"], bytes]]:
        """Yield output until both streams end."""

    async def wait(self) -> int:
        """Return the exit code (128 + signal number when killed)."""

    async def close(self) -> None:
        """End the session; a command still running is killed (exec) or left alone (attach)."""


class ByteStream(Protocol):
    """A connection to a port inside a pod."""

    async def read(self, limit: int = 65536) -> bytes:
        """Return what arrived, b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side is slow."""

    async def close_write(self) -> None:
        """Signal end of data to the other side."""

    async def close(self) -> None:
        """Close both ways."""


class NodeApi(Protocol):
    """What every kubelet answers, near or far. Errors are ApiErrors with upstream's words."""

    async def container_logs(self, pod: PodRef, options: LogOptions) -> AsyncIterator[bytes]:
        """Return the log's chunks; raise BadRequest where the container is not known or has not started."""

    async def dial(self, host: str, port: int) -> ByteStream:
        """Connect to an address on the pod network (the node and service proxies of the API server)."""

    async def document(self, path: str) -> tuple[str, bytes] | None:
        """Return (content type, body) of what a GET to the kubelet's own port shows, None where nothing is there."""


class KubeletApi(NodeApi, Protocol):
    """A kubelet in this process: sessions are objects."""

    async def exec(self, pod: PodRef, options: ExecOptions) -> ExecSession:
        """Start a command in a running container."""

    async def attach(self, pod: PodRef, options: ExecOptions) -> ExecSession:
        """Join the streams of a running container's main process."""

    async def port_forward(self, pod: PodRef, port: int) -> ByteStream:
        """Connect to a TCP port on the pod's loopback."""


@runtime_checkable
class DistantKubelet(NodeApi, Protocol):
    """A kubelet at a port of its own: it speaks with the client itself."""

    async def hand_over(
        self, request: Request, what: Literal["exec", "attach", "portForward"], pod: PodRef, container: str
    ) -> Response:
        """Return the kubelet's own answer to a request for a stream, an upgrade; raise what it refuses with."""


KubeletDialer = Callable[[str], Awaitable[KubeletApi | DistantKubelet]]
"""Return the kubelet of the node with that name; raise ServiceUnavailable when it cannot be reached."""
