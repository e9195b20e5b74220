"""Read what the ConfigMap kserve/inferenceservice-config says of all InferenceServices. Pure.

Source: pkg/apis/serving/v1beta1/configmap.go of KServe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from proa.client.protocol import Object
from proa.ml.serving.kinds import CONFIG_MAP, KNATIVE_MODES, STANDARD_MODES
from proa.ml.serving.revisions import credentials
from proa.ml.serving.revisions.model_files import InvalidStorage
from proa.ml.serving.routing.config import BadConfig, IngressConfig, read_ingress_config
from proa.objects import meta

KNATIVE, STANDARD = KNATIVE_MODES[0], STANDARD_MODES[0]


class Configuration(NamedTuple):
    """What is settable for a cluster."""

    ingress: IngressConfig = IngressConfig()
    credentials: Mapping[str, Any] = {}
    default_mode: str = KNATIVE
    disallowed_annotations: tuple[str, ...] = ()
    disallowed_labels: tuple[str, ...] = ()
    log_url: str = ""
    agent_resources: Mapping[str, Any] = {}
    resources: Mapping[str, Mapping[str, str]] = {}
    """Of containers that users bring, where these say nothing."""
    oci_mode: str = ""
    ca_config_map: str = ""
    storage: Mapping[str, Any] = {}
    """Of initializers: modelBytes, cacheBytes."""
    storage_resources: Mapping[str, Any] = {}
    router: Mapping[str, Any] = {}
    """Of InferenceGraphs: image, resources, imagePullPolicy, imagePullSecrets, headers.propagate."""


def read_configuration(config_map: Object | None) -> Configuration:
    """Return what the ConfigMap says, of all else the defaults; raise BadConfig."""
    data = (config_map or {}).get("data") or {}
    services, deploy = _section(data, "inferenceService"), _section(data, "deploy")
    agent, storage = _section(data, "agent"), _section(data, "storageInitializer")
    mode = deploy.get("defaultDeploymentMode") or KNATIVE
    if mode not in (*KNATIVE_MODES, *STANDARD_MODES):
        raise BadConfig(
            f"deploy.defaultDeploymentMode of {CONFIG_MAP}: {mode!r} is neither {KNATIVE} nor {STANDARD}"
        )
    try:
        secrets = credentials.read_config(data)
    except InvalidStorage as error:
        raise BadConfig(str(error)) from None
    return Configuration(
        ingress=read_ingress_config(data.get("ingress") or ""),
        credentials=secrets,
        default_mode=KNATIVE if mode in KNATIVE_MODES else STANDARD,
        disallowed_annotations=tuple(services.get("serviceAnnotationDisallowedList") or ()),
        disallowed_labels=tuple(services.get("serviceLabelDisallowedList") or ()),
        log_url=_section(data, "logger").get("defaultUrl") or "",
        agent_resources=resources_of(agent),
        resources=resources_of(services.get("resource") or {}),
        oci_mode=storage.get("ociModelMode") or "",
        ca_config_map=storage.get("caBundleConfigMapName") or "",
        storage=storage,
        storage_resources=resources_of(storage),
        router=_section(data, "router"),
    )


def mode_of(isvc: Object, configuration: Configuration) -> str:
    """Return the mode that an InferenceService is deployed in: its status', else its annotation's, else the default.

    A mode that has been begun with stays, as upstream has it: checks tell of an annotation that says otherwise.
    """
    for said in (
        (isvc.get("status") or {}).get("deploymentMode"),
        meta.annotations(isvc).get("serving.kserve.io/deploymentMode"),
    ):
        if said in KNATIVE_MODES:
            return KNATIVE
        if said in STANDARD_MODES:
            return STANDARD
    return configuration.default_mode


def _section(data: Mapping[str, str], name: str) -> Mapping[str, Any]:
    try:
        section = orjson.loads(data.get(name) or "{}")
    except orjson.JSONDecodeError as error:
        raise BadConfig(f"{name} of {CONFIG_MAP} is no JSON: {error}") from None
    if not isinstance(section, dict):
        raise BadConfig(f"{name} of {CONFIG_MAP} is no JSON object")
    return section


def resources_of(section: Mapping[str, Any]) -> Object:
    """Return what a section says of a container's requests and limits."""
    named = {
        "requests": {"cpu": "cpuRequest", "memory": "memoryRequest"},
        "limits": {"cpu": "cpuLimit", "memory": "memoryLimit"},
    }
    found = {
        kind: {name: section[field] for name, field in fields.items() if section.get(field)}
        for kind, fields in named.items()
    }
    return {kind: amounts for kind, amounts in found.items() if amounts}
