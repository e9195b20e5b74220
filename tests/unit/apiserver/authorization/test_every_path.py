"""However a path is written, nobody gets at more by it than they are allowed to.

A user who may only look at a few things of one namespace asks with broken, encoded, doubled and spliced paths by fixed
seeds, with every method: nothing changes, and nothing is shown of what the user may not see.
"""

from __future__ import annotations

import asyncio
import base64
import random
from typing import Any

import orjson
import pytest

from proa.client.protocol import Request, User

AUTHENTICATED = "system:authenticated"
LOOKER = User("looker", (AUTHENTICATED,))
IN_A = "/api/v1/namespaces/a"
SECRETS_TO_KEEP = (b"hush", b"elsewhere", base64.b64encode(b"hush"))
LOOK = {
    "apiGroups": ["", "apps"],
    "resources": ["configmaps", "pods", "pods/*", "pods/log", "pods/exec", "pods/eviction", "pods/binding",
                  "pods/proxy", "deployments", "deployments/scale", "deployments/status", "serviceaccounts",
                  "serviceaccounts/token"],
    "verbs": ["get", "list", "watch"],
}  # fmt: skip
DEPLOYMENT = {
    "metadata": {"name": "w"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        },
    },
}
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
SCALE = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "w"}, "spec": {"replicas": 7}}
BODIES: tuple[tuple[str, Any], ...] = (
    ("application/json", SCALE),
    ("application/json", {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}}),
    ("application/json", {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}),
    ("application/json", {"target": {"name": "n"}}),
    ("application/json", {"metadata": {"name": "new"}}),
    ("application/merge-patch+json", {"spec": {"replicas": 7}, "data": {"x": "y"}}),
    ("application/apply-patch+yaml", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}),
    ("", None),
)
GOOD = (
    f"{IN_A}/configmaps/c", f"{IN_A}/secrets/s", f"{IN_A}/pods/p/status", f"{IN_A}/pods/p/eviction",
    f"{IN_A}/pods/p/binding", f"{IN_A}/pods/p/proxy/x/y", f"{IN_A}/serviceaccounts/default/token",
    "/apis/apps/v1/namespaces/a/deployments/w/scale", "/apis/apps/v1/namespaces/a/deployments/w/status",
    "/apis/apps/v1/namespaces/a/deployments/w", f"{IN_A}/secrets", f"{IN_A}/configmaps", f"{IN_A}/status", f"{IN_A}",
    "/api/v1/namespaces/b/configmaps/c", "/api/v1/namespaces/b/secrets", "/api/v1/configmaps", "/api/v1/secrets",
    "/api/v1/watch/namespaces/a/secrets/s", "/api/v1/watch/namespaces/a/configmaps/c", "/proa/backup", "/metrics",
)  # fmt: skip
PIECES = (
    "", ".", "..", "%2e%2e", "a", "b", "a%2Fb", "b%2fsecrets", "%61", "watch", "namespaces", "secrets", "configmaps",
    "status", "scale", "finalize", "s", "c", "%00", "%", "A", "v1", "api", "apis", "proxy", "log", "%252e", "c;x", "*",
    "secrets%2Fs",
)  # fmt: skip
METHODS = ("GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "WATCH", "get")
QUERIES: tuple[dict[str, list[str]], ...] = (
    {},
    {},
    {"watch": ["1"], "timeoutSeconds": ["1"]},
    {"watch": ["false", "true"]},
    {"fieldSelector": ["metadata.name=c"]},
    {"fieldSelector": ["metadata.name=c", "metadata.name=s"]},
    {"fieldSelector": ["metadata.name=c,metadata.namespace=b"]},
    {"fieldManager": ["x"], "force": ["true"]},
    {"namespace": ["b"], "_method": ["DELETE"]},
)


def populated(api: Any) -> Any:
    """Return the server with two namespaces, and a user who may look at a few things of one."""
    for name, told in (("a", "mine"), ("b", "elsewhere")):
        space = f"/api/v1/namespaces/{name}"
        made = (
            ("/api/v1/namespaces", {"metadata": {"name": name}}),
            (f"{space}/configmaps", {"metadata": {"name": "c"}, "data": {"k": told}}),
            (f"{space}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "hush"}}),
            (f"{space}/serviceaccounts", {"metadata": {"name": "default"}}),
            (f"{space}/pods", POD),
            (f"/apis/apps/v1/namespaces/{name}/deployments", DEPLOYMENT),
        )
        for path, body in made:
            assert api.post(path, body).status == 201, path
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/a"
    assert api.post(f"{rbac}/roles", {"metadata": {"name": "look"}, "rules": [LOOK]}).status == 201
    binding = {
        "metadata": {"name": "look"},
        "roleRef": {"kind": "Role", "name": "look"},
        "subjects": [{"kind": "User", "name": LOOKER.name}],
    }
    assert api.post(f"{rbac}/rolebindings", binding).status == 201
    return api


async def ask(
    api: Any, method: str, path: str, body: Any = None, content_type: str = "", query: Any = None
) -> tuple[int, bytes]:
    """Return the status and all that is shown, of a stream what comes at once."""
    headers = {"content-type": content_type} if content_type else {}
    data = b"" if body is None else orjson.dumps(body)
    response = await api.server.handle(Request(method, path, query or {}, headers, data, LOOKER))
    if response.stream is None:
        shown = response.body
        return response.status, shown if isinstance(shown, bytes) else b"".join(shown)
    chunks = []
    try:
        async with asyncio.timeout(0):
            async for chunk in response.stream:
                chunks.append(chunk)
    except TimeoutError:
        pass
    finally:
        if (close := getattr(response.stream, "aclose", None)) is not None:
            await close()
    return response.status, b"".join(chunks)


def mutated(random_: random.Random) -> str:
    """Return a path that somebody wrote oddly."""
    parts = random_.choice(GOOD).split("/")[1:]
    for _ in range(random_.randrange(4)):
        at = random_.randrange(len(parts) + 1)
        what = random_.randrange(5)
        if what == 0:
            parts.insert(at, random_.choice(PIECES))
        elif what == 1 and parts:
            parts[at - 1] = random_.choice(PIECES)
        elif what == 2 and parts:
            del parts[at - 1]
        elif what == 3 and parts and parts[at - 1]:
            text = parts[at - 1]
            where = random_.randrange(len(text))
            parts[at - 1] = f"{text[:where]}%{ord(text[where]):02x}{text[where + 1 :]}"
        elif what == 4:
            parts.append("")
    return "/" + "/".join(parts)


@pytest.mark.parametrize("seed", range(8))
def test_no_way_to_write_a_path_leads_past_authorization(secured_api: Any, seed: int) -> None:
    api, random_ = populated(secured_api), random.Random(seed)
    before = api.store.revision

    async def run() -> None:
        for _ in range(500):
            method, path, query = random_.choice(METHODS), mutated(random_), random_.choice(QUERIES)
            content_type, body = random_.choice(BODIES)
            asked = f"{method} {path} {query} {content_type} {body}"
            status, shown = await ask(api, method, path, body, content_type, query)
            assert status != 500, f"{asked}: {shown!r}"
            assert not any(secret in shown for secret in SECRETS_TO_KEEP), f"{asked}: {shown!r}"
            assert b'{"kind":"TokenRequest"' not in shown, asked
            assert api.store.revision == before, asked

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/apis/apps/v1/watch/namespaces/a/deployments/w/scale", SCALE),
        ("PATCH", "/apis/apps/v1/watch/namespaces/a/deployments/w/scale", {"spec": {"replicas": 7}}),
        ("POST", "/api/v1/watch/namespaces/a/pods/p/eviction", BODIES[1][1]),
        ("POST", "/api/v1/watch/namespaces/a/pods/p/binding", BODIES[3][1]),
        ("POST", "/api/v1/watch/namespaces/a/serviceaccounts/default/token", BODIES[2][1]),
        ("DELETE", "/api/v1/watch/namespaces/a/configmaps", None),
        ("DELETE", "/api/v1/watch/namespaces/a/configmaps/c", None),
    ],
)
def test_the_old_paths_of_watches_are_for_watching_alone(
    secured_api: Any, method: str, path: str, body: Any
) -> None:
    api = populated(secured_api)
    before = api.store.revision
    content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
    status, _ = asyncio.run(ask(api, method, path, body, content_type))
    assert status in (404, 405)
    assert api.store.revision == before


def test_who_may_patch_but_not_create_makes_nothing_by_applying(secured_api: Any) -> None:
    api = populated(secured_api)
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/a/roles/look"
    may_patch = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}
    assert api.put(rbac, {"metadata": {"name": "look"}, "rules": [may_patch]}).status == 200
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}, "data": {"a": "b"}}
    sent = ("application/apply-patch+yaml", {"fieldManager": ["me"]})
    status, shown = asyncio.run(ask(api, "PATCH", f"{IN_A}/configmaps/new", applied, *sent))
    assert (status, orjson.loads(shown)["message"]) == (
        403,
        'configmaps "new" is forbidden: User "looker" cannot create resource "configmaps" in API group "" in the '
        'namespace "a"',
    )
    applied["metadata"] = {"name": "c"}
    assert asyncio.run(ask(api, "PATCH", f"{IN_A}/configmaps/c", applied, *sent))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/a//pods//p//proxy//x",
        "/api/v1//namespaces/a/pods/p/proxy/",
        "//api/v1/pods/p/q/r/s",
    ],
)
def test_a_path_with_doubled_slashes_is_answered(secured_api: Any, path: str) -> None:
    assert asyncio.run(ask(populated(secured_api), "GET", path))[0] < 500
