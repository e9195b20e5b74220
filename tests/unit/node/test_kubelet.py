"""A kubelet runs, restarts, ends and re-adopts pods, against an in-memory API and runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proa.node.runtimes.fake import FakeSession
from proa.objects.errors import ServiceUnavailable
from proa.objects.resource import CONFIG_MAPS, LEASES, NODES, PODS, SECRETS, SERVICES
from support.kubelet import Node, harness, make_container, make_pod

Scenario = Callable[[Node], Awaitable[None]]


def run(directory: Path, scenario: Scenario, **settings: Any) -> None:
    async def main() -> None:
        async with harness(directory, **settings) as node:
            await scenario(node)

    asyncio.run(main())


async def begin(node: Node, pod: dict[str, Any]) -> None:
    await node.client.create(PODS, pod)
    await node.until(lambda: node.status(pod["metadata"]["name"]).get("phase") == "Running")


def test_a_pod_becomes_running_and_its_events_are_upstreams(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())

        status = node.status()
        assert status["podIP"] == node.runtime.sandboxes["sandbox1"].ip
        assert node.container_status()["ready"] is True
        path = "spec.containers{app}"
        assert [event for event in node.events.all if event[-1]] == [
            (
                "Normal",
                "Pulled",
                'Container image "proa.local/python" already present on machine and can be accessed by the pod',
                path,
            ),
            ("Normal", "Created", "Container created", path),
            ("Normal", "Started", "Container started", path),
        ]

    run(tmp_path, scenario)


def test_a_node_that_becomes_ready_or_is_no_more_is_told_of(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        assert node.events.messages("NodeReady") == ["Node proa-1 status is now: NodeReady"]

        await node.restart()
        assert node.events.messages("NodeNotReady") == ["Node proa-1 status is now: NodeNotReady"]
        assert len(node.events.messages("NodeReady")) == 2

    run(tmp_path, scenario)


def test_a_deleted_pod_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod(volumes=[{"name": "v", "emptyDir": {}}]))

        await node.client.delete(PODS, "web", "default")
        await node.until(lambda: node.pod() is None)

        assert node.runtime.sandboxes == {}
        assert node.runtime.containers == {}
        assert node.events.messages("Killing") == ["Stopping container app"]
        assert list(node.settings.pods_directory.iterdir()) == []
        assert list(node.settings.logs_directory.iterdir()) == []
        await node.until(lambda: not node.kubelet.workers)

    run(tmp_path, scenario)


def test_the_last_status_is_written_before_the_object_goes(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        pod = make_pod()
        pod["metadata"]["finalizers"] = ["test/hold"]
        await begin(node, pod)

        await node.client.delete(PODS, "web", "default")
        await node.until(lambda: node.status().get("phase") == "Failed")

        assert node.container_status()["state"]["terminated"]["exitCode"] == 143

    run(tmp_path, scenario)


def test_a_container_that_ends_is_restarted_at_once_then_backs_off(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())

        node.runtime.exit(node.runtime.newest("app").id, 1)
        await node.until(lambda: node.container_status()["restartCount"] == 1)
        node.runtime.exit(node.runtime.newest("app").id, 1)
        await node.until(lambda: node.waiting() == "CrashLoopBackOff")

        pod = node.pod()
        assert pod is not None
        place = f"pod web_default({pod['metadata']['uid']})"
        assert node.events.messages("BackOff") == [f"Back-off restarting failed container app in {place}"]
        assert node.container_status()["lastState"]["terminated"]["exitCode"] == 1
        node.advance(10)
        await node.until(lambda: node.container_status()["restartCount"] == 2)
        assert "running" in node.container_status()["state"]

    run(tmp_path, scenario)


def test_a_job_pod_succeeds_and_keeps_its_logs(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod(restartPolicy="Never"))

        node.runtime.exit(node.runtime.newest("app").id, 0)
        await node.until(lambda: node.status()["phase"] == "Succeeded")
        await node.settle()

        assert node.runtime.sandboxes["sandbox1"].state == "NotReady"
        assert Path(node.runtime.newest("app").config.log_path).exists()

    run(tmp_path, scenario)


def test_init_containers_run_before_the_others(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        node.runtime.exit_on_start = {"one": [0], "two": [0]}
        pod = make_pod(initContainers=[make_container("one"), make_container("two")])

        await begin(node, pod)

        starts = [call for call in node.runtime.calls if call.startswith("start_container")]
        assert starts == ["start_container one", "start_container two", "start_container app"]

    run(tmp_path, scenario)


def test_configuration_reaches_the_container(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        node.client.add(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"COLOUR": "blue"}})
        node.client.add(SECRETS, {"metadata": {"name": "s"}, "data": {"key": "c2VjcmV0"}})
        spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}
        node.client.add(SERVICES, {"metadata": {"name": "kubernetes"}, "spec": spec})
        await node.until(lambda: node.kubelet._services.list())
        container = make_container(
            envFrom=[{"configMapRef": {"name": "c"}}],
            env=[
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
                {"name": "WHERE", "value": "$(POD_IP):$(KUBERNETES_SERVICE_HOST)"},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "THERE", "value": "$(POD_IP)"},
            ],
            args=["--colour", "$(COLOUR)"],
        )

        await begin(node, make_pod("web", container))

        config = node.runtime.newest("app").config
        variables = dict(config.env)
        assert config.argv == ("serve", "--colour", "blue")
        assert variables["PASSWORD"] == "secret"
        assert variables["WHERE"] == "$(POD_IP):10.96.0.1"
        assert variables["THERE"] == node.status()["podIP"]
        assert variables["KUBERNETES_PORT_443_TCP"] == "tcp://10.96.0.1:443"
        assert variables["HOSTNAME"] == "web"

    run(tmp_path, scenario)


def test_missing_configuration_is_told_and_tried_again(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        container = make_container(
            env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a"}}}]
        )
        await node.client.create(PODS, make_pod("web", container))
        await node.until(lambda: node.waiting() == "CreateContainerConfigError")

        assert node.container_status()["state"]["waiting"]["message"] == 'configmap "c" not found'
        assert node.events.messages("Failed") == ['Error: configmap "c" not found']
        node.client.add(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}})
        node.advance(10)
        await node.until(lambda: node.status()["phase"] == "Running")

    run(tmp_path, scenario)


def test_an_image_that_is_not_here_backs_off(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await node.client.create(PODS, make_pod("web", make_container(image="nginx:1.27")))
        await node.until(lambda: node.waiting() == "ImagePullBackOff")

        message = node.container_status()["state"]["waiting"]["message"]
        assert message.startswith(
            'Back-off pulling image "nginx:1.27": ErrImagePull: this node has no images but'
        )
        assert node.events.messages("Pulling") == ['Pulling image "nginx:1.27"']
        assert node.events.messages("Failed")[1:] == ["Error: ErrImagePull", "Error: ImagePullBackOff"]
        node.advance(10)
        await node.until(lambda: len(node.events.messages("Pulling")) == 2)

    run(tmp_path, scenario)


def test_an_alias_runs_on_the_host_image_and_says_so(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod("web", make_container(image="docker.io/library/python:3.11-slim")))

        (message,) = node.events.messages("ImageAlias")
        assert 'stands for "proa.local/python"' in message
        assert node.runtime.newest("app").config.image == "proa.local/python"

    run(tmp_path, scenario)


def test_a_command_refers_to_variables_of_its_container_and_not_to_those_of_its_image(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        container = make_container(
            command=["run", "$(PATH)$(HOME)$(HOSTNAME)", "$(OWN)"], env=[{"name": "OWN", "value": "1"}]
        )
        await begin(node, make_pod("web", container))

        assert node.runtime.newest("app").config.argv == ("run", "$(PATH)$(HOME)$(HOSTNAME)", "1")

    run(tmp_path, scenario)


def test_aliases_can_be_turned_off(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await node.client.create(PODS, make_pod("web", make_container(image="python:3.11")))
        await node.until(lambda: node.waiting() == "ImagePullBackOff")

    run(tmp_path, scenario, image_aliases={})


def test_volumes_are_filled_and_follow_their_sources(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        node.client.add(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}})
        pod = make_pod(
            "web",
            make_container(volumeMounts=[{"name": "cfg", "mountPath": "/etc/cfg"}]),
            volumes=[{"name": "cfg", "configMap": {"name": "c"}}],
        )
        await begin(node, pod)
        (mount,) = node.runtime.newest("app").config.mounts
        assert Path(mount.host_path, "a").read_text() == "1"
        assert mount.read_only

        await node.client.patch(CONFIG_MAPS, "c", {"data": {"a": "2", "b": "3"}}, "default")
        await node.until(lambda: Path(mount.host_path, "a").read_text() == "2")

        assert Path(mount.host_path, "b").read_text() == "3"

    run(tmp_path, scenario)


def test_a_missing_volume_source_is_an_event_and_is_tried_again(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await node.client.create(PODS, make_pod(volumes=[{"name": "cfg", "configMap": {"name": "c"}}]))
        await node.until(lambda: node.events.messages("FailedMount"))

        assert node.events.messages("FailedMount")[0] == (
            'MountVolume.SetUp failed for volume "cfg" : configmap "c" not found'
        )
        assert node.waiting() == "ContainerCreating"
        node.client.add(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {}})
        await node.until(lambda: node.status()["phase"] == "Running")

    run(tmp_path, scenario)


def test_a_restarted_kubelet_finds_its_pods(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod("keeps"))
        await begin(node, make_pod("ends", make_container("job"), restartPolicy="Never"))
        await begin(node, make_pod("goes", make_container("gone")))
        before = node.status("keeps")
        await node.kubelet.stop()
        await node.informers.stop()

        node.runtime.exit(node.runtime.newest("job").id, 7)
        await node.client.delete(PODS, "goes", "default", grace_period_seconds=0)
        await node.start()
        await node.until(lambda: node.status("ends")["phase"] == "Failed")
        await node.until(lambda: len(node.runtime.sandboxes) == 2)

        assert node.container_status("ends")["state"]["terminated"]["exitCode"] == 7
        assert node.status("keeps") == before
        assert "gone" not in {c.config.name for c in node.runtime.containers.values()}
        assert [c for c in node.runtime.calls if c == "start_container app"] == ["start_container app"]

    run(tmp_path, scenario)


def test_a_runtime_that_lost_everything_gets_it_again(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())
        first_ip = node.status()["podIP"]

        node.runtime.lose_everything()
        await node.until(
            lambda: node.container_status()["restartCount"] == 1 and node.container_status()["ready"]
        )

        assert node.status()["podIP"] != first_ip
        assert [s.state for s in node.runtime.sandboxes.values()] == ["NotReady", "Ready"]
        assert node.events.messages("SandboxChanged")

    run(tmp_path, scenario)


def test_a_pod_deleted_by_force_is_killed_too(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())

        await node.client.delete(PODS, "web", "default", grace_period_seconds=0)
        await node.until(lambda: not node.runtime.sandboxes)

        (stop,) = [call for call in node.runtime.calls if call.startswith("stop_container")]
        assert float(stop.split()[2]) == 2

    run(tmp_path, scenario)


def test_a_deadline_ends_the_pod(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod(activeDeadlineSeconds=60))

        node.advance(61)
        await node.until(lambda: node.status()["phase"] == "Failed")

        assert node.status()["reason"] == "DeadlineExceeded"

    run(tmp_path, scenario)


def test_hooks_run_after_the_start_and_before_the_end(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        node.runtime.commands = {"hello": FakeSession, "bye": FakeSession}
        lifecycle = {"postStart": {"exec": {"command": ["hello"]}}, "preStop": {"exec": {"command": ["bye"]}}}
        await begin(node, make_pod("web", make_container(lifecycle=lifecycle)))
        await node.until(lambda: node.container_status()["ready"])

        await node.client.delete(PODS, "web", "default")
        await node.until(lambda: node.pod() is None)

        order = [
            c.split()[0] + c.split()[1]
            for c in node.runtime.calls
            if c.split()[0] in ("exec", "stop_container")
        ]
        assert order[:2] == ["exechello", "execbye"]
        assert order[2].startswith("stop_container")

    run(tmp_path, scenario)


def test_a_failed_post_start_hook_kills_the_container(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        node.runtime.commands = {"hello": lambda: FakeSession(exit_code=1)}
        hook = {"postStart": {"exec": {"command": ["hello"]}}}
        await node.client.create(PODS, make_pod("web", make_container(lifecycle=hook), restartPolicy="Never"))

        await node.until(lambda: node.status().get("phase") == "Failed")

        assert node.events.messages("FailedPostStartHook") == ["PostStartHook failed"]
        assert node.events.messages("Killing") == ["FailedPostStartHook"]

    run(tmp_path, scenario)


def test_a_program_that_cannot_be_executed(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        node.runtime.fail_next("start_container", "RunContainerError", 'exec: "serve": not found')
        await node.client.create(PODS, make_pod())

        await node.until(lambda: node.waiting() == "RunContainerError")

        assert node.events.messages("Failed") == ['Error: exec: "serve": not found']

    run(tmp_path, scenario)


def test_a_sandbox_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        node.runtime.fail_next("run_sandbox", "CreatePodSandboxError", "no address left")
        await node.client.create(PODS, make_pod())
        await node.until(lambda: node.events.messages("FailedCreatePodSandBox"))

        assert node.events.messages("FailedCreatePodSandBox") == [
            "Failed to create pod sandbox: no address left"
        ]
        node.advance(10)
        await node.until(lambda: node.status().get("phase") == "Running")

    run(tmp_path, scenario)


def test_many_pods_start_with_few_sandboxes_at_once(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await asyncio.gather(*(node.client.create(PODS, make_pod(f"p{n}")) for n in range(60)))
        await node.until(lambda: all(node.status(f"p{n}").get("phase") == "Running" for n in range(60)))

        assert 1 < node.runtime.most_sandboxes_at_once <= 8

    run(tmp_path, scenario)


def test_an_idle_pod_has_no_task_and_no_timer(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())
        await node.settle()

        (worker,) = node.kubelet.workers.values()
        assert (worker._task, worker._timer) == (None, None)

    run(tmp_path, scenario)


def test_a_status_is_written_once_the_api_answers_again(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        for _ in range(3):
            node.client.fail_next(ServiceUnavailable("away"), "patch", PODS)
        await begin(node, make_pod())

    run(tmp_path, scenario)


def test_the_node_is_registered_with_its_lease(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        found = node.client.peek(NODES, "proa-1")
        assert found is not None
        conditions = {c["type"]: (c["status"], c["reason"]) for c in found["status"]["conditions"]}
        assert conditions == {
            "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
            "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
            "PIDPressure": ("False", "KubeletHasSufficientPID"),
            "Ready": ("True", "KubeletReady"),
        }
        assert found["status"]["addresses"] == [
            {"type": "InternalIP", "address": "10.243.0.1"},
            {"type": "Hostname", "address": "proa-1"},
        ]
        assert found["spec"]["podCIDR"] == "10.244.1.0/24"
        assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "proa-1"
        assert found["metadata"]["annotations"]["proa.local/isolation"] == "root"
        assert found["status"]["capacity"]["pods"] == "250"
        lease = node.client.peek(LEASES, "proa-1", "kube-node-lease")
        assert lease is not None
        assert lease["spec"]["leaseDurationSeconds"] == 40

    run(tmp_path, scenario)


def test_what_others_give_a_node_is_allocatable_and_stays(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        def allocatable() -> str:
            found = node.client.peek(NODES, "proa-1") or {}
            return str(found["status"]["allocatable"].get("example.com/dongle", ""))

        for number in ("4", "2"):
            given = {"status": {"capacity": {"example.com/dongle": number}}}
            await node.client.patch(NODES, "proa-1", given, subresource="status")
            await node.until(lambda number=number: allocatable() == number)

        await node.restart()

        found = node.client.peek(NODES, "proa-1") or {}
        assert found["status"]["capacity"]["example.com/dongle"] == allocatable() == "2"

    run(tmp_path, scenario, lease_renew_seconds=0.01)


def test_draining_ends_containers_and_leaves_the_objects(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())

        await node.kubelet.stop(drain=True)

        assert node.runtime.newest("app").state == "Exited"
        assert node.pod() is not None
        found = node.client.peek(NODES, "proa-1")
        assert found is not None
        assert next(c for c in found["status"]["conditions"] if c["type"] == "Ready")["status"] == "False"

    run(tmp_path, scenario)


def test_draining_runs_hooks_and_ends_sidecars_last(tmp_path: Path) -> None:
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["bye"]}}}}
    sidecar = make_container("proxy", restartPolicy="Always", **hook)

    async def scenario(node: Node) -> None:
        node.runtime.commands["bye"] = lambda: FakeSession(0)
        await begin(node, make_pod("web", make_container("app"), initContainers=[sidecar]))
        app, proxy = node.runtime.newest("app").id, node.runtime.newest("proxy").id

        await node.kubelet.stop(drain=True)

        calls = [call for call in node.runtime.calls if call.startswith(("exec", "stop_container"))]
        assert {" ".join(call.split()[:2]) for call in calls[:-1]} == {"exec bye", f"stop_container {app}"}
        assert calls[-1].startswith(f"stop_container {proxy}")

    run(tmp_path, scenario)


@pytest.mark.parametrize("level", ["root", "rootless"])
def test_missing_limits_are_said_in_the_ready_condition(tmp_path: Path, level: Any) -> None:
    async def main() -> None:
        async with harness(tmp_path, start=False) as node:
            node.runtime._level = level
            await node.kubelet.start()
            found = node.client.peek(NODES, "proa-1")
            assert found is not None
            ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
            assert ("does not enforce memory limits" in ready["message"]) == (level == "rootless")

    asyncio.run(main())


def test_a_restart_of_the_server_does_not_end_a_crash_loops_wait(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())
        for restarts in (1, 2):
            node.runtime.exit(node.runtime.newest("app").id, 1)
            node.advance(10)
            await node.until(lambda restarts=restarts: node.container_status()["restartCount"] == restarts)
        node.runtime.exit(node.runtime.newest("app").id, 1)
        await node.until(lambda: node.waiting() == "CrashLoopBackOff")

        await node.restart()
        await node.settle()

        assert node.waiting() == "CrashLoopBackOff"
        assert "back-off 20s" in node.container_status()["state"]["waiting"]["message"]

    run(tmp_path, scenario)


def test_what_was_drained_has_not_crashed_and_starts_at_once(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())
        for restarts in (1, 2):
            node.runtime.exit(node.runtime.newest("app").id, 1)
            node.advance(10)
            await node.until(lambda restarts=restarts: node.container_status()["restartCount"] == restarts)

        await node.kubelet.stop(drain=True)
        await node.restart()

        await node.until(lambda: node.container_status()["restartCount"] == 3)
        assert node.waiting() == ""

    run(tmp_path, scenario)


def test_another_image_restarts_the_container(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        await begin(node, make_pod())

        containers = [make_container(image="python:3.11")]
        await node.client.patch(PODS, "web", {"spec": {"containers": containers}}, "default")
        await node.until(lambda: node.container_status()["restartCount"] == 1)

        assert node.events.messages("Killing") == ["Container app definition changed, will be restarted"]

    run(tmp_path, scenario)


def test_a_volume_of_the_pods_own_labels_follows_them_alone(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        item = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
        pod = make_pod(volumes=[{"name": "v", "downwardAPI": {"items": [item]}}])
        pod["metadata"]["labels"] = {"key": "one"}
        await begin(node, pod)
        uid = (node.pod() or {})["metadata"]["uid"]
        file = node.settings.pods_directory / uid / "volumes/kubernetes.io~downward-api/v/labels"
        assert file.read_text() == 'key="one"'
        await node.client.patch(PODS, "web", {"metadata": {"labels": {"key": "two"}}}, "default")
        await node.until(lambda: file.read_text() == 'key="two"')

    run(tmp_path, scenario)


def test_a_volume_of_what_may_be_missing_is_empty_once_it_is(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        node.client.add(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}})
        await begin(node, make_pod(volumes=[{"name": "v", "configMap": {"name": "c", "optional": True}}]))
        uid = (node.pod() or {})["metadata"]["uid"]
        file = node.settings.pods_directory / uid / "volumes/kubernetes.io~configmap/v/a"
        assert file.read_text() == "1"
        await node.client.delete(CONFIG_MAPS, "c", "default")
        await node.until(lambda: not file.exists())

    run(tmp_path, scenario)


def test_a_runtime_that_does_not_answer_makes_the_node_not_ready(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        def ready() -> tuple[str, str]:
            found = node.client.peek(NODES, "proa-1") or {}
            condition = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
            return condition["status"], condition["message"]

        node.runtime.fail_next("status", "NodeUnavailable", "gone")
        await node.until(lambda: ready() == ("False", "container runtime is down"))
        await node.until(lambda: ready()[0] == "True")

    run(tmp_path, scenario, lease_renew_seconds=0.01)


def test_a_node_that_was_given_up_for_silent_says_that_it_is_not(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        def ready() -> str:
            found = node.client.peek(NODES, "proa-1") or {}
            return str(next(c for c in found["status"]["conditions"] if c["type"] == "Ready")["status"])

        unknown = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
        status = {"status": {"conditions": [unknown]}}
        await node.client.patch(NODES, "proa-1", status, subresource="status")
        await node.until(lambda: ready() == "True")

    run(tmp_path, scenario, lease_renew_seconds=0.01)
