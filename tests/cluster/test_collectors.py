"""Every kind of metrics collector in real pods, beside trainings of milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from support.clusters import Cluster
from support.experiments import (
    IMAGE,
    Object,
    apply,
    last_condition,
    make_container,
    make_experiment,
    make_job,
    trials,
    wait,
)

pytestmark = pytest.mark.cluster

DEADLINE_SECONDS = 120.0
T = TypeVar("T")
COLLECTOR = "metrics-logger-and-collector"
EVENTS = "GwAAAAAAAAAaDZ4TCQAAAAAAABRAEAMqDgoMCgVzY29yZRUAAAA/7quuGg=="
"""A record of an event file: score 0.5."""
SERVE = """
import http.server, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"score 0.5\\n"); asked.set()
    def log_message(self, *a): pass
asked = threading.Event()
server = http.server.HTTPServer(("", 9000), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
asked.wait(30); time.sleep(0.2)
"""
REPORT = """
import grpc, os, time
def field(number, value):
    return bytes([number << 3 | 2, len(value)]) + value
while not os.path.exists("/out/score"):
    time.sleep(0.05)
metric = field(1, b"score") + field(2, open("/out/score", "rb").read().strip())
log = field(1, field(1, b"2026-01-02T03:04:05Z") + field(2, metric))
body = field(1, os.environ["KATIB_TRIAL_NAME"].encode()) + field(2, log)
channel = grpc.insecure_channel("katib-db-manager.kubeflow:6789")
channel.unary_unary("/api.v1.beta1.DBManager/ReportObservationLog")(body, timeout=30)
"""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1234,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def collect(kind: str, **source: Any) -> Object:
    return {"metricsCollectorSpec": {"collector": {"kind": kind}, **({"source": source} if source else {})}}


def until(look: Callable[[], T]) -> T:
    """Return what is looked for once it is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.1)
    return found


def observed(cluster: Cluster, namespace: str, name: str) -> list[Object]:
    """Wait for an experiment of one trial, and return the trial's observation."""
    wait(cluster, namespace, name, "Succeeded")
    (trial,) = trials(cluster, namespace, name)
    found: list[Object] = trial["status"]["observation"]["metrics"]
    return found


