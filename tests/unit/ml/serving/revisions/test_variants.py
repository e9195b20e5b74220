"""Standard mode's Deployments: components, canaries, and what the stable one gives up to these."""

from __future__ import annotations

from proa.ml.serving.revisions.autoscalers import make_autoscaler
from proa.ml.serving.revisions.variants import list_variants, stable_min_replicas

ISVC = {
    "metadata": {"name": "m", "namespace": "d"},
    "spec": {
        "predictor": {"minReplicas": 4, "maxReplicas": 8, "model": {"storageUri": "s3://a", "args": ["--a"]}},
        "canary": [
            {"trafficPercent": 30, "predictor": {"name": "blue", "model": {"storageUri": "s3://b"}}},
            {"trafficPercent": 0, "predictor": {"name": "dark", "minReplicas": 1}},
        ],
    },
}


def test_a_canary_is_the_predictor_with_what_it_says_otherwise_and_fixed_replicas():
    stable, blue, dark = list_variants(ISVC)

    assert (stable.name, blue.name, dark.name) == ("m-predictor", "m-blue-predictor", "m-dark-predictor")
    assert blue.spec["model"] == {"storageUri": "s3://b", "args": ["--a"]}
    assert "maxReplicas" not in blue.spec
    assert (blue.replicas, dark.replicas, blue.scaled_by, stable.scaled_by) == (2, 1, "none", "hpa")


def test_the_stable_one_gives_up_replicas_to_canaries_that_are_ready_only():
    stable, *canaries = list_variants(ISVC)

    assert stable_min_replicas(stable, canaries, set()) == 4
    assert stable_min_replicas(stable, canaries, {"m-blue-predictor"}) == 2
    assert stable_min_replicas(stable, canaries, {"m-blue-predictor", "m-dark-predictor"}) == 1


def test_a_promoted_canary_is_the_same_deployment():
    blue = list_variants(ISVC)[1]
    promoted = {**ISVC, "spec": {"predictor": {**ISVC["spec"]["predictor"], **blue.spec}}}

    stable = list_variants(promoted)[0]

    assert stable.name == blue.name
    assert stable.spec["model"] == blue.spec["model"]


def test_an_autoscaler_has_upstreams_defaults_and_the_components_metrics():
    spec = make_autoscaler("m", "m", {"minReplicas": 0, "scaleMetric": "cpu"})["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 1)
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}

    resource = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}
    said = {"maxReplicas": 5, "autoScaling": {"metrics": [{"type": "Resource", "resource": resource}]}}
    metrics = make_autoscaler("m", "m", said)["spec"]["metrics"]
    assert metrics == [
        {
            "type": "Resource",
            "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
        }
    ]
