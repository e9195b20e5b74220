"""What does RBAC cost a request?

The processor time of a GET in process, for a user whom one of 2,000 bindings names, beside a server that allows all;
and of the first request of a user, for which its rights are worked out.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from proa.apiserver.app import ApiServer
from proa.apiserver.authorization.bootstrap_policy import ensure_policy
from proa.apiserver.authorization.decision import AlwaysAllow
from proa.apiserver.bootstrap import ensure_namespaces
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Request, User
from proa.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
USERS = [User(f"user-{n}", ("system:authenticated",)) for n in range(2_000)]
PATH = "/api/v1/namespaces/default/configmaps/a"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"


def run(quick: bool) -> list[dict[str, object]]:
    """Return the rows: the cost of an answer under RBAC, and of each user's first."""
    return asyncio.run(compare(1_000 if quick else 5_000))


async def compare(count: int) -> list[dict[str, object]]:
    """Measure both servers."""
    guarded, open_to_all = await make_server(None), await make_server(AlwaysAllow())
    first = await cost(guarded, USERS)
    user = USERS[len(USERS) // 2 : len(USERS) // 2 + 1]
    rounds = [(await cost(guarded, user * count), await cost(open_to_all, user * count)) for _ in range(7)]
    with_rbac, without = (min(costs) for costs in zip(*rounds, strict=True))
    return [
        row("a GET under RBAC", with_rbac, without),
        row("each user's first GET under RBAC", first, without),
    ]


def row(name: str, value: float, baseline: float) -> dict[str, object]:
    """Return a row."""
    return {
        "name": name,
        "value": round(value, 1),
        "unit": "us CPU",
        "baseline": "a server that allows all",
        "baseline_value": round(baseline, 1),
        "ratio": round(baseline / value, 2),
    }


async def make_server(authorizer: AlwaysAllow | None) -> ApiServer:
    """Return a server with the default roles, a ConfigMap and a binding for each user."""
    server = ApiServer(MemoryStore(), DEFINITIONS, authorizer=authorizer)
    await ensure_namespaces(ApiClient(LocalTransport(server.handle, ADMIN)))
    await ensure_policy(server.catalog)
    await ask(server, "POST", PATH.removesuffix("/a"), {"metadata": {"name": "a"}})
    for user in USERS:
        subjects = [{"kind": "User", "name": user.name}]
        role = {"kind": "ClusterRole", "name": "cluster-admin"}
        body = {"metadata": {"name": user.name}, "roleRef": role, "subjects": subjects}
        await ask(server, "POST", BINDINGS, body)
    return server


async def ask(server: ApiServer, method: str, path: str, body: object) -> None:
    """Write as the administrator."""
    answer = await server.handle(Request(method, path, {}, {}, orjson.dumps(body), ADMIN))
    assert answer.status == 201, answer.body


async def cost(server: ApiServer, users: list[User]) -> float:
    """Return the processor time of a GET in microseconds, one by each of the users."""
    started = time.process_time()
    for user in users:
        answer = await server.handle(Request("GET", PATH, {}, {}, b"", user))
        assert answer.status == 200
    return (time.process_time() - started) / len(users) * 1e6
