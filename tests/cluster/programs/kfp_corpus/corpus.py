"""Compile the corpus into a folder, or run it with `kfp.Client` and wait for all of it.

corpus.py compile FOLDER [NAME...] | start HOST NAME... | terminate HOST RUN... | run HOST [NAME...]

Without a host (""), the one that the kubeconfig leads to.
"""

import importlib
import json
import sys
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")

import kfp  # noqa: E402
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
    for name, (pipeline, _, *patch) in load(wanted).items():
        path = f"{folder}/{name}.yaml"
        kfp.compiler.Compiler().compile(pipeline, path)
        if patch:
            with open(path) as file:
                documents = list(yaml.safe_load_all(file))
            patch[0](documents[1])
            with open(path, "w") as file:
                yaml.safe_dump_all(documents, file)


def start_all(client, wanted):
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        compile_all(folder, wanted)
        for name, (_, arguments, *_) in load(wanted).items():
            run = client.create_run_from_pipeline_package(
                f"{folder}/{name}.yaml", arguments=arguments, run_name=name, experiment_name="corpus"
            )
            runs[name] = run.run_id
    return runs


def start(host, wanted):
    """Start runs, and tell their ids."""
    json.dump(start_all(kfp.Client(host=host or None), wanted), sys.stdout)


def terminate(host, run_ids):
    """Stop runs, and tell how they ended."""
    client = kfp.Client(host=host or None)
    for run_id in run_ids:
        client.terminate_run(run_id)
    json.dump({run_id: wait(client, run_id).state for run_id in run_ids}, sys.stdout)


def wait(client, run_id):
    while (run := client.get_run(run_id)).state not in ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"):
        time.sleep(0.5)
    return run


def run_all(host, wanted):
    """Start all runs at once, wait for them, and tell of each its state, its tasks and what they say."""
    client = kfp.Client(host=host or None)
    runs = start_all(client, wanted)
    told = {}
    for name, run_id in runs.items():
        run = wait(client, run_id)
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
    {"compile": compile_all, "run": run_all, "start": start, "terminate": terminate}[verb](where, names)
