"""The ClusterServingRuntimes that are shipped, all with the model server of Proa, and the configuration beside them.

Names, formats and priorities are upstream's (config/runtimes of KServe), so that manifests carry over; `proa-…` are
ours, and so are the stand-ins of Triton (`kserve-onnxserver`) and TorchServe (`kserve-pytorchserver`), whose layouts
of models our server does not read. What upstream serves and we do not (TensorFlow, PMML, Paddle) has no runtime here.
They ask for little, and no limits: a laptop has two processors.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import orjson

from proa.client.protocol import Object
from proa.ml.serving.kinds import (
    CLUSTER_SERVING_RUNTIMES,
    CONFIG_MAP,
    HTTP_PORT,
    MAIN_CONTAINER,
    MODELS_FOLDER,
    NAMESPACE,
)
from proa.objects.resource import CONFIG_MAPS, NAMESPACES, Resource

OURS = {"app.kubernetes.io/managed-by": "proa"}
VERSION_ANNOTATION = "serving.proa.dev/shipped"
"""Of the ConfigMap: which runtimes were made last."""
SERVER = "proa.ml.serving.server"
ALL = ("v1", "v2", "grpc-v2")
OF_MODEL = "{{.Annotations.modelFormat}}"
"""What a runtime of several formats is told: the model's."""


class Runtime(NamedTuple):
    """`formats` are NAME:VERSION; `format` is what the server is told, "" for the first's name."""

    name: str
    server_type: str
    formats: tuple[str, ...]
    priority: int = 1
    protocols: tuple[str, ...] = ALL
    format: str = ""
    is_selected: bool = True


_ESTIMATORS = ("sklearn:1", "xgboost:2", "lightgbm:4")
RUNTIMES = (
    Runtime("kserve-sklearnserver", "sklearnserver", ("sklearn:1",)),
    Runtime("kserve-xgbserver", "xgbserver", ("xgboost:2", "xgboost:3")),
    Runtime("kserve-lgbserver", "lgbserver", ("lightgbm:4",)),
    Runtime(
        "kserve-mlserver",
        "mlserver",
        (
            "sklearn:0",
            "sklearn:1",
            "xgboost:1",
            "xgboost:2",
            "lightgbm:3",
            "lightgbm:4",
            "mlflow:1",
            "mlflow:2",
        ),
        priority=2,
        protocols=("v2", "grpc-v2"),
        format=OF_MODEL,
    ),
    Runtime(
        "kserve-predictiveserver", "predictiveserver", _ESTIMATORS, 3, format=OF_MODEL, is_selected=False
    ),
    Runtime("kserve-huggingfaceserver", "huggingfaceserver", ("huggingface:1",)),
    Runtime("kserve-onnxserver", "onnxserver", ("onnx:1",)),
    Runtime("kserve-pytorchserver", "pytorchserver", ("pytorch:1", "pytorch:2")),
    Runtime("proa-mlflowserver", "mlflowserver", ("mlflow:1", "mlflow:2", "mlflow:3"), protocols=("v1",)),
    Runtime("proa-pythonserver", "pythonserver", ("custom:1", "fastapi:1"), format=OF_MODEL),
)


def make_runtimes(image: str) -> list[Object]:
    """Return the runtimes; their containers run in `image`."""
    return [_make_runtime(runtime, image) for runtime in RUNTIMES]


def make_namespace() -> Object:
    """Return the namespace of the configuration."""
    return _object(NAMESPACES, NAMESPACE)


def make_config_map(ingress: Object, version: str) -> Object:
    """Return the configuration as it is at first; `ingress` says how addresses are made."""
    sections = {
        "deploy": {"defaultDeploymentMode": "Knative"},
        "ingress": ingress,
        "inferenceService": {},
        "credentials": {
            "storageSpecSecretName": "storage-config",
            "storageSecretNameAnnotation": "serving.kserve.io/storageSecretName",
            "gcs": {"gcsCredentialFileName": "gcloud-application-credentials.json"},
            "s3": {
                "s3AccessKeyIDName": "AWS_ACCESS_KEY_ID",
                "s3SecretAccessKeyName": "AWS_SECRET_ACCESS_KEY",
            },
        },
        "logger": {"defaultUrl": ""},
        "agent": {},
        "storageInitializer": {},
    }
    data = {
        name: orjson.dumps(section, option=orjson.OPT_INDENT_2).decode() for name, section in sections.items()
    }
    made = _object(CONFIG_MAPS, CONFIG_MAP, NAMESPACE, data=data)
    made["metadata"]["annotations"] = {VERSION_ANNOTATION: version}
    return made


def version_of(runtimes: list[Object]) -> str:
    """Return what tells these runtimes from others that were made before."""
    return hashlib.sha256(orjson.dumps(runtimes)).hexdigest()[:16]


def _make_runtime(runtime: Runtime, image: str) -> Object:
    formats = [_make_format(label, runtime) for label in runtime.formats]
    made = _object(CLUSTER_SERVING_RUNTIMES, runtime.name)
    made["metadata"]["annotations"] = {"serving.kserve.io/server-type": runtime.server_type}
    made["spec"] = {
        "annotations": {"prometheus.kserve.io/port": str(HTTP_PORT), "prometheus.kserve.io/path": "/metrics"},
        "supportedModelFormats": formats,
        "protocolVersions": list(runtime.protocols),
        "containers": [_make_container(image, runtime.format or formats[0]["name"])],
    }
    return made


def _make_format(label: str, runtime: Runtime) -> Object:
    name, _, version = label.partition(":")
    return {"name": name, "version": version, "autoSelect": runtime.is_selected, "priority": runtime.priority}


def _make_container(image: str, model_format: str) -> Object:
    return {
        "name": MAIN_CONTAINER,
        "image": image,
        "command": ["python3", "-m", SERVER],
        "args": [
            "--model_name={{.Name}}",
            f"--model_dir={MODELS_FOLDER}",
            f"--http_port={HTTP_PORT}",
            f"--format={model_format}",
        ],
        "readinessProbe": {
            "httpGet": {"path": "/v2/health/ready", "port": HTTP_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 1,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _object(resource: Resource, name: str, namespace: str = "", **fields: Any) -> Object:
    metadata: Object = {"name": name, "labels": dict(OURS)}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **fields}
