"""Make an InferenceService of a file, a folder or a URI, or give one that is there another model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from proa.cli import Failure, UsageError
from proa.client.protocol import Client, Object
from proa.ml.serving.kinds import INFERENCE_SERVICES
from proa.objects.errors import NotFound


async def deploy(client: Client, options: argparse.Namespace) -> str:
    """Do it, and return what was done; Failure where the one that is there is not of this form."""
    from proa.cli.models.acting import patch
    from proa.cli.models.asking import check_known

    uri, format_name = find_source(options.source, options.format)
    try:
        existing = await client.get(INFERENCE_SERVICES, options.model, options.namespace)
    except NotFound as error:
        check_known(error)
        existing = None
    if existing is None:
        if options.canary is not None:
            raise UsageError(f"--canary: there is no {options.model} yet to share traffic with")
        if not format_name:
            raise UsageError(f"--format is needed: {uri} does not tell it")
        await client.create(INFERENCE_SERVICES, make_service(options, uri, format_name), options.namespace)
        return f"{options.model} is made"
    model = check_form(existing, options.model)
    before = (model.get("modelFormat") or {}).get("name")
    change: dict[str, Any] = {"storageUri": uri}
    if format_name and format_name != before:
        change |= {"modelFormat": {"name": format_name, "version": None}, "runtime": None}
    predictor: dict[str, Any] = {
        "model": change,
        **_replicas(options),
        "canaryTrafficPercent": options.canary,
    }
    is_new = change["storageUri"] != model.get("storageUri") or "modelFormat" in change
    if not is_new:
        # the same URI again is a new revision too: what is behind it may have changed
        predictor["annotations"] = {"serving.proa.dev/deployed": _stamp()}
    await patch(client, options, {"spec": {"predictor": predictor}})
    return f"{options.model} gets another revision"


def find_source(source: str, format_name: str) -> tuple[str, str]:
    """Return the URI, and the format where it is told or can be seen; raise UsageError."""
    if "://" in source:
        from proa.ml.serving.server.formats.loading import find_format_of_uri

        return source, format_name or find_format_of_uri(source)
    path = Path(source).expanduser().resolve()
    if not path.exists():
        raise UsageError(
            f"{source}: there is no such file, and it is no URI (s3://, https://, hf://, pvc://, …)"
        )
    if not format_name:
        from proa.ml.serving.server.formats.loading import find_format
        from proa.ml.serving.server.formats.protocol import ModelError

        try:
            format_name = find_format(path)
        except ModelError as error:
            raise UsageError(f"{error}; --format says it") from None
    return path.as_uri(), format_name


def make_service(options: argparse.Namespace, uri: str, format_name: str) -> Object:
    """Return the InferenceService."""
    return {
        "apiVersion": INFERENCE_SERVICES.api_version,
        "kind": INFERENCE_SERVICES.kind,
        "metadata": {"name": options.model, "namespace": options.namespace},
        "spec": {
            "predictor": {
                **_replicas(options),
                "model": {"modelFormat": {"name": format_name}, "storageUri": uri},
            }
        },
    }


def check_form(service: Object, name: str) -> Object:
    """Return the predictor's model; raise Failure where it has another form."""
    model = ((service.get("spec") or {}).get("predictor") or {}).get("model")
    if not isinstance(model, dict):
        raise Failure(f"{name} is not of the form that has spec.predictor.model: change it as it was made")
    return model


def _replicas(options: argparse.Namespace) -> dict[str, int]:
    wanted = {"minReplicas": options.min, "maxReplicas": options.max}
    return {name: count for name, count in wanted.items() if count is not None}


def _stamp() -> str:
    import time

    from proa.objects.meta import format_time

    return format_time(time.time())
