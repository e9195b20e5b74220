"""Debian's docker-registry on loopback, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.tls_server import Authority

USER, PASSWORD = "sailor", "aye-aye"
_HASH = "$2y$05$KjeYR1AddbFgmHAm31Fe2.pBpn.uHty7ojD.D31noZvJkoj18dvL2"
_CONFIGURATION = """
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:0", secret: x{tls}}}
{auth}
"""

needs_registry = pytest.mark.skipif(
    not shutil.which("docker-registry"), reason="not on this machine: docker-registry is not installed"
)
needs_skopeo = pytest.mark.skipif(
    not shutil.which("skopeo"), reason="not on this machine: skopeo is not installed"
)


@contextlib.contextmanager
def run_registry(folder: Path, *, users: bool = False, authority: Authority | None = None) -> Iterator[str]:
    """Yield host:port of a registry; with `users` it knows USER with PASSWORD, with an authority it speaks TLS."""
    folder.mkdir(parents=True, exist_ok=True)
    tls = auth = ""
    if authority is not None:
        certificate = authority.write_server(folder, "127.0.0.1")
        tls = f", tls: {{certificate: {certificate}, key: {certificate}}}"
    if users:
        (folder / "users").write_text(f"{USER}:{_HASH}\n")
        auth = f"auth: {{htpasswd: {{realm: harbour, path: {folder}/users}}}}"
    file = folder / "config.yml"
    file.write_text(_CONFIGURATION.format(folder=folder, tls=tls, auth=auth))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        text=True,
    )
    assert process.stdout is not None
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                break
        else:
            raise AssertionError("docker-registry did not start: " + "".join(said))
        reader = threading.Thread(target=process.stdout.read, daemon=True)  # a full pipe would stop it
        reader.start()
        yield found[1]
        process.kill()
        reader.join()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def skopeo(*arguments: str) -> str:
    """Run skopeo; return what it prints."""
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
