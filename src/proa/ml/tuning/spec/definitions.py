"""The kinds of tuning, as the API server is told of them: schemas, and rules for what can be told at `kubectl apply`.

Source: pkg/apis/controller/*/v1beta1/*_types.go and pkg/webhook/v1beta1/experiment/validator/validator.go of
kubeflow/katib; columns and categories are manifests/v1beta1/components/crd. What rules cannot tell, checks.py does.
"""

from __future__ import annotations

from pathlib import Path

from proa.client.protocol import Client
from proa.ml import definitions

_FOLDER = Path(__file__).parent
EXPERIMENTS_FILE = _FOLDER / "experiments.yaml"
FILES = (EXPERIMENTS_FILE, _FOLDER / "suggestions.yaml", _FOLDER / "trials.yaml")


async def ensure_definitions(client: Client) -> list[str]:
    """Make and renew the three definitions; return the names of those that are somebody else's. Raise ApiError."""
    return await definitions.ensure_definitions(client, FILES)
