"""The reconcilers of serving, as one list."""

from __future__ import annotations

from collections.abc import Sequence

from proa.ml.serving.operator.inference_service import InferenceServiceController
from proa.ml.serving.operator.model_cache import ModelCacheController
from proa.ml.serving.operator.trained_model import TrainedModelController
from proa.ml.serving.settings import ServingSettings
from proa.reconcile.protocol import Controller


def make_controllers(settings: ServingSettings) -> Sequence[Controller]:
    """Return what reconciles InferenceServices TrainedModels, and this machine's cache of models."""
    return (InferenceServiceController(settings), TrainedModelController(), ModelCacheController(settings))
