"""Start the cluster: in the foreground until interrupted, or detached.

A detached start runs `proa up` as a child of its own session and waits on a pipe for its word: ready, or why
not. `proa up --detach` on a running cluster says so and returns 0.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proa.cli import Failure, UsageError, grace_period
from proa.cli.terminal import Terminal
from proa.cluster_settings import FAMILIES, FILE, LOG, SEPARABLE, Wanted, read_settings
from proa.home import Home, find_home
from proa.local_nodes.addresses import MAX_NODES
from proa.network.outside.modes import MODES

DESCRIPTION = """\
Start a cluster on this machine: API server, store, scheduler, controllers and nodes for real containers.
One line is printed when it is ready: the API answers, default/kubernetes exists and the nodes are Ready.
"""
EPILOG = """\
Without --detach the cluster runs until Ctrl-C or SIGTERM, which stop its pods with their grace.
If the server is killed, pods go on; the next `proa up` finds them again.

examples:
  proa up --detach                       start, return when ready
  proa up --detach --home /tmp/second    another cluster beside the first
  proa up --nodes 3                      three nodes, each with its own pods, network and kubelet
  proa up --store etcd://10.0.0.5:2379   keep objects in an etcd
"""
READY_TIMEOUT_SECONDS = 60.0
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""The server's few threads share one heap: what each has freed of its own would be a fifth of the memory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("--detach", action="store_true", help="return when it is ready, and leave it running")
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="the API server's port (default: 6443 or the last one; 0: any free one)",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDR",
        help="the address on which API and NodePorts are offered (default: 127.0.0.1 or the last one)",
    )
    parser.add_argument(
        "--nodes",
        type=int,
        metavar="N",
        help="how many nodes (default: 1 or the last number); with fewer than before the last ones are removed, "
        "and their pods start elsewhere",
    )
    parser.add_argument(
        "--ip-families",
        choices=FAMILIES,
        metavar="FAMILIES",
        help="the families of pods' and services' addresses, IPv4 or IPv4,IPv6 (default: both where the kernel has "
        "both, or the last ones)",
    )
    parser.add_argument(
        "--outside-network",
        choices=MODES,
        help="whether pods reach the networks that this machine reaches (default: yes, or the last one): `yes`, all "
        "but what listens on its loopback only; `loopback`, that too, as host.proa.internal; `no`, none",
    )
    grace_period.add_argument(parser, "50s or the last one")
    parser.add_argument(
        "--store",
        metavar="STORE",
        help="where objects are kept: `log`, in the cluster's folder (default), or an etcd, as "
        "etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds://…[?ca=FILE][&cert=FILE&key=FILE]; kept for later starts",
    )
    parser.add_argument(
        "--encryption-config",
        metavar="FILE",
        help="an EncryptionConfiguration (apiserver.config.k8s.io/v1) that says which resources are encrypted at rest, "
        'and with which keys; kept for later starts; "" for none',
    )
    parser.add_argument(
        "--audit-policy",
        metavar="FILE",
        help="a Policy (audit.k8s.io/v1) that says what of each request is written to the audit log, or `default`: who "
        'did what, without bodies; kept for later starts; "" for no log',
    )
    parser.add_argument(
        "--audit-log",
        metavar="FILE",
        help="the audit log (default: audit.log in the cluster's folder; -: standard output); kept for later starts",
    )
    parser.add_argument(
        "--without",
        metavar="LIST",
        help="what runs elsewhere or not at all, with commas between: `controllers`, `scheduler`, which have verbs of "
        'their own, `pipelines`, `tuning`, `training` and `serving`; kept for later starts; "" for nothing',
    )
    parser.add_argument(
        "--scheduler-config",
        metavar="FILE",
        help="a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): profiles with names, plugins and their "
        'arguments; kept for later starts; "" for none',
    )
    parser.add_argument(
        "--kubelet-config",
        metavar="FILE",
        help="a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) for all nodes: evictionHard, maxPods, what "
        'logs and images may take; kept for later starts; "" for none',
    )
    parser.add_argument(
        "--pipelines-database",
        metavar="DATABASE",
        help="where pipelines' history is kept: `file`, in the cluster's folder (default), or a PostgreSQL, as "
        "postgresql://USER@HOST/NAME, whose password is in ~/.pgpass or $PGPASSFILE; kept for later starts",
    )
    parser.add_argument(
        "--pipelines-port",
        type=int,
        metavar="N",
        help="the port of 127.0.0.1 where pipelines' API takes requests with a token (default: 8888 or the last one, "
        "any free one if that is taken; 0: any free one)",
    )
    parser.add_argument(
        "--tuning-database",
        metavar="DATABASE",
        help="where the points of trials' metrics are kept: `file`, in the cluster's folder (default), or a "
        "PostgreSQL, as postgresql://USER@HOST/NAME, likewise; kept for later starts",
    )
    parser.add_argument(
        "--tuning-port",
        type=int,
        metavar="N",
        help="the port of 127.0.0.1 where KatibClient.get_trial_metrics(db_manager_address=...) finds the points of "
        "trials' metrics, for your own programs alone (default: 6789 or the last one, any free one if that is taken; "
        "0: any free one)",
    )
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Start it."""
    check(options)
    home = find_home(options.home)
    if (home.path / "join.json").exists():
        raise Failure(
            f"{home.path} is a node of another cluster: `proa join` starts it, `proa leave` ends that"
        )
    if options.detach:
        return run_detached(home, options)
    return run_here(home, options)


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be, and make a file's name one that holds in every folder."""
    check_address(options)
    if options.without:
        options.without = check_without(options.without)
    check_nodes(options)
    check_store(options)
    check_port("--pipelines-port", options.pipelines_port)
    check_port("--tuning-port", options.tuning_port)
    check_database("--pipelines-database", options.pipelines_database)
    check_database("--tuning-database", options.tuning_database)
    if options.encryption_config:
        options.encryption_config = os.path.abspath(options.encryption_config)
    if options.scheduler_config:
        options.scheduler_config = os.path.abspath(options.scheduler_config)
    if options.kubelet_config:
        options.kubelet_config = os.path.abspath(options.kubelet_config)
    if options.audit_policy and options.audit_policy != "default":
        options.audit_policy = os.path.abspath(options.audit_policy)
    if options.audit_log and options.audit_log != "-":
        options.audit_log = os.path.abspath(options.audit_log)


