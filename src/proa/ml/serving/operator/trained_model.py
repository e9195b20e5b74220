"""Tell a predictor of many models which ones: TrainedModels in its ConfigMap, and each one's status and address.

Watches TrainedModels and InferenceServices that they are for; writes the ConfigMap modelconfig-NAME-0, which the
agent's puller reads, the TrainedModels' owner (they go with their InferenceService), label and status. A model that
does not fit into the predictor's memory any more is left out, and says so.
Source: pkg/controller/v1alpha1/trainedmodel/controller.go of KServe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.ml.serving.kinds import INFERENCE_SERVICES, PREDICTOR, SERVICE_LABEL, TRAINED_MODELS
from proa.ml.serving.operator.children import carry_out, owned, plan_children
from proa.ml.serving.operator.conditions import FALSE, READY, TRUE
from proa.ml.serving.revisions.trained_models import (
    IS_MULTI_MODEL,
    MEMORY_READY,
    SERVICE_READY,
    config_name,
    fitting,
    make_config,
    memory_limit,
    predict_path,
)
from proa.ml.serving.spec.defaults import has_many_models, with_defaults
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import CONFIG_MAPS, DEPLOYMENTS
from proa.reconcile.protocol import DONE, Cache, Context, Key, Result, Watch

PARENT_LABEL = "inferenceservice"
NOT_READY = "Inference Service needs to be ready before Trained Model can be ready"
NOT_MANY = "Inference Service predictor is not configured for multi-model serving"
NO_MEMORY = "Inference Service does not have enough memory resources for Trained Model"


def _keys_of_model(model: Object) -> Iterable[Key]:
    yield Key(meta.namespace(model), model["spec"]["inferenceService"])


def _keys_of_config(config: Object) -> Iterable[Key]:
    owner = meta.controller_of(config)
    if owner is not None and owner.get("kind") == INFERENCE_SERVICES.kind:
        yield Key(meta.namespace(config), owner["name"])


class TrainedModelController:
    """`reconcile.protocol.Controller`; a key is the InferenceService that models are for."""

    NAME = "trainedmodel"
    COMPONENT = "TrainedModel-controller"
    ACCOUNT = "serving-operator"
    WATCHES: Sequence[Watch] = (
        Watch(TRAINED_MODELS, keys_of=_keys_of_model),
        Watch(INFERENCE_SERVICES),
        Watch(CONFIG_MAPS, keys_of=_keys_of_config, label_selector=PARENT_LABEL),
        Watch(DEPLOYMENTS, keys_of=lambda _: (), label_selector=SERVICE_LABEL),
    )

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Bring the models of one InferenceService to its predictor."""
        models = _models_of(context.caches(TRAINED_MODELS), key)
        isvc = context.caches(INFERENCE_SERVICES).get(key.name, key.namespace)
        if isvc is None:
            await asyncio.gather(*(_tell_missing(context, model, key.name) for model in models))
            return DONE
        predictor = with_defaults(isvc)["spec"][PREDICTOR]
        if not models and not has_many_models(predictor):
            return DONE
        is_many = has_many_models(predictor)
        loaded = fitting(models, _limit(context, isvc, predictor)) if is_many else []
        if is_many:
            await _write_config(context, isvc, loaded)
        names = {meta.name(one) for one in loaded}
        protocol = (predictor.get("model") or {}).get("protocolVersion") or "v1"
        await asyncio.gather(
            *(_write(context, isvc, one, protocol, is_many, meta.name(one) in names) for one in models)
        )
        return DONE


def _models_of(cache: Cache, key: Key) -> list[Object]:
    found = cache.by_index("namespace", key.namespace)
    return [one for one in found if one["spec"]["inferenceService"] == key.name and not meta.is_deleting(one)]


def _limit(context: Context, isvc: Object, predictor: Object) -> str | int | None:
    """Return the memory limit of the predictor's latest pods; before there are any, what its spec says."""
    of_component = (
        one
        for one in context.caches(DEPLOYMENTS, "", SERVICE_LABEL).by_index("controller", meta.uid(isvc))
        if meta.labels(one).get("component") == PREDICTOR
    )
    latest = max(of_component, key=lambda one: one["metadata"].get("creationTimestamp") or "", default=None)
    if latest is not None:
        return memory_limit(latest["spec"]["template"]["spec"])
    limits = ((predictor.get("model") or {}).get("resources") or {}).get("limits") or {}
    limit: str | int | None = limits.get("memory")
    return limit


