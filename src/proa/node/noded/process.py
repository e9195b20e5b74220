"""Be noded's process: the node's own namespaces, PID 1 in them, one thread, and an end that takes all along.

The outer process (outer.py) climbed the ladder, forked this one and ended. noded writes one JSON line to the
descriptor argv[4] when it serves, or says there why it cannot. When noded ends, for whatever reason, the kernel ends
every process below it, for it is PID 1 of their PID namespace. Settings are in <directory>/noded.json.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import sys

from proa import __version__
from proa.node.noded import faults, linux, netfilter, outer, server
from proa.node.noded.cgroups import remove_group
from proa.node.noded.loop import READ, Loop
from proa.node.noded.records import remove_tree
from proa.node.noded.supervisor import Supervisor
from proa.node.runtimes.native import NativeRuntime
from proa.node.runtimes.process import ProcessRuntime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_ready_fd = -1


def main(argv: list[str]) -> NoReturn:
    """Set up the node of the directory argv[3] on the rung argv[5], and serve."""
    global _ready_fd
    directory, level = argv[3], argv[5]
    _ready_fd = int(argv[4])
    os.set_inheritable(_ready_fd, False)
    os.umask(0o022)
    code = 1
    try:
        if level == "process":
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        else:
            outer.uncover_interpreter()
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        os.chdir(directory)
        with open("noded.json", "rb") as file:
            settings = json.load(file)
        _prepare_self()
        _serve(settings, level, f"{directory}/state")
        code = 0
    except BaseException as error:
        faults.log()
        _say({"error": f"{type(error).__name__}: {error}"})
    finally:
        sys.stderr.flush()
        os._exit(code)


def _prepare_self() -> None:
    """Be the last to be killed for memory, and able to hold many descriptors; children get the limits back."""
    with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("-999")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(settings: dict[str, Any], level: str, state: str) -> None:
    os.makedirs(state, mode=0o711, exist_ok=True)
    runtime = ProcessRuntime(settings, state) if level == "process" else NativeRuntime(settings, state, level)
    runtime.set_up()
    with open("noded.cgroups", "w") as file:  # it named those that were tried, too
        file.write("\n".join(runtime.cgroup_directories()))
    runtime.clear()
    if level != "process":
        runtime.features["netfilter"] = netfilter.probe()
    remove_tree(f"{state}/probe")
    loop = Loop()
    supervisor = Supervisor(loop, runtime, state, settings["pod_cidr"], __version__)
    loop.on_child = supervisor.on_child
    loop.on_terminate = loop.stop
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    listener = server.listen("noded.sock")
    server.serve(loop, supervisor, listener)
    _end_when_unreachable(loop)
    gc.collect()
    gc.freeze()  # what is there now is shared with every child that is forked
    _say({"ready": True, "level": level})
    os.close(_ready_fd)
    loop.run()
    if os.getpid() == 1:
        _end_all(runtime)


def _end_all(runtime: NativeRuntime | ProcessRuntime) -> None:
    """Kill everything in the node's PID namespace, so that its control groups can go before noded itself does."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    for directory in runtime.cgroup_directories():
        remove_group(directory)


def _end_when_unreachable(loop: Loop) -> None:
    """End when the socket is deleted: whoever removed the node's folder has no other way to end its containers."""
    deletions = linux.watch_deletions(".")

    def look(_ready: int) -> None:
        os.read(deletions, 4096)
        if not os.path.exists("noded.sock"):
            loop.stop()

    loop.watch(deletions, READ, look)


def _say(message: dict[str, Any]) -> None:
    try:
        os.write(_ready_fd, json.dumps(message).encode() + b"\n")
    except OSError as error:
        sys.stderr.write(f"cannot say {message}: {error}\n")