def check_without(names: str) -> str:
    """Return the names in one order; refuse what cannot run elsewhere."""
    asked = {name.strip() for name in names.split(",")}
    if unknown := sorted(asked - set(SEPARABLE)):
        raise UsageError(f"--without {', '.join(unknown)}: only {', '.join(SEPARABLE)} can run elsewhere")
    return ",".join(name for name in SEPARABLE if name in asked)


def check_address(options: argparse.Namespace) -> None:
    """Refuse what cannot be listened on."""
    if options.port is not None and not 0 <= options.port <= 65535:
        raise UsageError(f"--port {options.port}: a port is a number from 0 (any free one) to 65535")
    if options.listen is not None:
        import ipaddress

        try:
            ipaddress.ip_address(options.listen)
        except ValueError:
            raise UsageError(
                f"--listen {options.listen}: an IP address of this machine, e.g. 127.0.0.1"
            ) from None


def check_nodes(options: argparse.Namespace) -> None:
    """Refuse more nodes than there can be, and a time in which no node could make itself heard."""
    if options.nodes is not None and not 1 <= options.nodes <= MAX_NODES:
        raise UsageError(f"--nodes {options.nodes}: a cluster on one machine has from 1 to {MAX_NODES} nodes")
    if options.node_monitor_grace_period is not None:
        grace_period.read_seconds(options.node_monitor_grace_period)


def check_store(options: argparse.Namespace) -> None:
    """Refuse what is no store's address."""
    asked = options.store
    if asked and asked != LOG and not asked.startswith(("etcd://", "etcds://")):
        raise UsageError(f"--store {asked}: `log`, or an etcd, as etcd://HOST:PORT")


def check_port(option: str, port: int | None) -> None:
    """Refuse what is no port."""
    if port is not None and not 0 <= port <= 65535:
        raise UsageError(f"{option} {port}: a port is a number from 0 (any free one) to 65535")


def check_database(option: str, asked: str | None) -> None:
    """Refuse what is no database's address, and one with a password, which every process could read here."""
    if asked in (None, "", FILE):
        return
    from urllib.parse import urlsplit

    parts = urlsplit(asked)
    if parts.scheme not in ("postgresql", "postgres"):
        raise UsageError(f"{option}: `file`, or a PostgreSQL, as postgresql://USER@HOST/NAME")
    if parts.password or "password=" in parts.query:
        raise UsageError(
            f"{option}: the password is for ~/.pgpass or $PGPASSFILE: here every process can read it"
        )


def run_here(home: Home, options: argparse.Namespace) -> int:
    """Be the server until told to stop."""
    from proa import module_pack

    if options.ready_fd is not None:  # was for this process, not for what it starts
        for name in ONE_ARENA:
            os.environ.pop(name, None)
    pack = module_pack.use()
    from proa.cluster import StartFailure
    from proa.server import AlreadyRunning, run_server

    try:
        run_server(home, wanted_of(options), say_ready(options, lambda word: ready_line(home, word)), pack)
    except AlreadyRunning:
        raise Failure(already(home)) from None
    except StartFailure as error:
        raise Failure(str(error)) from None
    return 0


def say_ready(
    options: argparse.Namespace, line: Callable[[dict[str, Any]], str]
) -> Callable[[dict[str, Any]], None]:
    """Return what passes a server's word on: to the process that waits for it, else to the terminal as `line`."""

    def say(word: dict[str, Any]) -> None:
        if options.ready_fd is None:
            Terminal().line(line(word))
            return
        os.write(options.ready_fd, json.dumps(word).encode() + b"\n")
        os.close(options.ready_fd)

    return say


