"""Say whether the server lives and is ready, and which version it is: /healthz, /livez, /readyz, /version.

Follows apiserver/pkg/server/healthz and component-base/version.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

import orjson

from proa.client.protocol import Request, Response
from proa.objects.meta import format_time

GIT_VERSION = "v1.36.2+proa"
TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
Check = Callable[[], str]
"""Returns "" when all is well, else what is not."""


def serve_health(request: Request, endpoint: str, checks: Mapping[str, Check]) -> Response:
    """Answer /livez and its kin: 200 `ok`, or 500 and the list of checks; `?exclude=` leaves one out."""
    excluded = set(request.query.get("exclude", ()))
    lines, failed = [], []
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif problem := check():
            failed.append(name)
            lines.append(f"[-]{name} failed: {problem}")
        else:
            lines.append(f"[+]{name} ok")
    if failed:
        return Response(500, TEXT, "\n".join([*lines, f"{endpoint} check failed", ""]).encode())
    if "verbose" in request.query:
        return Response(200, TEXT, "\n".join([*lines, f"{endpoint} check passed", ""]).encode())
    return Response(200, TEXT, b"ok")


def make_version(now: float) -> bytes:
    """Return the document of /version."""
    machine = os.uname().machine
    major, minor = GIT_VERSION[1:].split(".")[:2]
    return orjson.dumps(
        {
            "major": major,
            "minor": minor,
            "emulationMajor": major,
            "emulationMinor": minor,
            "minCompatibilityMajor": major,
            "minCompatibilityMinor": str(int(minor) - 1),
            "gitVersion": GIT_VERSION,
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": format_time(now),
            "goVersion": "",
            "compiler": sys.implementation.name,
            "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }",
        }
    )
