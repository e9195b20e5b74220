"""The demo's story, one step a function: what a person would do with kubectl, done through the public API."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from proa.cli import Failure
from proa.cli.demo.app import client as model_client
from proa.cli.demo.waiting import wait_until, wait_until_gone
from proa.cli.terminal import BOLD, GREEN, RED, Terminal
from proa.cli.up import start_detached
from proa.client.protocol import Client, Object
from proa.cluster_settings import Wanted
from proa.home import Home
from proa.objects.pods import is_ready
from proa.objects.resource import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICES,
    Resource,
)

NAMESPACE = "digits-demo"
HERE = Path(__file__).parent
KINDS: dict[str, Resource] = {
    r.kind: r for r in (CONFIG_MAPS, DEPLOYMENTS, JOBS, PERSISTENT_VOLUME_CLAIMS, SECRETS, SERVICES)
}
REVISION = "deployment.kubernetes.io/revision"


class Story:
    """The state of one telling: the cluster, its client, and what was measured so far."""

    def __init__(self, home: Home, terminal: Terminal) -> None:
        self.home, self.terminal = home, terminal
        self.summary: dict[str, Any] = {}
        self.key = secrets.token_urlsafe(24)
        self.client: Client
        self.node_port = 0

    def start_cluster(self, port: int | None) -> None:
        """Start the cluster, or find it running."""
        if self.home.is_running():
            from proa.cli.up import wait_until_written

            server = wait_until_written(self.home)
            self.terminal.done(f"the cluster runs already: {server['server']}")
        else:
            started = time.monotonic()
            server = start_detached(self.home, Wanted(port=port), self.terminal)
            seconds = time.monotonic() - started
            self.summary["start_seconds"] = round(seconds, 3)
            self.terminal.done(f"the cluster is ready in {seconds:.2f} s: {server['server']}")

    async def run(self) -> dict[str, Any]:
        """Tell everything after the start; return the summary."""
        from proa.client.kubeconfig import connect

        self.client = connect(self.home.kubeconfig)
        try:
            await self.prepare()
            await self.train("1")
            await self.train("2")
            await self.serve()
            await self.evaluate_from_a_pod()
            await self.evaluate_from_the_host()
            await self.under_traffic()
            await self.show_events()
        finally:
            await self.client.close()
        return self.summary

    async def prepare(self) -> None:
        """Make the namespace with the code, the secret and the volume claim."""
        await self.remove_namespace(self.client)
        await self.client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        code = {f.name: f.read_text() for f in sorted((HERE / "app").glob("*.py")) if f.name != "__init__.py"}
        await self.client.create(CONFIG_MAPS, {"metadata": {"name": "digits-code"}, "data": code}, NAMESPACE)
        key = {"metadata": {"name": "digits-key"}, "stringData": {"API_KEY": self.key}}
        await self.client.create(SECRETS, key, NAMESPACE)
        await self.create_all("storage.yaml")
        self.terminal.done(
            f"namespace {NAMESPACE}: code (ConfigMap), key (Secret), volume (PersistentVolumeClaim)"
        )

    async def remove_namespace(self, client: Client | None = None) -> None:
        """Delete what an earlier demo left, and wait until it is gone."""
        if client is None:
            from proa.client.kubeconfig import connect

            client = connect(self.home.kubeconfig)
            try:
                await self.remove_namespace(client)
            finally:
                await client.close()
            return
        if await wait_until_gone(client, NAMESPACES, NAMESPACE, None, 60, self.terminal):
            self.terminal.step(f"removed the namespace {NAMESPACE} of the last demo")

    async def create_all(self, file: str) -> None:
        """Create every object of a manifest in the demo's namespace."""
        for obj in yaml.safe_load_all((HERE / "manifests" / file).read_text()):
            await self.client.create(KINDS[obj["kind"]], obj, NAMESPACE)

    async def train(self, version: str) -> None:
        """Run the training Job of one version; its last log line holds the metrics."""
        job = yaml.safe_load((HERE / "manifests" / "train.yaml").read_text())
        job["metadata"]["name"] = f"train-v{version}"
        job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = version
        metrics = await self.run_job(job)
        self.summary.setdefault("training", {})[f"v{version}"] = metrics
        self.terminal.done(
            f"Job train-v{version}: {metrics['kind']}, accuracy {metrics['accuracy']:.1%} on "
            f"{metrics['held_out']} held-out digits, trained in {metrics['training_seconds']:.1f} s"
        )

    async def run_job(self, job: Object) -> dict[str, Any]:
        """Create a Job, wait for its end, and return the JSON in the last line of its pod's log."""
        name = job["metadata"]["name"]
        await self.client.create(JOBS, job, NAMESPACE)
        ended = await wait_until(
            self.client, JOBS, name, NAMESPACE, job_end, 180, self.terminal, f"Job {name}"
        )
        pods = (await self.client.list(PODS, NAMESPACE, label_selector=f"job-name={name}")).items
        log = await self.read_log(pods[-1]["metadata"]["name"])
        if job_end(ended) != "Complete":
            raise Failure(f"Job {name} failed; the log of its pod:\n{log}")
        return dict(json.loads(log.strip().splitlines()[-1]))

    async def read_log(self, pod: str) -> str:
        """Return a pod's log."""
        return (await self.client.read(PODS.path(NAMESPACE, pod, "log"))).decode()

    async def serve(self) -> None:
        """Create Deployment, Service and ConfigMap; wait until all replicas are available."""
        await self.create_all("serve.yaml")
        started = time.monotonic()
        await self.wait_for_rollout("3 replicas")
        service = await self.client.get(SERVICES, "digits", NAMESPACE)
        self.node_port = service["spec"]["ports"][0]["nodePort"]
        seconds = time.monotonic() - started
        self.summary["serving"] = {"replicas": 3, "seconds": round(seconds, 2), "node_port": self.node_port}
        self.terminal.done(
            f"Deployment digits: 3 replicas ready in {seconds:.1f} s; Service digits: ClusterIP "
            f"{service['spec']['clusterIP']}, NodePort {self.node_port}"
        )

    async def wait_for_rollout(self, what: str) -> None:
        """Wait until the Deployment is as its spec says, as `kubectl rollout status` does."""
        await wait_until(
            self.client, DEPLOYMENTS, "digits", NAMESPACE, is_rolled_out, 120, self.terminal, what
        )

    async def evaluate_from_a_pod(self) -> None:
        """Classify every held-out digit through cluster DNS and the ClusterIP, from a Job."""
        figures = await self.run_job(yaml.safe_load((HERE / "manifests" / "evaluate.yaml").read_text()))
        self.record("cluster_ip", "through the ClusterIP, from a pod", figures)

    async def evaluate_from_the_host(self) -> None:
        """Classify every held-out digit through the NodePort, from the host."""
        pixels, labels = load_held_out()
        tally, seconds = await model_client.classify_all(self.make_model_client, pixels, labels)
        self.record("node_port", "through the NodePort, from the host", model_client.describe(tally, seconds))

    def record(self, name: str, text: str, figures: dict[str, Any]) -> None:
        """Keep and print the figures of an evaluation; a failed request is a failed demo."""
        self.summary[name] = figures
        if figures["failed"]:
            raise Failure(
                f"{figures['failed']} of {figures['requests']} requests {text} failed: {figures['failures']}"
            )
        self.terminal.done(
            f"{figures['requests']} digits {text}: accuracy {figures['accuracy']:.1%}, "
            f"{figures['requests_per_second']:.0f} requests/s, p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms"
        )

    def make_model_client(self) -> model_client.ModelClient:
        """Return a connection to the NodePort."""
        return model_client.ModelClient("127.0.0.1", self.node_port, self.key)

    async def under_traffic(self) -> None:
        """Kill, delete, scale, roll out and roll back while traffic flows; count failures for each."""
        for name, text, act in (
            ("kill", "killed a container's process: restarted in place", self.kill_a_process),
            ("delete", "deleted a pod: replaced", self.delete_a_pod),
            ("scale", "scaled to 5", self.scale),
            ("rollout", "rolled out version 2", self.roll_out),
            ("rollback", "rolled back to version 1", self.roll_back),
        ):
            tally, seconds = await self.with_traffic(act)
            figures = {**model_client.describe(tally, seconds), "seconds": round(seconds, 2)}
            self.summary[name] = figures
            failed = f"{figures['failed']} failed" + (
                f" ({figures['failures']})" if figures["failed"] else ""
            )
            if name in ("scale", "rollout", "rollback") and figures["failed"]:
                raise Failure(f"{text}, but of {figures['requests']} requests meanwhile {failed}")
            self.terminal.done(
                f"{text} in {seconds:.1f} s; {figures['requests']} requests meanwhile, {failed}"
            )

    async def with_traffic(self, act: Callable[[], Any]) -> tuple[model_client.Tally, float]:
        """Do something under steady traffic; return what the traffic met and how long the doing took."""
        pixels, labels = load_held_out()
        tally, over = model_client.Tally(), False
        traffic = asyncio.create_task(
            model_client.steady_traffic(self.make_model_client, pixels, labels, tally, lambda: over)
        )
        started = time.monotonic()
        try:
            await act()
            seconds = time.monotonic() - started
        finally:
            over = True
            await traffic
        return tally, seconds

    async def kill_a_process(self) -> None:
        """SIGKILL the model's process in one pod, from outside; wait until its container has been restarted."""
        pod = (await self.model_pods())[0]
        name = pod["metadata"]["name"]
        process = find_process(name)
        os.kill(process, signal.SIGKILL)

        def is_restarted(now: Object) -> bool:
            return restarts(now) > restarts(pod) and is_ready(now)

        await wait_until(
            self.client, PODS, name, NAMESPACE, is_restarted, 60, self.terminal, f"{name} to restart"
        )

    async def delete_a_pod(self) -> None:
        """Delete one pod; wait until the ReplicaSet has replaced it."""
        name = (await self.model_pods())[0]["metadata"]["name"]
        await self.client.delete(PODS, name, NAMESPACE)
        await wait_until_gone(self.client, PODS, name, NAMESPACE, 60, self.terminal)
        await self.wait_for_rollout("a new pod")

    async def model_pods(self) -> list[Object]:
        """Return the ready pods of the model that are to stay."""
        pods = (await self.client.list(PODS, NAMESPACE, label_selector="app=digits")).items
        return [p for p in pods if is_ready(p) and "deletionTimestamp" not in p["metadata"]]

    async def scale(self) -> None:
        """Scale through the scale subresource, as `kubectl scale` does."""
        await self.client.patch(
            DEPLOYMENTS, "digits", {"spec": {"replicas": 5}}, NAMESPACE, subresource="scale"
        )
        await self.wait_for_rollout("5 replicas")

    async def roll_out(self) -> None:
        """Serve version 2."""
        env = [{"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": "2"}]
        await self.client.patch(
            DEPLOYMENTS, "digits", env, NAMESPACE, patch_type="application/json-patch+json"
        )
        await self.wait_for_rollout("version 2")

    async def roll_back(self) -> None:
        """Put the template of the previous revision back, as `kubectl rollout undo` does."""
        sets = [
            s
            for s in (await self.client.list(REPLICA_SETS, NAMESPACE, label_selector="app=digits")).items
            if REVISION in (s["metadata"].get("annotations") or {})
        ]
        sets.sort(key=lambda s: int(s["metadata"]["annotations"][REVISION]))
        template = json.loads(json.dumps(sets[-2]["spec"]["template"]))
        del template["metadata"]["labels"]["pod-template-hash"]
        undo = [{"op": "replace", "path": "/spec/template", "value": template}]
        await self.client.patch(
            DEPLOYMENTS, "digits", undo, NAMESPACE, patch_type="application/json-patch+json"
        )
        await self.wait_for_rollout("version 1")

    async def show_events(self) -> None:
        """Print what the cluster said of itself."""
        events = (await self.client.list(EVENTS, NAMESPACE)).items
        self.summary["events"] = len(events)
        self.terminal.line()
        self.terminal.line(self.terminal.paint("What the cluster said (the last of its events):", BOLD))
        events.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
        for event in events[-12:]:
            where = f"{event['involvedObject']['kind']}/{event['involvedObject']['name']}"
            message = textwrap.shorten(event["message"], 90, placeholder="…")
            self.terminal.line(f"  {event['reason']:<22} {where:<38} {message}")


