"""The newest and the oldest kubectl at hand do with a custom kind of two versions what they do with a built-in one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
DEBIANS = "/usr/bin/kubectl"
CRD = "cranes.dock.example"
Kubectl = Callable[..., str]


def make_version(name: str, **more: Any) -> dict[str, Any]:
    """Return a version of Cranes: how much each lifts, and how many stand there."""
    spec = {
        "type": "object",
        "description": "What the crane can do.",
        "properties": {
            "tons": {"type": "integer", "minimum": 1, "description": "Weight that it lifts."},
            "replicas": {"type": "integer", "default": 1},
            "hooks": {"type": "array", "items": {"type": "string"}},
        },
        "x-kubernetes-validations": [
            {"rule": "self.tons >= oldSelf.tons", "message": "a crane gets no weaker"},
        ],
    }
    status = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    return {
        "name": name,
        "served": True,
        "storage": False,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [
            {"name": "Tons", "type": "integer", "jsonPath": ".spec.tons"},
            {"name": "Hooks", "type": "string", "jsonPath": ".spec.hooks", "priority": 1},
        ],
        **more,
    }


def make_definition(*versions: dict[str, Any]) -> str:
    """Return the definition of Cranes, which `kubectl get all` shows."""
    names = {
        "plural": "cranes",
        "singular": "crane",
        "kind": "Crane",
        "shortNames": ["cr"],
        "categories": ["all"],
    }
    spec = {"group": "dock.example", "scope": "Namespaced", "names": names, "versions": versions}
    body = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return json.dumps({**body, "metadata": {"name": CRD}, "spec": spec})


V1 = make_version("v1", storage=True)
V1BETA1 = make_version("v1beta1", deprecated=True, deprecationWarning="use v1 of cranes")


def crane(name: str, version: str = "v1", **spec: Any) -> str:
    """Return a Crane's manifest."""
    body = {"apiVersion": f"dock.example/{version}", "kind": "Crane", "metadata": {"name": name}}
    return json.dumps({**body, "spec": {"tons": 5, **spec}})


@pytest.fixture(params=["newest", "oldest"])
def kubectl_command(request: pytest.FixtureRequest, cluster: Cluster, namespace: str) -> list[str]:
    """Return the start of a command line in the test's namespace."""
    path = cluster.kubectl_path if request.param == "newest" else shutil.which(DEBIANS)
    if path is None:
        pytest.skip(f"not on this machine: {DEBIANS} is not installed")
    return Cluster(cluster.proa, path).kubectl_command("-n", namespace)


@pytest.fixture
def kubectl(kubectl_command: list[str]) -> Iterator[Kubectl]:
    """Define Cranes; return a function that runs a verb and returns what it printed, errors with it."""

    def call(*arguments: str, stdin: str | None = None, check: bool = True, editor: str = "false") -> str:
        done = subprocess.run(
            [*kubectl_command, *arguments],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "EDITOR": editor},
        )
        assert not check or done.returncode == 0, (arguments, done)
        return done.stdout + done.stderr

    assert f"{CRD} created" in call("apply", "-f", "-", stdin=make_definition(V1))
    call("wait", "--for=condition=established", f"crd/{CRD}", "--timeout=120s")
    yield call
    call("delete", "crd", CRD, "--timeout=120s")


