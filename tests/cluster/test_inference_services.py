"""InferenceServices as kubectl sees them: applied, reached, rolled out by parts, failing, stopped, in both modes."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
DEADLINE_SECONDS = 180.0
SERVER = """
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["SAYS"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def make_predictor(says: str, program: str = SERVER, **more: Any) -> dict[str, Any]:
    container = {
        "name": "kserve-container",
        "image": "proa.local/python",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", program],
        "env": [{"name": "SAYS", "value": says}],
    }
    return {"containers": [container], **more}


def make_runtime(program: str) -> dict[str, Any]:
    container = {
        "name": "kserve-container",
        "image": "proa.local/python",
        "command": ["python", "-c", program],
    }
    formats = [{"name": "plain", "version": "1", "autoSelect": True}]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "plain"},
        "spec": {"supportedModelFormats": formats, "containers": [container]},
    }


class Services:
    """The InferenceServices of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def apply(self, name: str, predictor: Any, *, annotations: Any = None, **spec: Any) -> None:
        isvc = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"predictor": predictor, **spec},
        }
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=json.dumps(isvc))

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("isvc", name, "-n", self.namespace)
        status: dict[str, Any] = found.get("status") or {}
        observed = status.get("observedGeneration") == found["metadata"]["generation"]
        return status if observed else {}

    def until(self, name: str, is_so: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_so(status := self.status(name)):
            assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}: {status}"
            time.sleep(0.1)
        return status

    def until_ready(self, name: str, revision: str = "") -> dict[str, Any]:
        def is_ready(status: dict[str, Any]) -> bool:
            latest = (status.get("components") or {}).get("predictor", {}).get("latestReadyRevision", "")
            return condition(status, "Ready")[0] == "True" and latest.endswith(revision)

        return self.until(name, is_ready, f"{name} is Ready {revision}")

    def until_nothing_is_left(self) -> None:
        self.until_named("deployments", set())
        self.until_named("httproutes", set())
        self.until_named("services", set())

    def until_named(self, kind: str, names: set[str]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (found := self.names(kind)) != names:
            assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {kind} {names}: {found}"
            time.sleep(0.1)

    def names(self, kind: str) -> set[str]:
        items = self.cluster.get(kind, "-n", self.namespace)["items"]
        return {item["metadata"]["name"] for item in items}


def condition(status: dict[str, Any], type: str) -> tuple[str, str, str]:
    for one in status.get("conditions") or ():
        if one["type"] == type:
            return one["status"], one.get("reason", ""), one.get("message", "")
    return "", "", ""


def ask(url: str, host: str = "") -> str:
    """Ask at an address of the gateway on this machine."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=60)
    try:
        connection.request("GET", "/", headers={"Host": host or str(parts.hostname)})
        answer = connection.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, f"{answer.status} {body}"
        return body
    finally:
        connection.close()


@pytest.fixture
def services(cluster: Cluster, namespace: str) -> Services:
    return Services(cluster, namespace)


def test_a_rollout_goes_by_parts_and_back_and_a_bad_one_changes_nothing(services: Services):
    """Given a model that is served, its next ones get the part that they are to get, once they are ready."""
    services.apply("m", make_predictor("one"))
    status = services.until_ready("m", "00001")
    url = status["url"]
    assert ask(url) == "one"
    assert status["address"]["url"] == f"http://m.{services.namespace}.svc.cluster.local"
    assert [one["type"] for one in status["conditions"]] == sorted(
        one["type"] for one in status["conditions"]
    )
    assert status["modelStatus"]["transitionStatus"] == "UpToDate"

    services.apply("m", make_predictor("two", canaryTrafficPercent=50))
    status = services.until_ready("m", "00002")
    traffic = {one["revisionName"]: one["percent"] for one in status["components"]["predictor"]["traffic"]}
    assert traffic == {"m-predictor-00002": 50, "m-predictor-00001": 50}
    assert {ask(url) for _ in range(40)} == {"one", "two"}
    tagged = next(one["url"] for one in status["components"]["predictor"]["traffic"] if "tag" in one)
    assert ask(tagged) == "one"

    services.apply("m", make_predictor("two"))
    status = services.until(
        "m",
        lambda found: (
            condition(found, "Ready")[0] == "True"
            and found["components"]["predictor"]["latestRolledoutRevision"].endswith("00002")
        ),
        "promoted",
    )
    assert {ask(url) for _ in range(20)} == {"two"}

    bad = "import sys; sys.exit('the model is broken')"
    services.apply("m", make_predictor("three", bad))
    status = services.until(
        "m", lambda found: condition(found, "LatestDeploymentReady")[0] == "False", "the bad one fails"
    )
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["lastFailureInfo"]["reason"] == "ModelLoadFailed"
    assert status["modelStatus"]["lastFailureInfo"]["exitCode"] == 1
    assert "the model is broken" in condition(status, "PredictorReady")[2]
    assert {ask(url) for _ in range(20)} == {"two"}

    services.apply("m", make_predictor("two", canaryTrafficPercent=0))
    services.until_ready("m", "00004")
    assert {ask(url) for _ in range(20)} == {"two"}
    found = services.status("m")["components"]["predictor"]
    assert found["latestRolledoutRevision"] == "m-predictor-00002"


