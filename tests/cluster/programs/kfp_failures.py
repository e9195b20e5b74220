"""Run pipelines whose one task fails, all at once, and tell of each its state and what its task says.

kfp_failures.py [NAME...]    prints JSON: name -> {state, error, tasks}
"""

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import kfp  # noqa: E402
from kfp import dsl, kubernetes  # noqa: E402
from kfp.dsl import OutputPath  # noqa: E402

IMAGE = "python:3.11"
OVER = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dsl.container_component
def silent(accuracy: OutputPath(float)):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", "true"], args=[accuracy])


@dsl.container_component
def mistyped(accuracy: OutputPath(float)):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", 'printf "very good" > "$0"'], args=[accuracy])


@dsl.component(base_image=IMAGE)
def loud() -> int:
    print("before")
    raise ValueError("the data is bad")


@dsl.component(base_image=IMAGE)
def wrong_type() -> int:
    return "three"


@dsl.component(base_image=IMAGE)
def imports():
    import no_such_package  # noqa: F401


@dsl.component(base_image=IMAGE)
def fill(path: str):
    with open(path, "wb") as file:
        file.write(b"x" * 4_000_000)
        file.flush()


@dsl.component(base_image=IMAGE)
def greedy():
    held = bytearray(400_000_000)
    held[::4096] = b"x" * len(held[::4096])


@dsl.component(base_image=IMAGE)
def sleepy():
    import time

    time.sleep(300)


@dsl.component(base_image=IMAGE)
def fine() -> str:
    return "fine"


@dsl.component(base_image="proa.local:5000/no/such:image")
def imageless():
    pass


@dsl.component(base_image=IMAGE)
def large(text: str):
    pass


def make(name, build):
    @dsl.pipeline(name=name)
    def pipeline():
        build().set_caching_options(False)

    return pipeline


def with_secret_env():
    return kubernetes.use_secret_as_env(fine(), "absent-secret", {"key": "KEY"})


def with_secret_volume():
    return kubernetes.use_secret_as_volume(fine(), "absent-secret", mount_path="/secret")


def with_claim():
    return kubernetes.mount_pvc(fine(), "absent-claim", "/data")


def with_full_disk():
    task = fill(path="/small/file")
    return kubernetes.empty_dir_mount(task, "small", "/small", medium="Memory", size_limit="1Mi")


def with_little_memory():
    return greedy().set_memory_limit("64Mi")


def with_little_time():
    return kubernetes.set_timeout(sleepy(), 2)


def with_much_input():
    return large(text="x" * 200_000)


PIPELINES = {
    "silent": silent,
    "mistyped": mistyped,
    "loud": loud,
    "wrong-type": wrong_type,
    "imports": imports,
    "imageless": imageless,
    "secret-env": with_secret_env,
    "secret-volume": with_secret_volume,
    "claim": with_claim,
    "full-disk": with_full_disk,
    "little-memory": with_little_memory,
    "little-time": with_little_time,
    "much-input": with_much_input,
}


def main(wanted):
    client = kfp.Client()
    runs = {}
    for name in wanted or PIPELINES:
        started = client.create_run_from_pipeline_func(make(name, PIPELINES[name]), run_name=name)
        runs[name] = started.run_id
    told = {}
    for name, run_id in runs.items():
        while (run := client.get_run(run_id)).state not in OVER:
            time.sleep(0.2)
        tasks = (run.run_details.task_details if run.run_details else None) or []
        said = [task.error.message for task in tasks if task.error and task.error.message]
        told[name] = {"state": run.state, "error": run.error.message if run.error else "", "tasks": said}
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
