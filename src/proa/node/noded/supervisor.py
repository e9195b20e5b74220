"""Be the parent of every container: make, start, stop and forget sandboxes and containers, and remember how each ended.

The operations of the protocol (`node/runtimes/protocol.py`) as methods that take a request's arguments and a Reply:
some answer at once, some when a child has reached its program or has ended. How a pod is isolated is the runtime's
matter (`runtimes/native.py`, `runtimes/process.py`). A container's life: Created -> Running -> Exited.
"""

from __future__ import annotations

import binascii
import os
import signal
import socket
import sys
import time

from proa.node.noded import child, disks, faults, netfilter, network, stop_signals
from proa.node.noded.descriptors import close_all, make_pipes
from proa.node.noded.early_ends import EarlyEnds
from proa.node.noded.execs import Execs
from proa.node.noded.failures import Failure, as_failure
from proa.node.noded.logs import LogFile
from proa.node.noded.loop import READ
from proa.node.noded.process_usage import ProcessUsage
from proa.node.noded.records import Records, remove_tree
from proa.node.noded.streams import Output
from proa.node.runtimes.native import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from proa.node.noded.loop import Loop
    from proa.node.noded.server import Connection, Reply
    from proa.node.runtimes.native import NativeRuntime
    from proa.node.runtimes.process import ProcessRuntime

    Record = dict[str, Any]

START_ERROR_EXIT_CODE = 128


class _Running:
    """What noded holds for a container that runs."""

    __slots__ = ("channel", "master", "output", "started", "starter", "status", "stdin", "waiters")

    def __init__(self, output: Output) -> None:
        self.output = output
        self.channel: socket.socket | None = None
        self.stdin = -1
        self.master = -1
        self.started: Reply | None = None
        self.starter: int | None = None
        self.status: int | None = None
        self.waiters: list[Reply] = []


FIRST_REMOVAL_SECONDS, LAST_REMOVAL_SECONDS = 0.05, 10.0
"""Until what could not be removed is tried again."""


