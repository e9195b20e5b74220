"""Compile the corpus into a folder, run it with `kfp.local`, or run it with `kfp.Client` and wait for all of it.

corpus.py compile FOLDER [NAME...] | local FOLDER [NAME...] | run HOST [NAME...]   ("" for the kubeconfig's)
"""

import importlib
import json
import sys
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")

import yaml  # noqa: E402
from kfp import dsl  # noqa: E402

MODULES = ["values", "flow", "containers", "artifacts", "endings"]
if hasattr(dsl, "PipelineConfig"):  # what an older SDK has no words for
    MODULES.append("platform_fields")


def load(wanted):
    found = {}
    for name in MODULES:
        found.update(importlib.import_module(name).PIPELINES)
    return {name: found[name] for name in wanted or found}


def compile_all(folder, wanted):
    from kfp import compiler

    for name, (pipeline, _, *patch) in load(wanted).items():
        path = f"{folder}/{name}.yaml"
        compiler.Compiler().compile(pipeline, path)
        if patch:
            with open(path) as file:
                documents = list(yaml.safe_load_all(file))
            patch[0](documents[1])
            with open(path, "w") as file:
                yaml.safe_dump_all(documents, file)


def run_locally(folder, wanted):
    from kfp import local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder)
    for name, (pipeline, arguments, *_) in load(wanted).items():
        print(name, flush=True)
        pipeline(**arguments)


def run_all(host, wanted):
    """Start all runs at once, wait for them, and tell of each its state, its tasks and what they say."""
    import kfp

    client = kfp.Client(host=host or None)
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        compile_all(folder, wanted)
        for name, (_, arguments, *_) in load(wanted).items():
            run = client.create_run_from_pipeline_package(
                f"{folder}/{name}.yaml", arguments=arguments, run_name=name, experiment_name="corpus"
            )
            runs[name] = run.run_id
    told = {}
    for name, run_id in runs.items():
        while (run := client.get_run(run_id)).state not in ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"):
            time.sleep(0.5)
        tasks = (run.run_details.task_details if run.run_details else None) or []
        told[name] = {
            "id": run_id,
            "state": run.state,
            "error": run.error.message if run.error else None,
            "tasks": [
                {"name": t.display_name, "state": t.state, "error": t.error.message if t.error else None}
                for t in tasks
            ],
        }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    verb, where, *names = sys.argv[1:]
    {"compile": compile_all, "local": run_locally, "run": run_all}[verb](where, names)
