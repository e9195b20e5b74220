"""What revisions that are gone have left in the nodes' cache goes after a while."""

from __future__ import annotations

from typing import Any

from proa.ml.serving.operator.model_cache import revision_of
from proa.ml.serving.revisions.model_files import Source, StorageSettings, make_model_files


def make_deployment(uri: str) -> dict[str, Any]:
    files = make_model_files(
        [Source(uri)],
        StorageSettings(cache="/cache"),
        revision="iris-predictor-00001-abc",
        uid="u-1",
        namespace={"metadata": {"name": "team"}},
        annotations={},
    )
    return {"spec": {"template": {"spec": {"initContainers": list(files.init_containers)}}}}


def test_a_deployment_tells_which_folder_of_a_store_its_pods_need() -> None:
    assert revision_of(make_deployment("s3://bucket/iris")) == "u-1/iris-predictor-00001-abc"
    assert revision_of(make_deployment("pvc://claim/iris")) == ""
    assert revision_of({"spec": {"template": {"spec": {}}}}) == ""