class Supervisor:
    """Every sandbox and container of one node."""

    def __init__(
        self, loop: Loop, runtime: NativeRuntime | ProcessRuntime, state: str, pod_cidr: str, version: str
    ) -> None:
        self._loop = loop
        self._runtime = runtime
        self._state = state
        self._pod_cidr = pod_cidr
        self._version = version
        self._sandboxes = Records(f"{state}/sandboxes")
        self._containers = Records(f"{state}/containers")
        self._running: dict[str, _Running] = {}
        self._early_ends = EarlyEnds(loop)
        self._execs = Execs(loop, self._early_ends)
        self._process_usage = ProcessUsage()
        self._pids: dict[int, str] = {}
        self._subscribers: list[Reply] = []
        self._is_removing = False
        self._id = _new_id()
        self._end_what_is_gone()

    def _end_what_is_gone(self) -> None:
        """An earlier noded has ended, and everything below it: say so in the records."""
        for sandbox in self._sandboxes.items.values():
            if sandbox["state"] == "Ready":
                self._sandboxes.save({**sandbox, "state": "NotReady"})
        for record in list(self._containers.items.values()):
            if record["state"] == "Running" or (record["state"] == "Created" and record["started_at"]):
                ended = {
                    "state": "Exited",
                    "exit_code": 137,
                    "signal": 9,
                    "finished_at": time.time(),
                    "pid": 0,
                }
                message = "the node's supervisor ended, and the container with it"
                self._containers.save({**record, **ended, "reason": "Error", "message": message})
            elif record["state"] == "Created":
                self._containers.remove(record["id"])
        roots = f"{self._state}/roots"
        for name in os.listdir(roots) if os.path.isdir(roots) else ():
            self._discard(f"{roots}/{name}")

    # What the node is

    def do_status(self, arguments: Record, reply: Reply) -> None:
        """Say what the node's isolation is."""
        runtime = self._runtime
        reply.send({
            "name": "proa-noded", "version": self._version, "level": runtime.level, "features": runtime.features,
            "node_ip": runtime.node_ip, "pod_cidr": self._pod_cidr, "handlers": runtime.handlers,
            "node_ipv6": runtime.node_ipv6,
        })  # fmt: skip

    # Sandboxes

    def do_run_sandbox(self, arguments: Record, reply: Reply) -> None:
        """Make a sandbox; what was made of one that fails is taken away again."""
        record = {
            "id": _new_id(), "config": arguments["config"], "ip": "", "state": "Ready", "created_at": time.time(),
        }  # fmt: skip
        os.makedirs(f"{self._state}/sandboxes/{record['id']}", mode=0o755)
        try:
            self._runtime.make_sandbox(record)
        except BaseException as error:
            faults.log()
            self._runtime.end_sandbox(record)
            remove_tree(f"{self._state}/sandboxes/{record['id']}")
            raise as_failure("CreatePodSandboxError", "failed to create pod sandbox", error) from error
        self._sandboxes.save(record)
        reply.send(record)

    def do_update_sandbox(self, arguments: Record, reply: Reply) -> None:
        """Give all of a pod other limits."""
        sandbox = self._sandboxes.items.get(arguments["id"])
        if sandbox is None or sandbox["state"] != "Ready":
            raise Failure("ResizeError", f"sandbox {arguments['id']!r} is not ready")
        changed = {**sandbox, "config": {**sandbox["config"], "resources": arguments["resources"]}}
        try:
            self._runtime.update_sandbox(changed)
        except OSError as error:
            raise as_failure("ResizeError", "failed to update the pod's resources", error) from error
        self._sandboxes.save(changed)
        reply.send({})

    def do_stop_sandbox(self, arguments: Record, reply: Reply) -> None:
        """Kill what is left in a sandbox, then take its network away."""
        sandbox = self._sandboxes.items.get(arguments["id"])
        if sandbox is None:
            reply.send({})
            return
        alive = [r for r in self._in_sandbox(sandbox) if r["id"] in self._running]
        if alive:
            reply.wait_for(len(alive), lambda: self._end_sandbox(sandbox, reply))
            for record in alive:
                self._running[record["id"]].waiters.append(reply)
                self._runtime.signal(record, signal.SIGKILL)
            return
        self._end_sandbox(sandbox, reply)

    def _end_sandbox(self, sandbox: Record, reply: Reply) -> None:
        current = self._sandboxes.items.get(sandbox["id"])
        if current is not None and current["state"] == "Ready":
            self._runtime.end_sandbox(current)
            self._sandboxes.save({**current, "state": "NotReady"})
            if not self._is_removing:
                self._remove_rest(FIRST_REMOVAL_SECONDS)
        reply.send({})

    def _remove_rest(self, seconds: float) -> None:
        """See that what could not be removed yet is removed, ever later: processes take a moment to be gone."""
        self._is_removing = not self._runtime.remove_rest()
        if self._is_removing:
            self._loop.later(seconds, lambda: self._remove_rest(min(2 * seconds, LAST_REMOVAL_SECONDS)))

    def do_remove_sandbox(self, arguments: Record, reply: Reply) -> None:
        """Stop a sandbox, and forget it and its containers."""
        sandbox = self._sandboxes.items.get(arguments["id"])
        if sandbox is None:
            reply.send({})
            return

        def finish() -> None:
            for record in self._in_sandbox(sandbox):
                self._forget_container(record)
            self._sandboxes.remove(sandbox["id"])
            remove_tree(f"{self._state}/sandboxes/{sandbox['id']}")

        reply.before_sending(finish)
        self.do_stop_sandbox(arguments, reply)

    def do_list_sandboxes(self, arguments: Record, reply: Reply) -> None:
        """Return all sandboxes."""
        reply.send({"items": list(self._sandboxes.items.values())})

    def _in_sandbox(self, sandbox: Record) -> list[Record]:
        return [r for r in self._containers.items.values() if r["sandbox_id"] == sandbox["id"]]

    # Containers

    def do_create_container(self, arguments: Record, reply: Reply) -> None:
        """Prepare a container in a sandbox that is ready."""
        sandbox = self._sandboxes.items.get(arguments["sandbox_id"])
        config = arguments["config"]
        if sandbox is None or sandbox["state"] != "Ready":
            raise Failure("CreateContainerError", f"sandbox {arguments['sandbox_id']!r} is not ready")
        if not config["argv"]:
            raise Failure("CreateContainerError", "no command specified")
        for mount in config["mounts"]:
            if not mount.get("layers") and not os.path.exists(mount["host_path"]):
                path = mount["host_path"]
                raise Failure(
                    "CreateContainerError", f"failed to stat {path!r}: stat {path}: no such file or directory"
                )
        record = {
            "id": _new_id(), "sandbox_id": sandbox["id"], "config": config, "state": "Created",
            "created_at": time.time(), "started_at": 0.0, "finished_at": 0.0, "exit_code": 0, "signal": 0,
            "reason": "", "message": "", "pid": 0,
        }  # fmt: skip
        try:
            self._runtime.prepare(record, sandbox)
        except OSError as error:
            self._discard(self._runtime.discard(record, sandbox))
            raise as_failure(
                "CreateContainerError", "failed to create containerd container", error
            ) from error
        self._containers.save(record)
        reply.send({"id": record["id"]})

    def do_update_container(self, arguments: Record, reply: Reply) -> None:
        """Give a running container other limits, and labels that say so."""
        record = self._container(arguments, "ResizeError")
        sandbox = self._sandboxes.items[record["sandbox_id"]]
        wanted = {**arguments["resources"], "oom_score_adj": record["config"]["resources"]["oom_score_adj"]}
        limit = wanted["memory_limit_bytes"]
        if 0 < limit < record["config"]["resources"]["memory_limit_bytes"]:
            used = self._usage([record])[record["id"]][1]
            if used > limit:
                words = f"attempting to set container memory limit ({limit}) below current usage ({used})"
                raise Failure("ResizeError", words)
        if record["state"] == "Running":
            try:
                self._runtime.resize(record, sandbox, wanted)
            except OSError as error:
                raise as_failure("ResizeError", "failed to update resources", error) from error
        labels = {**record["config"]["labels"], **arguments["labels"]}
        self._containers.save(
            {**record, "config": {**record["config"], "resources": wanted, "labels": labels}}
        )
        reply.send({})

    def do_start_container(self, arguments: Record, reply: Reply) -> None:
        """Fork the container; answer when its program runs, or could not be.

        That it begins is on disk before: should we be killed meanwhile, its program may have run, and is not run again.
        """
        record = self._container(arguments, "RunContainerError")
        if record["state"] != "Created":
            raise Failure("RunContainerError", f"container is {record['state'].lower()}: it is started once")
        config = record["config"]
        sandbox = self._sandboxes.items[record["sandbox_id"]]
        beside = self._target(config)
        running = _Running(Output(self._loop, _open_log(config)))
        ours, theirs = make_pipes(stdin=config["stdin"], tty=config["tty"])
        self._containers.save({**record, "started_at": time.time()})
        try:
            spawned = self._runtime.start(record, sandbox, theirs, beside=beside)
        except BaseException as error:
            self._containers.save(record)
            close_all(*ours)
            running.output.close()
            raise as_failure("RunContainerError", "failed to start", error) from error
        finally:
            close_all(*theirs)
        stdin, stdout, stderr = ours
        running.stdin = stdin
        for fd, stream in ((stdout, "stdout"), (stderr, "stderr")):
            if fd >= 0:
                running.output.add_source(fd, stream)
        running.started = reply
        self._running[record["id"]] = running
        self._pids[spawned.pid] = record["id"]
        self._containers.items[record["id"]] = {**record, "pid": spawned.pid}
        running.channel = spawned.channel
        self._loop.watch(spawned.channel.fileno(), READ, lambda _: self._on_channel(record["id"], running))

    def _target(self, config: Record) -> Record | None:
        """Return the running container whose processes a container is to be among, None where it has its own."""
        identifier = config.get("pid_namespace_of")
        if not identifier:
            return None
        target = self._containers.items.get(identifier)
        if target is None or target["state"] != "Running":
            raise Failure("RunContainerError", f"target container {identifier!r} is not running")
        return target

    def _on_channel(self, identifier: str, running: _Running) -> None:
        """The child says that it has a terminal, that it failed, or (nothing) that its program runs."""
        channel = running.channel
        if channel is None:
            return
        try:
            message, fds = child.read_channel(channel)
        except BlockingIOError:
            return
        if message is not None and fds:
            running.master = fds[0]
            running.output.add_source(os.dup(fds[0]), "stdout")
            return
        if message is not None and "error" not in message:
            self._take_in(identifier, running, message)
            return
        self._loop.forget(channel.fileno())
        channel.close()
        running.channel = None
        record = self._containers.items[identifier]
        reply, running.started = running.started, None
        if reply is None:
            return
        if message is not None:
            failed = {"reason": "StartError", "message": message["error"], "started_at": 0.0}
            self._containers.items[identifier] = {**record, **failed, "exit_code": START_ERROR_EXIT_CODE}
            reply.fail("RunContainerError", message["error"])
            self._end_if_ended(identifier, running)
            return
        self._containers.save({**record, "state": "Running", "started_at": time.time()})
        reply.send({})
        self._tell("started", record)
        self._end_if_ended(identifier, running)

    def _end_if_ended(self, identifier: str, running: _Running) -> None:
        """What a runtime of others has started may have ended while its starter was still at work."""
        if running.status is not None:
            self._end_container(identifier, running.status)

    def _take_in(self, identifier: str, running: _Running, message: Record) -> None:
        """The child says whom its program runs as, or that another process (a runtime's) is the container's first."""
        record = {**self._containers.items[identifier], **message}
        if "pid" in message:
            running.starter = next(p for p, i in self._pids.items() if i == identifier)
            del self._pids[running.starter]
            self._pids[message["pid"]] = identifier
            self._early_ends.settle(message["pid"], self.on_child)
        self._containers.items[identifier] = record
        self._on_channel(identifier, running)

    def do_stop_container(self, arguments: Record, reply: Reply) -> None:
        """Send the stop signal, and SIGKILL after the grace; answer when the container has exited."""
        record = self._containers.items.get(arguments["id"])
        running = self._running.get(arguments["id"])
        if record is None or running is None:
            reply.send({})
            return
        grace = float(arguments["grace_seconds"])
        running.waiters.append(reply)
        number = signal_number(record["config"]["stop_signal"]) if grace > 0 else signal.SIGKILL
        identifier = record["id"]

        def find_pid() -> int:
            return int(self._containers.items[identifier]["pid"]) if identifier in self._running else 0

        stop_signals.send(self._loop, find_pid, lambda: self._runtime.signal(record, number), number)
        if grace > 0:
            self._loop.later(grace, lambda: self._kill(identifier))

    def _kill(self, identifier: str) -> None:
        if identifier in self._running:
            self._runtime.signal(self._containers.items[identifier], signal.SIGKILL)

    def do_remove_container(self, arguments: Record, reply: Reply) -> None:
        """Forget a container; one that runs is killed first."""
        record = self._containers.items.get(arguments["id"])
        if record is None:
            reply.send({})
            return
        reply.before_sending(lambda: self._forget_container(record))
        self.do_stop_container({"id": record["id"], "grace_seconds": 0}, reply)

    def _forget_container(self, record: Record) -> None:
        sandbox = self._sandboxes.items.get(record["sandbox_id"])
        self._containers.remove(record["id"])
        if sandbox is not None:
            self._discard(self._runtime.discard(record, sandbox))

    def _discard(self, folder: str) -> None:
        """Remove a folder in a child of its own: it may be large."""
        if not folder or not os.path.isdir(folder):
            return
        if os.fork() == 0:
            code = 1
            try:
                remove_tree(folder)
                code = 0
            except BaseException as error:
                sys.stderr.write(f"cannot remove {folder}: {error}\n")
                sys.stderr.flush()
            os._exit(code)

    def do_list_containers(self, arguments: Record, reply: Reply) -> None:
        """Return all containers."""
        reply.send({"items": list(self._containers.items.values())})

    def do_get_container(self, arguments: Record, reply: Reply) -> None:
        """Return one container, or none."""
        reply.send({"item": self._containers.items.get(arguments["id"])})

    def _container(self, arguments: Record, reason: str) -> Record:
        record = self._containers.items.get(arguments["id"])
        if record is None:
            raise Failure(reason, f"container {arguments['id']!r} not found")
        return record

    # How things end

    def on_child(self, pid: int, status: int) -> None:
        """A child has ended: a container's first process, an exec, or one that was left to us."""
        identifier = self._pids.get(pid, "")
        if identifier:
            for _ in range(3):  # what the child said last is read before its end is told
                self._on_channel(identifier, self._running[identifier])
            if self._pids.get(pid) != identifier:
                return
            del self._pids[pid]
            running = self._running[identifier]
            if running.starter is not None and running.channel is not None:
                running.status = status  # it has ended already; first its starter must have
            else:
                self._end_container(identifier, status)
            return
        if not self._execs.on_child(pid, status):
            self._early_ends.note(pid, status)

    def _end_container(self, identifier: str, status: int) -> None:
        running = self._running[identifier]
        del self._running[identifier]
        record = self._containers.items[identifier]
        sandbox = self._sandboxes.items[record["sandbox_id"]]
        running.output.close()
        close_all(running.stdin, running.master)
        self._process_usage.forget(identifier)
        try:
            kills = self._runtime.ended(record, sandbox)
        except OSError:  # what is left is removed with the container; its end is told all the same
            faults.log()
            kills = 0
        code = os.waitstatus_to_exitcode(status)
        number = -code if code < 0 else 0
        exit_code = 128 + number if number else code
        if record["reason"] != "StartError":
            killed = kills > 0 and exit_code == 128 + signal.SIGKILL
            reason = "OOMKilled" if killed else "Completed" if exit_code == 0 else "Error"
            record = {**record, "exit_code": exit_code, "signal": number, "reason": reason}
        self._containers.save({**record, "state": "Exited", "finished_at": time.time(), "pid": 0})
        self._tell("exited", record)
        for waiter in running.waiters:
            waiter.send({})

    # Listening and taking part

    def do_subscribe(self, arguments: Record, reply: Reply) -> None:
        """Send events on this connection from now on; say which noded this is."""
        self._subscribers.append(reply)
        reply.send({"noded": self._id})

    def _tell(self, kind: str, record: Record) -> None:
        event = {"event": kind, "container_id": record["id"], "sandbox_id": record["sandbox_id"]}
        for subscriber in self._subscribers:
            subscriber.push(event)

    def forget_connection(self, connection: Connection) -> None:
        """A client has gone: end its execs and its subscription."""
        self._subscribers = [s for s in self._subscribers if s.connection is not connection]
        self._execs.kill_all_of(connection)

    def do_exec(self, arguments: Record, reply: Reply) -> None:
        """Run another process in a container; its streams go to the client, its exit code follows as an event."""
        record = self._container(arguments, "ExecError")
        if record["state"] != "Running":
            raise Failure("ExecError", "container is not running")
        sandbox = self._sandboxes.items[record["sandbox_id"]]
        ours, theirs = make_pipes(stdin=arguments["stdin"], tty=arguments["tty"])
        try:
            spawned = self._runtime.exec(
                record, sandbox, arguments["argv"], tty=arguments["tty"], streams=theirs
            )
        except BaseException as error:
            close_all(*ours)
            raise as_failure("ExecError", "failed to exec", error) from error
        finally:
            close_all(*theirs)
        held = [fd for fd in ours if fd >= 0]
        self._execs.follow(arguments["exec_id"], record["id"], spawned, reply, held)

    def do_kill_exec(self, arguments: Record, reply: Reply) -> None:
        """Kill an exec that still runs."""
        self._execs.kill(arguments["exec_id"], reply.connection)
        reply.send({})

    def do_attach(self, arguments: Record, reply: Reply) -> None:
        """Hand over ends that carry a running container's streams: [input], output, [errors]."""
        record = self._container(arguments, "AttachError")
        running = self._running.get(record["id"])
        if running is None or record["state"] != "Running":
            raise Failure("AttachError", "container is not running")
        fds: list[int] = []
        has_input = True
        if running.master >= 0:
            fds.append(os.dup(running.master))
        elif running.stdin >= 0:
            fds.append(os.dup(running.stdin))
        else:
            has_input = False
        tty = bool(record["config"]["tty"])
        for streams in (("stdout",),) if tty else (("stdout",), ("stderr",)):
            ours, theirs = socket.socketpair()
            running.output.add_listener(ours, streams)
            fds.append(theirs.detach())
        reply.send({"stdin": has_input, "tty": tty}, fds)

    def do_close_stdin(self, arguments: Record, reply: Reply) -> None:
        """End a container's input, where the pod asked for one session only."""
        record = self._containers.items.get(arguments["id"])
        running = self._running.get(arguments["id"])
        if record is not None and running is not None and record["config"].get("stdin_once"):
            close_all(running.stdin)
            running.stdin = -1
        reply.send({})

    def do_usage(self, arguments: Record, reply: Reply) -> None:
        """Return [CPU nanoseconds, working set bytes] of each running container, by its id."""
        running = [r for r in self._containers.items.values() if r["state"] == "Running"]
        reply.send({"containers": self._usage(running)})

    def _usage(self, records: list[Record]) -> dict[str, tuple[int, int]]:
        """Return what containers use: by their control groups, else by their processes."""
        used = {r["id"]: self._runtime.stats(r, self._sandboxes.items[r["sandbox_id"]]) for r in records}
        unknown = {r["id"]: r["pid"] for r in records if r["pid"] and min(used[r["id"]]) < 0}
        processes = {name: [pid, *self._execs.pids_of(name)] for name, pid in unknown.items()}
        for name, summed in self._process_usage.read(processes).items():
            cpu, memory = used[name]
            used[name] = cpu if cpu >= 0 else summed[0], memory if memory >= 0 else summed[1]
        return used

    # Volumes

    def do_mount_memory(self, arguments: Record, reply: Reply) -> None:
        """Mount memory at a folder of a pod's volumes; it goes when the folder is removed, on the host."""
        path, group = arguments["path"], arguments["group"]
        try:
            self._runtime.mount_memory(path, arguments["size_bytes"], group)
        except OSError as error:
            raise Failure("MountError", f"mount tmpfs at {path}: {error.strerror or error}") from error
        reply.send({})

    def do_disk_usage(self, arguments: Record, reply: Reply) -> None:
        """Return [bytes, inodes] of what containers have written to their roots, and of folders, in the order given."""
        known = [self._containers.items.get(identifier) for identifier in arguments["containers"]]
        roots = [self._runtime.written(record) if record else "" for record in known]

        def answer(found: list[tuple[int, int]]) -> None:
            if found:
                reply.send({"used": found})
            else:
                reply.fail("DiskUsageError", "what folders take could not be counted")

        disks.count_aside([*roots, *arguments["folders"]], answer, self._loop)

    # The node's network

    def do_socket(self, arguments: Record, reply: Reply) -> None:
        """Hand over a socket of a sandbox's ("" is the node's) network namespace."""
        identifier = arguments["sandbox_id"]
        sandbox = self._sandboxes.items.get(identifier)
        if identifier and (sandbox is None or sandbox["state"] != "Ready"):
            raise Failure("SandboxNotReady", f"sandbox {identifier!r} is not ready")
        try:
            with self._runtime.inside(identifier):
                made = network.make_socket(arguments["kind"], arguments["host"], arguments["port"])
        except OSError as error:
            where = f"{arguments['kind']} {arguments['host']}:{arguments['port']}"
            raise Failure("SocketError", f"{where}: {error.strerror}") from error
        reply.send({}, [made.detach()])

    def do_namespace(self, arguments: Record, reply: Reply) -> None:
        """Hand over the node's network namespace, for another node to link itself with."""
        reply.send({}, [self._runtime.network_namespace()])

    def do_link(self, arguments: Record, reply: Reply) -> None:
        """Wire this node to the one whose network namespace came with the request."""
        (namespace,) = arguments["descriptors"]
        try:
            self._runtime.link(namespace, arguments["here"], arguments["there"])
        except OSError as error:
            where = arguments["there"]["node_ip"]
            raise Failure(
                "LinkError", f"no link to the node at {where}: {error.strerror or error}"
            ) from error
        reply.send({})

    def do_overlay(self, arguments: Record, reply: Reply) -> None:
        """Bring the ways to nodes of other machines to these; say where the device for it has still to be made."""
        try:
            missing = self._runtime.set_overlay(arguments["device"], arguments["peers"])
        except OSError as error:
            raise Failure("OverlayError", f"{error.strerror or error}") from error
        reply.send({"missing": missing})

    def do_add_addresses(self, arguments: Record, reply: Reply) -> None:
        """Give the node's lo addresses."""
        self._runtime.add_addresses(arguments["addresses"])
        reply.send({})

    def do_remove_addresses(self, arguments: Record, reply: Reply) -> None:
        """Take addresses from the node's lo."""
        self._runtime.remove_addresses(arguments["addresses"])
        reply.send({})

    def do_divert_outside(self, arguments: Record, reply: Reply) -> None:
        """Bring what is meant for other networks to the node's own sockets."""
        self._runtime.divert_outside(arguments["inside"])
        reply.send({})

    def do_netfilter(self, arguments: Record, reply: Reply) -> None:
        """Pass messages on to netfilter in the node's network namespace."""
        if why := self._runtime.features.get("netfilter", ""):
            raise Failure("NetfilterError", why)
        try:
            answer = netfilter.ask(binascii.a2b_base64(arguments["messages"]))
        except OSError as error:
            raise Failure("NetfilterError", error.strerror or str(error)) from error
        reply.send({"answer": binascii.b2a_base64(answer, newline=False).decode()})

    def do_shutdown(self, arguments: Record, reply: Reply) -> None:
        """End noded, and with it every container."""
        reply.send({})
        self._loop.stop()


def _open_log(config: Record) -> LogFile:
    limits = {key: config[f"log_{key}"] for key in ("max_bytes", "max_files") if f"log_{key}" in config}
    return LogFile(config["log_path"], **limits)


def _new_id() -> str:
    return os.urandom(32).hex()
