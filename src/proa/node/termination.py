"""Keep a container's last words: what it wrote to its terminationMessagePath, else, if asked, the end of its log.

Follows pkg/kubelet/kuberuntime/kuberuntime_container.go (getTerminationMessage, readLastStringFromContainerLogs).
"""

from __future__ import annotations

import os
from pathlib import Path

from proa.client.protocol import Object
from proa.node.directories import make_private
from proa.node.log_reader import last_lines
from proa.node.runtimes.protocol import Container

MESSAGE_LIMIT_BYTES = 4096
LOG_LIMIT_BYTES = 2048
LOG_LIMIT_LINES = 80


def make_message_file(path: str) -> None:
    """Make the file that is bound into the container, writable by whoever runs in it."""
    target = Path(path)
    make_private(target.parent)
    target.touch(mode=0o666)
    target.chmod(0o666)


def read_message(container: Container, spec: Object) -> str:
    """Return the message of a container that exited, "" when it left none."""
    path = container.config.termination_message_file
    message = ""
    if path and os.path.isfile(path):
        with open(path, "rb") as file:
            message = file.read(MESSAGE_LIMIT_BYTES).decode(errors="replace")
    if message or spec.get("terminationMessagePolicy") != "FallbackToLogsOnError" or container.exit_code == 0:
        return message
    text = last_lines(Path(container.config.log_path), LOG_LIMIT_LINES)
    return text.decode(errors="replace")[-LOG_LIMIT_BYTES:]
