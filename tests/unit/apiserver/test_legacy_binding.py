"""A pod is assigned by a Binding of its own path too."""

from __future__ import annotations

BINDINGS = "/api/v1/namespaces/default/bindings"


def bind(api, pod="p", node="n"):
    return api.post(BINDINGS, {"metadata": {"name": pod}, "target": {"kind": "Node", "name": node}})


def test_it_assigns_the_pod_of_its_name_once(api):
    api.pod("p")
    answer = bind(api)
    assert (answer.status, answer.json["kind"], answer.json["status"]) == (201, "Status", "Success")
    assert api.get("/api/v1/namespaces/default/pods/p").json["spec"]["nodeName"] == "n"
    assert bind(api).status == 409


def test_what_is_wrong_is_refused(api):
    assert bind(api, "ghost").status == 404
    api.pod("p")
    assert "target.name: Required value" in bind(api, node="").message
    assert api.post(BINDINGS, {"target": {"name": "n"}}).status == 422
