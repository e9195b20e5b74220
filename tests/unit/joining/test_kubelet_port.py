"""The kubelet's port answers whom the cluster knows and allows, and asks the cluster seldom."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from proa.client.protocol import Request, User
from proa.joining.kubelet_access import KubeletAccess, subresources_of
from proa.joining.kubelet_port import KubeletPort
from proa.objects.errors import BadRequest

ANN = User("ann", ("system:authenticated",))
POD = {
    "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
    "spec": {"nodeName": "far", "containers": [{"name": "main"}]},
}


class Reviews:
    """A client of a cluster that knows the token `good`, and whose users may do what is in `allowed`."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed
        self.asked: list[str] = []

    async def create(self, resource: Any, obj: Any) -> Any:
        self.asked.append(resource.kind)
        if resource.kind == "TokenReview":
            is_good = obj["spec"]["token"] == "good"
            return {"status": {"authenticated": is_good, "user": {"username": "ann"}}}
        wanted = obj["spec"]["resourceAttributes"]
        assert (wanted["resource"], wanted["name"]) == ("nodes", "far")
        return {"status": {"allowed": f"{wanted['verb']} {wanted['subresource']}" in self.allowed}}


class Server:
    """A kubelet with one pod."""

    def find_pod(self, namespace: str, name: str, uid: str = "") -> Any:
        return POD if (namespace, name) == ("default", "web") and uid in ("", "u1") else None

    async def document(self, path: str) -> Any:
        return ("text/plain", b"ok") if path == "/healthz" else None

    async def container_logs(self, pod: Any, options: Any) -> Any:
        if options.previous:
            raise BadRequest("there is no previous one")

        async def chunks() -> Any:
            yield f"{pod.name}/{options.container} {options.tail_lines}".encode()

        return chunks()


def ask(
    path: str, *allowed: str, user: User | None = ANN, method: str = "GET", **query: str
) -> tuple[int, bytes]:
    port = KubeletPort(lambda: Server(), KubeletAccess(Reviews(*allowed), "far"))  # type: ignore[arg-type, return-value]
    request = Request(method, path, {name: [value] for name, value in query.items()}, user=user)

    async def run() -> tuple[int, bytes]:
        answer = await port.handle(request)
        body = answer.body if answer.stream is None else b"".join([chunk async for chunk in answer.stream])
        assert isinstance(body, bytes)
        return answer.status, body

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/stats/summary", ("stats",)),
        ("/metrics/resource", ("metrics",)),
        ("/logs/syslog", ("log",)),
        ("/pods", ("pods", "proxy")),
        ("/healthz/ping", ("healthz", "proxy")),
        ("/exec/default/web/main", ("proxy",)),
        ("/statistics", ("proxy",)),
        ("/", ("proxy",)),
    ],
)
def test_each_path_is_a_part_of_the_node(path: str, names: tuple[str, ...]) -> None:
    assert subresources_of(path) == names


def test_who_is_not_known_is_401_and_who_may_not_403_in_upstreams_words() -> None:
    assert ask("/pods", user=None) == (401, b"Unauthorized")
    words = b"Forbidden (user=ann, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
    assert ask("/pods", "get stats") == (403, words)
    assert ask("/exec/default/web/main", "get proxy", method="POST")[0] == 403


def test_who_may_gets_pages_and_logs() -> None:
    assert ask("/healthz", "get healthz") == (200, b"ok")
    assert ask("/healthz", "get proxy") == (200, b"ok")
    assert ask("/nothing", "get proxy")[0] == 404
    assert ask("/containerLogs/default/web/main", "get proxy", tailLines="3") == (200, b"web/main 3")


@pytest.mark.parametrize(
    ("path", "query", "code", "words"),
    [
        ("/containerLogs/default/gone/main", {}, 404, "pod does not exist"),
        ("/containerLogs/default/web/side", {}, 400, "container side is not valid for pod web"),
        ("/containerLogs/default/web/main", {"previous": "true"}, 400, "there is no previous one"),
        ("/exec/default/web/u2/main", {"input": "1"}, 404, "pod does not exist"),
        ("/exec/default/web/main", {"output": "1"}, 400, "Upgrade request required"),
        ("/exec/default/web/main", {}, 400, "you must specify at least 1 of stdin, stdout, stderr"),
    ],
)
def test_a_refusal_is_a_status(path: str, query: dict[str, str], code: int, words: str) -> None:
    status, body = ask(path, "get proxy", **query)
    assert (status, orjson.loads(body)["code"]) == (code, code)
    assert words in orjson.loads(body)["message"]


@pytest.mark.parametrize(
    "path", ["/exec/default/web", "/containerLogs/default/web/main/more", "/attach//web/main"]
)
def test_a_path_that_names_nothing_is_404(path: str) -> None:
    assert ask(path, "get proxy") == (404, b"404 page not found\n")


def test_the_cluster_is_asked_once_in_a_while() -> None:
    clock = SimpleNamespace(now=0.0)
    reviews = Reviews("get proxy")
    access = KubeletAccess(reviews, "far", lambda: clock.now)  # type: ignore[arg-type]

    def look(token: str) -> None:
        request = Request("GET", "/runningpods/", headers={"authorization": f"Bearer {token}"})

        async def run() -> None:
            user = await access.find_user(request)
            assert (user is not None) == (token == "good")
            if user is not None:
                assert await access.find_refusal(user, request) == ""

        asyncio.run(run())

    for _ in range(3):
        look("good")
    assert reviews.asked == ["TokenReview", "SubjectAccessReview", "SubjectAccessReview"]
    look("bad")
    look("bad")
    assert reviews.asked.count("TokenReview") == 3
    clock.now = 121.0
    look("good")
    assert reviews.asked.count("TokenReview") == 4
    assert reviews.asked.count("SubjectAccessReview") == 3  # the refusal of `pods` was kept for 30 s
