"""The API as one function from request to response: who asks, which call it is, and what became of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import orjson

from proa.client.protocol import Request, Response
from proa.ml.database import errors
from proa.ml.pipelines.api import (
    artifacts,
    experiments,
    logs,
    pipelines,
    recurring_runs,
    runs,
    uploads,
    versions,
)
from proa.ml.pipelines.api.call import Call
from proa.ml.pipelines.api.refusals import Code, Refusal, make_answer
from proa.ml.pipelines.api.routes import Route, Routes
from proa.ml.pipelines.api.services import Services
from proa.ml.pipelines.artifacts.protocol import ArtifactError

logger = logging.getLogger(__name__)

PREFIX = ["apis", "v2beta1"]
ROUTES: tuple[Route, ...] = (
    ("GET", "experiments", "List experiments failed", experiments.list_),
    ("POST", "experiments", "Failed to create a experiment", experiments.create),
    ("GET", "experiments/{experiment_id}", "Failed to fetch experiment", experiments.get),
    ("DELETE", "experiments/{experiment_id}", "Failed to delete experiment", experiments.delete),
    ("POST", "experiments/{experiment_id}:archive", "Failed to archive experiment", experiments.archive),
    ("POST", "experiments/{experiment_id}:unarchive", "Failed to unarchive experiment", experiments.unarchive),
    ("GET", "pipelines", "Failed to list pipelines", pipelines.list_),
    ("POST", "pipelines", "Failed to create a pipeline", pipelines.create),
    ("POST", "pipelines/create", "Failed to create a pipeline", pipelines.create_with_version),
    ("POST", "pipelines/upload", "Failed to create a pipeline and a pipeline version", uploads.upload),
    ("POST", "pipelines/upload_version", "Failed to create a pipeline version", uploads.upload_version),
    ("GET", "pipelines/names/{name}", "Failed to get a pipeline by name", pipelines.get_by_name),
    ("GET", "pipelines/{pipeline_id}", "Failed to get a pipeline", pipelines.get),
    ("PATCH", "pipelines/{pipeline_id}", "Failed to update a pipeline", pipelines.update),
    ("DELETE", "pipelines/{pipeline_id}", "Failed to delete pipeline", pipelines.delete),
    ("GET", "pipelines/{pipeline_id}/versions", "Failed to list pipeline versions", versions.list_),
    ("POST", "pipelines/{pipeline_id}/versions", "Failed to create a pipeline version", versions.create),
    ("GET", "pipelines/{pipeline_id}/versions/{pipeline_version_id}", "Failed to get a pipeline version",
     versions.get),
    ("PATCH", "pipelines/{pipeline_id}/versions/{pipeline_version_id}", "Failed to update pipeline version",
     versions.update),
    ("DELETE", "pipelines/{pipeline_id}/versions/{pipeline_version_id}", "Failed to delete a pipeline version",
     versions.delete),
    ("GET", "runs", "Failed to list runs", runs.list_),
    ("POST", "runs", "Failed to create a new run", runs.create),
    ("GET", "runs/{run_id}", "Failed to get a run", runs.get),
    ("DELETE", "runs/{run_id}", "Failed to delete a run", runs.delete),
    ("POST", "runs/{run_id}:archive", "Failed to archive a run", runs.archive),
    ("POST", "runs/{run_id}:unarchive", "Failed to unarchive a run", runs.unarchive),
    ("POST", "runs/{run_id}:terminate", "Failed to terminate a run", runs.terminate),
    ("POST", "runs/{run_id}:retry", "Failed to retry a run", runs.retry),
    ("GET", "runs/{run_id}/log", "Failed to read a log", logs.by_task),
    ("GET", "runs/{run_id}/nodes/{node_id}/log", "Failed to read a log", logs.by_node),
    ("GET", "runs/{run_id}/nodes/{node_id}/artifacts/{artifact_name}:read", "Failed to read artifact",
     artifacts.read),
    ("GET", "recurringruns", "Failed to list recurring runs", recurring_runs.list_),
    ("POST", "recurringruns", "Failed to create a recurring run", recurring_runs.create),
    ("GET", "recurringruns/{recurring_run_id}", "Failed to fetch a recurring run", recurring_runs.get),
    ("DELETE", "recurringruns/{recurring_run_id}", "Failed to delete a recurring run", recurring_runs.delete),
    ("POST", "recurringruns/{recurring_run_id}:enable", "Failed to enable a recurring run", recurring_runs.enable),
    ("POST", "recurringruns/{recurring_run_id}:disable", "Failed to disable a recurring run",
     recurring_runs.disable),
    ("GET", "artifacts", "Failed to list artifacts", artifacts.list_),
    ("GET", "artifacts/{artifact_id}", "Failed to get an artifact", artifacts.get),
    ("GET", "artifacts/{artifact_id}:download", "Failed to read an artifact", artifacts.download),
    ("GET", "artifacts/{artifact_id}/lineage", "Failed to get the lineage", artifacts.lineage),
)  # fmt: skip
_CODES: Mapping[type[errors.DatabaseError], Code] = {
    errors.NotFound: Code.NOT_FOUND,
    errors.AlreadyExists: Code.ALREADY_EXISTS,
    errors.Conflict: Code.FAILED_PRECONDITION,
    errors.Invalid: Code.INVALID_ARGUMENT,
    errors.Unavailable: Code.UNAVAILABLE,
    errors.CannotOpen: Code.UNAVAILABLE,
}
_HEALTH = {"commit_sha": "", "tag_name": "", "multi_user": False, "pipeline_store": "database"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_WELCOME = b"""Kubeflow Pipelines API (v2beta1) of Proa.
There is no web page here: `proa runs ls` and `proa runs show ID` show runs.
"""


class Api:
    """Answers requests. Where `needs_token`, nobody is let in without one."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._routes = Routes(ROUTES)

    async def handle(self, request: Request, *, needs_token: bool = False) -> Response:
        """Answer; whoever the request comes from by itself (`request.user`) was authenticated before."""
        parts = [part for part in request.path.split("/") if part]
        if parts[:1] == ["pipeline"]:
            parts = parts[1:]
        if (response := _answer_about_itself(request, parts)) is not None:
            return response
        doing = ""
        try:
            if parts[:2] != PREFIX:
                raise Refusal(Code.NOT_FOUND, "Not Found")
            path, doing, answerer = self._routes.find(request.method, parts[2:])
            user = await self._services.access.identify(request, needs_token=needs_token)
            return await answerer(Call(self._services, request, user, path))
        except Refusal as refusal:
            return make_answer(refusal.code, refusal.message, doing)
        except errors.DatabaseError as error:
            return make_answer(_CODES.get(type(error), Code.INTERNAL), str(error), doing)
        except ArtifactError as error:
            return make_answer(Code.UNAVAILABLE, str(error), doing)
        except Exception:
            logger.exception("pipelines API: %s %s", request.method, request.path)
            return make_answer(Code.INTERNAL, "Internal Server Error", doing)


def _answer_about_itself(request: Request, parts: list[str]) -> Response | None:
    """Return the answer to what anybody may ask: whether it works, and what it is."""
    if request.method not in ("GET", "HEAD"):
        return None
    if parts == [*PREFIX, "healthz"]:
        return Response(200, {"Content-Type": "application/json"}, orjson.dumps(_HEALTH))
    if parts == ["healthz"]:
        return Response(200, {"Content-Type": "application/json"}, orjson.dumps({"status": "ok"}))
    return Response(200, dict(_TEXT), _WELCOME) if not parts else None
