"""Serve a scikit-learn model: a *.joblib, *.pkl or *.pickle file as upstream's server, or a *.skops file.

A pickle runs code of whoever made it when it is opened; that is done in this pod only. A skops file runs none: types
that skops does not know are refused, unless `--trusted_types` names them.
Where the file has an equal in ONNX (conversion.py), that is served, and scikit-learn is not even imported. Where one is
to be made, scikit-learn serves until it is there.

Source: KServe's python/sklearnserver/sklearnserver/model.py.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proa.ml.serving.server.formats import files, pickles, settings
from proa.ml.serving.server.formats.conversion import Converted, find_converted, read_converted
from proa.ml.serving.server.formats.conversion_process import ConversionProcess
from proa.ml.serving.server.formats.converted import ConvertedModel
from proa.ml.serving.server.formats.estimators import EstimatorModel
from proa.ml.serving.server.formats.onnx import start_session
from proa.ml.serving.server.formats.protocol import LoadOptions, ModelError, TensorModel

ENDINGS = (".joblib", ".pkl", ".pickle", ".skops")
PLATFORM = "sklearn"
_PREDICT_PROBA, _PROBABILITIES = "PREDICT_PROBA", "predict_proba"
_log = logging.getLogger(__name__)


def load(folder: Path, options: LoadOptions) -> TensorModel:
    """Return the folder's one file as a model. `--predict_proba` or $PREDICT_PROBA: probabilities where there are."""
    return load_file(files.find_model_file(folder, ENDINGS, "sklearn"), options)


def load_file(path: Path, options: LoadOptions, method: str = "predict") -> TensorModel:
    """Return the file as a model that predicts by `method`."""
    wants_probabilities = settings.is_on(options.settings, "predict_proba", default=_is_probability_wanted())
    methods = [_PROBABILITIES, method] if wants_probabilities else [method]
    found = find_converted(path, options)
    converted = _open_converted(path, found, methods, options.threads)
    if converted is not None:
        return converted
    estimator = open_estimator(path, options)
    _limit_threads(estimator, options.threads)
    method = next((one for one in methods if hasattr(estimator, one)), method)
    successor = OnnxSuccessor(found.process, methods, options.threads) if found.process is not None else None
    return EstimatorModel(estimator, PLATFORM, method, successor)


class OnnxSuccessor:
    """Has the file converted, and is the model of what was made."""

    def __init__(self, process: ConversionProcess, methods: Sequence[str], threads: int) -> None:
        self._process, self._methods, self._threads = process, methods, threads

    def make(self) -> TensorModel | None:
        """Return the file's equal in ONNX, None where it has none."""
        process = self._process
        why = process.run()
        if process.is_stopped:
            return None
        found = None if why else read_converted(process.stem)
        found = found or Converted(None, {}, why or "the process that makes it left nothing")
        return _open_converted(process.path, found, self._methods, self._threads)

    def stop(self) -> None:
        """End the conversion."""
        self._process.stop()


def _open_converted(path: Path, found: Converted, methods: Sequence[str], threads: int) -> TensorModel | None:
    """Return the file's equal in ONNX, by the first of the methods that it has; None where the library is to serve."""
    method = next((one for one in methods if one in found.about.get("methods", ())), "")
    why = found.why or f"it has no {methods[-1]}"
    if found.path is not None and method:
        try:
            session = start_session(found.path, threads)
        except ModelError as error:  # what is kept was damaged
            why = str(error)
        else:
            _log.info("%s is served as ONNX: its predictions are equal to scikit-learn's", path.name)
            return ConvertedModel(session, found, PLATFORM, method)
    _log.info("%s is served by scikit-learn, not as ONNX: %s", path.name, why)
    return None


def open_estimator(path: Path, options: LoadOptions) -> Any:
    """Return what is in the file; raise ModelError where that is nothing that predicts."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            estimator = _open_skops(path, options) if path.suffix == ".skops" else _open_pickle(path)
        except ModelError:
            raise
        except Exception as error:  # a pickle raises what it likes
            raise ModelError(pickles.explain(path, error)) from error
    for warning in told:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if not hasattr(estimator, "predict"):
        raise ModelError(
            f"{path.name} holds a {type(estimator).__name__}, which has no predict. Expected is a fitted scikit-learn "
            f"estimator or pipeline. {pickles.describe_versions(path)}. What would help: save the estimator itself (of "
            f"a transformer a pipeline that ends in one), or serve the file by a class of your own (modelFormat custom)"
        )
    return estimator


def _open_pickle(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _open_skops(path: Path, options: LoadOptions) -> Any:
    from skops import io

    unknown = io.get_untrusted_types(file=path)
    trusted = [name.strip() for name in options.settings.get("trusted_types", "").split(",") if name.strip()]
    refused = [name for name in unknown if name not in trusted]
    if refused:
        raise ModelError(
            f"{path.name} has types that skops does not know to be safe: {', '.join(refused)}; "
            f"where you trust them: --trusted_types={','.join(unknown)}"
        )
    return io.load(path, trusted=unknown)


def _limit_threads(estimator: Any, threads: int) -> None:
    """Let the libraries below use so many threads, and the estimator so many jobs."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=threads)
    if hasattr(estimator, "get_params"):
        jobs = [name for name in estimator.get_params(deep=True) if name.split("__")[-1] == "n_jobs"]
        estimator.set_params(**dict.fromkeys(jobs, threads))


def _is_probability_wanted() -> bool:
    return settings.is_on(os.environ, _PREDICT_PROBA)
