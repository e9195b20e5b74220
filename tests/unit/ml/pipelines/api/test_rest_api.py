"""What each call of REST v2beta1 does, and says where it does nothing."""

from __future__ import annotations

import json

import pytest

from proa.client.protocol import User
from proa.ml.pipelines.records import (
    Artifact,
    Caching,
    RunState,
    Task,
    TaskKind,
    TaskState,
    Values,
    make_task_id,
)
from proa.ml.pipelines.run_objects import RUNS
from support.pipelines_rest import PIPELINE, run_rest


async def make_run(rest, **more):
    return await rest.ok("POST", "runs", {"display_name": "r", "pipeline_spec": PIPELINE, **more})


def test_a_run_is_stored_in_the_default_experiment_and_gets_its_object(tmp_path):
    async def scenario(rest):
        made = await make_run(rest, runtime_config={"parameters": {"x": 5}})
        assert made["state"] == "PENDING"
        assert made["pipeline_spec"]["pipelineInfo"] == {"name": "adder"}
        assert made["runtime_config"] == {"parameters": {"x": 5}}
        assert made["finished_at"] == "1970-01-01T00:00:00Z"
        assert made["service_account"] == "pipeline-runner"
        experiment = await rest.ok("GET", f"experiments/{made['experiment_id']}")
        assert (experiment["display_name"], experiment["namespace"]) == ("Default", "kubeflow")
        assert experiment["last_run_created_at"] == made["created_at"]
        obj = await rest.cluster.get(RUNS, made["proa"]["name"], "kubeflow")
        assert obj["spec"] == {"runId": made["run_id"]}
        assert obj["metadata"]["finalizers"] == ["pipelines.proa.dev/record"]
        assert (await rest.ok("GET", "runs"))["total_size"] == 1

    run_rest(tmp_path, scenario)


