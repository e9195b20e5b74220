"""A container's image is found as its pull policy says, for pods that may have it (image_manager_test.go)."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from proa.images.credentials import Credential, read_secret
from proa.images.errors import ImageError, RegistryUnavailable
from proa.images.reference import Reference
from proa.images.store import ImageStore
from proa.node.images.manager import FoundImage, ImageFailure, ImageManager, Pulling, Request, go_duration
from proa.node.images.puller import PullResult
from proa.node.runtimes.fake import FakeRuntime

CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Cmd": ["/app"], "User": "1000", "Env": ["A=b=c"]},
}


class Registry:
    """A puller: `images` are what it has, `private` for whoever has a password; the others fail with `error`."""

    def __init__(self, store: ImageStore) -> None:
        self.store = store
        self.has: set[str] = set()
        self.private: set[str] = set()
        self.error: Exception = ImageError("not found")
        self.asked: list[str] = []

    async def pull(self, reference: Reference, credentials: Sequence[Credential]) -> PullResult:
        self.asked.append(str(reference))
        known = next(iter(credentials), None)
        if str(reference) not in self.has or (str(reference) in self.private and known is None):
            raise self.error
        image = self.store.commit({**CONFIG, "author": str(reference)}, [], [str(reference)])
        return PullResult(image, known if str(reference) in self.private else None, 1.25)

    def close(self) -> None:
        pass


class Setting:
    def __init__(self, folder: Path) -> None:
        self.store = ImageStore(folder)
        self.registry = Registry(self.store)
        self.time = 100.0
        self.secrets: dict[str, list[Credential]] = {}
        self.used: list[str] = []
        self.woken: list[str] = []

        async def secrets(pod: Any) -> list[Credential]:
            return self.secrets.get(pod["metadata"]["name"], [])

        self.images = ImageManager(
            FakeRuntime(lambda: self.time),
            {"python": "proa.local/python"},
            10,
            300,
            now=lambda: self.time,
            store=self.store,
            puller=self.registry,  # type: ignore[arg-type]
            secrets=secrets,
            wake=self.woken.append,
            on_use=self.used.append,
        )

    async def find(self, image: str, policy: str = "IfNotPresent", pod: str = "web") -> FoundImage:
        """Return what is found, once it has been pulled."""
        request = Request({"metadata": {"name": pod, "uid": pod}, "spec": {}}, "app", image, policy)
        try:
            return await self.images.find(request)
        except Pulling as pulling:
            told = pulling.events
        while self.images.is_pulling(request):
            with pytest.raises(Pulling):
                await self.images.find(request)
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        assert told[0].message == f'Pulling image "{image}"'
        return await self.images.find(request)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path / "images")


def secret(password: str, name: str = "key") -> list[Credential]:
    content = json.dumps({"auths": {"harbour.test": {"username": "jack", "password": password}}})
    return read_secret(
        {
            "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"uid": f"uid-{name}", "namespace": "default", "name": name},
            "data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()},
        }
    )


def test_a_pulled_image_is_told_with_its_time_and_size(setting: Setting) -> None:
    setting.registry.has = {"harbour.test/app:v1"}

    async def scenario() -> None:
        found = await setting.find("harbour.test/app:v1")
        assert found.image.command == ("/app",)
        assert found.image.env == (("A", "b=c"),)
        assert found.image.user == "1000"
        assert found.image.repo_digest.startswith("harbour.test/app@sha256:")
        assert [event.message for event in found.events] == [
            'Successfully pulled image "harbour.test/app:v1" in 1.25s (1.25s including waiting). '
            f"Image size: {found.image.size_bytes} bytes."
        ]
        assert setting.used == [found.image.id]
        assert setting.woken == ["web"]

    asyncio.run(scenario())


@pytest.mark.parametrize(("policy", "pulls"), [("IfNotPresent", 1), ("Always", 2), ("Never", 1)])
def test_what_is_here_is_pulled_again_only_where_that_is_asked(
    setting: Setting, policy: str, pulls: int
) -> None:
    setting.registry.has = {"docker.io/library/app:latest"}

    async def scenario() -> None:
        await setting.find("app")
        found = await setting.find("app", policy)
        present = 'Container image "app" already present on machine and can be accessed by the pod'
        assert (found.events[0].message == present) == (policy != "Always")
        assert len(setting.registry.asked) == pulls

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("image", "policy", "reason", "event"),
    [
        ("UPPER CASE", "Always", "InvalidImageName", "InspectFailed"),
        ("nginx", "Never", "ErrImageNeverPull", "ErrImageNeverPull"),
        ("nginx", "Always", "ErrImagePull", "Failed"),
    ],
)
def test_why_an_image_cannot_be_had(
    setting: Setting, image: str, policy: str, reason: str, event: str
) -> None:
    async def scenario() -> None:
        with pytest.raises(ImageFailure) as failed:
            await setting.find(image, policy)
        assert (failed.value.reason, failed.value.events[0].reason) == (reason, event)

    asyncio.run(scenario())


def test_a_registry_that_is_away_is_said_to_be(setting: Setting) -> None:
    setting.registry.error = RegistryUnavailable("harbour.test: connection refused")

    async def scenario() -> None:
        with pytest.raises(ImageFailure) as failed:
            await setting.find("harbour.test/app")
        assert failed.value.reason == "RegistryUnavailable"
        assert failed.value.message == (
            "image pull failed for harbour.test/app because the registry is unavailable: "
            "harbour.test: connection refused"
        )

    asyncio.run(scenario())


def test_an_image_that_failed_waits_longer_each_time(setting: Setting) -> None:
    async def scenario() -> list[float]:
        waits = []
        for _ in range(3):
            for expected in ("ErrImagePull", "ImagePullBackOff"):
                with pytest.raises(ImageFailure) as failed:
                    await setting.find("nginx")
                assert failed.value.reason == expected
            assert failed.value.message == 'Back-off pulling image "nginx": ErrImagePull: not found'
            waits.append(failed.value.retry_at - setting.time)
            setting.time = failed.value.retry_at
        return waits

    assert asyncio.run(scenario()) == [10, 20, 40]


def test_a_pod_without_the_secret_does_not_run_what_another_pulled(setting: Setting) -> None:
    name = "harbour.test/app:v1"
    setting.registry.has = setting.registry.private = {name}
    setting.secrets = {"with": secret("aye"), "same": secret("aye", "copy"), "wrong": secret("nay", "other")}

    async def scenario() -> None:
        await setting.find(name, pod="with")
        for pod in ("with", "same"):
            found = await setting.find(name, pod=pod)
            assert "already present" in found.events[0].message
        assert len(setting.registry.asked) == 1
        with pytest.raises(ImageFailure) as failed:
            await setting.find(name, pod="without")
        assert failed.value.reason == "ErrImagePull"
        with pytest.raises(ImageFailure) as failed:
            await setting.find(name, "Never", pod="without")
        assert failed.value.reason == "ErrImageNeverPull"

    asyncio.run(scenario())


def test_what_came_another_way_is_anybodys(setting: Setting) -> None:
    setting.store.commit(CONFIG, [], ["harbour.test/app:v1"])

    found = asyncio.run(setting.find("harbour.test/app:v1", "Never"))

    assert "already present" in found.events[0].message


def test_an_image_whose_pull_was_cut_by_a_crash_is_asked_for_again(setting: Setting) -> None:
    setting.store.commit(CONFIG, [], ["harbour.test/app:v1"])
    (setting.store.directory / "pulls.json").write_text('{"pulling": {"harbour.test/app:v1": 1}}')

    async def scenario() -> None:
        with pytest.raises(ImageFailure):
            await setting.find("harbour.test/app:v1")

    asyncio.run(scenario())
    assert setting.registry.asked == ["harbour.test/app:v1"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.33, "330ms"), (1.5, "1.5s"), (62.004, "1m2.004s"), (3600, "1h0m0s")]
)
def test_durations_are_gos(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