def test_each_kind_of_collector_reads_what_it_is_for(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    file = {"path": "/out/score.json", "kind": "File", "format": "JSON"}
    folder = {"path": "/events", "kind": "Directory"}
    kinds: dict[str, tuple[str, Object]] = {
        "stdout": ("echo score=0.5; echo loss = 3", collect("StdOut")),
        "filter": (
            "echo '{metric: score, value: 0.5}'",
            collect("StdOut", filter={"metricsFormat": [r"\{metric: (\w+), value: ([\d.]+)\}"]}),
        ),
        "file": ("""echo '{"score": 0.5}' >/out/score.json""", collect("File", fileSystemPath=file)),
        "events": (
            f"mkdir /events/train; echo {EVENTS} | base64 -d >/events/train/events.out.tfevents.1.x",
            collect("TensorFlowEvent", fileSystemPath=folder),
        ),
        "port": (f"exec python3 -c '{SERVE}'", collect("PrometheusMetric", httpGet={"port": 9000})),
    }
    mine = {
        "name": "mine",
        "image": IMAGE,
        "command": ["python3", "-c", REPORT],
        "securityContext": RESTRICTED,
    }
    shared = {"fileSystemPath": {"path": "/out/score", "kind": "File"}}
    custom = {"collector": {"kind": "Custom", "customCollector": mine}, "source": shared}
    kinds["custom"] = ("echo 0.5 >/out/part; mv /out/part /out/score", {"metricsCollectorSpec": custom})
    experiments = [
        make_experiment(name, make_job(make_container(script, securityContext=RESTRICTED)), **spec)
        for name, (script, spec) in kinds.items()
    ]
    apply(cluster, namespace, *experiments)
    for name in kinds:
        assert observed(cluster, namespace, name) == [
            {"name": "score", "min": "0.5", "max": "0.5", "latest": "0.5"}
        ]


def test_a_training_is_seen_in_the_log_asked_to_end_and_read_to_its_last_word(
    cluster: Cluster, namespace: str
) -> None:
    script = "trap 'echo score=0.75; exit 1' TERM; echo score=0.5; while :; do sleep 0.05; done"
    run = make_job(make_container(script))
    experiment = make_experiment("asked", run, maxFailedTrialCount=0, trialTemplate={"retain": True})
    apply(cluster, namespace, experiment)
    (name,) = until(lambda: cluster.kubectl("get", "pods", "-n", namespace, "-o", "name").stdout.split())
    until(lambda: "score=0.5" in cluster.kubectl("logs", "-n", namespace, name, check=False).stdout)
    cluster.kubectl("patch", name, "-n", namespace, "-p", '{"spec": {"activeDeadlineSeconds": 1}}')
    wait(cluster, namespace, "asked", "Failed")
    (pod,) = cluster.get("pods", "-n", namespace)["items"]
    assert pod["status"]["reason"] == "DeadlineExceeded"
    log = cluster.kubectl("logs", "-n", namespace, pod["metadata"]["name"]).stdout.splitlines()
    assert log[:2] == ["score=0.5", "score=0.75"], "kubectl shows the collector's, which has the training's"
    (ended,) = [
        s["state"]["terminated"] for s in pod["status"]["initContainerStatuses"] if s["name"] == COLLECTOR
    ]
    assert ended["exitCode"] == 0
    assert '"latest":[' in ended["message"]


def test_a_bad_trial_is_stopped_before_its_end(cluster: Cluster, namespace: str) -> None:
    steps = "case $1 in 0.568*) n=10;; *) n=400;; esac"  # the first is the best; the others are not to end
    script = f"{steps}; for i in $(seq $n); do echo score=$1; sleep 0.05; done; echo done"
    experiment = make_experiment(
        "stops",
        make_job(make_container(script)),
        algorithm={"algorithmName": "random", "algorithmSettings": [{"name": "random_state", "value": "5"}]},
        earlyStopping={
            "algorithmName": "medianstop",
            "algorithmSettings": [
                {"name": "min_trials_required", "value": "1"},
                {"name": "start_step", "value": "3"},
            ],
        },
        maxTrialCount=4,
        trialTemplate={"retain": True},
    )
    apply(cluster, namespace, experiment)
    status = wait(cluster, namespace, "stops", "Succeeded")["status"]
    assert status["trialsEarlyStopped"] + status["trialsSucceeded"] == 4
    stopped = [t for t in trials(cluster, namespace, "stops") if last_condition(t)[0] == "EarlyStopped"]
    assert stopped
    for trial in stopped:
        label = f"katib.kubeflow.org/trial={trial['metadata']['name']}"
        log = cluster.kubectl("logs", "-n", namespace, "-l", label, "--tail=-1").stdout
        assert "The training is stopped early: the best score so far, " in log
        assert "done" not in log.splitlines()


def test_a_population_goes_on_from_its_parents_checkpoints(cluster: Cluster, namespace: str) -> None:
    script = (
        "n=$(cat /saved/generation 2>/dev/null || echo 0); echo $((n + 1)) >/saved/generation; echo score=$n"
    )
    settings = {
        "suggestion_trial_dir": "/saved",
        "n_population": "5",
        "truncation_threshold": "0.2",
        "random_state": "3",
    }
    experiment = make_experiment(
        "evolves",
        make_job(make_container(script)),
        algorithm={
            "algorithmName": "pbt",
            "algorithmSettings": [{"name": name, "value": value} for name, value in settings.items()],
        },
        maxTrialCount=12,
        parallelTrialCount=5,
    )
    apply(cluster, namespace, experiment)
    wait(cluster, namespace, "evolves", "Succeeded", 90)
    scores: dict[str, set[str]] = {}
    for trial in trials(cluster, namespace, "evolves"):
        generation = trial["metadata"]["labels"]["pbt.suggestion.katib.kubeflow.org/generation"]
        scores.setdefault(generation, set()).add(trial["status"]["observation"]["metrics"][0]["latest"])
    assert scores == {"0": {"0"}, "1": {"1"}, "2": {"2"}}