def run_detached(home: Home, options: argparse.Namespace) -> int:
    """Start a server of its own session, and wait for its word."""
    terminal = Terminal()
    if not home.is_running():
        try:
            server = start_detached(home, wanted_of(options), terminal)
        except Failure:
            if not home.is_running():  # else another `proa up` was faster, which is as good
                raise
        else:
            terminal.line(ready_line(home, server))
            return 0
    running = wait_until_written(home)
    kept = read_settings(home)
    if kept and (unmet := kept.unmet(wanted_of(options)).options()):
        raise Failure(f"{already(home)}; what it runs without needs another start: {shlex.join(unmet)}")
    terminal.line(f"already running: {ready_line(home, running)}")
    return 0


def wanted_of(options: argparse.Namespace) -> Wanted:
    """Return what the options ask for."""
    return Wanted(**{name: getattr(options, name) for name in Wanted._fields})


def start_detached(home: Home, wanted: Wanted, terminal: Terminal | None = None) -> dict[str, Any]:
    """Start the server and return what it says of itself once it is ready; raise Failure with its last words."""
    return start_verb(home, "up", wanted.options(), terminal)


def start_verb(home: Home, verb: str, options: list[str], terminal: Terminal | None) -> dict[str, Any]:
    """Start a verb that serves, in a session of its own; return its word once it is ready, raise Failure."""
    home.make()
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "proa", verb, "--home", str(home.path), "--ready-fd", str(writer)]
    command += options
    log = os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    log_start = os.fstat(log).st_size
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[writer],
            start_new_session=True,
            env={**ONE_ARENA, **os.environ},
        )
    finally:
        os.close(log)
        os.close(writer)
    try:
        answer = read_word(reader, terminal)
    finally:
        os.close(reader)
    if not answer:
        if give_up(child) == 0:
            raise Failure("the server was told to stop before it was ready")
        raise Failure(why_not(last_words(home, log_start), home.log, f"proa {verb}: "))
    server: dict[str, Any] = json.loads(answer)
    return server


def read_word(reader: int, terminal: Terminal | None) -> bytes:
    """Return the line that the child writes when ready; b"" when it ended first, or took too long."""
    started = time.monotonic()
    word = b""
    while (waited := time.monotonic() - started) < READY_TIMEOUT_SECONDS and not word.endswith(b"\n"):
        if select.select([reader], [], [], 0.25)[0]:
            part = os.read(reader, 4096)
            if not part:
                return b""
            word += part
        elif terminal:
            terminal.progress(f"starting ({waited:.0f} s)")
    return word


def give_up(child: subprocess.Popen[bytes]) -> int:
    """End a child that did not get ready, if it is still there; return its exit code, not 0 where that was us."""
    try:
        return child.wait(1)  # its pipe may be closed a moment before it has ended
    except subprocess.TimeoutExpired:
        child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return -signal.SIGTERM


def last_words(home: Home, start: int) -> list[str]:
    """Return the last lines of what this start wrote to the log."""
    with home.log.open("rb") as log:
        log.seek(start)
        return log.read()[-8192:].decode(errors="replace").splitlines()[-12:]


def why_not(words: list[str], log: Path, refusal: str) -> str:
    """Return why a server did not get ready: in its own words where it refused, else with the end of its log.

    `refusal` is how the line begins that a verb prints which has failed (`__main__.run`).
    """
    if words and words[-1].startswith(refusal):
        return words[-1].removeprefix(refusal)
    shown = "\n".join(f"  {line}" for line in words) or "  (it said nothing)"
    return f"the server did not get ready:\n{shown}\nIts log: {log}"


def wait_until_written(home: Home) -> dict[str, Any]:
    """Return the running server's own words, waiting while another start is under way."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        server = home.find_server()
        if server and server.get("ready"):
            return server
        if not home.is_running():
            raise Failure(f"the server that was starting in {home.path} has ended; its log: {home.log}")
        time.sleep(0.02)
    raise Failure(already(home) + ", but it does not get ready")


def already(home: Home) -> str:
    """Say that a server holds this home."""
    pid = (home.find_server() or {}).get("pid", "unknown")
    return (
        f"a server runs in {home.path} already (pid {pid}); stop it with `proa down`, or use another --home"
    )


def ready_line(home: Home, server: dict[str, Any]) -> str:
    """Return the one line that says where the cluster is."""
    removed = f"  removed: {', '.join(server['removedNodes'])}" if server.get("removedNodes") else ""
    kubeconfig = f"KUBECONFIG={shlex.quote(str(home.kubeconfig))}"
    return f"ready in {server['startSeconds']:.2f} s: {server['server']}  {kubeconfig}{removed}"
