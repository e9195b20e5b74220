"""What every container runtime of ours does: the same suite as root, rootless (an unprivileged uid) and processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proa.node.noded import launch
from proa.node.noded.client import NodedClient
from proa.node.noded.launch import NodedSettings, ensure_noded, find_programs, stop_noded
from proa.node.noded.probe import probe_features
from proa.node.runtimes.protocol import (
    Container,
    ContainerConfig,
    Mount,
    Resources,
    RuntimeFailure,
    Sandbox,
    SandboxConfig,
    Security,
)
from support.etcd import free_port
from support.processes import find_processes

SOURCE = Path(launch.__file__).parents[3]
IMAGE = "proa.local/python"
OTHER_UID = 64123
DEADLINE = 60.0
HAS_SYS_ADMIN = """exec python3 -c '
for line in open("/proc/self/status"):
    if line.startswith("CapEff"):
        print(int(line.split()[1], 16) >> 21 & 1)'
"""
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)$")
HANDLERS = ("runc", "crun", "bwrap")
_OCI = {
    "user namespaces": "does not map the ids of its files here",
    "closed device files": "leaves it to control groups which device files are opened",
    "interpreter": "starts from a copy of itself, not from an interpreter",
    "volumes at /dev": "is given none: it could be led out of the container (CVE-2025-31133)",
}
LACKING: dict[str, dict[str, str]] = {
    "runc": _OCI,
    "crun": {
        **_OCI,
        "runc's words": "has its own",
        "links in targets": "takes no absolute link on the way to a mount's target",
        "hidden execs": "shows its log to who may trace in the container",
        "guarded /proc": "mounts below /proc where a volume's link leads there",
    },
    "bwrap": {
        "user namespaces": "makes those of a single id only",
        "shared processes": "joins no PID namespace",
        "privilege": "keeps parts of /proc read-only, so it refuses privileged containers and unmasked /proc",
        "interpreter": "starts no copy of itself",
        "folders in volumes": "takes no working folder that others could change meanwhile",
        "bounding set": "leaves it whole: no_new_privs, which it always sets, makes it worth nothing",
        "names of groups": "shows a user's further groups as nobody's, for its user namespace has one group",
    },
}
START_AS_OTHER = """
import asyncio, json, os, sys
os.setgroups([]); os.setresgid(*[{uid}] * 3); os.setresuid(*[{uid}] * 3)
from pathlib import Path
from proa.node.noded.launch import NodedSettings, ensure_noded
async def main():
    client = await ensure_noded(Path({directory!r}), NodedSettings(level="rootless", node_name="contract"))
    await client.close()
asyncio.run(main())
"""


class HandlerClient(NodedClient):
    """A client whose pods name a handler."""

    handler = ""

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        return await super().run_sandbox(
            replace(config, runtime_handler=config.runtime_handler or self.handler)
        )


class Node:
    """A node's directory, how to start its noded on one rung of the ladder, and the handler of its pods.

    `lacks` are the features that the handler has not, by name, with the reason.
    """

    def __init__(self, directory: Path, level: str, handler: str = "") -> None:
        self.directory = directory
        self.level = level
        self.handler = handler
        self.lacks = LACKING.get(handler, {})

    def needs(self, feature: str) -> None:
        """Skip what the handler declares that it has not."""
        if feature in self.lacks:
            pytest.skip(f"not on this machine: {self.handler} {self.lacks[feature]}")

    @property
    def isolated(self) -> bool:
        return self.level != "process"

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        if self.level == "rootless" and os.geteuid() == 0:
            os.chown(self.directory, OTHER_UID, OTHER_UID)
            python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
            script = START_AS_OTHER.format(uid=OTHER_UID, directory=str(self.directory))
            environment = {
                "PYTHONPATH": str(SOURCE),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PATH": os.environ["PATH"],
            }
            subprocess.run([python, "-c", script], check=True, env=environment, cwd="/", timeout=DEADLINE)
        else:
            asyncio.run(self._start())

    async def _start(self) -> None:
        level: Any = self.level
        client = await ensure_noded(self.directory, NodedSettings(level=level, node_name="contract"))
        await client.close()

    def stop(self) -> None:
        asyncio.run(stop_noded(self.directory))

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[NodedClient]:
        client = await HandlerClient.connect(self.directory)
        client.handler = self.handler
        try:
            yield client
        finally:
            for sandbox in await client.list_sandboxes():
                await client.remove_sandbox(sandbox.id)
            await client.close()


def require(level: str) -> None:
    """Skip where this machine cannot give the level, with the reason."""
    if level == "process":
        return
    why = dict(probe_features())["root" if level == "root" else "rootless"]
    if why:
        place = "not on this machine: " if level == "root" else ""  # a machine can be mended for rootless
        pytest.skip(f"{place}{level}: {why}")


RUNGS = ["root", "rootless", "process", "runc", "crun", "bwrap"]


@pytest.fixture(scope="module", params=RUNGS)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with started(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def bwrap() -> Iterator[Node]:
    with started("bwrap") as made:
        yield made


@pytest.fixture(params=RUNGS)
def own_node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node that the test may kill."""
    with started(request.param) as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter: pytest's are 0700, which shuts the rootless node out."""
    with open_folder() as path:
        yield path


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="proa-contract-") as path:
        os.chmod(path, 0o777)
        yield Path(path)


