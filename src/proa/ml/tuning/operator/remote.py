"""Have an algorithm that is not built in run as a service, and ask it there.

Which image is it is katib-config's to say. What is made is owned by the Suggestion; it goes when the Suggestion is
over, unless it is to be asked again (LongRunning), and its claim stays for a restart (FromVolume).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from proa.client.protocol import Client, Object
from proa.ml.grpc.channel import Dial
from proa.ml.tuning.algorithms import ALGORITHMS, EARLY_STOPPING
from proa.ml.tuning.algorithms.errors import AlgorithmFailed
from proa.ml.tuning.grpc import remote_objects
from proa.ml.tuning.grpc.remote_advisor import RemoteAdvisor, RemoteExperiment
from proa.ml.tuning.grpc.remote_config import find_early_stopping, find_suggestion
from proa.ml.tuning.grpc.remote_objects import EARLY_STOPPING_PORT, SUGGESTION_PORT, name_of
from proa.ml.tuning.kinds import CONFIG, NAMESPACE, SuggestionCondition
from proa.ml.tuning.operator.parts import Advisor
from proa.ml.tuning.operator.pod_trouble import find_trouble
from proa.ml.tuning.records import MetricPoint, Problem, Rule, Study, Suggestions
from proa.objects import meta
from proa.objects.errors import AlreadyExists, ApiError, Conflict, NotFound
from proa.objects.resource import CONFIG_MAPS, DEPLOYMENTS, PODS, SERVICES, Resource


class NotReady(Exception):
    """The service does not answer yet; the message says what is known of why."""


class BothAdvisors:
    """See `parts.Advisor`: one for suggestions, one for early stopping."""

    def __init__(self, search: Advisor, early_stopping: Advisor) -> None:
        self._search = search
        self._early_stopping = early_stopping

    async def check(self, algorithm: str, study: Study) -> Sequence[Problem]:
        """See `parts.Advisor.check`."""
        return await self._search.check(algorithm, study)

    async def suggest(self, algorithm: str, study: Study, count: int) -> Suggestions:
        """See `parts.Advisor.suggest`."""
        return await self._search.suggest(algorithm, study, count)

    async def check_early_stopping(self, algorithm: str, settings: Mapping[str, str]) -> Sequence[Problem]:
        """See `parts.Advisor.check_early_stopping`."""
        return await self._early_stopping.check_early_stopping(algorithm, settings)

    async def rules(
        self,
        algorithm: str,
        study: Study,
        settings: Mapping[str, str],
        points: Mapping[str, Sequence[MetricPoint]],
    ) -> Sequence[Rule]:
        """See `parts.Advisor.rules`."""
        return await self._early_stopping.rules(algorithm, study, settings, points)


def is_remote(suggestion: Object) -> bool:
    """Tell whether an algorithm of it is not built in."""
    spec = suggestion["spec"]
    early = (spec.get("earlyStopping") or {}).get("algorithmName")
    return spec["algorithm"]["algorithmName"] not in ALGORITHMS or bool(early and early not in EARLY_STOPPING)


def was_deployed(suggestion: Object) -> bool:
    """Tell whether something was made for it."""
    return meta.find_condition(suggestion, SuggestionCondition.DEPLOYMENT_READY) is not None


async def find_advisor(
    client: Client,
    dial: Dial,
    builtin: Advisor,
    suggestion: Object,
    experiment: Object,
    trials: Mapping[str, Object],
) -> Advisor:
    """Return who is to be asked, made if need be; raise SuggestionError, NotReady, ApiError."""
    spec = suggestion["spec"]
    algorithm = spec["algorithm"]["algorithmName"]
    early = (spec.get("earlyStopping") or {}).get("algorithmName")
    config = await _find_config(client)
    search_entry = None if algorithm in ALGORITHMS else find_suggestion(config, algorithm)
    early_entry = find_early_stopping(config, early) if early and early not in EARLY_STOPPING else None
    made = {
        resource: await _ensure(client, resource, obj, suggestion)
        for resource, obj in remote_objects.make_objects(suggestion, search_entry, early_entry)
    }
    if not remote_objects.is_available(made[DEPLOYMENTS]):
        raise NotReady(await _why(client, made[DEPLOYMENTS]))
    host = made[SERVICES]["spec"]["clusterIP"]
    told = RemoteExperiment(
        meta.name(experiment),
        spec.get("earlyStopping"),
        experiment["spec"].get("nasConfig"),
        {name: _times(trial) for name, trial in trials.items()},
    )
    remote = RemoteAdvisor(dial, told, (host, SUGGESTION_PORT), (host, EARLY_STOPPING_PORT))
    return BothAdvisors(remote if search_entry else builtin, remote if early_entry else builtin)


async def remove(client: Client, suggestion: Object) -> None:
    """Remove what need not run any more; its claim stays for as long as the Suggestion."""
    if suggestion["spec"].get("resumePolicy") == "LongRunning":
        return
    name, namespace = name_of(suggestion), meta.namespace(suggestion)
    for resource in (DEPLOYMENTS, SERVICES):
        with suppress(NotFound, Conflict):
            there = await client.get(resource, name, namespace)
            if meta.is_controlled_by(there, suggestion):
                await client.delete(resource, name, namespace, uid=meta.uid(there))


async def _find_config(client: Client) -> Object | None:
    with suppress(NotFound):
        return await client.get(CONFIG_MAPS, CONFIG, NAMESPACE)
    return None


async def _ensure(client: Client, resource: Resource, obj: Object, suggestion: Object) -> Object:
    """Return the object as it is, created if it is not there; raise AlgorithmFailed for somebody else's."""
    name, namespace = meta.name(obj), meta.namespace(obj)
    try:
        there = await client.get(resource, name, namespace)
    except NotFound:
        try:
            return await client.create(resource, obj, namespace)
        except AlreadyExists:
            there = await client.get(resource, name, namespace)
        except ApiError as error:
            if error.code in (400, 403, 422):
                raise AlgorithmFailed(f"{resource.kind} {name} of the algorithm: {error.message}") from None
            raise
    if not meta.is_controlled_by(there, suggestion):
        raise AlgorithmFailed(
            f"{resource.kind} {namespace}/{name} is not the Suggestion's: rename the experiment"
        )
    return there


async def _why(client: Client, deployment: Object) -> str:
    """Say what keeps a Deployment from being ready."""
    label = f"{remote_objects.DEPLOYMENT_LABEL}={meta.name(deployment)}"
    pods = await client.list(PODS, meta.namespace(deployment), label_selector=label)
    trouble = find_trouble(pods.items)
    failed = meta.find_condition(deployment, "ReplicaFailure")
    words = trouble.message if trouble else (failed or {}).get("message", "")
    return f"Deployment {meta.name(deployment)} is not ready{': ' if words else ''}{words}"


def _times(trial: Object) -> tuple[str, str]:
    status = trial.get("status") or {}
    return str(status.get("startTime") or ""), str(status.get("completionTime") or "")
