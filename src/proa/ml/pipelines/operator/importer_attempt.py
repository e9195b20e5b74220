"""Carry out an importer: what a URI leads to becomes an artifact, without a pod.

The same URI of the same type and metadata that was recorded before, and has not changed since, is that artifact again,
unless the task says reimport. Source: backend/src/v2/component/importer_launcher.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from proa.ml.pipelines.executor.executor_input import look_up, make_executor_input
from proa.ml.pipelines.executor.placeholders import Key, substitute
from proa.ml.pipelines.executor.step_failed import StepFailed
from proa.ml.pipelines.operator.attempt import Attempt, Outcome
from proa.ml.pipelines.records import Artifact, Caching, Values, make_task_id


class ImporterAttempt(Attempt):
    """See the module's docstring."""

    async def _reach_end(self) -> Outcome:
        self._begun()
        artifact = self._make_artifact()
        store = await self._around.stores.of(self._run.namespace)
        found = await store.check_import(artifact.uri)
        tag = found.tag if found is not None else ""
        known = None if self._importer.get("reimport") else await self._find_known(artifact, tag)
        if self._importer.get("reimport"):
            self._notes.caching = Caching("off", "off: the task says reimport")
        elif known is None:
            self._notes.caching = Caching("miss", "miss: this URI was not imported before as it is now")
        else:
            reason = f"hit: artifact {known.id} is of this URI, type and metadata, and has not changed"
            self._notes.caching = Caching("hit", reason)
        artifact = known or _with_tag(artifact, tag, self._around.now())
        return self._succeeded(Values(artifacts={self._output: (artifact,)}))

    @property
    def _importer(self) -> Mapping[str, Any]:
        importer: Mapping[str, Any] = self.launch.executor["importer"]
        return importer

    @property
    def _output(self) -> str:
        outputs = self.launch.component.get("outputDefinitions", {}).get("artifacts", {})
        return str(next(iter(outputs), "artifact"))

    def _make_artifact(self) -> Artifact:
        task_id = make_task_id(self._run.id, self.launch.path)
        kind = self._importer.get("typeSchema", {})
        return Artifact(
            id=str(uuid5(NAMESPACE_URL, f"{task_id}/{self.launch.attempt}/{self._output}")),
            name=self._output,
            uri=self._find_uri(),
            type_title=kind.get("schemaTitle", "" if "instanceSchema" in kind else "system.Artifact"),
            type_version=kind.get("schemaVersion", "0.0.1"),
            type_schema=kind.get("instanceSchema", ""),
            metadata=self._fill(self._importer.get("metadata", {})),
            namespace=self._run.namespace,
            run_id=self._run.id,
            task_id=task_id,
        )

    def _find_uri(self) -> str:
        wanted = self._importer.get("artifactUri", {})
        if name := wanted.get("runtimeParameter"):
            uri = self.launch.inputs.parameters.get(name)
        else:
            uri = self._fill(wanted.get("constant", wanted.get("constantValue", {}).get("stringValue", "")))
        if not isinstance(uri, str) or not uri:
            raise StepFailed(f"task '{self.task}': its artifact URI is empty")
        return uri

    def _fill(self, value: Any) -> Any:
        """Return a value with the placeholders of the task's inputs filled in."""
        message = make_executor_input(self.launch.inputs.parameters, {}, {}, [], "")

        def find(path: tuple[Key, ...]) -> str | None:
            return look_up(message, path, self.task)

        def fill(part: Any) -> Any:
            if isinstance(part, str):
                return substitute(part, find)
            if isinstance(part, Mapping):
                return {fill(name): fill(item) for name, item in part.items()}
            return [fill(item) for item in part] if isinstance(part, list) else part

        return fill(value)

    async def _find_known(self, artifact: Artifact, tag: str) -> Artifact | None:
        found = await self._around.database.artifacts.find_by_uri(self._run.namespace, artifact.uri)
        for known in found:
            is_same_kind = (known.type_title, known.type_schema) == (
                artifact.type_title,
                artifact.type_schema,
            )
            if is_same_kind and known.tag == tag and dict(known.metadata) == dict(artifact.metadata):
                return known
        return None


def _with_tag(artifact: Artifact, tag: str, now: float) -> Artifact:

    return replace(artifact, tag=tag, created_at=now)
