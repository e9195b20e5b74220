"""Use every method of kfp.Client as its users do. Arguments: what is to be done ("all", "hello"), a file for answers.

Run by the interpreter of an SDK's virtual environment; KFP_HOST and KFP_TOKEN say where to, else the kubeconfig does.
"""

import datetime
import json
import os
import sys
import time
import typing
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import kfp  # noqa: E402
import kfp_server_api  # noqa: E402
from kfp import compiler, dsl  # noqa: E402

PATIENCE = 240
"""How many seconds anything may take on a busy machine."""


@dsl.component
def add(a: int, b: int) -> int:
    """Add two numbers."""
    print("the sum is", a + b)
    return a + b


@dsl.component
def fail(message: str):
    """Fail."""
    raise RuntimeError(message)


@dsl.container_component
def wait():
    """Wait for longer than anybody does; end as soon as asked to."""
    waits = "trap 'exit 143' TERM; echo waiting; sleep 600 & wait"
    return dsl.ContainerSpec(image="python:3.11", command=["sh", "-c", waits])


@dsl.pipeline(name="adder", description="adds")
def adder(x: int = 1):
    """Add 2, then 3."""
    first = add(a=x, b=2)
    add(a=first.output, b=3)


@dsl.pipeline(name="failing")
def failing():
    """Fail in its only step."""
    fail(message="no such luck").set_caching_options(False)


@dsl.pipeline(name="waiting")
def waiting():
    """Wait in its only step."""
    wait().set_caching_options(False)


class Client(kfp.Client):
    """Remembers which methods were called from outside."""

    called: typing.ClassVar = set()

    def __getattribute__(self, name):
        """Note a public method."""
        if not name.startswith("_"):
            Client.called.add(name)
        return super().__getattribute__(name)


def public_methods():
    """Return the names of all methods that users have."""
    return {
        name
        for name, value in vars(kfp.Client).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, staticmethod | property))
    }


def make_client():
    """Return a client for the place that the environment names."""
    host, token = os.environ.get("KFP_HOST"), os.environ.get("KFP_TOKEN")
    return Client(host=host, existing_token=token) if host else Client()


def states(run):
    """Return the states of a run's tasks by their names."""
    details = run.run_details and run.run_details.task_details
    return {task.display_name: task.state for task in details or ()}


def expect_refusal(status, function, *arguments, **named):
    """See that a call is refused with this status; return the error's body."""
    try:
        function(*arguments, **named)
    except kfp_server_api.ApiException as error:
        refusal = error
    else:
        raise AssertionError(f"{function} was not refused")
    assert refusal.status == status, (refusal.status, refusal.body)
    return json.loads(refusal.body)


def keep_asking(what, is_it):
    """Return an answer as soon as it is the wanted one."""
    deadline = time.monotonic() + PATIENCE
    while not is_it(answer := what()):
        assert time.monotonic() < deadline, f"not in {PATIENCE} s: {answer}"
        time.sleep(0.1)
    return answer


def status_of(function, *arguments, **named):
    """Return the HTTP status that a call is answered with."""
    try:
        function(*arguments, **named)
    except kfp_server_api.ApiException as error:
        return error.status
    return 200


def finish(client, run_id):
    """Wait for a run's end without the SDK's pause of 5 s."""
    ends = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
    return keep_asking(lambda: client.get_run(run_id), lambda run: run.state in ends)


def read_log(client, run_id, task):
    """Return what a task has printed, "" before it did."""
    run = client.get_run(run_id)
    found = run.run_details and run.run_details.task_details
    nodes = [one.task_id for one in found or () if one.display_name == task]
    try:
        return client._run_api.api_client.call_api(
            f"/apis/v2beta1/runs/{run_id}/nodes/{nodes[0]}/log", "GET", response_type="str",
            auth_settings=["Bearer"], _return_http_data_only=True,
        )  # fmt: skip
    except (IndexError, kfp_server_api.ApiException):  # it has no pod yet
        return ""


def hello(client):
    """Run one pipeline to its end."""
    result = client.create_run_from_pipeline_func(adder, arguments={"x": 5}, enable_caching=False)
    run = finish(client, result.run_id)
    assert run.state == "SUCCEEDED", run
    assert states(run)["add"] == "SUCCEEDED", run
    return {"run_id": run.run_id}


