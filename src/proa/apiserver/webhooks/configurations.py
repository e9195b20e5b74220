"""Know which webhooks a request for a resource may have to go through, in the order in which they are asked.

Compiled of the stored configurations, sorted by name as upstream's sources are (pkg/admission/configuration), and made
again when one changes. Webhooks are found by (group, resource); where there are no configurations, nothing is done.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import orjson

from proa.apiserver.admission.matching import Matcher, equivalents, is_exempt, make_matcher
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.derived import Derived
from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of a configuration. `uid` is unique among all, and the same while the configurations are."""

    uid: str
    name: str
    configuration: str
    matcher: Matcher
    client_config: Object
    review_versions: tuple[str, ...]
    side_effects: str
    timeout_seconds: int
    ignores_failure: bool
    reinvokes: bool
    match_conditions: tuple[Object, ...]

    @property
    def review_version(self) -> str:
        """Return the AdmissionReview version to speak, "" where none is known."""
        return next((version for version in self.review_versions if version in ("v1", "v1beta1")), "")


class Configurations:
    """The webhooks of all configurations of one kind."""

    def __init__(self, catalog: Catalog, resource: Resource) -> None:
        self._catalog = catalog
        self._resource = resource
        self._generation = -1
        self._found: dict[tuple[str, str], Sequence[Webhook]] = {}
        self._webhooks = Derived(catalog.store, (resource,), self._compile)

    def find(self, definition: ResourceDefinition) -> Sequence[Webhook]:
        """Return the webhooks that may concern requests for a resource or its subresources, in order."""
        webhooks = self._webhooks.value()
        if not webhooks:
            return ()
        if self._generation != self._catalog.generation:
            self._found.clear()
            self._generation = self._catalog.generation
        key = (definition.resource.group, definition.resource.plural)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._concerned(definition, webhooks)
        return found

    def _concerned(self, definition: ResourceDefinition, webhooks: Sequence[Webhook]) -> Sequence[Webhook]:
        if is_exempt(definition):
            return ()
        versions = equivalents(self._catalog, definition)
        return tuple(webhook for webhook in webhooks if webhook.matcher.may_concern(versions))

    def _compile(self) -> Sequence[Webhook]:
        self._found = {}
        prefix = f"/registry/{self._resource.group}/{self._resource.plural}/"
        configurations = [orjson.loads(entry.value) for entry in self._catalog.store.range(prefix).entries]
        return [webhook for configuration in configurations for webhook in compile_webhooks(configuration)]


def compile_webhooks(configuration: Object) -> list[Webhook]:
    """Return the webhooks of a stored configuration."""
    of = configuration["metadata"]["name"]
    counts: dict[str, itertools.count[int]] = {}
    return [
        _compile_webhook(
            webhook,
            of,
            f"{of}/{webhook['name']}/{next(counts.setdefault(webhook['name'], itertools.count()))}",
        )
        for webhook in configuration.get("webhooks") or ()
    ]


def _compile_webhook(webhook: Object, configuration: str, uid: str) -> Webhook:
    return Webhook(
        uid,
        webhook["name"],
        configuration,
        make_matcher(webhook, webhook.get("rules") or ()),
        webhook["clientConfig"],
        tuple(webhook.get("admissionReviewVersions") or ()),
        webhook.get("sideEffects") or "",
        webhook.get("timeoutSeconds") or 10,
        webhook.get("failurePolicy") == "Ignore",
        webhook.get("reinvocationPolicy") == "IfNeeded",
        tuple(webhook.get("matchConditions") or ()),
    )
