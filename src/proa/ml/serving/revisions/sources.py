"""Find where a component's model comes from: storageUri, storageUris, storage, or a container's STORAGE_URI. Pure.

Source: GetStorageUri and GetStorageSpec of pkg/apis/serving/v1beta1/{predictor,transformer,explainer}_*.go of KServe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from proa.client.protocol import Object
from proa.ml.serving.kinds import MAIN_CONTAINER, MODELS_FOLDER, PREDICTOR

STORAGE_VARIABLE = "STORAGE_URI"


class Sources(NamedTuple):
    """URIs, each with the folder at which containers see its files; or a `storage`, which a secret tells the URI of."""

    uris: tuple[tuple[str, str], ...] = ()
    storage: Mapping[str, object] | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no model to fetch."""
        return not self.uris and self.storage is None


def find_sources(isvc: Object, component: str) -> Sources:
    """Return where the component's model comes from."""
    spec = isvc["spec"][component]
    several = spec.get("storageUris") or ()
    if several:
        return Sources(tuple((one["uri"], one.get("mountPath") or MODELS_FOLDER) for one in several))
    told = spec.get("model") or spec.get("art") or {}
    if told.get("storageUri"):
        return Sources(((told["storageUri"], MODELS_FOLDER),))
    if told.get("storage"):
        return Sources(storage=told["storage"])
    uri = "" if told else _variable(spec, component)
    return Sources(((uri, MODELS_FOLDER),)) if uri else Sources()


def _variable(spec: Object, component: str) -> str:
    containers = spec.get("containers") or ()
    if component == PREDICTOR and len(containers) > 1:
        containers = [one for one in containers if one.get("name") == MAIN_CONTAINER]
    env = containers[0].get("env") or () if containers else ()
    return next((entry.get("value") or "" for entry in env if entry.get("name") == STORAGE_VARIABLE), "")
