"""Find the text of an Experiment's trial template that is in a ConfigMap."""

from __future__ import annotations

from proa.client.protocol import Client, Object
from proa.ml.tuning.kinds import LABELS
from proa.objects import meta
from proa.objects.errors import Forbidden, NotFound
from proa.objects.resource import CONFIG_MAPS

FIELD = "spec.trialTemplate.configMap"
SHARED = (f"{LABELS}/component", "trial-templates")
"""The label of ConfigMaps that are for everybody's experiments: others are read in their own namespace only."""


class BadTemplate(Exception):
    """Trials cannot be made of the template; the words name field and remedy."""


async def find_text(client: Client, experiment: Object) -> str | None:
    """Return the text of the ConfigMap that the template is in, None where it is in the Experiment.

    Raises BadTemplate, ApiError.
    """
    said = experiment["spec"]["trialTemplate"]
    if said.get("trialSpec"):
        return None
    source = said.get("configMap") or {}
    name = str(source.get("configMapName") or "")
    namespace = str(source.get("configMapNamespace") or meta.namespace(experiment))
    key = str(source.get("templatePath") or "")
    try:
        found = await client.get(CONFIG_MAPS, name, namespace)
    except NotFound:
        found = None
    except Forbidden as error:
        raise BadTemplate(f"{FIELD}: {error.message}") from error
    if found is None or not _is_for(experiment, found):
        label = "=".join(SHARED)
        needs = f", or has not the label {label}" if namespace != meta.namespace(experiment) else ""
        raise BadTemplate(
            f"{FIELD}: ConfigMap {namespace}/{name} is not there{needs}: make it, or name another"
        )
    text = (found.get("data") or {}).get(key)
    if text is None:
        there = ", ".join(sorted(found.get("data") or {})[:10]) or "nothing"
        raise BadTemplate(
            f"{FIELD}.templatePath: ConfigMap {namespace}/{name} has no {key!r}; it has {there}"
        )
    return str(text)


def _is_for(experiment: Object, config_map: Object) -> bool:
    """Tell whether an experiment may read a ConfigMap: one of its namespace, or one for everybody."""
    if meta.namespace(config_map) == meta.namespace(experiment):
        return True
    return meta.labels(config_map).get(SHARED[0]) == SHARED[1]
