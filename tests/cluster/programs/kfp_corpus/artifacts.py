"""Artifacts: made, read, listed, collected, looped over, imported (static, dynamic, again), left out, with metadata."""

from typing import List, Optional

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output
from steps import IMAGE, expect, say


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset], folder: Output[Artifact], rows: int = 2) -> str:
    import os

    with open(data.path, "w") as file:
        file.write(text * rows)
    data.metadata["rows"] = rows
    data.metadata["about"] = {"text": text, "list": [1, 2.5, "x"]}
    os.makedirs(folder.path)
    for name in ("a", "b"):
        with open(os.path.join(folder.path, name), "w") as file:
            file.write(name + text)
    return data.uri


@dsl.component(base_image=IMAGE)
def train(data: Input[Dataset], folder: Input[Artifact], model: Output[Model], seed: int = 1) -> float:
    import os

    assert data.metadata == {"rows": 2, "about": {"text": "one ", "list": [1, 2.5, "x"]}}, data.metadata
    assert type(data).__name__ == "Dataset", type(data)
    assert sorted(os.listdir(folder.path)) == ["a", "b"]
    assert open(os.path.join(folder.path, "b")).read() == "bone "
    with open(model.path, "w") as file:
        file.write(open(data.path).read() + str(seed))
    model.framework = "none"
    model.metadata["score"] = seed / 10
    return seed / 10


@dsl.component(base_image=IMAGE)
def best(models: Input[List[Model]], scores: List[float], chosen: Output[Model]) -> str:
    assert len(models) == len(scores) == 3, models
    assert [m.metadata["score"] for m in models] == scores
    model = max(models, key=lambda m: m.metadata["score"])
    chosen.metadata.update(model.metadata)
    text = open(model.path).read()
    with open(chosen.path, "w") as file:
        file.write(text)
    return text


@dsl.component(base_image=IMAGE)
def report(
    metrics: Output[Metrics],
    curve: Output[ClassificationMetrics],
    page: Output[HTML],
    notes: Output[Markdown],
    model: Input[Model],
):
    metrics.log_metric("accuracy", 0.93)
    metrics.log_metric("framework", model.framework if model.metadata.get("framework") else "unknown")
    curve.log_confusion_matrix(["a", "b"], [[5, 1], [2, 7]])
    curve.log_roc_curve([0.0, 0.5, 1.0], [0.0, 0.9, 1.0], [1.0, 0.5, 0.0])
    with open(page.path, "w") as file:
        file.write("<b>good</b>")
    with open(notes.path, "w") as file:
        file.write("# good")


@dsl.component(base_image=IMAGE)
def look(metrics: Input[Metrics], page: Input[HTML]) -> float:
    assert open(page.path).read() == "<b>good</b>"
    return metrics.metadata["accuracy"]


@dsl.component(base_image=IMAGE)
def length(item: Input[Model], maybe: Optional[Input[Dataset]] = None) -> str:
    assert maybe is None
    return open(item.path).read()


@dsl.component(base_image=IMAGE)
def imported(data: Input[Dataset], want: str, key: str = "") -> str:
    assert open(data.path).read() == want, data.path
    return str(data.metadata.get("key", "")) + key


@dsl.pipeline(name="training")
def training(data: Input[Dataset], folder: Input[Artifact]) -> Model:
    with dsl.ParallelFor(items=[1, 2, 3]) as seed:
        trained = train(data=data, folder=folder, seed=seed)
    chosen = best(
        models=dsl.Collected(trained.outputs["model"]), scores=dsl.Collected(trained.outputs["Output"])
    )
    expect(got=chosen.outputs["Output"], want="one one 3")
    return chosen.outputs["chosen"]


@dsl.pipeline(name="artifacts")
def artifacts():
    written = write(text="one ")
    model = training(data=written.outputs["data"], folder=written.outputs["folder"])
    told = report(model=model.output)
    expect(got=f"{look(metrics=told.outputs['metrics'], page=told.outputs['page']).output}", want="0.93")
    length(item=model.output)

    uri = written.outputs["Output"]
    first = dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=False, metadata={"key": "k"})
    expect(got=imported(data=first.output, want="one one ").output, want="k")
    label = say(text="dynamic")
    again = dsl.importer(
        artifact_uri=uri,
        artifact_class=Dataset,
        reimport=True,
        metadata={"key": label.output, label.output: "other"},
    )
    expect(got=imported(data=again.output, want="one one ", key="!").output, want="dynamic!")

    with dsl.If(label.output == "dynamic"):
        one = write(text="x", rows=1)
    with dsl.Else():
        two = write(text="y", rows=1)
    imported(data=dsl.OneOf(one.outputs["data"], two.outputs["data"]), want="x")


PIPELINES = {"artifacts": (artifacts, {})}
