"""What users write with the SDK kubeflow-katib: every method of its client, in Jobs and PyTorchJobs.

`python katib_client.py ANSWERS.json`, with KUBECONFIG set and DB_MANAGER where metrics' points are found.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from kubeflow import katib
from kubernetes import client as kubernetes

IMAGE = "python:3.11"
SECONDS = 240
NAMESPACE = "default"
CATEGORIES = katib.V1beta1ParameterSpec(
    parameter_type="categorical", feasible_space=katib.V1beta1FeasibleSpace(list=["a", "b"])
)
"""`katib.search.categorical` of 0.19 puts its list where a distribution belongs, which no API server takes."""
PRIVATE = {"in_cluster", "custom_api", "core_api", "api_client", "namespace"}


def parabola(parameters):
    """Print a loss that is least at x = 0.25, step by step."""
    x, kind = float(parameters["x"]), parameters["kind"]
    print("epoch 0: loss=9.5")
    print(f"epoch 1: loss={(x - 0.25) ** 2 + int(parameters['layers'])} accuracy=0.5")
    print(f"kind is {kind}")


def pushed(parameters):
    """Report a loss by the SDK."""
    from kubeflow import katib

    x = float(parameters["x"])
    for step in range(3):
        katib.report_metrics({"loss": x + 3 - step, "step": step})


def packaged(parameters):
    """Need a package."""
    import yaml

    print(yaml.safe_load("score=" + str(parameters["x"])))


def distributed(parameters):
    """Say where this worker stands."""
    import os

    print(f"rank={os.environ['RANK']} world={os.environ['WORLD_SIZE']}")
    print(f"score={parameters['x']}")


class Watched:
    """A client that remembers which of its methods were called."""

    def __init__(self) -> None:
        self.client = katib.KatibClient(namespace=NAMESPACE)
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self.client, name)

    @property
    def missed(self) -> list[str]:
        public = {name for name in dir(self.client) if not name.startswith("_")}
        return sorted(public - PRIVATE - self.called)


def main(answers: str) -> None:
    """Do all of it, and write what came of it."""
    client = Watched()
    found: dict[str, Any] = {}
    begin(client)
    found |= follow_parabola(client)
    found["edited"] = edit(client)
    found["pushed"] = read_pushed(client)
    found["packaged"] = best_of(client, "packaged")
    found["distributed"] = best_of(client, "distributed")
    found["failed"] = fail(client)
    found["deleted"] = delete(client)
    found["missed"] = client.missed
    with open(answers, "w") as file:
        json.dump(found, file, default=str)


def begin(client: Watched) -> None:
    """Start experiments that go on side by side."""
    common = {"base_image": IMAGE, "algorithm_name": "random", "objective_type": "minimize"}
    x = katib.search.double(min=0, max=1)
    client.tune(
        name="parabola",
        objective=parabola,
        parameters={"x": x, "layers": katib.search.int(min=1, max=3), "kind": CATEGORIES},
        objective_metric_name="loss",
        additional_metric_names=["accuracy"],
        max_trial_count=4,
        parallel_trial_count=2,
        max_failed_trial_count=1,
        env_per_trial={"WHO": "ann"},
        retain_trials=True,
        algorithm_settings={"random_state": "7"},
        **common,
    )
    client.tune(
        name="pushed",
        objective=pushed,
        parameters={"x": x},
        objective_metric_name="loss",
        max_trial_count=2,
        parallel_trial_count=2,
        metrics_collector_config={"kind": "Push"},
        **common,
    )
    client.tune(
        name="packaged",
        objective=packaged,
        parameters={"x": katib.search.double(min=0, max=1, step=0.5)},
        objective_metric_name="score",
        max_trial_count=1,
        parallel_trial_count=1,
        packages_to_install=["pyyaml"],
        resources_per_trial={"cpu": "100m"},
        **common,
    )
    client.tune(
        name="distributed",
        objective=distributed,
        parameters={"x": x},
        objective_metric_name="score",
        max_trial_count=1,
        parallel_trial_count=1,
        resources_per_trial=katib.TrainerResources(
            num_workers=1, num_procs_per_worker=1, resources_per_worker={"cpu": "100m"}
        ),
        **common,
    )


def follow_parabola(client: Watched) -> dict[str, Any]:
    """Ask everything of an experiment that goes well."""
    name = "parabola"
    wait_quietly(client, name, "Created")
    assert client.is_experiment_created(name)
    assert not client.is_experiment_restarting(name)
    experiment = wait_quietly(client, name, "Succeeded")
    assert client.is_experiment_succeeded(name)
    assert not client.is_experiment_running(name)
    assert not client.is_experiment_failed(name)
    trials = client.list_trials(name)
    details = client.get_success_trial_details(name)
    best = client.get_optimal_hyperparameters(name)
    trial = client.get_trial(best.best_trial_name)
    logs = {
        follow: [*client.get_job_logs(name, trial.metadata.name, follow=follow)] for follow in (False, True)
    }
    points = client.get_trial_metrics(trial.metadata.name, db_manager_address=os.environ["DB_MANAGER"])
    suggestion = client.get_suggestion(name)
    return {
        "status": experiment.status.to_dict(),
        "conditions": [condition.type for condition in client.get_experiment_conditions(name)],
        "trials": len(trials),
        "details": [
            {
                "x": value_of(detail["parameter_assignments"], "x"),
                "layers": value_of(detail["parameter_assignments"], "layers"),
                "metrics": [metric.to_dict() for metric in detail["metrics"]],
            }
            for detail in details
        ],
        "best": {
            "x": value_of(best.parameter_assignments, "x"),
            "layers": value_of(best.parameter_assignments, "layers"),
            "metrics": [metric.to_dict() for metric in best.observation.metrics],
        },
        "logs": logs,
        "points": [(point.metric.name, point.metric.value) for point in points],
        "suggestions": suggestion.status.suggestion_count,
        "listed": sorted(one.metadata.name for one in client.list_experiments()),
        "suggestions_listed": sorted(one.metadata.name for one in client.list_suggestions()),
    }


def edit(client: Watched) -> dict[str, Any]:
    """Give an experiment that has ended more trials."""
    client.create_experiment(
        make_experiment("edited", "echo loss=${trialParameters.x}", resume="LongRunning")
    )
    before = wait_quietly(client, "edited", "Succeeded").status.trials_succeeded
    client.edit_experiment_budget("edited", max_trial_count=3, parallel_trial_count=2)
    deadline = time.monotonic() + SECONDS
    while (status := client.get_experiment("edited").status).trials_succeeded < 3:
        assert time.monotonic() < deadline, status
        time.sleep(0.2)
    after = wait_quietly(client, "edited", "Succeeded").status
    return {"before": before, "after": after.trials_succeeded}


def read_pushed(client: Watched) -> dict[str, Any]:
    """Read what trials reported themselves."""
    wait_quietly(client, "pushed", "Succeeded")
    best = client.get_optimal_hyperparameters("pushed")
    points = client.get_trial_metrics(best.best_trial_name, db_manager_address=os.environ["DB_MANAGER"])
    return {
        "x": float(value_of(best.parameter_assignments, "x")),
        "loss": float(metric_of(best, "loss").min),
        "points": [(point.metric.name, float(point.metric.value)) for point in points],
    }


def best_of(client: Watched, name: str) -> dict[str, Any]:
    """Return what an experiment with the metric `score` came to."""
    wait_quietly(client, name, "Succeeded")
    best = client.get_optimal_hyperparameters(name)
    return {
        "x": value_of(best.parameter_assignments, "x"),
        "score": metric_of(best, "score").latest,
        "kind": client.get_experiment(name).spec.trial_template.trial_spec["kind"],
    }


def fail(client: Watched) -> dict[str, Any]:
    """Have each trial fail, and one experiment refused."""
    client.create_experiment(make_experiment("failed", "echo x is ${trialParameters.x}; exit 3"))
    experiment = wait_quietly(client, "failed", "Failed")
    try:
        client.create_experiment(make_experiment("failed", "true"))
    except Exception as error:
        twice = str(error)
    return {
        "message": experiment.status.conditions[-1].message,
        "trials": [trial.status.conditions[-1].message for trial in client.list_trials("failed")],
        "twice": twice,
    }


def delete(client: Watched) -> bool:
    """Delete an experiment, and see its trials go."""
    client.delete_experiment("edited")
    deadline = time.monotonic() + SECONDS
    while client.list_trials("edited"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return "edited" not in {one.metadata.name for one in client.list_experiments()}


def make_experiment(name: str, command: str, resume: str = "Never") -> katib.V1beta1Experiment:
    """Return an experiment of Jobs that run a line of shell."""
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [
                        {"name": "training-container", "image": IMAGE, "command": ["sh", "-c", command]}
                    ],
                }
            },
        },
    }
    return katib.V1beta1Experiment(
        api_version="kubeflow.org/v1beta1",
        kind="Experiment",
        metadata=kubernetes.V1ObjectMeta(name=name, namespace=NAMESPACE),
        spec=katib.V1beta1ExperimentSpec(
            objective=katib.V1beta1ObjectiveSpec(type="minimize", objective_metric_name="loss"),
            algorithm=katib.V1beta1AlgorithmSpec(algorithm_name="random"),
            parameters=[
                katib.V1beta1ParameterSpec(
                    name="x",
                    parameter_type="double",
                    feasible_space=katib.V1beta1FeasibleSpace(min="0", max="1"),
                )
            ],
            max_trial_count=1,
            parallel_trial_count=1,
            max_failed_trial_count=0,
            resume_policy=resume,
            trial_template=katib.V1beta1TrialTemplate(
                primary_container_name="training-container",
                trial_parameters=[katib.V1beta1TrialParameterSpec(name="x", reference="x")],
                trial_spec=job,
            ),
        ),
    )


def wait_quietly(client: Watched, name: str, condition: str) -> Any:
    """Wait without the client's words, at its fastest pace."""
    words = io.StringIO()
    wait: Callable[..., Any] = client.wait_for_experiment_condition
    try:
        with contextlib.redirect_stdout(words):
            return wait(name, expected_condition=condition, timeout=SECONDS, polling_interval=1)
    except Exception:
        print(words.getvalue()[-3000:], file=sys.stderr)
        raise


def value_of(assignments: list[Any], name: str) -> str:
    """Return a parameter's value."""
    return next(assignment.value for assignment in assignments if assignment.name == name)


def metric_of(best: Any, name: str) -> Any:
    """Return a metric of an optimal trial."""
    return next(metric for metric in best.observation.metrics if metric.name == name)


if __name__ == "__main__":
    main(sys.argv[1])
