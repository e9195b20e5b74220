"""The container that stands before others: what it is told, and how its neighbour changes."""

from __future__ import annotations

import json
from typing import Any

from proa.ml.serving.agent.settings import read_settings
from proa.ml.serving.revisions.agent_container import AgentNeeds, add_agent
from proa.ml.serving.revisions.payload_arguments import Identity

WHO = Identity("digits", "team", "predictor")
PROBE = {"httpGet": {"path": "/up", "port": 5000}, "periodSeconds": 3}


def make_spec(**changes: Any) -> dict[str, Any]:
    main = {"name": "kserve-container", "image": "mine", "ports": [{"containerPort": 5000}], **changes}
    return {"containers": [main, {"name": "other", "image": "other"}], "serviceAccountName": "default"}


def test_the_agent_reads_what_the_operator_wrote() -> None:
    needs = AgentNeeds(
        "proa.local/python",
        WHO,
        concurrency=4,
        timeout_seconds=30,
        logger={"url": "http://sink", "mode": "request", "metadataHeaders": ["X-A", "X-B"],
                "metadataAnnotations": ["team", "missing"]},
        batcher={"maxBatchSize": 8},
        annotations={"team": "blue"},
    )  # fmt: skip

    spec = add_agent(make_spec(readinessProbe=PROBE), needs)

    agent = spec["containers"][-1]
    environment = {one["name"]: one.get("value", "") for one in agent["env"]}
    settings = read_settings(agent["args"], environment)
    assert agent["command"] == ["python", "-m", "proa.ml.serving.agent"]
    assert (settings.component_port, settings.concurrency, settings.queue_depth) == (5000, 4, 40)
    assert (settings.timeout_seconds, settings.max_batch_size, settings.max_latency_seconds) == (30, 8, 5)
    assert settings.readiness_probe == PROBE
    assert settings.log.url == "http://sink"
    assert settings.log.metadata_headers == ("X-A", "X-B")
    assert settings.log.annotations == (("team", "blue"),)
    assert settings.log[5:7] == ("predictor", "default")


def test_the_container_is_asked_by_the_agent_and_ends_after_its_requests() -> None:
    given = make_spec(readinessProbe=PROBE)
    before = json.dumps(given)

    main, other, _ = add_agent(given, AgentNeeds("image", WHO))["containers"]

    assert "readinessProbe" not in main
    assert main["lifecycle"]["preStop"] == {"httpGet": {"path": "/wait-for-drain", "port": 9091}}
    assert other == {"name": "other", "image": "other"}
    assert json.dumps(given) == before


def test_a_probe_that_runs_in_the_container_and_its_own_pre_stop_stay() -> None:
    probe, stop = {"exec": {"command": ["true"]}}, {"preStop": {"exec": {"command": ["sync"]}}}

    main, _, agent = add_agent(make_spec(readinessProbe=probe, lifecycle=stop), AgentNeeds("image", WHO))[
        "containers"
    ]

    assert (main["readinessProbe"], main["lifecycle"]) == (probe, stop)
    assert [one["name"] for one in agent["env"]] == ["POD_NAME"]


def test_a_transformer_beside_its_predictor_is_what_the_agent_stands_before() -> None:
    spec = make_spec()
    spec["containers"].append({"name": "transformer-container", "ports": [{"containerPort": 7000}]})

    agent = add_agent(spec, AgentNeeds("image", WHO))["containers"][-1]

    assert agent["args"][:2] == ["--component-port", "7000"]
