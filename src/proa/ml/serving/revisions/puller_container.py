"""Give a predictor of many models the container that fetches them, and the folder that both share. Pure.

Source: KServe's pkg/webhook/admission/pod/agent_injector.go (the agent with --enable-puller).
"""

from __future__ import annotations

from typing import Any

from proa.ml.serving.kinds import MODELS_FOLDER
from proa.ml.serving.revisions.model_files import SECURITY, Access, ModelFiles, StorageSettings
from proa.ml.serving.revisions.trained_models import config_name

CONTAINER, CONFIG_FOLDER = "puller", "/mnt/configs"
CONFIG_VOLUME, MODELS_VOLUME = "model-config", "model-dir"


def make_puller(service: str, settings: StorageSettings, access: Access, port: int) -> ModelFiles:
    """Return what pods of an InferenceService need to have its TrainedModels; their server answers at `port`."""
    program = ["python3", "-m", "proa.ml.serving.storage.puller", "--config-dir", CONFIG_FOLDER]
    program += ["--model-dir", MODELS_FOLDER, "--server", f"http://127.0.0.1:{port}"]
    program += ["--limit", str(settings.model_bytes)]
    models = {"name": MODELS_VOLUME, "mountPath": MODELS_FOLDER}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": program,
        "env": list(access.env),
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": CONFIG_FOLDER, "readOnly": True},
            models,
            *access.mounts,
        ],
        "resources": {"requests": dict(settings.requests)},
        "securityContext": SECURITY,
        # ready once every model of the beginning was tried: requests come after that
        "readinessProbe": {
            "exec": {"command": ["test", "-f", f"{MODELS_FOLDER}/.store/ready"]},
            "periodSeconds": 1,
            "failureThreshold": 3,
        },
    }
    config = {"name": config_name(service), "optional": True}
    volumes = ({"name": CONFIG_VOLUME, "configMap": config}, {"name": MODELS_VOLUME, "emptyDir": {}})
    mounts = ({**models, "readOnly": True},)
    return ModelFiles((), (*volumes, *access.volumes), mounts, (container,))
