"""Have InferenceServices served: revisions or a Deployment for each component, their addresses, a status that tells.

Watches InferenceServices, what belongs to them (Deployments, pods, Services, HTTPRoutes or Ingresses, HPAs), runtimes,
the configuration and the Gateway; writes all but the last four, the InferenceService's status and events. What decides
is pure: revision_mode.py and standard_mode.py. What cannot be made leaves what serves as it is, and says why.
Source: pkg/controller/v1beta1/inferenceservice/controller.go of KServe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    CLUSTER_SERVING_RUNTIMES,
    CONFIG_MAP,
    INFERENCE_SERVICES,
    NAMESPACE,
    SERVICE_LABEL,
    SERVING_RUNTIMES,
    STOP,
)
from proa.ml.serving.operator.configuration import STANDARD, mode_of, read_configuration
from proa.ml.serving.operator.revision_mode import reconcile_revisions
from proa.ml.serving.operator.status_writing import refuse, write_status
from proa.ml.serving.operator.stopping import stop
from proa.ml.serving.operator.world import World
from proa.ml.serving.routing.config import BadConfig
from proa.ml.serving.routing.parts import GATEWAYS, HTTP_ROUTES
from proa.ml.serving.settings import ServingSettings
from proa.objects import meta
from proa.objects.resource import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    INGRESSES,
    PODS,
    SERVICES,
)
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

CONFIG_FIELDS = f"metadata.name={CONFIG_MAP},metadata.namespace={NAMESPACE}"
_WAITS_FOR_RUNTIME = frozenset({"NoSupportingRuntime", "RuntimeNotRecognized", "RuntimeDisabled"})


def _keys_of_child(child: Object) -> Iterable[Key]:
    if name := meta.labels(child).get(SERVICE_LABEL):
        yield Key(meta.namespace(child), name)


def _keys_of_all(_: Object, caches: Caches) -> Iterable[Key]:
    return [Key(meta.namespace(one), meta.name(one)) for one in caches(INFERENCE_SERVICES).list()]


def _keys_of_runtime(runtime: Object, caches: Caches) -> Iterable[Key]:
    """Return those that use a runtime, or wait for one."""
    field = "servingRuntimeName" if meta.namespace(runtime) else "clusterServingRuntimeName"
    for isvc in caches(INFERENCE_SERVICES).list(meta.namespace(runtime) or None):
        status = isvc.get("status") or {}
        failure = ((status.get("modelStatus") or {}).get("lastFailureInfo") or {}).get("reason")
        if status.get(field) == meta.name(runtime) or failure in _WAITS_FOR_RUNTIME:
            yield Key(meta.namespace(isvc), meta.name(isvc))


def _same_spec(old: Object, new: Object) -> bool:
    return meta.generation(old) == meta.generation(new) and meta.annotations(old) == meta.annotations(new)


def _leads_as_before(old: Object, new: Object) -> bool:
    """Tell whether a Gateway is reached, and does its work, as before: how many routes it has does not matter."""
    return _leading(old) == _leading(new)


def _leading(gateway: Object) -> object:
    status = gateway.get("status") or {}
    conditions = [
        (one["type"], one["status"], one.get("observedGeneration")) for one in status.get("conditions") or ()
    ]
    return meta.generation(gateway), status.get("addresses"), conditions


class InferenceServiceController:
    """`reconcile.protocol.Controller`."""

    NAME = "inferenceservice"
    COMPONENT = "v1beta1Controllers"
    ACCOUNT = "serving-operator"
    WORKERS = 16

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        routes = HTTP_ROUTES if settings.way == "gateway" else INGRESSES
        children = (DEPLOYMENTS, PODS, SERVICES, HORIZONTAL_POD_AUTOSCALERS, routes)
        self.WATCHES: Sequence[Watch] = (
            Watch(INFERENCE_SERVICES),
            *(Watch(kind, keys_of=_keys_of_child, label_selector=SERVICE_LABEL) for kind in children),
            Watch(SERVING_RUNTIMES, find_keys=_keys_of_runtime, ignores=_same_spec),
            Watch(CLUSTER_SERVING_RUNTIMES, find_keys=_keys_of_runtime, ignores=_same_spec),
            Watch(CONFIG_MAPS, find_keys=_keys_of_all, field_selector=CONFIG_FIELDS),
            *(
                [Watch(GATEWAYS, find_keys=_keys_of_all, ignores=_leads_as_before)]
                if settings.way == "gateway"
                else []
            ),
        )

    async def reconcile(self, context: Context, key: Key) -> Result:
        """Bring one InferenceService closer to what it says."""
        isvc = context.caches(INFERENCE_SERVICES).get(key.name, key.namespace)
        if isvc is None or meta.is_deleting(isvc):
            return DONE
        found = context.caches(CONFIG_MAPS, CONFIG_FIELDS).get(CONFIG_MAP, NAMESPACE)
        try:
            world = World(context, self._settings, isvc, read_configuration(found))
        except BadConfig as error:
            await write_status(context, isvc, refuse(isvc, "InvalidConfiguration", str(error), context.now()))
            return DONE
        if meta.annotations(isvc).get(STOP, "").lower() == "true":
            return await stop(world)
        if mode_of(isvc, world.configuration) == STANDARD:
            from proa.ml.serving.operator.standard_mode import reconcile_standard

            return await reconcile_standard(world)
        return await reconcile_revisions(world)
