"""Who may call: by RBAC on upstream's names; visitors by their account; nobody without a token where one is needed."""

from __future__ import annotations

import json

import pytest

from proa.client.protocol import User
from support.pipelines_rest import PIPELINE, run_rest

VISITOR = "system:serviceaccount:kubeflow:ml-pipeline-visitor"


def test_what_rbac_does_not_allow_is_refused_before_anything_happens(tmp_path):
    async def scenario(rest):
        rest.cluster.refused.add(("ann", "create", "runs"))
        body = {"display_name": "r", "pipeline_spec": PIPELINE}
        status, answer = await rest.ask("POST", "runs", body)
        assert (status, answer["code"]) == (403, 7)
        assert (
            "User 'ann' cannot create runs.pipelines.kubeflow.org in namespace 'kubeflow'"
            in answer["message"]
        )
        assert await rest.ok("GET", "runs") == {}
        asked = rest.cluster.reviews[-1]["resourceAttributes"]
        assert (asked["group"], asked["version"]) == ("pipelines.kubeflow.org", "v1beta1")

    run_rest(tmp_path, scenario)


def test_a_moment_later_the_same_is_not_asked_again(tmp_path):
    async def scenario(rest):
        for _ in range(3):
            await rest.ok("GET", "runs")
        assert len(rest.cluster.reviews) == 1
        rest.user = User("ann", ("others",))
        await rest.ok("GET", "runs")
        assert len(rest.cluster.reviews) == 2

    run_rest(tmp_path, scenario)


def test_who_shows_nothing_is_the_visitor_and_only_where_no_token_is_needed(tmp_path):
    async def scenario(rest):
        rest.user = None
        await rest.ok("GET", "runs")
        assert rest.cluster.reviews[-1]["user"] == VISITOR
        rest.cluster.refused.add((VISITOR, "list", "experiments"))
        assert (await rest.ask("GET", "experiments"))[0] == 403
        response = await rest.send("GET", "/apis/v2beta1/runs", needs_token=True)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"

    run_rest(tmp_path, scenario)


def test_a_token_says_who_asks_and_a_wrong_one_is_no_visitor(tmp_path):
    async def scenario(rest):
        rest.user = None
        rest.cluster.tokens["t1"] = "eve"
        right, wrong = {"authorization": "Bearer t1"}, {"authorization": "Bearer t2"}
        for needs_token in (True, False):
            response = await rest.send("GET", "/apis/v2beta1/runs", None, right, needs_token=needs_token)
            assert response.status == 200
            response = await rest.send("GET", "/apis/v2beta1/runs", None, wrong, needs_token=needs_token)
            assert response.status == 401
        assert {review["user"] for review in rest.cluster.reviews} == {"eve"}

    run_rest(tmp_path, scenario)


PAGES = {
    "no browser": ({}, 200),
    "its own page": ({"origin": "http://localhost:8080", "host": "localhost:8080"}, 200),
    "another site": ({"origin": "https://evil.example", "host": "localhost:8080"}, 403),
    "another site by fetch": ({"sec-fetch-site": "cross-site", "host": "localhost:8080"}, 403),
    "another site's name for us": ({"origin": "http://evil.example", "host": "evil.example"}, 403),
    "another site's name for us, read": ({"host": "evil.example:8888"}, 403),
    "another site's name like ours": (
        {"origin": "http://ml-pipeline.evil.example", "host": "ml-pipeline.evil.example"},
        403,
    ),
    "no name at all": ({"host": "["}, 403),
    "a pod": ({"host": "ml-pipeline.kubeflow.svc.cluster.local:8888"}, 200),
    "an address": ({"host": "[::1]:8888"}, 200),
    "a sandboxed page": ({"origin": "null", "host": "localhost:8080"}, 403),
    "a typed address": ({"sec-fetch-site": "none", "host": "localhost:8080"}, 200),
}


@pytest.mark.parametrize("case", PAGES)
def test_pages_of_other_sites_are_no_visitors(tmp_path, case):
    headers, status = PAGES[case]

    async def scenario(rest):
        rest.user = None
        response = await rest.send("GET", "/apis/v2beta1/runs", None, headers)
        assert response.status == status, json.loads(response.body)

    run_rest(tmp_path, scenario)


def test_a_run_of_another_namespace_needs_rights_there(tmp_path):
    async def scenario(rest):
        made = await rest.ok("POST", "experiments", {"display_name": "e", "namespace": "team"})
        body = {"display_name": "r", "pipeline_spec": PIPELINE, "experiment_id": made["experiment_id"]}
        run = await rest.ok("POST", "runs", body)
        assert rest.cluster.reviews[-1]["resourceAttributes"]["namespace"] == "team"
        await rest.ok("GET", f"runs/{run['run_id']}")
        assert rest.cluster.reviews[-1]["resourceAttributes"]["namespace"] == "team"

    run_rest(tmp_path, scenario)
