"""Requests that somebody broke on purpose: whatever arrives, the fault is never the server's own.

Good requests (bodies in JSON, YAML and protobuf, patches of each type, selectors, options) are cut, spliced and
sprinkled with odd bytes, by fixed seeds. What once failed is in corpus/, one request a line: method, path with its
query, content type, and the body in base64.
"""

from __future__ import annotations

import asyncio
import base64
import random
from pathlib import Path

import orjson
import pytest

CORPUS = Path(__file__).with_name("corpus") / "requests.jsonl"
DEFAULT = "/api/v1/namespaces/default"
DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w", "labels": {"a": "b"}},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}, "matchExpressions": []}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
            {"name": "c", "image": "x", "ports": [{"containerPort": 80, "protocol": "TCP"}],
             "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
             "readinessProbe": {"httpGet": {"port": "http", "path": "/"}}}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]}}},
}  # fmt: skip
STRATEGIC = {"spec": {"template": {"spec": {
    "$setElementOrder/containers": [{"name": "c"}], "$retainKeys": ["containers"],
    "containers": [{"$patch": "delete", "name": "c"}, {"name": "d", "image": "y", "$retainKeys": ["name"]}],
    "$deleteFromPrimitiveList/x": ["y"]}}}}  # fmt: skip
JSON_PATCH = [
    {"op": "test", "path": "/metadata/name", "value": "w"}, {"op": "add", "path": "/spec/x~1y/-", "value": [1]},
    {"op": "move", "from": "/spec/replicas", "path": "/spec/template"}, {"op": "copy", "from": "", "path": "/a/0"},
    {"op": "remove", "path": "/spec/template/spec/containers/0"}, {"op": "replace", "path": "/spec", "value": None},
]  # fmt: skip
YAML = b"""apiVersion: v1
kind: ConfigMap
metadata: &m {name: a, labels: {x: "1", y: !!str 2}}
data:
  <<: {k: v}
  multi: |-
    line
  date: "2026-01-01"
binaryData: &e {}
immutable: null
"""


def message(*fields: tuple[int, bytes]) -> bytes:
    """Return a protobuf message of short length-delimited fields."""
    return b"".join(bytes((number << 3 | 2, len(data))) + data for number, data in fields)


PROTOBUF = b"k8s\0" + message(
    (1, message((1, b"v1"), (2, b"ConfigMap"))),
    (
        2,
        message(
            (1, message((1, b"n"), (11, message((1, b"x"), (2, b"y"))))), (2, message((1, b"k"), (2, b"v")))
        ),
    ),
)
QUERY = (
    "labelSelector=a+in+(b,c),!d,e!%3Df,g>1&fieldSelector=metadata.name%3Da,metadata.namespace!%3D\\,b&limit=5"
    "&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0&resourceVersion=1"
    "&resourceVersionMatch=Exact&timeoutSeconds=1&dryRun=All&fieldManager=me&fieldValidation=Strict&force=true"
    "&gracePeriodSeconds=1&propagationPolicy=Orphan&orphanDependents=true&timeout=1s&pretty=1&includeObject=Object"
)
JSON = "application/json"
REQUESTS: list[tuple[str, str, str, bytes]] = [
    ("POST", f"{DEFAULT}/configmaps", JSON, b'{"metadata":{"name":"n","generateName":"g"},"data":{"a":"b"}}'),
    ("POST", "/apis/apps/v1/namespaces/default/deployments", JSON, orjson.dumps(DEPLOYMENT)),
    ("PUT", "/apis/apps/v1/namespaces/default/deployments/w", JSON, orjson.dumps(DEPLOYMENT)),
    ("POST", f"{DEFAULT}/configmaps", "application/yaml", YAML),
    ("POST", f"{DEFAULT}/configmaps", "application/vnd.kubernetes.protobuf", PROTOBUF),
    ("PATCH", "/apis/apps/v1/namespaces/default/deployments/w", "application/strategic-merge-patch+json",
     orjson.dumps(STRATEGIC)),
    ("PATCH", "/apis/apps/v1/namespaces/default/deployments/w", "application/json-patch+json",
     orjson.dumps(JSON_PATCH)),
    ("PATCH", "/apis/apps/v1/namespaces/default/deployments/w", "application/merge-patch+json",
     orjson.dumps({"spec": {"replicas": None, "template": DEPLOYMENT["spec"]["template"]}})),
    ("PATCH", "/apis/apps/v1/namespaces/default/deployments/w?fieldManager=me", "application/apply-patch+yaml",
     orjson.dumps(DEPLOYMENT)),
    ("PATCH", f"{DEFAULT}/configmaps/a?fieldManager=me", "application/apply-patch+yaml", YAML),
    ("PATCH", "/apis/apps/v1/namespaces/default/deployments/w/scale", "application/merge-patch+json",
     b'{"spec":{"replicas":3}}'),
    ("DELETE", f"{DEFAULT}/configmaps/none", JSON,
     b'{"preconditions":{"uid":"x"},"gracePeriodSeconds":1,"propagationPolicy":"Foreground","dryRun":["All"]}'),
    ("GET", f"{DEFAULT}/configmaps?{QUERY}", JSON, b""),
    ("GET", f"{DEFAULT}/pods?watch=1&sendInitialEvents=true&allowWatchBookmarks=1&{QUERY}", JSON, b""),
    ("DELETE", f"{DEFAULT}/configmaps?{QUERY}", JSON, b""),
]  # fmt: skip
PIECES = [
    b"", b"null", b"{}", b"[]", b"-1", b"1e999", b"9223372036854775808", b'""', b"\x00", b"\xff\xfe", b"\\ud800",
    b'"\\ud800"', b"[" * 50, b"{\"a\":" * 50, b"\n", b"&a [*a]", b"*a", b"!!python/object:os.system x", b"%", b"%00",
    b"=", b",", b"(", b")", b"!", b"<<: *m", b"~1", b"~2", b"/-", b"$patch", b"\xe2\x80\xa8", b"0x10", b".inf",
]  # fmt: skip
VALUES = [
    None, True, 0, -1, 1.5, 1 << 62, "", "x", "a/b", "1Gi", "~", [], {}, [None], [[]], {"": 1}, {"$patch": "replace"},
    {"$patch": "nope"}, [{"$patch": "replace"}], "\U0001f600", "x" * 300, {"name": None}, {"containerPort": "x"},
]  # fmt: skip
SEEDS, MUTATIONS = 4, 40


