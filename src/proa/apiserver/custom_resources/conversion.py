"""Bring custom resources from one version to another: by name alone, or by asking their webhook.

Follows apiextensions-apiserver/pkg/apiserver/conversion: converter.go, nop_converter.go and webhook_converter.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from proa.apiserver.registry.conversion import Convert
from proa.apiserver.registry.metadata import new_uid
from proa.apiserver.registry.refusals import unnamed_failure
from proa.apiserver.webhooks.webhooks import Webhooks
from proa.client.protocol import Object
from proa.objects.resource import Resource
from proa.objects.structural.kind import CustomKind
from proa.objects.validation import validate_annotations, validate_labels

REVIEW_VERSIONS = ("v1", "v1beta1")
TIMEOUT_SECONDS = 30


def make_convert(
    definition: Object,
    resources: Mapping[str, Resource],
    kinds: Mapping[str, CustomKind],
    webhooks: Webhooks,
) -> Convert:
    """Return what converts objects of a definition's kind, as its spec.conversion says."""
    conversion = definition["spec"].get("conversion") or {}
    if conversion.get("strategy") == "Webhook":
        return WebhookConverter(conversion["webhook"], kinds, webhooks).convert

    def convert(objects: list[Object], to: Resource) -> list[Object]:
        for obj in objects:
            obj["apiVersion"] = to.api_version
            _settle(obj, kinds[to.version])
        return objects

    return convert


def _settle(obj: Object, kind: CustomKind) -> None:
    """Bring a converted object to its version's schema."""
    faults = kind.decode(obj)
    if faults is not None and faults.undecodable:
        raise unnamed_failure(faults.undecodable)
    kind.default(obj)


class WebhookConverter:
    """Asks a webhook; failures have upstream's words."""

    def __init__(self, webhook: Object, kinds: Mapping[str, CustomKind], webhooks: Webhooks) -> None:
        said = webhook["conversionReviewVersions"]
        self._version = next(version for version in said if version in REVIEW_VERSIONS)
        self._config: Object = webhook["clientConfig"]
        self._kinds = kinds
        self._webhooks = webhooks

    async def convert(self, objects: list[Object], to: Resource) -> list[Object]:
        """Return the objects in the version of `to`; raise ApiError."""
        uid = new_uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"apiextensions.k8s.io/{self._version}",
            "request": {"uid": uid, "desiredAPIVersion": to.api_version, "objects": objects},
        }
        kind = f"{objects[0]['apiVersion']}, Kind={objects[0]['kind']}"
        answer = await self._ask(orjson.dumps(review), kind)
        try:
            converted = self._read(answer, uid)
        except _BadAnswer as error:
            raise unnamed_failure(f"conversion webhook for {kind} failed: {error}") from None
        if len(converted) != len(objects):
            raise unnamed_failure(
                f"conversion webhook for {kind} returned {len(converted)} objects, expected {len(objects)}"
            )
        made = []
        for index, (before, after) in enumerate(zip(objects, converted, strict=True)):
            try:
                made.append(_accept(before, after, to))
            except _BadAnswer as error:
                which = (
                    "invalid object at index 0"
                    if len(objects) == 1
                    else f"invalid converted object at index {index}"
                )
                raise unnamed_failure(f"conversion webhook for {kind} returned {which}: {error}") from None
            _settle(made[-1], self._kinds[to.version])
        return made

    async def _ask(self, body: bytes, kind: str) -> Any:
        from proa.apiserver.webhooks.client import CallFailure, make_target

        try:
            target = make_target(self._config)
            answer = await self._webhooks.client.post(target, body, TIMEOUT_SECONDS)
        except CallFailure as error:
            raise unnamed_failure(f"conversion webhook for {kind} failed: {error}") from error
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise unnamed_failure(f"conversion webhook for {kind} failed: {error}") from None

    def _read(self, answer: Any, uid: str) -> Sequence[Any]:
        """Return the converted objects of a ConversionReview; raise _BadAnswer where it is none, or says a failure."""
        if not isinstance(answer, dict):
            raise _BadAnswer("couldn't get version/kind; json parse error: the answer is not an object")
        if self._version == "v1":
            wanted = "apiextensions.k8s.io/v1, Kind=ConversionReview"
            said = f"{answer.get('apiVersion') or ''}, Kind={answer.get('kind') or ''}"
            if said != wanted:
                raise _BadAnswer(f"expected webhook response of {wanted}, got {said}")
        response = answer.get("response")
        if not isinstance(response, dict):
            raise _BadAnswer("no response provided")
        if self._version == "v1" and response.get("uid") != uid:
            raise _BadAnswer(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
        result = response.get("result") or {}
        status = result.get("status") or ""
        if status != "Success":
            raise _BadAnswer(result.get("message") or f"response.result.status was '{status}', not 'Success'")
        objects: Sequence[Any] = response.get("convertedObjects") or ()
        return objects


class _BadAnswer(Exception):
    """What a webhook answered cannot be taken; the message says why."""


def _accept(before: Object, after: Any, to: Resource) -> Object:
    """Return a converted object with the metadata that a webhook may not change; raise _BadAnswer."""
    if not isinstance(after, dict):
        raise _BadAnswer("it is not an object")
    if after.get("apiVersion") != to.api_version:
        got = after.get("apiVersion") or ""
        raise _BadAnswer(f"invalid groupVersion (expected {to.api_version}, received {got})")
    if after.get("kind") != before["kind"]:
        raise _BadAnswer(f"invalid kind (expected {before['kind']}, received {after.get('kind') or ''})")
    old, new = before["metadata"], after.get("metadata")
    if new is None:
        raise _BadAnswer("missing metadata in converted object")
    if not isinstance(new, dict):
        raise _BadAnswer("invalid metadata in converted object")
    for key in ("name", "namespace", "uid"):
        mine, theirs = old.get(key) or "", new.get(key) or ""
        if mine != theirs:
            raise _BadAnswer(f"must have the same {key.upper() if key == 'uid' else key}: {mine} != {theirs}")
    metadata = dict(old)
    for key, validate in (("labels", validate_labels), ("annotations", validate_annotations)):
        metadata.pop(key, None)
        said = new.get(key)
        if not said:
            continue
        if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
            raise _BadAnswer(f"invalid metadata.{key} in converted object")
        if said != old.get(key) and (causes := validate(said, f"metadata.{key}")):
            raise _BadAnswer(", ".join(f"{cause.field}: {cause.message}" for cause in causes))
        metadata[key] = said
    return {**after, "metadata": metadata}