def use_experiments(client):
    """Make, find, list, archive and delete experiments."""
    made = client.create_experiment("first", description="the first", namespace="kubeflow")
    assert client.create_experiment("first").experiment_id == made.experiment_id
    client.create_experiment("second")
    assert client.get_experiment(experiment_name="first", namespace="kubeflow").description == "the first"
    assert client.get_experiment(experiment_id=made.experiment_id).display_name == "first"
    page = client.list_experiments(page_size=1, sort_by="display_name desc")
    following = client.list_experiments(page_token=page.next_page_token, page_size=1)
    assert page.total_size >= 2
    assert page.experiments[0].display_name > following.experiments[0].display_name
    client.archive_experiment(made.experiment_id)
    assert client.get_experiment(made.experiment_id).storage_state == "ARCHIVED"
    client.unarchive_experiment(made.experiment_id)
    client.delete_experiment(made.experiment_id)
    expect_refusal(404, client.get_experiment, made.experiment_id)


def use_pipelines(client):
    """Upload pipelines and versions, list and delete them; return a version to run."""
    name = f"adder-{kfp.__version__}"
    compiler.Compiler().compile(adder, "adder.yaml")
    made = client.upload_pipeline("adder.yaml", pipeline_name=name, description="adds numbers")
    body = expect_refusal(409, client.upload_pipeline, "adder.yaml", pipeline_name=name)
    assert body["code"] == 6, body
    assert client.get_pipeline_id(name) == made.pipeline_id
    assert client.get_pipeline(made.pipeline_id).description == "adds numbers"
    version = client.upload_pipeline_version("adder.yaml", "v2", pipeline_id=made.pipeline_id)
    spec = client.get_pipeline_version(made.pipeline_id, version.pipeline_version_id).pipeline_spec
    assert spec["pipelineInfo"]["name"] == "adder", spec
    listed = client.list_pipeline_versions(made.pipeline_id, sort_by="created_at desc")
    assert [one.display_name for one in listed.pipeline_versions] == ["v2", name], listed
    assert name in [one.display_name for one in client.list_pipelines(page_size=100).pipelines]
    if hasattr(kfp.Client, "upload_pipeline_from_pipeline_func"):
        other = client.upload_pipeline_from_pipeline_func(failing, pipeline_name=f"failing-{kfp.__version__}")
        client.upload_pipeline_version_from_pipeline_func(failing, "v2", pipeline_id=other.pipeline_id)
        body = expect_refusal(400, client.delete_pipeline, other.pipeline_id)
        for one in client.list_pipeline_versions(other.pipeline_id).pipeline_versions:
            client.delete_pipeline_version(other.pipeline_id, one.pipeline_version_id)
        client.delete_pipeline(other.pipeline_id)
        expect_refusal(404, client.get_pipeline, other.pipeline_id)
    else:
        client.delete_pipeline_version(made.pipeline_id, listed.pipeline_versions[1].pipeline_version_id)
        empty = client.upload_pipeline("adder.yaml", pipeline_name=f"empty-{kfp.__version__}")
        for one in client.list_pipeline_versions(empty.pipeline_id).pipeline_versions:
            client.delete_pipeline_version(empty.pipeline_id, one.pipeline_version_id)
        client.delete_pipeline(empty.pipeline_id)
    Path("broken.yaml").write_text(
        Path("adder.yaml").read_text().replace("componentRef", "componentReference")
    )
    body = expect_refusal(
        400, client._upload_api.upload_pipeline, "broken.yaml", name=f"broken-{kfp.__version__}"
    )
    assert "componentReference" in body["message"], body
    return made.pipeline_id, version.pipeline_version_id


