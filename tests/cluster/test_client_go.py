"""client-go, the library of Go operators: typed clients that take protobuf alone, informers, apply, election, exec.

It is built from Debian's packages, which takes minutes: where they are not there, this is left out.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.clusters import Cluster, run
from support.go import BUILD_SECONDS, find_go

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.timeout(BUILD_SECONDS + 200),
]
PROGRAM = Path(__file__).with_name("programs") / "client_go"
STEPS = [
    "discovery",
    "typed",
    "errors",
    "informer",
    "watch",
    "apply",
    "scale",
    "put creates",
    "dynamic",
    "metadata",
    "leader election",
    "pod",
]


@pytest.fixture(scope="session")
def client_go(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the program, built."""
    go = find_go()
    if go is None:
        pytest.skip(f"not on this machine: Go and client-go: {PROGRAM / 'get.sh'} gets them")
    target = tmp_path_factory.mktemp("client-go") / "client-go"
    go.build(PROGRAM / "main.go", target)
    return str(target)


def test_a_client_go_program_does_what_operators_do(client_go: str, cluster: Cluster, namespace: str) -> None:
    done = run([client_go, str(cluster.kubeconfig), namespace], timeout=120, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, STEPS), done.stdout + done.stderr
