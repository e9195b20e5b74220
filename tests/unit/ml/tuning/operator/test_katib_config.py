from __future__ import annotations

import pytest

from proa.ml.tuning.operator.katib_config import BadConfig, parse

TEXT = """
apiVersion: config.kubeflow.org/v1beta1
kind: KatibConfig
runtime:
  metricsCollectors:
    - kind: StdOut
      image: ghcr.io/kubeflow/katib/file-metrics-collector:latest
      resources: {limits: {memory: 64Mi}}
    - kind: File
  suggestions:
    - algorithmName: pbt
      persistentVolumeClaimSpec: {accessModes: [ReadWriteOnce]}
"""


def test_resources_and_claims_are_those_that_the_administrator_says() -> None:
    config = parse(TEXT)
    assert config.collector_resources("StdOut") == {"limits": {"memory": "64Mi"}}
    assert config.collector_resources("File") == {}
    assert config.claim_spec("pbt") == {"accessModes": ["ReadWriteOnce"]}
    assert parse("").claim_spec("pbt")["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("text", ["a: [", "{" * 300_000], ids=["no YAML", "too long"])
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(BadConfig, match="kubeflow/katib-config"):
        parse(text)


@pytest.mark.parametrize("text", ["[]", "runtime: 3", "runtime: {metricsCollectors: 3, suggestions: [3]}"])
def test_other_forms_say_nothing(text: str) -> None:
    assert parse(text).collector_resources("StdOut") == {}
