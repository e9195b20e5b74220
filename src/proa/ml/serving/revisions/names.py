"""What is made for a component of an InferenceService is called as Knative and KServe call it.

Source: pkg/constants/constants.go of KServe (…ServiceName, GetRawServiceLabel); Knative Serving's
pkg/reconciler/revision/resources (names, labels) and pkg/reconciler/configuration/resources/revision.go.
"""

from __future__ import annotations

from proa.client.protocol import Object
from proa.ml.serving.kinds import COMPONENT_LABEL, PREDICTOR, REVISION_LABEL, SERVICE_LABEL
from proa.objects import meta

CONFIGURATION_LABEL = "serving.knative.dev/configuration"
GENERATION_LABEL = "serving.knative.dev/configurationGeneration"
KNATIVE_SERVICE_LABEL = "serving.knative.dev/service"
APP_LABEL = "app"
HASH_ANNOTATION = "serving.proa.dev/hash"
"""Of a revision's Deployment: what of the InferenceService and its runtime made it, in short."""
READY_ANNOTATION = "serving.proa.dev/ready-at"
"""Of a revision's Deployment: when a pod of it was ready for the first time."""


def component_name(isvc: Object, component: str) -> str:
    """Return NAME-predictor, …; NAME-X-predictor where spec.predictor.name is X (a promoted canary)."""
    if component == PREDICTOR:
        return predictor_name(meta.name(isvc), (isvc["spec"].get(PREDICTOR) or {}).get("name") or "")
    return f"{meta.name(isvc)}-{component}"


def predictor_name(service: str, variant: str = "") -> str:
    """Return what a predictor is called: the stable one, or a variant of it (Standard mode's canaries)."""
    return f"{service}-{variant}-predictor" if variant else f"{service}-predictor"


def revision_name(component: str, number: int) -> str:
    """Return COMPONENT-00001."""
    return f"{component}-{number:05d}"


def number_of(revision: str) -> int:
    """Return a revision's number; 0 for what is no revision's name."""
    tail = revision.rpartition("-")[2]
    return int(tail) if len(tail) >= 5 and tail.isdecimal() else 0


def deployment_name(revision: str) -> str:
    """Return the name of a revision's Deployment."""
    return f"{revision}-deployment"


def standard_selector(name: str) -> dict[str, str]:
    """Return what selects the pods of Standard mode's Deployment."""
    return {APP_LABEL: f"isvc.{name}"}


def revision_selector(revision: str) -> dict[str, str]:
    """Return what selects the pods of a revision."""
    return {REVISION_LABEL: revision}


def component_labels(isvc: Object, component: str) -> dict[str, str]:
    """Return the labels of all that belongs to a component."""
    return {SERVICE_LABEL: meta.name(isvc), COMPONENT_LABEL: component}


def revision_labels(component_name: str, number: int) -> dict[str, str]:
    """Return the labels of a revision's Deployment and pods, beside the component's."""
    revision = revision_name(component_name, number)
    return {
        APP_LABEL: revision,
        REVISION_LABEL: revision,
        CONFIGURATION_LABEL: component_name,
        GENERATION_LABEL: str(number),
        KNATIVE_SERVICE_LABEL: component_name,
    }
