"""Controllers and scheduler in processes of their own, two of each: one works, the other takes over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster, ProaCommand

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

TIMING = ("--lease-duration", "4", "--renew-deadline", "3", "--retry-period", "0.5")
DEADLINE_SECONDS = 120.0
LEASES = {"controllers": "kube-controller-manager", "scheduler": "kube-scheduler"}


def until(is_true: Callable[[], Any], what: str) -> Any:
    """Wait until something gives something true; return it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if found := is_true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_SECONDS} s: {what}")


class Contender:
    """One `proa controllers` or `proa scheduler`, as its lease and its metrics know it."""

    def __init__(self, cluster: Cluster, verb: str, folder: Path, *options: str) -> None:
        self.verb = verb
        self.is_stopped = False
        self.log = folder / f"{verb}-{len([*folder.glob(f'{verb}-*')])}"
        command = [sys.executable, "-m", "proa", verb, "--kubeconfig", str(cluster.kubeconfig), "--port", "0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *TIMING, *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/"
            )
        line = until(self._first_line, f"{verb} begins")
        words = line.split()
        self.identity, self.health = words[3], words[5]

    def _first_line(self) -> str:
        assert self.process.poll() is None, self.log.read_text()
        lines = self.log.read_text().splitlines()
        return next(
            (line for line in lines if line.startswith(f"{self.verb} run as ") and "http" in line), ""
        )

    @property
    def is_running(self) -> bool:
        """Tell whether it can be asked."""
        return self.process.poll() is None and not self.is_stopped

    def stop(self) -> None:
        """Have it do nothing."""
        self.process.send_signal(signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
        self.is_stopped = False

    def knows_that_it_lost(self) -> bool:
        """Tell whether it has said so."""
        return "election lost" in self.log.read_text()

    @property
    def leads(self) -> bool:
        """Tell what it says of itself."""
        with urllib.request.urlopen(f"{self.health}/metrics", timeout=60) as answer:
            return f'leader_election_master_status{{name="{LEASES[self.verb]}"}} 1' in answer.read().decode()

    def end(self, number: signal.Signals) -> int:
        """End it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


def holder(cluster: Cluster, verb: str) -> str:
    lease = cluster.get("lease", LEASES[verb], "-n", "kube-system")
    return str(lease["spec"].get("holderIdentity", ""))


@pytest.fixture
def apart(kubectl_path: str, tmp_path: Path) -> Iterator[Cluster]:
    """Return a cluster that has neither controllers nor scheduler, and notes who did what."""
    proa = ProaCommand(tmp_path / "home", sys.executable)
    proa("up", "--detach", "--port", "0", "--without", "scheduler,controllers", "--audit-policy", "default")
    yield Cluster(proa, kubectl_path)
    proa("reset", "--yes")


def writes(cluster: Cluster) -> Counter[tuple[str, str, int]]:
    """Return how often each kind of pod write was answered how, in the namespace of the test."""
    found: Counter[tuple[str, str, int]] = Counter()
    for line in (cluster.proa.home / "audit.log").read_text().splitlines():
        event = json.loads(line)
        about = event.get("objectRef") or {}
        if (
            about.get("resource") == "pods"
            and about.get("namespace") == "default"
            and event["verb"] == "create"
        ):
            found[event["verb"], about.get("subresource", ""), event["responseStatus"]["code"]] += 1
    return found


class Contest:
    """All contenders for both leases."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.all: list[Contender] = []

    def enter(self, verb: str, *options: str) -> None:
        """Start another one."""
        self.all.append(Contender(self.cluster, verb, self.folder, *options))

    def leader(self, verb: str) -> Contender:
        """Return the one that leads, once there is one; there are never two."""
        running = [contender for contender in self.all if contender.verb == verb and contender.is_running]

        def find() -> Contender | None:
            leading = [contender for contender in running if contender.leads]
            assert len(leading) <= 1
            return leading[0] if leading and holder(self.cluster, verb) == leading[0].identity else None

        found: Contender = until(find, f"one of {len(running)} {verb} leads")
        return found

    def scale(self, replicas: int) -> None:
        """Have the Deployment so large."""
        self.cluster.kubectl("scale", "deployment/web", f"--replicas={replicas}")
        self.cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")


@pytest.fixture
def contest(apart: Cluster, tmp_path: Path) -> Iterator[Contest]:
    (tmp_path / "logs").mkdir()
    made = Contest(apart, tmp_path / "logs")
    yield made
    for contender in made.all:
        contender.end(signal.SIGKILL)


def test_one_of_each_works_the_other_takes_over_and_nothing_is_done_twice(contest: Contest) -> None:
    cluster = contest.cluster
    pki = cluster.proa.home / "pki"
    signing = ("--cluster-signing-cert-file", f"{pki}/ca.crt", "--cluster-signing-key-file", f"{pki}/ca.key")
    for verb in LEASES:
        contest.enter(verb)
        contest.enter(
            verb, *(("--use-service-account-credentials", *signing) if verb == "controllers" else ())
        )
    program = ("sh", "-c", "trap exit TERM; sleep 600 & wait")
    cluster.kubectl("create", "deployment", "web", "--image=proa.local/python", "--", *program)
    contest.scale(2)

    # Killed: the others wait until its lease is over, and go on where it was.
    for verb in LEASES:
        contest.leader(verb).end(signal.SIGKILL)
    contest.scale(5)

    # Stopped for longer than its lease: it does nothing when it goes on, and waits.
    for verb in LEASES:
        contest.enter(verb)
        stopped = contest.leader(verb)
        stopped.stop()
        contest.leader(verb)
        if verb == "controllers":
            contest.scale(7)
        stopped.go_on()
        until(stopped.knows_that_it_lost, "it knows that it lost")

    # Told to end: the lease is free at once.
    for verb in LEASES:
        assert contest.leader(verb).end(signal.SIGTERM) == 0
        contest.leader(verb)
    cluster.kubectl("delete", "deployment/web", "--cascade=foreground", "--timeout=120s")
    assert writes(cluster) == {("create", "", 201): 7, ("create", "binding", 201): 7}
    events = cluster.get("events", "-n", "kube-system")["items"]
    told = {event["message"].split(" ", 1)[1] for event in events if event["reason"] == "LeaderElection"}
    assert told == {"became leader", "stopped leading"}


def test_a_cluster_with_controllers_of_its_own_keeps_others_waiting(cluster: Cluster, tmp_path: Path) -> None:
    contender = Contender(cluster, "controllers", tmp_path, "--controllers", "job,-namespace")
    try:
        held = cluster.get("lease", "kube-controller-manager", "-n", "kube-system")["spec"]
        until(lambda: held["holderIdentity"] in contender.log.read_text(), "it says who leads")
        assert not contender.leads
    finally:
        assert contender.end(signal.SIGTERM) == 0
    assert cluster.get("lease", "kube-controller-manager", "-n", "kube-system")["spec"] == held