def test_what_is_stopped_or_deleted_leaves_nothing(services: Services):
    """Given a model that is served, stopping it removes all that it had, and deleting it too."""
    services.apply("s", make_predictor("here"), transformer=make_predictor("before"))
    status = services.until_ready("s")
    assert condition(status, "TransformerReady")[0] == "True"
    assert ask(status["url"]) == "before"

    services.apply("s", make_predictor("here"), annotations={"serving.kserve.io/stop": "true"})
    status = services.until("s", lambda found: condition(found, "Stopped")[0] == "True", "stopped")
    assert "url" not in status
    assert condition(status, "Ready")[:2] == ("False", "Stopped")
    services.until_nothing_is_left()

    services.apply("s", make_predictor("again"))
    assert ask(services.until_ready("s")["url"]) == "again"
    services.cluster.kubectl("delete", "isvc", "s", "-n", services.namespace)
    services.until_nothing_is_left()


def test_standard_mode_has_canaries_that_become_its_predictor_without_a_restart(
    services: Services, tmp_path: Path
):
    """Given a model in Standard mode, a canary gets its part, and its pod serves on once it is promoted."""
    for says in ("one", "two"):
        (tmp_path / says).write_text(says)
    program = SERVER.replace(
        'os.environ["SAYS"]', 'open("/mnt/models/" + os.listdir("/mnt/models")[0]).read()'
    )
    runtime = json.dumps(make_runtime(program))
    services.cluster.kubectl("apply", "-n", services.namespace, "-f", "-", stdin=runtime)

    def model(says: str, **more: Any) -> dict[str, Any]:
        uri = f"file://{tmp_path}/{says}"
        return {"model": {"modelFormat": {"name": "plain"}, "storageUri": uri}, **more}

    standard = {"serving.kserve.io/deploymentMode": "Standard"}
    canary = {"trafficPercent": 50, "predictor": model("two", name="blue")}
    services.apply("r", model("one"), annotations=standard, canary=[canary])
    status = services.until(
        "r",
        lambda found: condition(found, "CanaryPredictorReady")[0] == condition(found, "Ready")[0] == "True",
        "both are ready",
    )
    assert (status["deploymentMode"], status["servingRuntimeName"]) == ("Standard", "plain")
    assert services.names("deployments") == {"r-predictor", "r-blue-predictor"}
    assert services.names("hpa") == {"r-predictor"}
    assert {ask(status["url"]) for _ in range(40)} == {"one", "two"}
    pods = {name for name in services.names("pods") if "blue" in name}

    services.apply("r", model("two", name="blue"), annotations=standard)
    status = services.until(
        "r",
        lambda found: condition(found, "Ready")[0] == "True" and "canaryStatuses" not in found,
        "promoted",
    )
    assert {ask(status["url"]) for _ in range(20)} == {"two"}
    services.until_named("deployments", {"r-blue-predictor"})
    assert pods <= services.names("pods")


@pytest.mark.parametrize(
    ("predictor", "reason", "words"),
    [
        pytest.param(
            {"model": {"modelFormat": {"name": "sklearn"}, "runtime": "none", "storageUri": "pvc://c/m"}},
            "RuntimeNotRecognized",
            "No ServingRuntimes or ClusterServingRuntimes with the name: none",
            id="runtime",
        ),
        pytest.param(
            {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "pvc://missing/m"}},
            "RevisionFailed",
            'persistentvolumeclaim "missing" not found',
            id="claim",
        ),
        pytest.param(
            make_predictor("x", nodeSelector={"disk": "none"}),
            "RevisionFailed",
            "didn't match Pod's node affinity/selector",
            id="no node",
        ),
    ],
)
def test_what_cannot_be_served_says_why(services: Services, predictor: Any, reason: str, words: str):
    """Given something that is missing, the InferenceService names it instead of waiting in silence."""
    services.apply("w", predictor)

    status = services.until("w", lambda found: condition(found, "PredictorReady")[0] == "False", "it is told")
    assert condition(status, "PredictorReady")[1] == reason
    assert words in condition(status, "PredictorReady")[2]
