"""Metrics that the training offers at a port, in Prometheus' text format, asked for while it runs.

A metric is one by its name ("accuracy", whatever its labels), or by name and labels as they are written. A value counts
when it is another than the last one was. HTTP/1.0, so that an answer ends with its connection.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from proa.ml.tuning.collector.asked import Asked
    from proa.ml.tuning.collector.points import Points

TIMEOUT_SECONDS = 2.0
MAX_ANSWER = 4 * 1024 * 1024
MAX_NAMES = 8


class Endpoint:
    """Where the training offers its metrics. `fault` says why the last answer was none, "" when it was one."""

    def __init__(self, asked: Asked, points: Points) -> None:
        self._host, self._port = asked.get("host"), int(asked.get("port"))
        self._path, self._scheme = asked.get("url-path"), asked.get("scheme", "HTTP")
        self._headers = [header.partition(": ") for header in asked.all("header")]
        self._points = points
        self._last: dict[str, str] = {}
        self.fault = ""
        self.answers = 0
        self.other_names: dict[str, None] = {}

    @property
    def url(self) -> str:
        """Return the address that is asked."""
        return f"{self._scheme.lower()}://{self._host}:{self._port}{self._path}"

    def poll(self) -> bool:
        """Ask once; tell whether a value has changed."""
        try:
            body = self._get()
        except (OSError, ValueError) as error:
            self.fault = str(error) or type(error).__name__
            return False
        self.fault = ""
        self.answers += 1
        return self._take(body)

    def _take(self, body: str) -> bool:
        found: dict[str, str] = {}
        for name, labelled, value in samples(body):
            wanted = [m for m in (labelled, name) if m in self._points.series]
            for metric in wanted[:1]:
                if metric not in found or labelled == name:  # without labels it is the whole
                    found[metric] = value
            if not wanted and len(self.other_names) < MAX_NAMES:
                self.other_names[name[:60]] = None
        changed = {metric: value for metric, value in found.items() if self._last.get(metric) != value}
        for metric, value in changed.items():
            self._points.add(metric, value)
        self._last |= changed
        return bool(changed)

    def _get(self) -> str:
        import socket

        given = {"host": f"{self._host}:{self._port}", "accept": "text/plain", "connection": "close"}
        given |= {_clean(name).lower(): _clean(value) for name, _, value in self._headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        with socket.create_connection((self._host, self._port), TIMEOUT_SECONDS) as connection:
            if self._scheme == "HTTPS":
                import ssl

                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = (
                    False,
                    ssl.CERT_NONE,
                )  # as probes: it is the pod's own
                connection = context.wrap_socket(connection)
            connection.sendall(f"GET {_clean(self._path)} HTTP/1.0\r\n{head}\r\n".encode())
            answer = bytearray()
            while len(answer) < MAX_ANSWER and (part := connection.recv(65536)):
                answer += part
        status, _, rest = bytes(answer).partition(b"\r\n")
        words = status.split()
        if len(words) < 2 or words[1] != b"200":
            raise ValueError(f"answered {status[:80].decode(errors='replace')!r}")
        return rest.partition(b"\r\n\r\n")[2].decode(errors="replace")


def samples(body: str) -> Iterator[tuple[str, str, str]]:
    """Yield (name, name with labels as written, value) of each sample."""
    for line in body.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        name = line.split("{", 1)[0].split(None, 1)[0]
        end = line.rfind("}") + 1 if "{" in line else len(name)
        words = line[end:].split()
        if words:
            yield name, line[:end].strip(), words[0]


def _clean(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")
