"""Train three models on handwritten digits side by side, keep the best one, and register it if it is good enough.

    pip install kfp scikit-learn
    proa up --detach
    export KUBECONFIG=$(proa kubeconfig --path)
    python examples/digits_pipeline.py                  run it, and wait
    python examples/digits_pipeline.py --compile digits.yaml
    proa pipelines run digits.yaml -p threshold=0.9     the same without the SDK

The data are the 1,797 digits that scikit-learn brings along, so nothing is downloaded.
"""

import argparse
import sys

import kfp
from kfp import compiler, dsl
from kfp.dsl import (
    ClassificationMetrics,
    Dataset,
    Input,
    Markdown,
    Metrics,
    Model,
    Output,
    PipelineTaskFinalStatus,
)

PACKAGES = ["scikit-learn"]
PYTHON = f"python:{sys.version_info.major}.{sys.version_info.minor}"
"""On Proa an image that is this machine's own Python: what is installed here need not be installed again."""


@dsl.component(base_image=PYTHON, packages_to_install=PACKAGES)
def load(digits: Output[Dataset]):
    import numpy
    from sklearn.datasets import load_digits

    data = load_digits()
    with open(digits.path, "wb") as file:
        numpy.savez(file, images=data.data, labels=data.target)
    digits.metadata["images"] = len(data.target)


@dsl.component(base_image=PYTHON, packages_to_install=PACKAGES)
def split(digits: Input[Dataset], share: float, train: Output[Dataset], test: Output[Dataset]):
    import numpy
    from sklearn.model_selection import train_test_split

    data = numpy.load(digits.path)
    parts = train_test_split(
        data["images"], data["labels"], test_size=share, random_state=7, stratify=data["labels"]
    )
    for output, images, labels in ((train, parts[0], parts[2]), (test, parts[1], parts[3])):
        with open(output.path, "wb") as file:
            numpy.savez(file, images=images, labels=labels)
        output.metadata["images"] = len(labels)


@dsl.component(base_image=PYTHON, packages_to_install=PACKAGES)
def train(data: Input[Dataset], kind: str, model: Output[Model], metrics: Output[Metrics]) -> float:
    """Return the accuracy in three-fold cross validation."""
    import joblib
    import numpy
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    kinds = {
        "logistic": LogisticRegression(max_iter=300),
        "forest": RandomForestClassifier(n_estimators=60, random_state=7),
        "neighbours": KNeighborsClassifier(n_neighbors=3),
    }
    found = numpy.load(data.path)
    made = make_pipeline(MinMaxScaler(), kinds[kind])
    accuracy = float(cross_val_score(made, found["images"], found["labels"], cv=3).mean())
    joblib.dump(made.fit(found["images"], found["labels"]), model.path)
    model.metadata.update(kind=kind, framework="scikit-learn")
    metrics.log_metric("accuracy", accuracy)
    print(f"{kind}: {accuracy:.4f}")
    return accuracy


@dsl.component(base_image=PYTHON)
def choose(models: Input[list[Model]], accuracies: list[float], best: Output[Model]) -> str:
    """Return the kind of the best model."""
    import shutil

    accuracy, index = max((accuracy, index) for index, accuracy in enumerate(accuracies))
    shutil.copyfile(models[index].path, best.path)
    best.metadata.update(models[index].metadata, cross_validated=accuracy)
    return models[index].metadata["kind"]


@dsl.component(base_image=PYTHON, packages_to_install=PACKAGES)
def evaluate(
    model: Input[Model], data: Input[Dataset], matrix: Output[ClassificationMetrics], report: Output[Markdown]
) -> float:
    """Return the accuracy on digits that no model has seen."""
    import joblib
    import numpy
    from sklearn.metrics import accuracy_score, confusion_matrix

    found = numpy.load(data.path)
    guessed = joblib.load(model.path).predict(found["images"])
    accuracy = float(accuracy_score(found["labels"], guessed))
    counts = confusion_matrix(found["labels"], guessed)
    matrix.log_confusion_matrix([str(digit) for digit in range(10)], counts.tolist())
    with open(report.path, "w") as file:
        file.write(f"# Digits\n\n{len(guessed)} digits, {accuracy:.2%} right.\n")
    return accuracy


@dsl.component(base_image=PYTHON)
def register(model: Input[Model], kind: str, accuracy: float, registered: Output[Model]):
    import shutil

    shutil.copyfile(model.path, registered.path)
    registered.metadata.update(name="digits", kind=kind, accuracy=accuracy, stage="candidate")


@dsl.component(base_image=PYTHON)
def refuse(accuracy: float, threshold: float) -> str:
    message = f"not registered: {accuracy:.4f} is below {threshold}"
    print(message)
    return message


@dsl.component(base_image=PYTHON)
def announce(status: PipelineTaskFinalStatus) -> str:
    print(f"{status.pipeline_job_resource_name}: {status.state}")
    return status.state


@dsl.pipeline(name="digits", description="Trains three models on digits and registers the best.")
def digits(threshold: float = 0.95, test_share: float = 0.25):
    last = announce()
    with dsl.ExitHandler(last, name="experiment"):
        loaded = load()
        parts = split(digits=loaded.outputs["digits"], share=test_share)
        with dsl.ParallelFor(["logistic", "forest", "neighbours"], name="kinds") as kind:
            trained = train(data=parts.outputs["train"], kind=kind)
            trained.set_env_variable("OMP_NUM_THREADS", "1")  # three at once: one processor each is enough
        best = choose(
            models=dsl.Collected(trained.outputs["model"]),
            accuracies=dsl.Collected(trained.outputs["Output"]),
        )
        evaluated = evaluate(model=best.outputs["best"], data=parts.outputs["test"])
        with dsl.If(evaluated.outputs["Output"] >= threshold, name="good-enough"):
            register(
                model=best.outputs["best"], kind=best.outputs["Output"], accuracy=evaluated.outputs["Output"]
            )
        with dsl.Else(name="too-bad"):
            refuse(accuracy=evaluated.outputs["Output"], threshold=threshold)


def main() -> None:
    """Run it, or write it to a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compile", metavar="FILE", help="write the compiled pipeline, and do not run it")
    parser.add_argument("--threshold", type=float, default=0.95)
    options = parser.parse_args()
    if options.compile:
        compiler.Compiler().compile(digits, options.compile)
        return
    client = kfp.Client()
    run = client.create_run_from_pipeline_func(digits, arguments={"threshold": options.threshold})
    print(run.wait_for_run_completion(timeout=600).state)


if __name__ == "__main__":
    main()
