"""Tune a Python function with Katib's SDK, unmodified: a trial for each of twelve pairs of numbers, four at a time.

pip install kubeflow-katib
KUBECONFIG=$(proa kubeconfig --path) python examples/tune_function.py
"""

from kubeflow.katib import KatibClient, search


def train(parameters):  # type: ignore[no-untyped-def]
    """Be one trial: what it prints as `loss=` is its metric. Only this text is in the pod."""
    x, y = float(parameters["x"]), float(parameters["y"])
    for step in range(1, 11):
        print(f"loss={(1 - x) ** 2 + (y - x * x) ** 2 + 1 / step**3}")


def main() -> None:
    """Make the experiment, wait until it is over, and print what it found."""
    client = KatibClient(namespace="default")
    client.tune(
        name="valley-sdk",
        objective=train,
        parameters={"x": search.double(-2, 2), "y": search.double(-1, 3)},
        objective_metric_name="loss",
        objective_type="minimize",
        algorithm_name="tpe",
        max_trial_count=12,
        parallel_trial_count=4,
        base_image="python:3.12",  # on Proa, this machine's Python; elsewhere, that image
    )
    client.wait_for_experiment_condition(name="valley-sdk", timeout=600, polling_interval=2)
    best = client.get_optimal_hyperparameters(name="valley-sdk")
    print(best.best_trial_name, {one.name: one.value for one in best.parameter_assignments})


if __name__ == "__main__":
    main()
