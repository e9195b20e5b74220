"""Whose credentials a namespace's store is read with, and where this process does not go."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.ml.pipelines.artifacts.choice import ArtifactStores, StoreSettings
from proa.ml.pipelines.artifacts.endpoints import Outside
from proa.ml.pipelines.artifacts.protocol import ArtifactError
from proa.objects.resource import CONFIG_MAPS, SECRETS, SERVICES

SECRET_REF = "{secretRef: {secretName: keys, accessKeyKey: a, secretKeyKey: s}}"


def providers(endpoint: str, credentials: str = SECRET_REF) -> str:
    return f"s3: {{default: {{endpoint: '{endpoint}', disableSSL: true, maxRetries: 0, credentials: {credentials}}}}}"


def stat(
    text: str,
    keys: Mapping[str, str] | None,
    port: Mapping[str, Any] | None = None,
    uri: str = "s3://bucket/key",
    **settings: Any,
) -> str:
    """Return why an artifact cannot be asked for."""

    async def whole() -> str:
        client = FakeClient()
        client.add(
            CONFIG_MAPS, {"metadata": {"name": "kfp-launcher", "namespace": "a"}, "data": {"providers": text}}
        )
        if keys is not None:
            data = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
            client.add(SECRETS, {"metadata": {"name": "keys", "namespace": "a"}, "data": data})
        if port is not None:
            client.add(SERVICES, {"metadata": {"name": "s3", "namespace": "a"}, "spec": {"ports": [port]}})
        client.add(
            SECRETS, {"metadata": {"name": "keys", "namespace": "b"}, "data": {"a": "eA==", "s": "eA=="}}
        )
        stores = ArtifactStores(client, StoreSettings(Path("/nowhere"), **settings))
        try:
            with pytest.raises(ArtifactError) as raised:
                await (await stores.of("a")).stat(uri)
        finally:
            await stores.close()
        return str(raised.value)

    return asyncio.run(whole())


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:1", "localhost:1", "http://127.0.0.1:1", "[::1]:1", "169.254.169.254", "0.0.0.0:1"],
)
def test_what_listens_on_this_machine_is_not_asked_for_a_namespace(endpoint: str) -> None:
    assert "loopback or link-local" in stat(providers(endpoint), {"a": "x", "s": "y"})


def test_a_google_key_that_says_where_to_ask_is_refused() -> None:
    key = (
        '{"gcs_base_url": "http://127.0.0.1:1", "disable_oauth": true, "client_email": "", "private_key": ""}'
    )
    text = "gs: {default: {disableSSL: true, credentials: {secretRef: {secretName: keys, tokenKey: t}}}}"
    assert "not followed by this server" in stat(text, {"t": key}, uri="gs://bucket/key")


def test_a_host_that_is_named_is_reached_at_the_address_that_it_has_here() -> None:
    message = stat(
        providers("10.243.255.2:1"), {"a": "x", "s": "y"}, outside=Outside({"10.243.255.2": "127.0.0.1"})
    )

    assert "http://127.0.0.1:1 does not answer" in message
    assert "does the endpoint" in message


@pytest.mark.parametrize("host", ["s3", "s3.a", "s3.a.svc", "s3.a.svc.cluster.local"])
def test_a_service_is_reached_by_its_node_port(host: str) -> None:
    outside = Outside(node_ports="127.0.0.1")

    found = stat(
        providers(f"{host}:9000"), {"a": "x", "s": "y"}, {"port": 9000, "nodePort": 1}, outside=outside
    )
    assert "http://127.0.0.1:1 does not answer" in found
    found = stat(providers(f"{host}:9000"), {"a": "x", "s": "y"}, {"port": 9000}, outside=outside)
    assert "reaches Service a/s3 by a NodePort only" in found


def test_this_processs_own_credentials_are_no_namespaces() -> None:
    message = stat(providers("store.invalid:1", "{fromEnv: true}"), None)

    assert "this server's own are not used" in message
    assert "providers.s3.default.credentials.secretRef" in message


def test_a_secret_is_looked_for_in_the_namespace_only() -> None:
    assert 'secret name="keys" namespace="a": it is not there' in stat(providers("store.invalid:1"), None)


def test_a_secret_without_a_value_is_told_without_its_keys() -> None:
    assert "no value for: secret key" in stat(providers("store.invalid:1"), {"a": "x"})


def test_a_changed_config_map_counts_at_once(tmp_path: Path) -> None:
    async def whole() -> None:
        client = FakeClient()
        stores = ArtifactStores(client, StoreSettings(tmp_path))
        first = await stores.of("a")
        assert await stores.of("a") is first

        data = {"defaultPipelineRoot": "s3://bucket/root"}
        await client.create(
            CONFIG_MAPS, {"metadata": {"name": "kfp-launcher", "namespace": "a"}, "data": data}, "a"
        )

        assert (await stores.of("a")).root == "s3://bucket/root"
        assert (await stores.of("b")).root == first.root
        await stores.close()

    asyncio.run(whole())