REFUSED_RUNS = {
    "no name": ({"display_name": ""}, 400, "The run name is empty"),
    "no pipeline": ({"pipeline_spec": {}}, 400, "Pipeline spec source is missing"),
    "unknown field": ({"displayNames": "x"}, 400, 'unknown field "displayNames"'),
    "twice the same field": ({"displayName": "x"}, 400, 'duplicate field "display'),
    "wrong type": ({"description": 5}, 400, "invalid value for description: expected a string, got 5"),
    "unknown parameter": ({"runtime_config": {"parameters": {"y": 1}}}, 400, "y (it has x)"),
    "wrong parameter": ({"runtime_config": {"parameters": {"x": "no"}}}, 400, "x"),
    "unknown experiment": ({"experiment_id": "none"}, 404, "ResourceNotFoundError: Experiment none not found"),
    "malformed pipeline": ({"pipeline_spec": {"root": {}}}, 400, "pipelineInfo"),
    "both sources": (
        {"pipeline_version_reference": {"pipeline_id": "p"}}, 400, "only one of pipeline_spec and"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_RUNS)
def test_a_run_that_cannot_be_is_refused_with_the_gateways_error(tmp_path, case):
    change, wanted, words = REFUSED_RUNS[case]

    async def scenario(rest):
        body = {"display_name": "r", "pipeline_spec": PIPELINE, **change}
        status, answer = await rest.ask("POST", "runs", body)
        assert (status, answer["code"]) == (wanted, {400: 3, 404: 5}[wanted])
        assert answer["message"].startswith("Failed to create a new run: ")
        assert words in answer["message"]
        assert answer["error"] == answer["message"]
        assert answer["details"][0]["@type"] == "type.googleapis.com/google.rpc.Status"
        assert not await rest.ok("GET", "runs")

    run_rest(tmp_path, scenario)


def test_bodies_and_queries_are_read_in_both_spellings(tmp_path):
    async def scenario(rest):
        for number in range(3):
            await rest.ok("POST", "experiments", {"displayName": f"e{number}", "namespace": None})
        page = await rest.ok("GET", "experiments?pageSize=2&sortBy=display_name%20desc")
        assert [e["display_name"] for e in page["experiments"]] == ["e2", "e1"]
        token = page["next_page_token"]
        rest_of_it = await rest.ok("GET", f"experiments?page_size=2&page_token={token}")
        assert [e["display_name"] for e in rest_of_it["experiments"]] == ["e0"]
        assert "next_page_token" not in rest_of_it
        wanted = json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": "e1"}]})
        found = await rest.ok("GET", f"experiments?filter={wanted}")
        assert [e["display_name"] for e in found["experiments"]] == ["e1"]
        assert await rest.ok("GET", "experiments?namespace=other") == {}

    run_rest(tmp_path, scenario)


def test_an_experiment_lives_and_ends(tmp_path):
    async def scenario(rest):
        made = await rest.ok("POST", "experiments", {"display_name": "e", "description": "d"})
        id = made["experiment_id"]
        assert (await rest.ask("POST", "experiments", {"display_name": "e"}))[0] == 409
        run = await make_run(rest, experiment_id=id)
        await rest.ok("POST", f"experiments/{id}:archive")
        assert (await rest.ok("GET", f"experiments/{id}"))["storage_state"] == "ARCHIVED"
        assert (await rest.ok("GET", f"runs/{run['run_id']}"))["storage_state"] == "ARCHIVED"
        status, answer = await rest.ask("POST", f"runs/{run['run_id']}:unarchive")
        assert (status, answer["code"]) == (400, 9)
        await rest.ok("POST", f"experiments/{id}:unarchive")
        await rest.ok("POST", f"runs/{run['run_id']}:unarchive")
        await rest.ok("DELETE", f"experiments/{id}")
        assert (await rest.ask("GET", f"experiments/{id}"))[0] == 404

    run_rest(tmp_path, scenario)


def test_a_pipeline_is_uploaded_versioned_run_and_deleted(tmp_path):
    async def scenario(rest):
        spec = json.dumps(PIPELINE).encode()
        status, made = await rest.upload(
            "pipelines/upload?name=p&description=d&tags=%7B%22a%22%3A%22b%22%7D", spec
        )
        assert (status, made["name"], made["tags"]) == (200, "p", {"a": "b"}), made
        id = made["pipeline_id"]
        assert (await rest.upload("pipelines/upload?name=p", spec))[0] == 409
        status, version = await rest.upload(f"pipelines/upload_version?name=v2&pipelineid={id}", spec)
        assert status == 200
        listed = await rest.ok("GET", f"pipelines/{id}/versions?sort_by=created_at")
        assert [v["name"] for v in listed["pipeline_versions"]] == ["p", "v2"]
        assert (await rest.ok("GET", "pipelines/names/p"))["pipeline_id"] == id
        reference = {"pipeline_id": id, "pipeline_version_id": version["pipeline_version_id"]}
        body = {"display_name": "r", "pipeline_version_reference": reference}
        assert (await rest.ok("POST", "runs", body))["pipeline_version_reference"] == reference
        latest = {"display_name": "r", "pipeline_version_reference": {"pipeline_id": id}}
        assert (await rest.ok("POST", "runs", latest))["pipeline_version_reference"] == reference
        changed = await rest.ok("PATCH", f"pipelines/{id}", {"display_name": "shown"})
        assert (changed["name"], changed["display_name"]) == ("p", "shown")
        status, answer = await rest.ask("DELETE", f"pipelines/{id}")
        assert (status, "cascade=true" in answer["message"]) == (400, True)
        await rest.ok("DELETE", f"pipelines/{id}/versions/{version['pipeline_version_id']}")
        await rest.ok("DELETE", f"pipelines/{id}?cascade=true")
        assert (await rest.ask("GET", f"pipelines/{id}"))[0] == 404

    run_rest(tmp_path, scenario)


BAD_FORMS = {
    "no form": ({"content-type": "application/json"}, b"{}", "isn't multipart/form-data"),
    "no end": ({"content-type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\nabc", "not whole"),
    "another part": (
        {"content-type": "multipart/form-data; boundary=b"},
        b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\nabc\r\n--b--",
        "no part uploadfile",
    ),
}


@pytest.mark.parametrize("case", BAD_FORMS)
def test_a_form_without_a_file_is_refused(tmp_path, case):
    headers, body, words = BAD_FORMS[case]

    async def scenario(rest):
        response = await rest.send("POST", "/apis/v2beta1/pipelines/upload?name=p", body, headers)
        assert response.status == 400
        assert words in json.loads(response.body)["message"]

    run_rest(tmp_path, scenario)


def test_the_server_fetches_no_pipeline_from_a_url(tmp_path):
    async def scenario(rest):
        body = {
            "pipeline": {},
            "pipeline_version": {"package_url": {"pipeline_url": "http://169.254.169.254/"}},
        }
        status, answer = await rest.ask("POST", "pipelines/create", body)
        assert (status, answer["code"]) == (501, 12)

    run_rest(tmp_path, scenario)


def test_a_run_is_asked_to_end_and_to_go_on_by_its_object(tmp_path):
    async def scenario(rest):
        run = await make_run(rest)
        id, name = run["run_id"], run["proa"]["name"]
        status, answer = await rest.ask("POST", f"runs/{id}:retry")
        assert (status, "it is PENDING" in answer["message"]) == (400, True)
        await rest.ok("POST", f"runs/{id}:terminate")
        assert (await rest.cluster.get(RUNS, name, "kubeflow"))["spec"]["terminate"] is True
        await rest.services.database.runs.update(id, state=RunState.FAILED, error="boom", finished_at=1.5)
        assert (await rest.ask("POST", f"runs/{id}:terminate"))[0] == 400
        shown = await rest.ok("GET", f"runs/{id}")
        assert (shown["error"]["message"], shown["finished_at"]) == ("boom", "1970-01-01T00:00:01.500Z")
        await rest.ok("POST", f"runs/{id}:retry")
        assert (await rest.cluster.get(RUNS, name, "kubeflow"))["spec"]["retries"] == 1
        await rest.ok("DELETE", f"runs/{id}")
        assert (await rest.ask("GET", f"runs/{id}"))[0] == 404

    run_rest(tmp_path, scenario)


def test_a_run_whose_object_has_gone_with_its_time_gets_another_to_go_on(tmp_path):
    async def scenario(rest):
        run = await make_run(rest)
        name = run["proa"]["name"]
        await rest.cluster.patch(RUNS, name, {"metadata": {"finalizers": None}}, "kubeflow")
        await rest.cluster.delete(RUNS, name, "kubeflow")
        await rest.services.database.runs.update(run["run_id"], state=RunState.FAILED)
        await rest.ok("POST", f"runs/{run['run_id']}:retry")
        found = await rest.cluster.get(RUNS, name, "kubeflow")
        assert found["spec"] == {"runId": run["run_id"], "retries": 1}

    run_rest(tmp_path, scenario)


def make_task(run_id, path, kind=TaskKind.CONTAINER, state=TaskState.SUCCEEDED, **more):
    name = path.rpartition("/")[2] or "root"
    parent = None if not path else path.rpartition("/")[0]
    return Task(run_id, path, make_task_id(run_id, path), name, name, kind, state, parent, **more)


def test_tasks_are_shown_with_upstreams_nodes_and_with_what_we_know(tmp_path):
    async def scenario(rest):
        id = (await make_run(rest))["run_id"]
        model = Artifact("a1", "model", "minio://b/m", "system.Model", namespace="kubeflow", run_id=id)
        outputs = Values({"n": 3}, {"model": (model,)})
        add = make_task(
            id, "add", pod_name="pod-1", created_at=1.0, started_at=2.0, finished_at=3.25, outputs=outputs
        )
        hit = make_task(
            id,
            "hit",
            state=TaskState.CACHED,
            created_at=4.0,
            caching=Caching("hit", "same inputs", "f", "t0"),
        )
        root = make_task(id, "", TaskKind.DAG, TaskState.RUNNING, created_at=0.5)
        await rest.services.database.tasks.upsert_many(id, [root, add, hit])
        nodes = (await rest.ok("GET", f"runs/{id}"))["run_details"]["task_details"]
        names = [(node["display_name"], node["state"]) for node in nodes]
        assert names == [
            ("root", "RUNNING"), ("root-driver", "SUCCEEDED"),
            ("add", "SUCCEEDED"), ("add-driver", "SUCCEEDED"), ("executor", "SUCCEEDED"),
            ("hit", "SUCCEEDED"), ("hit-driver", "SUCCEEDED"), ("executor", "SKIPPED"),
        ]  # fmt: skip
        assert len({node["task_id"] for node in nodes}) == len(nodes)
        shown = nodes[2]
        assert shown["outputs"] == {"model": {"artifact_ids": ["a1"]}}
        assert shown["child_tasks"] == [{"pod_name": "pod-1"}]
        assert shown["end_time"] == "1970-01-01T00:00:03.250Z"
        assert shown["parent_task_id"] == root.id
        assert shown["proa"]["outputs"]["parameters"] == {"n": 3}
        assert shown["proa"]["log"] == f"/apis/v2beta1/runs/{id}/log?task=add"
        assert nodes[0]["child_tasks"] == [{"task_id": add.id}, {"task_id": hit.id}]
        assert nodes[5]["proa"]["cache"] == {"outcome": "hit", "reason": "same inputs", "from_task_id": "t0"}

    run_rest(tmp_path, scenario)


def test_artifacts_and_logs_are_given_out_of_the_store(tmp_path):
    async def scenario(rest):
        id = (await make_run(rest))["run_id"]
        store = await rest.services.stores.of("kubeflow")
        uri = f"minio://mlpipeline/v2/artifacts/adder/{id}/add/s/model"
        await store.write(uri, b"weights")
        log = f"minio://mlpipeline/v2/artifacts/adder/{id}/add/log"
        await store.write(log, b"line\n")
        task_id = make_task_id(id, "add")
        model = Artifact("a1", "model", uri, "system.Model", namespace="kubeflow", run_id=id, task_id=task_id)
        made = make_task(id, "add", outputs=Values({}, {"model": (model,)}), log_uri=log, pod_name="pod-1")
        used = make_task(id, "use", inputs=Values({}, {"m": (model,)}))
        await rest.services.database.tasks.upsert_many(id, [made, used])

        async def text(path):
            response = await rest.send("GET", f"/apis/v2beta1/{path}")
            assert response.status == 200, response.body
            return b"".join([piece async for piece in response.stream])

        assert await text("artifacts/a1:download") == b"weights"
        assert await text(f"runs/{id}/log?task=add") == b"line\n"
        assert await text(f"runs/{id}/nodes/pod-1/log") == b"line\n"
        assert json.loads(await text(f"runs/{id}/nodes/pod-1/artifacts/model:read")) == {
            "data": "d2VpZ2h0cw=="
        }
        listed = await rest.ok("GET", f"artifacts?run_id={id}&type=system.Model")
        assert [one["artifact_id"] for one in listed["artifacts"]] == ["a1"]
        uses = (await rest.ok("GET", "artifacts/a1/lineage"))["uses"]
        assert {(use["path"], use["is_output"]) for use in uses} == {("add", True), ("use", False)}
        assert (await rest.ask("GET", f"runs/{id}/log?task=use"))[0] == 404
        rest.cluster.refused.add(("ann", "readArtifact", "runs"))
        rest.user = User("ann", ("other",))
        assert (await rest.ask("GET", "artifacts/a1:download"))[0] == 403

    run_rest(tmp_path, scenario)


def test_a_recurring_run_lives_and_ends(tmp_path):
    async def scenario(rest):
        trigger = {"cron_schedule": {"cron": "0 0 * * * *", "start_time": "2026-01-02T03:04:05+01:00"}}
        body = {
            "display_name": "hourly", "pipeline_spec": PIPELINE, "trigger": trigger, "mode": "ENABLE",
            "max_concurrency": "2", "no_catchup": True,
        }  # fmt: skip
        made = await rest.ok("POST", "recurringruns", body)
        id = made["recurring_run_id"]
        assert made["trigger"]["cron_schedule"]["start_time"] == "2026-01-02T02:04:05Z"
        assert (made["status"], made["max_concurrency"]) == ("ENABLED", "2")
        await rest.ok("POST", f"recurringruns/{id}:disable")
        shown = await rest.ok("GET", f"recurringruns/{id}")
        assert (shown["status"], shown["mode"]) == ("DISABLED", "DISABLE")
        await rest.ok("POST", f"recurringruns/{id}:enable")
        assert [one["status"] for one in (await rest.ok("GET", "recurringruns"))["recurringRuns"]] == [
            "ENABLED"
        ]
        await rest.ok("DELETE", f"recurringruns/{id}")
        assert await rest.ok("GET", "recurringruns") == {}
        assert rest.looked_at == [id] * 4

    run_rest(tmp_path, scenario)


BAD_TRIGGERS = {
    "cron": ({"trigger": {"cron_schedule": {"cron": "often"}}}, "Schedule cron is not a supported format"),
    "interval": ({"trigger": {"periodic_schedule": {"interval_second": "0"}}}, "interval 0"),
    "concurrency": ({"max_concurrency": 11}, "at most 10"),
    "time": ({"trigger": {"periodic_schedule": {"start_time": "soon"}}}, "Timestamp"),
}


@pytest.mark.parametrize("case", BAD_TRIGGERS)
def test_a_schedule_that_is_none_is_refused(tmp_path, case):
    change, words = BAD_TRIGGERS[case]

    async def scenario(rest):
        body = {"display_name": "x", "pipeline_spec": PIPELINE, **change}
        status, answer = await rest.ask("POST", "recurringruns", body)
        assert (status, words in answer["message"]) == (400, True), answer

    run_rest(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nothing", 404),
        ("PUT", "runs", 501),
        ("GET", "runs/x:archive", 404),
        ("POST", "runs/x:archive", 404),
    ],
)
def test_what_is_no_call_is_refused(tmp_path, method, path, status):
    async def scenario(rest):
        assert (await rest.ask(method, path))[0] == status

    run_rest(tmp_path, scenario)


def test_health_needs_nobody_and_doubled_slashes_are_fine(tmp_path):
    async def scenario(rest):
        rest.user = None
        response = await rest.send("GET", "//apis/v2beta1/healthz", needs_token=True)
        assert json.loads(response.body)["multi_user"] is False
        assert rest.cluster.reviews == []

    run_rest(tmp_path, scenario)