def mutate(chance: random.Random, data: bytes) -> bytes:
    """Return the bytes with a few things cut, doubled, swapped or put in."""
    for _ in range(chance.randrange(1, 4)):
        at, end = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        act = chance.randrange(5)
        if act == 0:
            data = data[:at] + data[min(end, at + 20) :]
        elif act == 1:
            data = data[:at] + chance.choice(PIECES) + data[at:]
        elif act == 2:
            data = data[:at] + chance.choice(PIECES) + data[min(end, at + 20) :]
        elif act == 3:
            data = data[:end] + data[at:end][:60] + data[end:]
        elif at < len(data):
            data = data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
    return data


def disorder(chance: random.Random, body: bytes) -> bytes:
    """Return the JSON with a few values put in place of others, or doubled, or gone."""
    value = orjson.loads(body)
    for _ in range(chance.randrange(1, 4)):
        places = list(places_in(value))
        if not places:
            return orjson.dumps(value)
        parent, key = chance.choice(places)
        act = chance.randrange(4)
        if act == 0:
            del parent[key]
        elif act == 1 and isinstance(parent, list):
            parent.append(parent[key])
        elif act == 2 and isinstance(parent, dict):
            parent[chance.choice(("$patch", "$retainKeys", "$setElementOrder/x", "x", "", "name"))] = parent[
                key
            ]
        else:
            parent[key] = chance.choice(VALUES)
        value = orjson.loads(orjson.dumps(value))  # what is in two places is two values
    return orjson.dumps(value)


def places_in(value):
    """Yield every (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in [*items]:
        yield value, key
        yield from places_in(child)


async def ask(api, method: str, path: str, content_type: str, body: bytes) -> None:
    """Send, and look that the server blames the client, or itself for nothing unknown."""
    response = await api.send(method, path, body, content_type=content_type)
    if response.stream is not None:
        await response.stream.aclose()
        return
    raw = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    told = f"{method} {path} {content_type} {base64.b64encode(body).decode()}: {raw[:500]!r}"
    assert b"Internal error occurred" not in raw, told
    assert response.status in (500, 504) or response.status < 500, told


@pytest.fixture
def filled(api):
    api.post("/apis/apps/v1/namespaces/default/deployments", DEPLOYMENT)
    api.config_map("a")
    return api


@pytest.mark.parametrize("seed", range(SEEDS))
def test_broken_requests_are_the_clients_fault(filled, seed):
    chance = random.Random(seed)

    async def scenario() -> None:
        async with asyncio.timeout(60):
            for _ in range(MUTATIONS):
                for method, path, content_type, body in REQUESTS:
                    if body[:1] in (b"{", b"[") and chance.random() < 0.6:
                        await ask(filled, method, path, content_type, disorder(chance, body))
                        continue
                    if body and chance.random() < 0.9:
                        await ask(filled, method, path, content_type, mutate(chance, body))
                        continue
                    start, _, query = path.partition("?")
                    broken = mutate(chance, query.encode()).decode("latin-1")
                    await ask(filled, method, f"{start}?{broken}", content_type, body)

    asyncio.run(scenario())


@pytest.mark.parametrize("line", CORPUS.read_text().splitlines())
def test_what_once_failed_does_not_fail_again(filled, line):
    method, path, content_type, body = orjson.loads(line)
    asyncio.run(ask(filled, method, path, content_type, base64.b64decode(body)))
