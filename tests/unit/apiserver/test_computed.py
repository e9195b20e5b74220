"""Objects that are read off the running server look like any others."""

from __future__ import annotations

PATH = "/api/v1/componentstatuses"


def test_the_store_is_a_component(api):
    answer = api.get(PATH)
    (item,) = answer.json["items"]
    assert (item["metadata"]["name"], item["conditions"]) == (
        "etcd-0",
        [{"type": "Healthy", "status": "True", "message": "ok"}],
    )
    assert "v1 ComponentStatus is deprecated in v1.19+" in answer.headers["Warning"]


def test_one_is_read_by_its_name(api):
    found = api.get(f"{PATH}/etcd-0").json
    assert (found["kind"], found["apiVersion"]) == ("ComponentStatus", "v1")
    assert api.get(f"{PATH}/ghost").message == 'componentstatuses "ghost" not found'


def test_kubectl_get_shows_it(api):
    table = api.get(PATH, accept="application/json;as=Table;v=v1;g=meta.k8s.io").json
    assert [row["cells"] for row in table["rows"]] == [["etcd-0", "Healthy", "ok", ""]]


def test_nothing_is_written(api):
    assert api.post(PATH, {"metadata": {"name": "x"}}).status == 405
    assert api.delete(f"{PATH}/etcd-0").status == 405
    assert api.get(f"{PATH}?watch=true").status == 405
