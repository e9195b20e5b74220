"""A webhook changes what an object holds, never which object it is; where it cannot be reached is a failed call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.tls_server import reviewed

PATH = "/api/v1/namespaces/default/configmaps"


def stored(hooks: Any) -> list[tuple[str, bytes]]:
    found = hooks.api.store.range("/registry/core/configmaps/").entries
    return [(entry.key.rpartition("/")[2], entry.value) for entry in found]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    ("patch", "refusal"),
    [
        ({"op": "replace", "path": "/kind", "value": "Secret"}, "(v1.Secret) to (core.ConfigMap)"),
        ({"op": "replace", "path": "/apiVersion", "value": "x/v2"}, "(v2.ConfigMap) to (core.ConfigMap)"),
        ({"op": "replace", "path": "/kind", "value": 7}, "to (core.ConfigMap)"),
        ({"op": "remove", "path": "/kind"}, ""),
        ({"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}, ""),
        ({"op": "replace", "path": "/metadata/uid", "value": "mine"}, ""),
        ({"op": "add", "path": "/metadata/resourceVersion", "value": "7"}, ""),
        ({"op": "add", "path": "/metadata/deletionTimestamp", "value": "2020-01-01T00:00:00Z"}, ""),
        ({"op": "add", "path": "/metadata/managedFields", "value": [{"manager": "x", "fieldsV1": {"f:data": 7}}]}, ""),
        ({"op": "add", "path": "/metadata/managedFields", "value": [{"fieldsV1": {"f:data": {"v:x": 1}}}]}, ""),
    ],
)  # fmt: skip
def test_an_object_stays_the_one_that_it_is(hooks: Any, method: str, patch: Any, refusal: str) -> None:
    async def story(hooks: Any) -> None:
        if method == "PUT":
            assert (await hooks.make()).status == 201
        await hooks.configure("mutating", hooks.webhook())
        hooks.answer = lambda call: reviewed(call, patch=[patch])
        before, revision = stored(hooks), hooks.api.store.revision
        body = {"metadata": {"name": "c"}, "data": {"a": "c"}}
        answer = await hooks.ask(method, PATH if method == "POST" else f"{PATH}/c", body)
        if refusal:
            assert answer.status == 500
            assert refusal in answer.message
            assert (stored(hooks), hooks.api.store.revision) == (before, revision)
            return
        assert answer.status in (200, 201), answer.raw
        ((name, value),) = stored(hooks)
        metadata = json.loads(value)["metadata"]
        assert value.startswith(b'{"kind":"ConfigMap","apiVersion":"v1",')
        assert (name, metadata["name"], metadata["namespace"]) == ("c", "c", "default")
        assert metadata["uid"] != "mine"
        assert "deletionTimestamp" not in metadata
        hooks.answer = reviewed
        applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"b": "c"}}
        sent = {"content_type": "application/apply-patch+yaml"}
        assert (await hooks.ask("PATCH", f"{PATH}/c?fieldManager=me", applied, **sent)).status == 200

    hooks.run(reviewed, story)


@pytest.mark.parametrize(
    "url",
    ["https://a..b/", f"https://{'x' * 70}.example/", "https://127.0.0.1:1/€ ü", "https://.local/"],
)
def test_a_webhook_that_cannot_be_named_has_failed(hooks: Any, url: str) -> None:
    async def story(hooks: Any) -> None:
        target = {"url": url, "caBundle": hooks.authority.bundle}
        await hooks.configure("validating", hooks.webhook(clientConfig=target, failurePolicy="Ignore"))
        assert (await hooks.make()).status == 201

    hooks.run(reviewed, story)