@contextlib.contextmanager
def started(rung: str) -> Iterator[Node]:
    handler = rung if rung in HANDLERS else ""
    level = "root" if handler else rung
    require(level)
    if handler and not find_programs().get(handler):
        pytest.skip(f"not on this machine: {handler} is not installed")
    with open_folder() as directory:
        made = Node(directory / "node", level, handler)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def run(node: Node, body: Callable[[NodedClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with node.client() as client:
            await asyncio.wait_for(body(client), DEADLINE)

    asyncio.run(main())


async def make_sandbox(client: NodedClient, name: str = "pod", **settings: Any) -> Sandbox:
    return await client.run_sandbox(SandboxConfig("default", name, f"uid-{name}", name, **settings))


def make_config(node: Node, *argv: str, **settings: Any) -> ContainerConfig:
    environment = tuple(settings.pop("env", {}).items())
    log = str(node.directory / "logs" / f"{time.monotonic_ns()}.log")
    return ContainerConfig("main", IMAGE, argv, environment, log_path=log, **settings)


def shell(node: Node, script: str, **settings: Any) -> ContainerConfig:
    return make_config(node, "sh", "-c", script, **settings)


async def start(client: NodedClient, sandbox: Sandbox, config: ContainerConfig) -> str:
    identifier = await client.create_container(sandbox.id, config)
    await client.start_container(identifier)
    return identifier


async def ended(client: NodedClient, identifier: str) -> Container:
    async for _ in client.events():
        container = await client.get_container(identifier)
        assert container is not None
        if container.state == "Exited":
            return container
    raise AssertionError("the events ended")


async def run_to_end(client: NodedClient, config: ContainerConfig, **sandbox: Any) -> Container:
    made = await make_sandbox(client, **sandbox)
    return await ended(client, await start(client, made, config))


async def output(client: NodedClient, config: ContainerConfig, **sandbox: Any) -> list[str]:
    """Run to the end, and return the lines of the log."""
    await run_to_end(client, config, **sandbox)
    return [text for _, text in log_lines(config)]


def log_lines(config: ContainerConfig) -> list[tuple[str, str]]:
    found = [LOG_LINE.match(line) for line in Path(config.log_path).read_text().splitlines()]
    assert all(found), Path(config.log_path).read_text()
    return [(match[1], match[3]) for match in found if match]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel finishes by itself."""
    limit = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < limit, "it never came true"
        await asyncio.sleep(0.01)


async def collect(session: Any) -> dict[str, bytes]:
    found = {"stdout": b"", "stderr": b""}
    async for stream, data in session.output():
        found[stream] += data
    return found


# What ends, and how


@pytest.mark.parametrize(
    ("script", "exit_code", "signalled", "reason"),
    [
        ("exit 0", 0, 0, "Completed"),
        ("exit 3", 3, 0, "Error"),
        ("python3 -c 'import os; os.abort()'", 134, 0, "Error"),
    ],
    ids=["success", "failure", "the shell passes a signal on"],
)
def test_an_exit_code_is_kept(node: Node, script: str, exit_code: int, signalled: int, reason: str) -> None:
    async def body(client: NodedClient) -> None:
        container = await run_to_end(client, shell(node, f"{script}\nexit $?"))
        assert (container.exit_code, container.signal, container.reason) == (exit_code, signalled, reason)
        assert container.created_at <= container.started_at <= container.finished_at

    run(node, body)


def test_output_goes_to_the_log_in_cri_format(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        config = shell(node, "echo out; echo err >&2; printf 'no newline'")
        await run_to_end(client, config)
        found = log_lines(config)  # each stream is in order
        assert [text for stream, text in found if stream == "stdout"] == ["out", "no newline"]
        assert [text for stream, text in found if stream == "stderr"] == ["err"]

    run(node, body)


def test_a_long_line_is_split_into_partial_ones(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        config = make_config(node, "python3", "-c", "print('x' * 40000)")
        await run_to_end(client, config)
        lines = [LOG_LINE.match(line) for line in Path(config.log_path).read_text().splitlines()]
        assert [(m[2], len(m[3])) for m in lines if m] == [("P", 16384), ("P", 16384), ("F", 7232)]

    run(node, body)


def test_stop_lets_the_program_end_by_itself(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        config = shell(node, "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
        identifier = await start(client, sandbox, config)
        await until(lambda: "ready" in Path(config.log_path).read_text())
        await client.stop_container(identifier, 20)
        container = await client.get_container(identifier)
        assert container is not None
        assert (container.state, container.exit_code) == ("Exited", 7)

    run(node, body)


def test_a_stop_before_the_program_listens_is_not_lost(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        config = shell(node, "sleep 0.3; trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done")
        identifier = await start(client, sandbox, config)
        await client.stop_container(identifier, 20)
        container = await client.get_container(identifier)
        assert container is not None
        ended_by_itself = 7 if node.isolated else 143  # no first process of a namespace: the signal ends it
        assert (container.state, container.exit_code) == ("Exited", ended_by_itself)

    run(node, body)


WAITS_FOR_SIGNALS = """
import signal, time
time.sleep(0.3)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
times = 0
while signal.sigtimedwait({signal.SIGTERM}, 1.0 if times else 20) is not None:
    times += 1
raise SystemExit(times)
"""


def test_a_program_that_waits_for_signals_is_told_once_however_late_it_begins_to(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        config = shell(node, 'exec python3 -c "$PROGRAM"', env={"PROGRAM": WAITS_FOR_SIGNALS})
        identifier = await start(client, sandbox, config)
        await client.stop_container(identifier, 25)
        container = await client.get_container(identifier)
        assert container is not None
        ended_by_itself = 1 if node.isolated else 143
        assert (container.state, container.exit_code) == ("Exited", ended_by_itself)

    run(node, body)


def test_stop_kills_what_does_not_listen(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        config = shell(node, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        identifier = await start(client, sandbox, config)
        await until(lambda: "ready" in Path(config.log_path).read_text())
        await client.stop_container(identifier, 0.2)
        container = await client.get_container(identifier)
        assert container is not None
        assert (container.state, container.exit_code, container.signal) == ("Exited", 137, 9)

    run(node, body)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nonesuch"], 'exec: "nonesuch": executable file not found in $PATH'),
        (["/no/such"], 'exec: "/no/such": stat /no/such: no such file or directory'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
    ],
    ids=["not on PATH", "no such file", "not executable"],
)
def test_a_program_that_cannot_run_is_refused_in_runcs_words(node: Node, argv: list[str], words: str) -> None:
    node.needs("runc's words")

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        identifier = await client.create_container(sandbox.id, make_config(node, *argv))
        with pytest.raises(RuntimeFailure) as caught:
            await client.start_container(identifier)
        assert caught.value.reason == "RunContainerError"
        assert words in caught.value.message
        container = await ended(client, identifier)
        assert (container.reason, container.exit_code) == ("StartError", 128)
        assert container.started_at == 0

    run(node, body)


def test_events_begin_with_a_resync_and_tell_of_start_and_end(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        events = client.events()
        assert (await anext(events)).type == "resync"
        sandbox = await make_sandbox(client)
        identifier = await start(client, sandbox, shell(node, "true"))
        seen = [await anext(events), await anext(events)]
        assert [(event.type, event.container_id, event.sandbox_id) for event in seen] == [
            ("started", identifier, sandbox.id),
            ("exited", identifier, sandbox.id),
        ]
        await events.aclose()  # type: ignore[attr-defined]

    run(node, body)


def test_what_is_gone_may_be_stopped_and_removed_again(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        identifier = await start(client, sandbox, shell(node, "exec sleep 100"))
        for _ in range(2):
            await client.stop_sandbox(sandbox.id)
            await client.stop_container(identifier, 0)
        stopped = await client.list_sandboxes()
        assert [s.state for s in stopped] == ["NotReady"]
        for _ in range(2):
            await client.remove_container(identifier)
            await client.remove_sandbox(sandbox.id)
        assert await client.list_sandboxes() == []
        assert await client.list_containers() == []
        assert await client.get_container(identifier) is None

    run(node, body)


def test_an_image_that_is_not_here_is_refused(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        with pytest.raises(RuntimeFailure, match="cannot run here"):
            await client.create_container(
                sandbox.id, ContainerConfig("c", "docker.io/library/nginx", ("nginx",), ())
            )
        image = await client.image(IMAGE)
        assert image is not None
        assert image.repo_digest.startswith("proa.local/python@sha256:")

    run(node, body)


# Inside


def test_python_inside_is_the_one_outside(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        script = "import proa, sys; print(sys.version_info[:2] >= (3, 11))"
        environment = {"PYTHONPATH": str(SOURCE)}
        assert await output(client, make_config(node, "python3", "-c", script, env=environment)) == ["True"]
        if node.level != "rootless":
            lines = await output(client, make_config(node, "python", "-c", "import sys; print(sys.prefix)"))
            assert lines == [sys.prefix]

    run(node, body)


def test_environment_and_working_folder_are_as_asked(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        config = shell(node, "echo $COLOUR; pwd", env={"COLOUR": "blue"}, working_dir="/srv/new/folder")
        lines = await output(client, config)
        assert lines[0] == "blue"
        assert lines[1] == "/srv/new/folder" or not node.isolated

    run(node, body)


def test_a_pod_has_its_own_name_address_and_files(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's")

    async def body(client: NodedClient) -> None:
        settings = {
            "dns_servers": ("10.96.0.10",),
            "dns_searches": ("default.svc.cluster.local", "cluster.local"),
            "dns_options": ("ndots:5",),
            "host_aliases": (("1.2.3.4", ("one", "two")),),
            "sysctls": {"net.ipv4.ip_local_port_range": "2000 3000"},
        }
        script = (
            "hostname; cat /etc/hostname /etc/resolv.conf /etc/hosts /proc/sys/net/ipv4/ip_local_port_range"
        )
        lines = await output(client, shell(node, script), name="web-0", **settings)
        assert lines[:5] == [
            "web-0",
            "web-0",
            "search default.svc.cluster.local cluster.local",
            "nameserver 10.96.0.10",
            "options ndots:5",
        ]
        assert "1.2.3.4\tone\ttwo" in lines
        assert "2000\t3000" in lines
        assert any(re.fullmatch(r"10\.244\.1\.\d+\tweb-0", line) for line in lines)

    run(node, body)


def test_the_first_process_is_alone_with_a_private_root(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")

    async def body(client: NodedClient) -> None:
        script = """
            echo $$; ls /proc | grep -c '^[0-9]'
            touch /tmp/mine /root/mine /new && echo written
            ls /tmp /home
            (echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo refused
        """
        lines = await output(client, shell(node, script))
        assert lines[0] == "1"
        assert int(lines[1]) <= 3
        assert "written" in lines
        assert "mine" in lines
        assert lines[-1] == "refused"
        assert not os.path.exists("/new")

    run(node, body)


def test_secrets_of_the_host_are_not_there(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")

    async def body(client: NodedClient) -> None:
        secrets = [
            "/etc/shadow",
            os.path.expanduser("~/.ssh"),
            os.path.expanduser("~/.kube"),
            str(node.directory),
        ]
        script = "; ".join(f"ls -A {path} 2>/dev/null; cat {path} 2>/dev/null" for path in secrets)
        lines = await output(client, shell(node, f"{script}; head -c1 /proc/kcore 2>/dev/null; true"))
        assert [line for line in lines if line != "/etc/shadow"] == []

    run(node, body)


@pytest.mark.parametrize(
    ("security", "script", "expected"),
    [
        (Security(), "id -u; grep CapEff /proc/self/status", ["0", "CapEff:\t00000000a80425fb"]),
        (Security(privileged=True), HAS_SYS_ADMIN, ["1"]),
        (Security(run_as_user=1000, run_as_group=2000), "id -u; id -g; grep CapEff /proc/self/status",
         ["1000", "2000", "CapEff:\t0000000000000000"]),
        (Security(drop_capabilities=("ALL",)), "grep CapBnd /proc/self/status", ["CapBnd:\t0000000000000000"]),
        (Security(drop_capabilities=("ALL",), add_capabilities=("NET_BIND_SERVICE",)),
         "grep CapEff /proc/self/status", ["CapEff:\t0000000000000400"]),
        (Security(allow_privilege_escalation=False), "grep NoNewPrivs /proc/self/status", ["NoNewPrivs:\t1"]),
        (Security(read_only_root=True), "touch /x /tmp/x /usr/x 2>&1 | grep -c Read-only; touch /dev/shm/x && echo ok",
         ["3", "ok"]),
    ],
    ids=["root by default", "privileged", "a user", "no capabilities", "one capability", "no new privileges",
         "read-only"],
)  # fmt: skip
def test_security_is_as_asked(node: Node, security: Security, script: str, expected: list[str]) -> None:
    if security.privileged:
        node.needs("privilege")
    if "CapBnd" in script:
        node.needs("bounding set")
    if not node.isolated:
        pytest.skip("not on this machine: processes have no isolation")

    async def body(client: NodedClient) -> None:
        assert await output(client, shell(node, script, security=security)) == expected

    run(node, body)


def test_a_profile_of_the_pods_own_filters_its_calls(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes have no isolation")
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"},
        ],
    }

    async def body(client: NodedClient) -> None:
        security = Security(seccomp_profile=json.dumps(profile))
        lines = await output(client, shell(node, "mkdir /tmp/new 2>&1; echo $?", security=security))
        assert "Operation not supported" in lines[0]
        bad = Security(seccomp_profile='{"defaultAction": "SCMP_ACT_NONSENSE"}')
        sandbox = await make_sandbox(client, "other")
        with pytest.raises(RuntimeFailure, match="seccomp"):
            await start(client, sandbox, shell(node, "true", security=bad))

    run(node, body)


def test_the_user_is_told_and_may_be_a_name_of_the_image(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes have no isolation")

    async def body(client: NodedClient) -> None:
        container = await run_to_end(client, shell(node, "true", security=Security(username="daemon")))
        assert container.user is not None
        groups = (1, 7) if node.level == "root" else ()
        assert container.user[:2] == (1, 1)
        settings = Security(run_as_user=1, supplemental_groups=(7,), strict_groups=True)
        config = shell(node, "id -u; id -G", security=settings)
        container = await run_to_end(client, config, name="strict")
        assert container.user == (1, 1, groups)
        if node.level == "root" and "names of groups" not in node.lacks:
            assert [text for _, text in log_lines(config)] == ["1", "1 7"]
        unknown = shell(node, "true", security=Security(username="nobody-here"))
        sandbox = await make_sandbox(client, "unknown")
        with pytest.raises(RuntimeFailure, match="unable to find user nobody-here: no matching entries"):
            await start(client, sandbox, unknown)

    run(node, body)


def test_containers_of_a_pod_may_share_their_processes(node: Node) -> None:
    node.needs("shared processes")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's")

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client, share_processes=True)
        mark = f"1{time.monotonic_ns() % 10**8}"
        first = await start(client, sandbox, shell(node, f"sleep {mark} & exec sleep {mark}"))
        await until(lambda: len(processes_with(mark)) == 2)
        script = """
            cat /proc/1/comm; pgrep -xc sleep
            (sleep 0.01 & exec sleep 0.02); sleep 0.1
            for i in $(seq 600); do dead=$(grep -l 'State:.Z' /proc/[0-9]*/status | wc -l); [ $dead = 0 ] && break
                sleep 0.1; done; echo $dead
            ls /proc/1/root/ 2>&1 | grep -c 'Permission denied'; kill -9 1; test -d /proc/1 && echo held
        """
        config = shell(node, script)
        await ended(client, await start(client, sandbox, config))
        assert [text for _, text in log_lines(config)] == ["pause", "2", "0", "1", "held"]
        session = await client.exec(first, ("sh", "-c", "cat /proc/1/comm"), stdin=False, tty=False)
        assert (await collect(session))["stdout"] == b"pause\n"
        await session.close()
        await client.stop_container(first, 0)
        await until(lambda: not processes_with(mark))
        assert [s.state for s in await client.list_sandboxes()] == ["Ready"]

    run(node, body)


def test_a_pod_may_have_ids_of_its_own(node: Node, folder: Path) -> None:
    async def refused(client: NodedClient) -> None:
        with pytest.raises(RuntimeFailure, match="does not support user namespaces"):
            await make_sandbox(client, host_users=False)

    async def body(client: NodedClient) -> None:
        (folder / "made").mkdir()
        os.chown(folder / "made", 0, 0)
        mark = f"2{time.monotonic_ns() % 10**8}"
        script = f"""
            cat /proc/self/uid_map; id -u; stat -c %u / /etc/passwd /volume /etc/hosts /root; echo x > /volume/file
            touch /root/new /tmp/new /etc/new && mkdir /srv/made && echo wrote; hostname changed || echo kept
            cat /proc/sys/kernel/overflowuid > /dev/null; ip link add dummy0 type dummy 2>/dev/null && echo linked
            exec sleep {mark}
        """
        mounts = (Mount(str(folder / "made"), "/volume"),)
        config = shell(node, script, mounts=mounts, working_dir="/new/folder",
                       security=Security(add_capabilities=("NET_ADMIN",)))  # fmt: skip
        sandbox = await make_sandbox(client, host_users=False)
        container = await start(client, sandbox, config)
        await until(lambda: "kept" in Path(config.log_path).read_text())
        lines = [text.split() for _, text in log_lines(config)]
        assert lines[0][0] == "0"
        assert int(lines[0][1]) >= 65536
        assert lines[0][2] == "65536"
        assert [word for line in lines[1:7] for word in line] == ["0"] * 6
        assert ["wrote"] in lines
        assert (folder / "made" / "file").stat().st_uid == 0
        await until(lambda: outside_ids(f"sleep\0{mark}") == [int(lines[0][1])])
        session = await client.exec(
            container, ("sh", "-c", "id -u; cat /proc/self/uid_map"), stdin=False, tty=False
        )
        told = (await collect(session))["stdout"].decode().split()
        assert told[0] == "0"
        assert told[2] == lines[0][1]
        await session.close()
        other = await make_sandbox(client, "other", host_users=False)
        config = shell(node, "cat /proc/self/uid_map")
        await ended(client, await start(client, other, config))
        assert log_lines(config)[0][1].split()[1] != lines[0][1]

    has_them = node.level == "root" and "user namespaces" not in node.lacks
    run(node, body if has_them else refused)


def outside_ids(command: str) -> list[int]:
    """Return the uids, as the machine has them, of processes with this command that are not root."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") == command.encode():
                found.append(os.stat(f"/proc/{pid}").st_uid)
    return [uid for uid in found if uid]


def test_proc_is_whole_where_it_is_unmasked(node: Node) -> None:
    node.needs("privilege")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")

    async def body(client: NodedClient) -> None:
        script = "grep -c ' /proc/' /proc/self/mountinfo; true"
        assert await output(client, shell(node, script)) != ["0"]
        lines = await output(client, shell(node, script, security=Security(unmasked_proc=True)), name="open")
        assert lines == ["0"]

    run(node, body)


def test_root_inside_cannot_open_a_device_that_it_makes(node: Node) -> None:
    node.needs("closed device files")
    if node.level != "root":
        pytest.skip("not on this machine: only root may make devices")

    async def body(client: NodedClient) -> None:
        script = """
            for place in /dev /tmp / /run /root; do
                mknod $place/probe c 1 3 && ! head -c1 $place/probe 2>/dev/null && echo refused
            done
        """
        assert await output(client, shell(node, script)) == ["refused"] * 5

    run(node, body)


def test_mounts_show_folders_and_files_read_only_where_asked(node: Node, folder: Path) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    (folder / "data").mkdir()
    (folder / "data" / "file").write_text("content")
    for path in (folder, folder / "data"):
        path.chmod(0o777)

    async def body(client: NodedClient) -> None:
        mounts = (
            Mount(str(folder / "data"), "/mnt/new/data"),
            Mount(str(folder / "data"), "/etc/config", read_only=True),
            Mount(str(folder / "data" / "file"), "/var/run/secrets/token", read_only=True),
            Mount(str(folder / "data" / "file"), "/usr/share/one"),
        )
        script = """
            cat /mnt/new/data/file /etc/config/file /var/run/secrets/token /usr/share/one; echo
            echo new > /mnt/new/data/made
            touch /etc/config/x 2>/dev/null || echo refused
            ls /etc/passwd /usr/share/one
        """
        lines = await output(client, shell(node, script, mounts=mounts))
        assert lines == ["content" * 4, "refused", "/etc/passwd", "/usr/share/one"]
        assert (folder / "data" / "made").read_text() == "new\n"

    run(node, body)


def test_a_device_file_is_opened_where_it_is_mounted_as_one(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")

    async def body(client: NodedClient) -> None:
        mounts = (
            Mount("/dev/zero", "/dev/nvidia0", is_device=True),
            Mount("/dev/zero", "/dev/dri/renderD128", is_device=True),
            Mount("/dev/zero", "/mnt/zero"),
        )
        script = """
            for file in /dev/nvidia0 /dev/dri/renderD128; do head -c 3 $file | wc -c; done
            head -c 3 /mnt/zero 2>/dev/null || echo refused
        """
        assert await output(client, shell(node, script, mounts=mounts)) == ["3", "3", "refused"]

    run(node, body)


def test_a_symbolic_link_in_a_mount_target_stays_inside(node: Node, folder: Path) -> None:
    node.needs("links in targets")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    volume, escape = folder / "volume", folder / "escape"
    for path in (volume, escape):
        path.mkdir()
        path.chmod(0o777)
    (volume / "absolute").symlink_to(escape)
    (volume / "relative").symlink_to("../" * 20 + str(escape).lstrip("/"))

    async def body(client: NodedClient) -> None:
        mounts = (
            Mount(str(volume), "/volume"),
            Mount("/etc", "/volume/absolute/made"),
            Mount("/etc", "/volume/relative/made/too"),
        )
        lines = await output(
            client, shell(node, "ls /volume; cat /volume/absolute/made/passwd | head -c 4", mounts=mounts)
        )
        assert lines[:2] == ["absolute", "relative"]
        assert lines[2] == "root"
        assert list(escape.iterdir()) == []

    run(node, body)


def test_a_termination_message_is_written_to_its_file(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")

    async def body(client: NodedClient) -> None:
        file = node.directory / f"message-{time.monotonic_ns()}"
        file.touch()
        file.chmod(0o666)
        config = shell(node, "echo why > /dev/termination-log", termination_message_file=str(file))
        await run_to_end(client, config)
        assert file.read_text() == "why\n"

    run(node, body)


def test_running_out_of_memory_is_told(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        why = (await client.status()).features["cgroup-memory"]
        if why:
            pytest.skip(f"not on this machine: {why}")
        limited = Resources(memory_limit_bytes=64 << 20)
        config = make_config(node, "python3", "-c", "x = 'x' * (1 << 28)", resources=limited)
        container = await run_to_end(client, config)
        assert (container.reason, container.exit_code) == ("OOMKilled", 137)

    run(node, body)


def test_the_kernel_holds_limits_and_counts_use(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        features = (await client.status()).features
        if any(features[f"cgroup-{name}"] for name in ("cpu", "memory", "pids")):
            pytest.skip("not on this machine: no control groups here")
        limits = Resources(cpu_shares=512, cpu_quota_millis=1500, memory_limit_bytes=256 << 20, pids_limit=20)
        sandbox = await make_sandbox(client)
        script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us " \
            "/sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max " \
            "/sys/fs/cgroup/pids.max; exec sleep 100"  # fmt: skip
        config = shell(node, script, resources=limits)
        identifier = await start(client, sandbox, config)
        await until(lambda: len(Path(config.log_path).read_text().splitlines()) == 3)
        assert [text.split()[0] for _, text in log_lines(config)] == [str(256 << 20), "150000", "20"]
        stats = (await client.usage())[identifier]
        assert stats.cpu_nanoseconds > 0
        assert 0 < stats.memory_working_set_bytes < 64 << 20

    run(node, body)


def test_the_use_of_all_processes_counts_with_or_without_control_groups(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        work = "import time; all(iter(lambda: time.process_time() < 0.3, False))"
        script = f"python3 -c '{work}'; python3 -c '{work}; time.sleep(100)' & wait"
        identifier = await start(client, sandbox, shell(node, script))
        used, limit = 0, time.monotonic() + DEADLINE
        while used < 500_000_000:  # more than either child has
            stats = (await client.usage())[identifier]
            assert stats.cpu_nanoseconds >= used
            assert 0 < stats.memory_working_set_bytes < 64 << 20
            used = stats.cpu_nanoseconds
            assert time.monotonic() < limit, f"only {used} ns"
            await asyncio.sleep(0.05)

    run(node, body)


def test_a_running_containers_limits_can_be_changed(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        features = (await client.status()).features
        sandbox = await make_sandbox(client)
        first = Resources(cpu_shares=102, cpu_quota_millis=500, memory_limit_bytes=128 << 20)
        script = "while sleep 0.05; do cat /sys/fs/cgroup/memory/memory.limit_in_bytes " \
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/memory.max " \
            "/sys/fs/cgroup/cpu.max; done"  # fmt: skip
        config = shell(node, script, resources=first, labels={"kept": "yes"})
        identifier = await start(client, sandbox, config)
        for memory, cpu in ((256, 1500), (64, 250)):
            wanted = Resources(cpu_shares=204, cpu_quota_millis=cpu, memory_limit_bytes=memory << 20)
            await client.update_container(identifier, wanted, {"given": str(memory)})
            found = await client.get_container(identifier)
            assert found is not None
            assert found.config.resources == wanted
            assert found.config.labels == {"kept": "yes", "given": str(memory)}
            if not any(features[f"cgroup-{name}"] for name in ("cpu", "memory")):
                text = [str(memory << 20), str(cpu * 100)]
                await until(lambda text=text: [t.split()[0] for _, t in log_lines(config)][-2:] == text)
        if not features["cgroup-memory"]:
            with pytest.raises(RuntimeFailure, match="below current usage") as caught:
                await client.update_container(identifier, Resources(memory_limit_bytes=4096), {})
            assert caught.value.reason == "ResizeError"

    run(node, body)


def test_host_namespaces_are_the_nodes(node: Node) -> None:
    node.needs("shared processes")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's namespaces anyway")

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client, "host", host_network=True, host_pid=True, host_ipc=True)
        assert sandbox.ip == (await client.status()).node_ip
        script = (
            "tr '\\0' ' ' < /proc/1/cmdline; echo; cat /proc/net/dev | grep -c proa0; sleep 1000 & sleep 1000"
        )
        config = shell(node, script)
        identifier = await start(client, sandbox, config)
        await until(lambda: len(Path(config.log_path).read_text().splitlines()) == 2)
        (_, first), (_, second) = log_lines(config)
        assert "proa-noded" in first
        assert second == "1"
        session = await client.exec(identifier, ("sh", "-c", "echo inside"), stdin=False, tty=False)
        assert (await collect(session))["stdout"] == b"inside\n"
        await session.close()
        await client.stop_container(identifier, 0)

    run(node, body)


@pytest.mark.parametrize("propagation", ["private", "rslave", "rshared"])
def test_mounts_propagate_as_asked(node: Node, folder: Path, propagation: Any) -> None:
    node.needs("privilege")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")

    async def body(client: NodedClient) -> None:
        (folder / "inner").mkdir()
        config = shell(
            node,
            "mount -t tmpfs tmpfs /shared/inner && touch /shared/inner/file && ls /shared/inner; exec sleep 100",
            mounts=(Mount(str(folder), "/shared", propagation=propagation),),
            security=Security(privileged=True),
        )
        sandbox = await make_sandbox(client)
        await start(client, sandbox, config)
        await until(lambda: "file" in Path(config.log_path).read_text())
        noded = launch.running_pid(node.directory)
        seen = str(folder / "inner") in Path(f"/proc/{noded}/mountinfo").read_text()
        assert seen is (propagation == "rshared")
        assert str(folder / "inner") not in Path("/proc/self/mountinfo").read_text()
        if seen:  # a mount that a pod makes for others outlives it: take it back as a CSI driver would
            helper = shell(
                node, "umount /shared/inner", mounts=config.mounts, security=Security(privileged=True)
            )
            await ended(client, await start(client, sandbox, helper))

    run(node, body)


# Taking part


def test_exec_runs_beside_the_program(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        identifier = await start(client, sandbox, shell(node, "exec sleep 100", env={"COLOUR": "blue"}))
        argv = ("sh", "-c", "echo $COLOUR; echo oops >&2; cat; exit 5")
        session = await client.exec(identifier, argv, stdin=True, tty=False)
        await session.write(b"from outside\n" * 10000)
        reading = asyncio.create_task(collect(session))
        await session.close_stdin()
        found = await reading
        assert found == {"stdout": b"blue\n" + b"from outside\n" * 10000, "stderr": b"oops\n"}
        assert await session.wait() == 5
        await session.close()
        if node.isolated:
            session = await client.exec(
                identifier, ("sh", "-c", "cat /proc/1/comm; hostname"), stdin=False, tty=False
            )
            assert (await collect(session))["stdout"] == b"sleep\npod\n"
            await session.close()

    run(node, body)


def test_exec_as_a_user_joins_the_users_container(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's users")

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        security = Security(run_as_user=1234, run_as_group=1234)
        identifier = await start(client, sandbox, shell(node, "exec sleep 100", security=security))
        session = await client.exec(
            identifier, ("sh", "-c", "id -u; kill -0 1 && echo same"), stdin=False, tty=False
        )
        assert await collect(session) == {"stdout": b"1234\nsame\n", "stderr": b""}
        await session.close()

    run(node, body)


def test_exec_with_a_terminal_has_its_size(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        identifier = await start(client, sandbox, shell(node, "exec sleep 100"))
        session = await client.exec(identifier, ("sh", "-c", "read x; stty size; tty"), stdin=True, tty=True)
        await session.resize(120, 40)
        await session.write(b"\n")
        found = await collect(session)
        assert b"40 120" in found["stdout"]
        assert b"/dev/pts/" in found["stdout"]
        assert await session.wait() == 0
        await session.close()

    run(node, body)


def test_exec_that_cannot_run_says_why_and_one_that_is_left_is_killed(node: Node) -> None:
    node.needs("runc's words")

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        identifier = await start(client, sandbox, shell(node, "exec sleep 100"))
        with pytest.raises(RuntimeFailure, match="executable file not found"):
            await client.exec(identifier, ("nonesuch",), stdin=False, tty=False)
        session = await client.exec(identifier, ("sleep", "1000"), stdin=False, tty=False)
        await session.close()
        assert await session.wait() == 137
        container = await client.get_container(identifier)
        assert container is not None
        assert container.state == "Running"

    run(node, body)


def test_attach_shares_the_programs_streams(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        config = shell(
            node, "while read line; do echo got $line; echo err >&2; done", stdin=True, stdin_once=True
        )
        identifier = await start(client, sandbox, config)
        session = await client.attach(identifier)
        await session.write(b"one\n")
        reading = asyncio.create_task(collect(session))
        await until(lambda: "err" in Path(config.log_path).read_text())
        await session.close_stdin()
        assert await reading == {"stdout": b"got one\n", "stderr": b"err\n"}
        assert await session.wait() == 0
        await session.close()
        assert ("stdout", "got one") in log_lines(config)

    run(node, body)


def test_attach_to_a_terminal(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        script = "stty -echo; echo ready; read line; stty size; echo got $line; exit 4"
        config = shell(node, script, stdin=True, tty=True)
        identifier = await start(client, sandbox, config)
        await until(lambda: "ready" in Path(config.log_path).read_text())
        session = await client.attach(identifier)
        await session.resize(100, 30)
        await session.write(b"hello\n")
        found = await collect(session)
        assert b"30 100\r\ngot hello" in found["stdout"]
        assert await session.wait() == 4
        await session.close()

    run(node, body)


# The network


LISTEN = """
import socket
s = socket.create_server(("0.0.0.0", {port}))
print("listening", flush=True)
while True:
    c, a = s.accept()
    c.sendall(a[0].encode())
    c.close()
"""


def test_pods_reach_each_other_and_can_be_dialled(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        port = free_port()
        server = await make_sandbox(client, "server")
        config = make_config(node, "python3", "-c", LISTEN.format(port=port))
        await start(client, server, config)
        await until(lambda: "listening" in Path(config.log_path).read_text())
        caller = make_config(
            node,
            "python3",
            "-c",
            f"import socket; print(socket.create_connection(('{server.ip}', {port})).recv(99))",
        )
        peer = await make_sandbox(client, "caller")
        await ended(client, await start(client, peer, caller))
        assert log_lines(caller) == [("stdout", repr(peer.ip.encode()))]
        for sandbox, host in ((server.id, "localhost"), ("", server.ip)):
            connection = await client.dial(sandbox, host, port)
            assert await asyncio.get_running_loop().sock_recv(connection, 99)
            connection.close()
        with pytest.raises(RuntimeFailure, match="refused"):
            await client.dial(server.id, "localhost", 1)

    run(node, body)


def test_a_socket_of_the_node_is_reached_from_pods(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's network")

    async def body(client: NodedClient) -> None:
        await client.add_addresses(["10.96.0.10/32"])
        await client.add_addresses(["10.96.0.10/32", "10.96.0.11/32"])
        for host in ("10.243.0.1", "10.96.0.10"):
            listener = await client.open_socket("tcp-listen", host, 6443)
            config = make_config(
                node,
                "python3",
                "-c",
                f"import socket; socket.create_connection(('{host}', 6443)).sendall(b'hello')",
            )
            sandbox = await make_sandbox(client)
            await start(client, sandbox, config)
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            assert await asyncio.get_running_loop().sock_recv(connection, 99) == b"hello"
            connection.close()
            listener.close()
        await client.remove_addresses(["10.96.0.10/32", "10.96.0.11/32", "10.96.0.12/32"])
        nobody = await client.open_socket("udp", "10.243.0.1", 53)
        assert nobody.type == socket.SOCK_DGRAM
        nobody.close()

    run(node, body)


# What outlives whom


CLIENT = """
import asyncio, os, signal, sys
from pathlib import Path
from proa.node.noded.client import NodedClient
from proa.node.runtimes.protocol import *
async def main():
    client = await NodedClient.connect(Path(sys.argv[1]))
    sandbox = await client.run_sandbox(SandboxConfig("default", "pod", "uid", "pod"))
    for argv in (("sh", "-c", "sleep 0.3; exit 42"), ("sleep", "1000")):
        identifier = await client.create_container(sandbox.id, ContainerConfig("c", "proa.local/python", argv, ()))
        await client.start_container(identifier)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def test_containers_outlive_a_killed_client_with_their_exit_codes(node: Node) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    killed = subprocess.run([sys.executable, "-c", CLIENT, str(node.directory)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL

    async def body(client: NodedClient) -> None:
        short, long = sorted(await client.list_containers(), key=lambda c: c.created_at)
        assert (await ended(client, short.id)).exit_code == 42
        again = await client.get_container(long.id)
        assert again is not None
        assert again.state == "Running"

    run(node, body)


def test_a_second_start_adopts_the_noded_that_runs(own_node: Node) -> None:
    before = launch.running_pid(own_node.directory)
    own_node.start()
    assert launch.running_pid(own_node.directory) == before is not None


def test_nothing_is_left_of_a_killed_noded_and_the_next_one_remembers(own_node: Node) -> None:
    marker = f"3{time.monotonic_ns() % 10**9}"

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        await start(client, sandbox, shell(own_node, f"sleep {marker} & sleep {marker}"))
        await until(lambda: len(processes_with(marker)) >= 2)
        pid = launch.running_pid(own_node.directory)
        assert pid is not None
        namespace = os.readlink(f"/proc/{pid}/ns/net")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not processes_with(marker))
        await until(lambda: not own_node.isolated or namespace not in namespaces("net"))
        assert str(own_node.directory) not in Path("/proc/self/mountinfo").read_text()

    async def main() -> None:
        client = await NodedClient.connect(own_node.directory)
        try:
            await asyncio.wait_for(body(client), DEADLINE)
        finally:
            await client.close()

    asyncio.run(main())
    own_node.start()

    async def remembered(client: NodedClient) -> None:
        (sandbox,) = await client.list_sandboxes()
        (container,) = await client.list_containers()
        assert sandbox.state == "NotReady"
        assert (container.state, container.exit_code) == ("Exited", 137)

    run(own_node, remembered)


def test_a_program_that_a_killed_noded_may_have_started_is_not_started_again(own_node: Node) -> None:
    async def main() -> None:
        client = await NodedClient.connect(own_node.directory)
        try:
            sandbox = await make_sandbox(client)
            identifier = await start(client, sandbox, shell(own_node, "sleep 1000"))
            pid = launch.running_pid(own_node.directory)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: launch.running_pid(own_node.directory) is None)
            (file,) = own_node.directory.glob(f"**/{identifier}.json")
            record = json.loads(file.read_text())
            file.write_text(json.dumps({**record, "state": "Created"}))  # as it is until the program runs
        finally:
            await client.close()

    asyncio.run(main())
    own_node.start()

    async def remembered(client: NodedClient) -> None:
        (container,) = await client.list_containers()
        assert (container.state, container.exit_code) == ("Exited", 137)

    run(own_node, remembered)


def test_a_client_finds_noded_again_after_it_was_started_anew(own_node: Node) -> None:
    async def main() -> None:
        client = await NodedClient.connect(own_node.directory)
        events = client.events()
        assert (await anext(events)).type == "resync"
        await client.run_sandbox(SandboxConfig("default", "pod", "uid", "pod"))
        await stop_noded(own_node.directory)
        await asyncio.to_thread(own_node.start)
        assert (await asyncio.wait_for(anext(events), DEADLINE)).type == "resync"
        assert [s.state for s in await client.list_sandboxes()] == ["NotReady"]
        await events.aclose()  # type: ignore[attr-defined]
        await client.close()

    asyncio.run(main())


def test_a_client_that_started_noded_starts_it_again_when_it_was_killed(own_node: Node) -> None:
    if own_node.level == "rootless" and os.geteuid() == 0:
        pytest.skip("not on this machine: the client of that node is root, and would start it as root")

    async def main() -> None:
        level: Any = own_node.level
        client = await ensure_noded(own_node.directory, NodedSettings(level=level, node_name="contract"))
        events = client.events()
        assert (await anext(events)).type == "resync"
        before = launch.running_pid(own_node.directory)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        assert (await asyncio.wait_for(anext(events), DEADLINE)).type == "resync"
        assert launch.running_pid(own_node.directory) not in (before, None)
        await events.aclose()  # type: ignore[attr-defined]
        await client.close()

    asyncio.run(main())


@pytest.mark.parametrize("rounds", [0, 1, 50, 500, 5000])
def test_a_start_that_is_called_off_leaves_no_process(folder: Path, rounds: int) -> None:
    async def main() -> None:
        level: Any = "auto"
        starting = asyncio.create_task(ensure_noded(folder, NodedSettings(level=level, node_name="contract")))
        for _ in range(rounds):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).close()
        await stop_noded(folder)
        await until(lambda: not find_processes(str(folder)))

    asyncio.run(main())


def test_removing_the_folder_ends_noded(own_node: Node) -> None:
    pid = launch.running_pid(own_node.directory)
    groups = (own_node.directory / "noded.cgroups").read_text().splitlines()

    async def main() -> None:
        client = await NodedClient.connect(own_node.directory)
        sandbox = await make_sandbox(client)
        await start(client, sandbox, shell(own_node, "exec sleep 1000"))
        shutil.rmtree(own_node.directory, ignore_errors=True)
        await until(lambda: not os.path.exists(f"/proc/{pid}"))
        await client.close()

    asyncio.run(main())
    assert not any(os.path.exists(group) for group in groups)


def test_thirty_pods_leave_nothing(own_node: Node) -> None:
    async def body(client: NodedClient) -> None:
        pid = launch.running_pid(own_node.directory)
        fds = len(os.listdir(f"/proc/{pid}/fd"))
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
        for _ in range(3):
            await asyncio.gather(*(one(client, number) for number in range(10)))
        assert await client.list_containers() == []
        await until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == fds)
        await until(lambda: not own_node.isolated or Path(f"/proc/{pid}/mountinfo").read_text() == mounts)
        roots = own_node.directory / "state" / "roots"
        await until(lambda: list(roots.iterdir()) == [])
        await until(
            lambda: len(Path(f"/proc/{pid}/net/dev").read_text().splitlines()) <= 4 or not own_node.isolated
        )
        for group in (own_node.directory / "noded.cgroups").read_text().splitlines():
            assert [path.name for path in Path(group).rglob("pod*")] == []

    async def one(client: NodedClient, number: int) -> None:
        sandbox = await make_sandbox(client, f"pod-{number}")
        identifier = await start(client, sandbox, shell(own_node, "exit 1"))
        assert (await ended(client, identifier)).exit_code == 1
        await client.remove_sandbox(sandbox.id)

    run(own_node, body)


def test_status_tells_the_rung(node: Node) -> None:
    async def body(client: NodedClient) -> None:
        status = await client.status()
        assert status.level.startswith(node.level)
        assert bool(status.features["pod-network"]) is (not node.isolated)
        assert json.dumps(dict(status.features))

    run(node, body)


def processes_with(word: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"sleep" in words and word.encode() in words:
                found.append(pid)
    return found


def namespaces(kind: str) -> set[str]:
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
    return found


# What a container must not reach


def test_a_working_folder_cannot_be_a_descriptor_of_the_node(node: Node) -> None:
    """CVE-2024-21626: /proc/self/fd/N of what starts the container led to the host's files."""
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")

    async def body(client: NodedClient) -> None:
        for number in range(3, 24):
            sandbox = await make_sandbox(client, f"pod{number}")
            config = shell(node, "pwd -P", working_dir=f"/proc/self/fd/{number}")
            with pytest.raises(RuntimeFailure):
                await start(client, sandbox, config)

    run(node, body)


def test_a_container_cannot_change_the_interpreter_that_starts_it(node: Node) -> None:
    """CVE-2019-5736: /proc/self/exe, run as a program, is the runtime's own file on the host."""
    node.needs("interpreter")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    script = "import os; os.utime('/proc/self/exe', (1, 1))"

    async def body(client: NodedClient) -> None:
        lines = await output(client, make_config(node, "/proc/self/exe", "-I", "-S", "-c", script))
        assert "Read-only file system" in lines[-1]

    run(node, body)


@pytest.mark.parametrize("above", ["/" + "../" * 30, "/inside"], ids=["dots", "a link"])
def test_a_path_of_the_pod_never_unlinks_the_hosts_links(node: Node, folder: Path, above: str) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    link = folder / "link"
    link.symlink_to("/nowhere")
    (folder / "message").touch(mode=0o666)

    async def body(client: NodedClient) -> None:
        config = shell(
            node,
            "echo ran",
            termination_message_path=f"{above}{folder}/link",
            termination_message_file=str(folder / "message"),
        )
        assert await output(client, config) == ["ran"]

    run(node, body)
    assert link.is_symlink()


def test_nothing_is_mounted_in_proc(node: Node, folder: Path) -> None:
    node.needs("guarded /proc")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    (folder / "way").symlink_to("/proc")

    async def body(client: NodedClient) -> None:
        for number, place in enumerate(("/proc", "/proc/sys", "/volume/way/self/attr")):
            sandbox = await make_sandbox(client, f"pod{number}")
            mounts = (Mount(str(folder), "/volume"), Mount(str(folder), place))
            with pytest.raises(RuntimeFailure, match="cannot be mounted because it"):
                await start(client, sandbox, shell(node, "true", mounts=mounts))

    run(node, body)


def test_a_volume_at_dev_cannot_lead_the_masks_elsewhere(node: Node, folder: Path) -> None:
    """CVE-2025-31133: masks are binds of /dev/null, which a volume at /dev could make a link."""
    node.needs("volumes at /dev")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    (folder / "null").symlink_to("/proc/sys/kernel/core_pattern")

    async def body(client: NodedClient) -> None:
        script = "wc -c < /proc/keys; wc -c < /proc/timer_list"
        lines = await output(client, shell(node, script, mounts=(Mount(str(folder), "/dev"),)))
        assert lines == ["0", "0"]

    run(node, body)


def test_an_exec_gets_nothing_from_a_hostile_dev_null(node: Node, folder: Path) -> None:
    node.needs("volumes at /dev")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")

    async def body(client: NodedClient) -> None:
        (folder / "null").symlink_to("/proc/self/fd/1")
        config = shell(node, "echo ready; exec sleep 60", mounts=(Mount(str(folder), "/dev"),))
        container = await start(client, await make_sandbox(client), config)
        await until(lambda: log_lines(config) == [("stdout", "ready")])
        session = await client.exec(container, ["readlink", "/proc/self/fd/0"], stdin=False, tty=False)
        assert (await collect(session))["stdout"] == b"/dev/null\n"
        await session.close()

    run(node, body)


@pytest.mark.parametrize(
    "name", ["kernel.core_pattern", "net/../kernel/core_pattern", "kernel.hostname", "vm.swappiness"]
)
def test_a_sysctl_of_the_whole_machine_is_refused(node: Node, name: str) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's namespaces anyway")

    async def body(client: NodedClient) -> None:
        with pytest.raises(RuntimeFailure, match="is not in a separate kernel namespace"):
            await make_sandbox(client, sysctls={name: "core"})

    run(node, body)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "refused"),
        ({"run_as_user": 1000}, "refused"),
        ({"allow_privilege_escalation": False}, "refused"),
        ({"seccomp_unconfined": True}, "made"),
    ],
    ids=["by default", "a user", "no new privileges", "unconfined"],
)
def test_a_container_makes_no_user_namespace(node: Node, settings: dict[str, Any], expected: str) -> None:
    """As root of one it could mount control groups and lift its own limits."""
    if not node.isolated:
        pytest.skip("not on this machine: processes have no isolation")

    async def body(client: NodedClient) -> None:
        script = "unshare --user true 2>/dev/null && echo made || echo refused"
        lines = await output(client, shell(node, script, security=Security(**settings)))
        assert lines == [expected]

    run(node, body)


def test_an_exec_is_filtered_too(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes have no isolation")

    async def body(client: NodedClient) -> None:
        container = await start(client, await make_sandbox(client), shell(node, "exec sleep 60"))
        session = await client.exec(
            container, ["grep", "Seccomp:", "/proc/self/status"], stdin=False, tty=False
        )
        assert (await collect(session))["stdout"] == b"Seccomp:\t2\n"
        await session.close()

    run(node, body)


def test_a_container_sees_no_folder_that_is_no_part_of_the_system(node: Node) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    if os.geteuid() != 0:
        pytest.skip("not on this machine: only root may make a folder in /")
    with tempfile.TemporaryDirectory(prefix="proa-contract-", dir="/") as path:
        (Path(path) / "secret").write_text("secret")
        os.chmod(path, 0o755)
        with started(node.level) as fresh:

            async def body(client: NodedClient) -> None:
                script = f"cat {path}/secret 2>/dev/null || echo nothing; ls /srv /mnt /media | wc -w"
                assert (await output(client, shell(fresh, script)))[0] == "nothing"

            run(fresh, body)


# Volumes of memory, and what is taken of the disk


def test_containers_of_a_pod_share_a_folder_of_memory(node: Node, folder: Path) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes see no mounts")
    shared = folder / "memory"
    shared.mkdir()

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        mounts = (Mount(str(shared), "/cache"),)
        for _ in range(2):  # the second time nothing is lost
            await client.mount_memory(str(shared), 1 << 20, 2345 if node.level == "root" else None)
            config = shell(
                node, "echo kept >> /cache/file; stat -fc %T /cache; cat /cache/file", mounts=mounts
            )
            await ended(client, await start(client, sandbox, config))
        assert [text for _, text in log_lines(config)] == ["tmpfs", "kept", "kept"]
        full = shell(node, "head -c 2000000 /dev/zero > /cache/large", mounts=mounts)
        assert (await ended(client, await start(client, sandbox, full))).exit_code == 1
        assert not list(shared.iterdir()), "it is seen by containers only"
        used, (memory,) = await client.disk_usage([], [str(shared)])
        assert (used, memory.used_bytes > 900_000, memory.inodes) == ([], True, 2)
        await client.remove_sandbox(sandbox.id)
        shared.rmdir()
        noded = (node.directory / "noded.pid").read_text().split()[0]
        assert str(shared) not in Path(f"/proc/{noded}/mountinfo").read_text()

    run(node, body)


def test_what_containers_write_is_counted(node: Node, folder: Path) -> None:
    logs = folder / "logs"
    logs.mkdir()
    (logs / "0.log").write_bytes(b"x" * 5000)

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        place = "/tmp" if node.isolated else "."
        config = shell(node, f"head -c 300000 /dev/zero > {place}/large; echo done; sleep 60")
        identifier = await start(client, sandbox, config)
        await until(lambda: "done" in Path(config.log_path).read_text())
        (written, unknown), (logged, missing) = await client.disk_usage(
            [identifier, "nonesuch"], [str(logs), str(folder / "nonesuch")]
        )
        assert 300_000 <= written.used_bytes < 700_000
        assert (logged.used_bytes, logged.inodes) == (8192, 1)
        assert {unknown.used_bytes, missing.used_bytes} == {0}
        await client.remove_sandbox(sandbox.id)

    run(node, body)


@pytest.mark.parametrize("where", ["first", "exec"])
def test_nothing_of_the_node_is_left_open_in_a_container(node: Node, where: str) -> None:
    if not node.isolated:
        pytest.skip("not on this machine: processes have no isolation")
    script = "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd'))[:-1])"

    async def body(client: NodedClient) -> None:
        if where == "first":
            assert await output(client, make_config(node, "python3", "-c", script)) == ["[0, 1, 2]"]
            return
        container = await start(client, await make_sandbox(client), shell(node, "exec sleep 60"))
        session = await client.exec(container, ("python3", "-c", script), stdin=True, tty=False)
        assert (await collect(session))["stdout"] == b"[0, 1, 2]\n"
        await session.close()

    run(node, body)


def test_an_exec_is_no_freer_than_its_container(node: Node) -> None:
    """It has the container's namespaces, control groups, capabilities, filter and no_new_privs."""
    if not node.isolated:
        pytest.skip("not on this machine: processes have no isolation")
    script = """
        for kind in cgroup ipc mnt net pid uts user; do readlink /proc/self/ns/$kind; done
        grep -E '^(Cap...|NoNewPrivs|Seccomp|Uid|Gid|Groups):' /proc/self/status; cat /proc/self/cgroup
    """
    security = Security(
        run_as_user=1000,
        supplemental_groups=(7,),
        allow_privilege_escalation=False,
        drop_capabilities=("KILL",),
    )

    async def body(client: NodedClient) -> None:
        config = shell(node, f"{script}\necho ready; exec sleep 60", security=security)
        container = await start(client, await make_sandbox(client), config)
        await until(lambda: "ready" in Path(config.log_path).read_text())
        session = await client.exec(container, ("sh", "-c", script), stdin=False, tty=False)
        seen = (await collect(session))["stdout"].decode().splitlines()
        assert seen == [text for _, text in log_lines(config)][:-1]
        assert "NoNewPrivs:\t1" in seen
        await session.close()

    run(node, body)


def test_a_link_where_a_container_expects_a_folder_leads_nowhere(node: Node, folder: Path) -> None:
    """A volume that links to the host, mounted through by later mounts, by working folder and by exec."""
    node.needs("folders in volumes")
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    node.needs("links in targets")
    (folder / "secret").mkdir()
    (folder / "secret" / "file").write_text("of the host")
    (folder / "volume").mkdir()
    (folder / "volume" / "out").symlink_to(f"{'../' * 20}{folder}/secret")
    (folder / "other").mkdir()
    for path in (folder / "volume", folder / "other"):
        path.chmod(0o777)

    async def body(client: NodedClient) -> None:
        mounts = (Mount(str(folder / "volume"), "/volume"), Mount(str(folder / "other"), "/volume/out/below"))
        script = (
            f"cat {folder}/secret/file /volume/out/file 2>/dev/null; touch /volume/out/below/mark; pwd -P"
        )
        lines = await output(client, shell(node, script, mounts=mounts, working_dir="/volume/out"))
        assert lines == [f"{folder}/secret"]

    run(node, body)
    assert sorted(path.name for path in (folder / "secret").iterdir()) == ["file"]
    assert (folder / "other" / "mark").exists()


def test_who_may_trace_gains_nothing_of_what_starts_an_exec(node: Node) -> None:
    """SYS_PTRACE inside looks at every process that it can see, the one that becomes an exec too."""
    node.needs("hidden execs")
    if not node.isolated:
        pytest.skip("not on this machine: processes have no isolation")
    script = """
        import glob, os
        print("ready", flush=True)
        while not os.path.exists("/tmp/stop"):
            for fd in glob.glob("/proc/[0-9]*/fd/*"):
                try:
                    target = os.readlink(fd)
                except OSError:
                    continue
                if "noded" in target or target.startswith("/proc/") or "/state/" in target:
                    print(target, flush=True)
    """

    async def body(client: NodedClient) -> None:
        security = Security(add_capabilities=("SYS_PTRACE",))
        config = make_config(node, "python3", "-c", textwrap.dedent(script), security=security)
        container = await start(client, await make_sandbox(client), config)
        await until(lambda: "ready" in Path(config.log_path).read_text())
        for command in [("true",)] * 5 + [("touch", "/tmp/stop")]:
            session = await client.exec(container, command, stdin=False, tty=False)
            await collect(session)
            await session.close()
        await ended(client, container)
        own = [line for _, line in log_lines(config)]
        assert [line for line in own if "noded" in line or "state" in line] == []

    run(node, body)


def _link_to_descriptor(path: Path, number: int) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(f"/proc/self/fd/{number}")


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8])
def test_a_link_to_a_descriptor_is_no_working_folder(node: Node, folder: Path, number: int) -> None:
    """CVE-2024-21626 by a link in a volume, or in the image: /dev/fd is one."""
    if not node.isolated:
        pytest.skip("not on this machine: processes share the host's files")
    _link_to_descriptor(folder / "way", number)

    async def body(client: NodedClient) -> None:
        for place in (
            f"/dev/fd/{number}",
            "/volume/way",
            "/volume/way/below",
            "/proc/1/root",
            "/proc/thread-self/cwd",
        ):
            sandbox = await make_sandbox(client, f"pod{place.replace('/', '-')}")
            config = shell(node, "pwd -P", working_dir=place, mounts=(Mount(str(folder), "/volume"),))
            with contextlib.suppress(RuntimeFailure):
                await ended(client, await start(client, sandbox, config))
                assert [text for _, text in log_lines(config)] in (["/"], [])

    run(node, body)


@pytest.mark.parametrize(
    ("pod", "settings", "words"),
    [
        ({"share_processes": True}, {}, "joins no PID namespace"),
        ({"host_pid": True}, {}, "joins no PID namespace"),
        ({}, {"security": Security(privileged=True)}, "no privileged containers"),
        ({}, {"security": Security(unmasked_proc=True)}, "no unmasked /proc"),
        ({}, {"mounts": (Mount("/usr/share", "/volume", propagation="rshared"),)}, "Bidirectional"),
        ({}, {"mounts": (Mount("/usr/share", "/volume"),), "working_dir": "/volume/doc"}, "no working folder in"),
        ({}, {"env": {f"V{n}": "" for n in range(4000)}}, "bwrap could not start the program"),
        ({}, {"working_dir": "/proc/sys"}, "no working folder in"),
        ({}, {"mounts": (Mount("/usr/share", "/"),)}, "bwrap"),
        ({}, {"security": Security(apparmor_profile="localhost/x")}, "AppArmor"),
    ],
    ids=["shared processes", "host processes", "privileged", "unmasked", "propagation", "volume",
         "too many variables", "proc", "root",
         "profile"],
)  # fmt: skip
def test_what_bwrap_cannot_do_is_refused(
    pod: dict[str, Any], settings: dict[str, Any], words: str, bwrap: Node
) -> None:
    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client, **pod)
        with pytest.raises(RuntimeFailure, match=words):
            await start(client, sandbox, shell(bwrap, "true", **settings))

    run(bwrap, body)


def test_what_bwrap_itself_cannot_run_is_told(bwrap: Node, folder: Path) -> None:
    """The check beforehand does not know what the user may do: it is bwrap that meets the refusal."""
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o700)

    async def body(client: NodedClient) -> None:
        sandbox = await make_sandbox(client)
        settings: Any = {
            "mounts": (Mount(str(folder), "/volume"),), "security": Security(run_as_user=1000)
        }  # fmt: skip
        identifier = await client.create_container(
            sandbox.id, make_config(bwrap, "/volume/program", **settings)
        )
        with pytest.raises(RuntimeFailure, match="bwrap could not start the program"):
            await client.start_container(identifier)
        assert (await ended(client, identifier)).reason == "StartError"

    run(bwrap, body)