async def _write_config(context: Context, isvc: Object, models: Sequence[Object]) -> None:
    """Have the ConfigMap be as wanted; raise NotOwned, ApiError."""
    made = make_config(isvc, models)
    labels = {**meta.labels(made), PARENT_LABEL: meta.name(isvc)}
    wanted = owned(isvc, {**made, "metadata": {**made["metadata"], "labels": labels}})
    known = context.caches(CONFIG_MAPS, "", PARENT_LABEL).get(
        config_name(meta.name(isvc)), meta.namespace(isvc)
    )
    changes = plan_children([wanted], [known] if known is not None else [])
    await carry_out(context.client, isvc, CONFIG_MAPS, changes)


async def _write(
    context: Context, isvc: Object, model: Object, protocol: str, is_many: bool, is_loaded: bool
) -> None:
    """Write a model's owner and label, then its status; nothing of one that is gone meanwhile."""
    if not meta.is_controlled_by(model, isvc) or meta.labels(model).get(PARENT_LABEL) != meta.name(isvc):
        reference = meta.make_owner_reference(isvc, INFERENCE_SERVICES)
        others = [one for one in meta.owner_references(model) if one.get("kind") != INFERENCE_SERVICES.kind]
        patch = {
            "metadata": {
                "labels": {PARENT_LABEL: meta.name(isvc)},
                "ownerReferences": [*others, reference],
                "resourceVersion": meta.resource_version(model),
            }
        }
        try:
            model = await context.client.patch(TRAINED_MODELS, meta.name(model), patch, meta.namespace(model))
        except NotFound:
            return
    told = [
        (SERVICE_READY, meta.has_condition(isvc, READY), "InferenceServiceNotReady", NOT_READY),
        (IS_MULTI_MODEL, is_many, "IsNotMMSPredictor", NOT_MANY),
        (MEMORY_READY, is_loaded or not is_many, "MemoryResourceNotAvailable", NO_MEMORY),
    ]
    status: Object = {
        "observedGeneration": meta.generation(model),
        "conditions": _conditions(model, told, context.now()),
    }
    told_of = isvc.get("status") or {}
    path = predict_path(meta.name(model), protocol)
    if told_of.get("url"):
        status["url"] = f"{told_of['url']}{path}"
    if (told_of.get("address") or {}).get("url"):
        status["address"] = {"url": f"{told_of['address']['url']}{path}"}
    await _write_status(context, model, status)


async def _tell_missing(context: Context, model: Object, name: str) -> None:
    words = f"there is no InferenceService {name}: make it, or correct spec.inferenceService"
    told = [(SERVICE_READY, False, "InferenceServiceNotFound", words)]
    status = {
        "observedGeneration": meta.generation(model),
        "conditions": _conditions(model, told, context.now()),
    }
    await _write_status(context, model, status)


async def _write_status(context: Context, model: Object, status: Object) -> None:
    if status != (model.get("status") or {}):
        with contextlib.suppress(NotFound):
            await context.client.update(TRAINED_MODELS, {**model, "status": status}, "status")


def _conditions(model: Object, told: Sequence[tuple[str, bool, str, str]], now: float) -> list[Object]:
    """Return the conditions: Ready has the words of the first that is not true."""
    wrong = next(((reason, words) for _, is_so, reason, words in told if not is_so), ("", ""))
    found: list[Object] = list((model.get("status") or {}).get("conditions") or ())
    for type, is_so, reason, words in (*told, (READY, wrong == ("", ""), *wrong)):
        status = TRUE if is_so else FALSE
        found = meta.with_condition(found, type, status, "" if is_so else reason, "" if is_so else words, now)
    wanted = {READY, *(type for type, *_ in told)}
    return sorted((one for one in found if one["type"] in wanted), key=lambda one: str(one["type"]))
