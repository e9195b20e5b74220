"""Pods of a running cluster as tests hold them: asked over HTTPS as the administrator, awaited by watches."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import yaml
from wsproto import ConnectionType, WSConnection
from wsproto.events import CloseConnection, Message, RejectConnection
from wsproto.events import Request as WebSocketRequest

DEADLINE_SECONDS = 120.0
Object = dict[str, Any]


class ApiRefused(AssertionError):
    """The API server answered with an error: its code and its Status."""

    def __init__(self, code: int, body: str) -> None:
        super().__init__(f"{code}: {body}")
        self.code = code


class Api:
    """One connection to a cluster's API server, and one more for each watch."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        server = urlsplit(config["clusters"][0]["cluster"]["server"])
        self._address = (server.hostname or "", server.port or 443)
        self.context = _tls(config)
        self._connection: http.client.HTTPSConnection | None = None

    def connect(self) -> http.client.HTTPSConnection:
        """Return a new connection."""
        host, port = self._address
        return http.client.HTTPSConnection(host, port, context=self.context, timeout=DEADLINE_SECONDS)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> bytes:
        """Return an answer's body; raise ApiRefused."""
        data = None if body is None else json.dumps(body)
        headers = {"content-type": content_type} if data else {}
        try:
            answer = self._ask(method, path, data, headers)
        except (ConnectionError, ssl.SSLEOFError):  # it was idle for too long
            self.close()
            answer = self._ask(method, path, data, headers)
        found = answer.read()
        if answer.status >= 400:
            raise ApiRefused(answer.status, found.decode())
        return found

    def _ask(
        self, method: str, path: str, data: str | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        self._connection = self._connection or self.connect()
        self._connection.request(method, path, data, headers)
        return self._connection.getresponse()

    def get(self, path: str) -> Any:
        """Return what is at a path."""
        return json.loads(self.send("GET", path))

    def post(self, path: str, body: Any) -> Any:
        """Create."""
        return json.loads(self.send("POST", path, body))

    def patch(self, path: str, body: Any, kind: str = "strategic-merge") -> Any:
        """Change."""
        return json.loads(self.send("PATCH", path, body, f"application/{kind}-patch+json"))

    def watch(self, path: str, **query: str) -> Iterator[Object]:
        """Return the events of a watch that has begun, for as long as a test may wait."""
        connection = self.connect()
        text = urlencode({**query, "watch": "true", "timeoutSeconds": str(int(DEADLINE_SECONDS))})
        connection.request("GET", f"{path}?{text}")
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return _events(connection, answer)


def _events(connection: http.client.HTTPSConnection, answer: http.client.HTTPResponse) -> Iterator[Object]:
    try:
        while line := answer.readline():
            yield json.loads(line)
    finally:
        answer.close()
        connection.close()


def _tls(config: Any) -> ssl.SSLContext:
    user = config["users"][0]["user"]
    authority = config["clusters"][0]["cluster"]["certificate-authority-data"]
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    with tempfile.NamedTemporaryFile() as file:
        for key in ("client-certificate-data", "client-key-data"):
            file.write(base64.b64decode(user[key]))
        file.flush()
        context.load_cert_chain(file.name)
    return context


@dataclass(frozen=True)
class Pods:
    """The pods of one namespace."""

    api: Api
    namespace: str

    def path(self, kind: str = "pods", name: str = "") -> str:
        """Return the path of a kind of the namespace's objects, or of one of them."""
        return f"/api/v1/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def add(self, kind: str, name: str, **content: Any) -> Object:
        """Create an object of the core group."""
        found: Object = self.api.post(self.path(kind), {"metadata": {"name": name}, **content})
        return found

    def run(self, name: str, *containers: Object, metadata: Object | None = None, **spec: Any) -> Object:
        """Create a pod that is not restarted and has a second to end, unless `spec` says otherwise."""
        defaults = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
        body = {
            "metadata": {"name": name, **(metadata or {})},
            "spec": {**defaults, "containers": list(containers), **spec},
        }
        found: Object = self.api.post(self.path(), body)
        return found

    def get(self, name: str) -> Object:
        """Return a pod as it is now."""
        found: Object = self.api.get(self.path(name=name))
        return found

    def until(self, name: str, holds: Callable[[Object], Any]) -> Object:
        """Return the pod as it is once a condition on it holds; fail when that takes too long."""
        last: Object = {}
        end = time.monotonic() + DEADLINE_SECONDS
        for event in self.api.watch(self.path(), fieldSelector=f"metadata.name={name}"):
            last = event["object"]
            if event["type"] != "DELETED" and holds(last):
                return last
            if time.monotonic() > end:
                break
        raise AssertionError(f"pod {name} is not what it was to become: {json.dumps(last.get('status'))}")

    def until_gone(self, name: str) -> None:
        """Return when there is no such pod."""
        try:
            version = self.get(name)["metadata"]["resourceVersion"]
        except ApiRefused as refused:
            if refused.code == 404:
                return
            raise
        query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": version}
        assert any(event["type"] == "DELETED" for event in self.api.watch(self.path(), **query))

    def ended(self, name: str) -> Object:
        """Return the pod once it has Succeeded or Failed."""
        return self.until(name, lambda pod: phase(pod) in ("Succeeded", "Failed"))

    def ready(self, name: str) -> Object:
        """Return the pod once it is Ready."""
        return self.until(name, is_ready)

    def log(self, name: str, container: str = "", **query: str) -> str:
        """Return a container's log."""
        text = urlencode({**({"container": container} if container else {}), **query})
        return self.api.send("GET", f"{self.path(name=name)}/log?{text}").decode()

    def output(self, name: str) -> str:
        """Return all that a pod said, once it has Succeeded."""
        pod = self.ended(name)
        text = self.log(name)
        assert phase(pod) == "Succeeded", (pod["status"], text)
        return text

    def exec(self, name: str, *command: str, container: str = "") -> str:
        """Return what a command in a container prints; fail when it does."""
        query = [*(("command", word) for word in command), ("stdout", "1"), ("stderr", "1")]
        query += [("container", container)] if container else []
        path = f"{self.path(name=name)}/exec?{urlencode(query)}"
        messages = speak_websocket(self.api, path, "v4.channel.k8s.io")
        status = json.loads(b"".join(m[1:] for m in messages if m[:1] == b"\x03"))
        output = b"".join(m[1:] for m in messages if m[:1] in (b"\x01", b"\x02")).decode()
        assert status["status"] == "Success", (status, output)
        return output

    def delete(self, name: str, grace_seconds: int | None = None) -> None:
        """Delete a pod and return when it is gone."""
        body = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        self.api.send("DELETE", self.path(name=name), body)
        self.until_gone(name)

    def events(self, name: str, reason: str = "") -> list[Object]:
        """Return the events about a pod."""
        wanted = f"involvedObject.name={name}" + (f",reason={reason}" if reason else "")
        found: list[Object] = self.api.get(f"{self.path('events')}?fieldSelector={quote(wanted)}")["items"]
        return found

    def until_told(self, name: str, reason: str) -> Object:
        """Return an event about a pod once there is one with this reason."""
        wanted = f"involvedObject.name={name},reason={reason}"
        found: Object = next(self.api.watch(self.path("events"), fieldSelector=wanted))["object"]
        return found


def phase(pod: Object) -> str:
    """Return status.phase."""
    return str((pod.get("status") or {}).get("phase"))


def is_ready(pod: Object) -> bool:
    """Tell whether the condition Ready is True."""
    return condition(pod, "Ready").get("status") == "True"


def condition(pod: Object, type: str) -> Object:
    """Return a condition, {} where there is none."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == type), {})


def container_status(pod: Object, name: str = "") -> Object:
    """Return what is said of a container of any kind: of the first one unless it is named."""
    status = pod.get("status") or {}
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    return next((s for kind in kinds for s in status.get(kind) or () if name in ("", s["name"])), {})


def state(pod: Object, name: str, kind: str) -> Object:
    """Return what a container's state says when it is of that kind (waiting, running, terminated), else {}."""
    found: Object = (container_status(pod, name).get("state") or {}).get(kind) or {}
    return found


def python(name: str, script: str, **more: Any) -> Object:
    """Build a container that runs a script in Python."""
    return {
        "name": name,
        "image": "proa.local/python",
        "command": ["python3", "-S", "-u", "-c", script],
        **more,
    }


def shell(name: str, script: str, **more: Any) -> Object:
    """Build a container that runs a script in a shell."""
    return {"name": name, "image": "proa.local/python", "command": ["sh", "-c", script], **more}


def speak_websocket(api: Api, path: str, protocol: str) -> list[bytes]:
    """Return the messages that the server sends over a WebSocket until it closes it."""
    connection = api.connect()
    connection.connect()
    try:
        socket = connection.sock
        ws = WSConnection(ConnectionType.CLIENT)
        host = f"{connection.host}:{connection.port}"
        socket.sendall(ws.send(WebSocketRequest(host=host, target=path, subprotocols=[protocol])))
        return list(_messages(ws, socket))
    finally:
        connection.close()


def _messages(ws: WSConnection, socket: Any) -> Iterator[bytes]:
    message = b""
    while True:
        data = socket.recv(65536)
        ws.receive_data(data or None)
        for event in ws.events():
            if isinstance(event, RejectConnection):
                raise ApiRefused(event.status_code, "no WebSocket")
            if isinstance(event, Message):
                message += event.data if isinstance(event.data, bytes | bytearray) else event.data.encode()
                if event.message_finished:
                    yield bytes(message)
                    message = b""
            elif isinstance(event, CloseConnection):
                return
        if not data:
            return