def load_held_out() -> tuple[list[list[float]], list[int]]:
    """Return the held-out digits as plain lists."""
    from proa.cli.demo.app.digits import held_out

    pixels, labels = held_out()
    return pixels.tolist(), labels.tolist()


def job_end(job: Object) -> str:
    """Return Complete or Failed, "" while the Job runs."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return next(
        (c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), ""
    )


def is_rolled_out(deployment: Object) -> bool:
    """Tell whether all replicas are of the newest template and available, and no old one is left."""
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def restarts(pod: Object) -> int:
    """Return how often the pod's containers were restarted."""
    return sum(c["restartCount"] for c in (pod.get("status") or {}).get("containerStatuses") or [])


def find_process(pod_name: str) -> int:
    """Return the host's process id of the model server in that pod."""
    wanted = f"HOSTNAME={pod_name}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (
                wanted in (entry / "environ").read_bytes().split(b"\0")
                and b"serve.py" in (entry / "cmdline").read_bytes()
            ):
                return int(entry.name)
        except OSError:
            continue  # another user's process, or one that has just ended
    raise Failure(f"the process of pod {pod_name} is not to be found in /proc")


def print_summary(summary: dict[str, Any], terminal: Terminal, home: Home | None) -> None:
    """Print the closing summary, and where the cluster is if it stays."""
    terminal.line()
    start = f"{summary['start_seconds']:.2f} s" if "start_seconds" in summary else "was up"
    traffic = "{requests_per_second:.0f} requests/s, p50 {p50_ms} ms, p99 {p99_ms} ms"
    rows = [
        ("cluster start", start),
        ("accuracy v1 / v2", " / ".join(f"{m['accuracy']:.1%}" for m in summary["training"].values())),
        ("ClusterIP", traffic.format(**summary["cluster_ip"])),
        ("NodePort", traffic.format(**summary["node_port"])),
    ]
    for name in ("kill", "delete", "scale", "rollout", "rollback"):
        rows.append((name, "{seconds:.1f} s, {failed} of {requests} requests failed".format(**summary[name])))
    for name, text in rows:
        colour = RED if " 0 of " not in text and "failed" in text else GREEN
        terminal.line(f"  {terminal.paint(name.ljust(18), colour)} {text}")
    if home is None:
        return
    terminal.line(f"""
The cluster stays up. Look around:
  export KUBECONFIG={home.kubeconfig}
  kubectl -n {NAMESPACE} get pods,svc,deploy,jobs -o wide
  kubectl -n {NAMESPACE} logs deploy/digits -f
  kubectl -n {NAMESPACE} rollout history deploy/digits
  kubectl -n {NAMESPACE} get secret digits-key -o jsonpath={{.data.API_KEY}} | base64 -d
and stop it with: proa down""")