def use_runs(client, pipeline_id, version_id):
    """Run to good and bad ends, terminate, retry, archive, delete, list and filter."""
    experiment = client.create_experiment(f"runs of {kfp.__version__}")
    run = client.run_pipeline(
        experiment.experiment_id,
        "from a version",
        pipeline_id=pipeline_id,
        version_id=version_id,
        params={"x": 7},
    )
    assert run.pipeline_version_reference.pipeline_version_id == version_id
    result = client.create_run_from_pipeline_package(
        "adder.yaml", arguments={"x": 8}, run_name="from a package"
    )
    finish(client, result.run_id)  # sooner than by the SDK, which pauses for 5 s
    done = result.wait_for_run_completion(timeout=datetime.timedelta(seconds=PATIENCE))
    assert (done.state, done.error) == ("SUCCEEDED", None), done
    assert [one.state for one in done.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"], (
        done.state_history
    )
    assert done.finished_at > done.created_at
    finish(client, run.run_id)
    failed = client.create_run_from_pipeline_func(
        failing, run_name="to fail", experiment_name=experiment.display_name
    )
    done = client.wait_for_run_completion(failed.run_id, timeout=PATIENCE, sleep_duration=1)
    assert (done.state, states(done)["fail"]) == ("FAILED", "FAILED"), done
    assert "fail" in done.error.message, done.error
    if hasattr(client._run_api, "run_service_retry_run"):
        client._run_api.run_service_retry_run(failed.run_id)
    hasty = client.create_run_from_pipeline_func(waiting, run_name="to end before it begins")
    client.terminate_run(hasty.run_id)
    long = client.create_run_from_pipeline_func(
        waiting, run_name="to end", experiment_name=experiment.display_name
    )
    keep_asking(lambda: read_log(client, long.run_id, "wait"), lambda log: "waiting" in log)
    client.terminate_run(long.run_id)
    assert finish(client, long.run_id).state == "CANCELED"
    assert finish(client, hasty.run_id).state == "CANCELED"
    expect_refusal(400, client.terminate_run, long.run_id)
    wanted = json.dumps({"predicates": [{"operation": "EQUALS", "key": "state", "string_value": "CANCELED"}]})
    listed = client.list_runs(experiment_id=experiment.experiment_id, filter=wanted)
    assert [one.run_id for one in listed.runs] == [long.run_id], listed
    page = client.list_runs(experiment_id=experiment.experiment_id, page_size=2, sort_by="created_at desc")
    assert (len(page.runs), page.total_size, page.runs[0].run_id) == (2, 3, long.run_id), page
    rest = client.list_runs(
        experiment_id=experiment.experiment_id, page_token=page.next_page_token, page_size=2
    )
    assert [one.run_id for one in rest.runs] == [run.run_id], rest
    client.archive_run(run.run_id)
    assert client.get_run(run.run_id).storage_state == "ARCHIVED"
    client.unarchive_run(run.run_id)
    assert finish(client, failed.run_id).state == "FAILED"
    client.delete_run(run.run_id)
    expect_refusal(404, client.get_run, run.run_id)
    assert client.list_runs(namespace="kubeflow", page_size=1).total_size > 1


def use_recurring_runs(client, pipeline_id, version_id):
    """Schedule runs, see one made, and end that."""
    experiment = client.create_experiment(f"recurring runs of {kfp.__version__}")
    made = client.create_recurring_run(
        experiment.experiment_id, "each second", interval_second=1, max_concurrency=1,
        pipeline_id=pipeline_id, version_id=version_id, params={"x": 1},
    )  # fmt: skip
    keep_asking(lambda: client.list_runs(experiment_id=experiment.experiment_id).runs, bool)
    client.disable_recurring_run(made.recurring_run_id)
    assert client.get_recurring_run(made.recurring_run_id).status == "DISABLED"
    (run, *_) = client.list_runs(experiment_id=experiment.experiment_id, sort_by="created_at").runs
    assert run.recurring_run_id == made.recurring_run_id
    client.enable_recurring_run(made.recurring_run_id)
    cron = client.create_recurring_run(
        experiment.experiment_id, "yearly", cron_expression="0 0 0 1 1 *", pipeline_package_path="adder.yaml",
        enabled=False, no_catchup=True,
    )  # fmt: skip
    assert (cron.trigger.cron_schedule.cron, cron.status) == ("0 0 0 1 1 *", "DISABLED"), cron
    client.enable_job(cron.recurring_run_id)
    client.disable_job(cron.recurring_run_id)
    listed = client.list_recurring_runs(experiment_id=experiment.experiment_id, sort_by="created_at desc")
    assert [one.display_name for one in listed.recurring_runs] == ["yearly", "each second"], listed
    client.delete_job(cron.recurring_run_id)
    client.delete_recurring_run(made.recurring_run_id)
    assert client.list_recurring_runs(experiment_id=experiment.experiment_id).recurring_runs is None
    body = expect_refusal(
        400, client.create_recurring_run, experiment.experiment_id, "bad", cron_expression="often",
        pipeline_package_path="adder.yaml",
    )  # fmt: skip
    assert "Schedule cron is not a supported format" in body["message"], body


def use_all(client):
    """Call every method, and return those that were missed."""
    assert client.get_kfp_healthz().multi_user is False
    client.set_user_namespace("kubeflow")
    assert client.get_user_namespace() == "kubeflow"
    client.set_user_namespace("")
    use_experiments(client)
    pipeline_id, version_id = use_pipelines(client)
    use_runs(client, pipeline_id, version_id)
    use_recurring_runs(client, pipeline_id, version_id)
    return {"missed": sorted(public_methods() - Client.called), **hello(client)}


if __name__ == "__main__":
    answer = {"all": use_all, "hello": hello}[sys.argv[1]](make_client())
    answer["kfp"] = kfp.__version__
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(json.dumps(answer))
    else:
        print(json.dumps(answer))
