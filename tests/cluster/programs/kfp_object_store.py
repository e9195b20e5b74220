"""Run a pipeline whose steps, in images without Python or not, pass files and folders on; print how it ended as JSON.

python kfp_object_store.py HOST TOKEN NAMESPACE IMPORTED_URI TIMES
"""

import json
import sys

import kfp
from kfp import dsl

IMAGE = "proa.local/python"


@dsl.container_component
def load(dataset: dsl.Output[dsl.Dataset], rows: dsl.OutputPath(int)):
    script = 'mkdir -p "$0/parts"; seq 1 3 > "$0/parts/a"; seq 4 6 > "$0/parts/b"; echo 6 > "$1"'
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-ec", script, dataset.path, rows])


@dsl.container_component
def train(dataset: dsl.Input[dsl.Dataset], number: int, model: dsl.Output[dsl.Model]):
    script = """
        if env | grep PROA_BUCKET; then exit 9; fi
        cat "$0"/parts/* | awk -v n="$1" '{s += $1} END {print s * n}' > "$2"
    """
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-ec", script, dataset.path, number, model.path])


@dsl.container_component
def pick(models: dsl.Input[dsl.Model], imported: dsl.Input[dsl.Dataset], best: dsl.OutputPath(str)):
    script = 'cat "$0" "$1" | tr "\\n" " " > "$2"'
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-ec", script, models.path, imported.path, best])


@dsl.container_component
def tell(rows: int, best: str):
    script = 'test "$0" = "6"; test "$1" = "42 imported "'
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-ec", script, rows, best])


def make_pipeline(uri: str):
    @dsl.pipeline(name="object-store")
    def pipeline():
        loaded = load()
        trained = train(dataset=loaded.outputs["dataset"], number=2)
        imported = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset, reimport=False)
        picked = pick(models=trained.outputs["model"], imported=imported.output)
        tell(rows=loaded.outputs["rows"], best=picked.outputs["best"])

    return pipeline


def main(host: str, token: str, namespace: str, uri: str, times: str) -> None:
    client = kfp.Client(host=host, existing_token=token, namespace=namespace)
    ended = []
    for _ in range(int(times)):
        started = client.create_run_from_pipeline_func(make_pipeline(uri), arguments={}, namespace=namespace)
        run = client.wait_for_run_completion(started.run_id, timeout=200, sleep_duration=1)
        details = run.run_details.task_details or []
        errors = [str(task.error.message) for task in details if task.error]
        executed = sum(task.display_name == "executor" and task.state == "SUCCEEDED" for task in details)
        ended.append({"state": run.state, "errors": errors, "executed": executed})
    print(json.dumps(ended))


if __name__ == "__main__":
    main(*sys.argv[1:])