def test_a_custom_object_is_created_patched_edited_and_scaled(kubectl: Kubectl) -> None:
    def value(field: str) -> str:
        return kubectl("get", "cr/big", "-o", f"jsonpath={{.spec.{field}}}")

    assert "crane.dock.example/big created" in kubectl("create", "-f", "-", stdin=crane("big"))
    kubectl("patch", "crane", "big", "--type=merge", "-p", '{"spec":{"tons":7}}')
    kubectl("patch", "crane", "big", "--type=json", "-p", '[{"op":"add","path":"/spec/hooks","value":["a"]}]')
    assert (value("tons"), value("hooks")) == ("7", '["a"]')
    refused = kubectl("patch", "crane", "big", "-p", '{"spec":{"tons":8}}', check=False)
    assert (
        "application/strategic-merge-patch+json is not supported by dock.example/v1, Kind=Crane: the body of the "
        "request was in an unknown format - accepted media types include: application/json-patch+json, "
        "application/merge-patch+json, application/apply-patch+yaml"
    ) in refused
    program = (
        "import sys; p = sys.argv[1]; t = open(p).read(); open(p, 'w').write(t.replace('tons: 7', 'tons: 9'))"
    )
    edited = kubectl("edit", "crane/big", editor=f'{sys.executable} -c "{program}"')
    assert "edited" in edited
    assert "scaled" in kubectl("scale", "crane/big", "--replicas=3", "--current-replicas=1")
    assert (value("tons"), value("replicas")) == ("9", "3")
    assert "labeled" in kubectl("label", "cr", "big", "yard=east")
    assert kubectl("get", "cr", "-l", "yard=east", "-o", "name").strip() == "crane.dock.example/big"
    assert "deleted" in kubectl("delete", "cr", "-l", "yard=east", "--timeout=120s")


def test_a_custom_object_is_shown_among_all_with_its_columns_and_explained(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=crane("big", hooks=["a", "b"]))
    assert kubectl("get", "crane").split() == ["NAME", "TONS", "big", "5"]
    assert kubectl("get", "cr", "-o", "wide").split() == ["NAME", "TONS", "HOOKS", "big", "5", '["a","b"]']
    assert "crane.dock.example/big" in kubectl("get", "all")
    assert "Weight that it lifts." in kubectl("explain", "crane.spec.tons")
    listed = kubectl("api-resources", "--api-group=dock.example", "--no-headers").split()
    assert listed == ["cranes", "cr", "dock.example/v1", "true", "Crane"]


def test_rules_of_the_schema_refuse_in_upstreams_words(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=crane("big"))
    weaker = kubectl("apply", "-f", "-", stdin=crane("big", tons=4), check=False)
    assert 'The Crane "big" is invalid: spec: Invalid value:' in weaker
    assert "a crane gets no weaker" in weaker
    light = kubectl("create", "-f", "-", stdin=crane("toy", tons=0), check=False)
    assert (
        'The Crane "toy" is invalid: spec.tons: Invalid value: 0: '
        "spec.tons in body should be greater than or equal to 1" in light
    )
    unknown = kubectl("create", "-f", "-", stdin=crane("toy", tonnes=1), check=False)
    assert 'unknown field "spec.tonnes"' in unknown


def test_appliers_of_a_custom_object_conflict_field_by_field(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=crane("big", hooks=["a"]))
    ours = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    conflict = kubectl(*ours, stdin=crane("big", tons=6), check=False)
    assert 'conflict with "kubectl": .spec.tons' in conflict
    kubectl(*ours, "--force-conflicts", stdin=crane("big", tons=6))
    kubectl("apply", "--server-side", "-f", "-", stdin=crane("big", tons=6))
    assert kubectl("get", "cr/big", "-o", "jsonpath={.spec.tons} {.spec.hooks}").strip() == "6"


def test_an_additional_version_is_served_with_its_warning(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=crane("old", hooks=["a"]))
    assert "configured" in kubectl("apply", "-f", "-", stdin=make_definition(V1, V1BETA1))
    kubectl("wait", f"crd/{CRD}", "--for=jsonpath={.spec.versions[1].name}=v1beta1", "--timeout=120s")
    made = kubectl("create", "-f", "-", stdin=crane("new", version="v1beta1"))
    assert "Warning: use v1 of cranes" in made
    assert "crane.dock.example/new created" in made
    shown = kubectl("get", "cranes.v1beta1.dock.example", "-o", "jsonpath={.items[*].apiVersion}")
    assert "dock.example/v1beta1 dock.example/v1beta1" in shown
    assert kubectl("get", "crane/new", "-o", "jsonpath={.apiVersion}") == "dock.example/v1"
    assert kubectl("get", f"crd/{CRD}", "-o", "jsonpath={.status.storedVersions}") == '["v1"]'
