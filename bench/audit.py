"""What does the audit log cost a request?

The processor time of a GET in process, the writing of the log included, beside a server without a log.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from proa.apiserver.app import ApiServer, ApiSettings
from proa.apiserver.audit.log import AuditLog
from proa.apiserver.audit.policy import DEFAULT, make_policy, read_policy
from proa.apiserver.bootstrap import ensure_namespaces
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Request, User
from proa.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
PATH = "/api/v1/namespaces/default/configmaps/a"
EVERYTHING = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}]}
POLICIES = {
    "a GET, audited at Metadata": lambda: read_policy(DEFAULT),
    "a GET, audited with bodies at all stages": lambda: make_policy(EVERYTHING),
}


def run(quick: bool) -> list[dict[str, object]]:
    """Return the rows: the cost of an answer with the log at two levels."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(compare(1_000 if quick else 5_000, Path(folder)))


async def compare(count: int, folder: Path) -> list[dict[str, object]]:
    """Measure the servers in turn."""
    plain = await make_server(ApiServer(MemoryStore(), DEFINITIONS))
    rows: list[dict[str, object]] = []
    for name, make in POLICIES.items():
        log = AuditLog(str(folder / "audit.log"))
        settings = ApiSettings(audit_policy=make())
        audited = await make_server(ApiServer(MemoryStore(), DEFINITIONS, settings, audit_log=log))
        rounds = [(await cost(audited, count), await cost(plain, count)) for _ in range(7)]
        value, baseline = (min(costs) for costs in zip(*rounds, strict=True))
        rows.append(
            {
                "name": name,
                "value": round(value, 1),
                "unit": "us CPU",
                "baseline": "a server without a log",
                "baseline_value": round(baseline, 1),
                "ratio": round(baseline / value, 2),
            }
        )
        await audited.close()
    return rows


async def make_server(server: ApiServer) -> ApiServer:
    """Return a server with a ConfigMap."""
    await ensure_namespaces(ApiClient(LocalTransport(server.handle, ADMIN)))
    body = orjson.dumps({"metadata": {"name": "a"}})
    answer = await server.handle(Request("POST", PATH.removesuffix("/a"), {}, {}, body, ADMIN))
    assert answer.status == 201, answer.body
    return server


async def cost(server: ApiServer, count: int) -> float:
    """Return the processor time of a GET in microseconds, that of all threads."""
    started = time.process_time()
    for _ in range(count):
        answer = await server.handle(Request("GET", PATH, {}, {"user-agent": "bench"}, b"", ADMIN))
        assert answer.status == 200
    if server.audit_log is not None:
        await server.audit_log.settle()
    return (time.process_time() - started) / count * 1e6
