from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from proa.apiserver.app import ApiServer
from proa.apiserver.resources import DEFINITIONS
from proa.client.api import ApiClient
from proa.client.local import LocalTransport
from proa.client.protocol import Client, Object, Request, Response, User
from proa.objects.errors import ApiError, ServiceUnavailable
from proa.objects.resource import CONFIG_MAPS, LEASES, NAMESPACES
from proa.reconcile.leader_election import (
    FencedTransport,
    LeaderElector,
    LeadershipLost,
    Lock,
    Seen,
    Timing,
    look,
    plan,
)
from proa.store.memory import MemoryStore
from support.virtual_time import run_in_virtual_time

ADMIN = User("admin", ("system:masters", "system:authenticated"))
NOW = 1_700_000_000.0
WRITTEN = "2023-11-14T22:13:20.000000Z"
EARLIER = "2023-11-14T22:00:00.000000Z"


def make_lease(holder: str, seconds: int = 15, transitions: int = 3, renewed: str = EARLIER) -> Object:
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": seconds,
        "acquireTime": EARLIER,
        "renewTime": renewed,
        "leaseTransitions": transitions,
    }
    return {"metadata": {"name": "work", "namespace": "kube-system"}, "spec": spec}


@pytest.mark.parametrize(
    ("seen", "acquired", "transitions"),
    [
        pytest.param(None, WRITTEN, 0, id="no-lease-yet"),
        pytest.param(Seen({"metadata": {}}, 0), WRITTEN, 1, id="an-empty-lease"),
        pytest.param(Seen(make_lease("me"), 99), EARLIER, 3, id="renewed"),
        pytest.param(Seen(make_lease("me"), 0), EARLIER, 3, id="ours-though-it-is-over"),
        pytest.param(Seen(make_lease(""), 99), WRITTEN, 4, id="let-go-by-its-holder"),
        pytest.param(Seen(make_lease("other"), 85), WRITTEN, 4, id="over-by-our-own-clock"),
        pytest.param(Seen(make_lease("other", seconds=1), 98), WRITTEN, 4, id="shorter-than-our-own"),
    ],
)
def test_a_lease_that_is_free_ours_or_over_is_taken(seen, acquired, transitions):
    assert plan("me", seen, 15, 100, NOW) == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": acquired,
        "renewTime": WRITTEN,
        "leaseTransitions": transitions,
    }


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(Seen(make_lease("other"), 86), id="not-over-yet"),
        pytest.param(Seen(make_lease("other", seconds=2**31 - 1), 0), id="held-for-good"),
    ],
)
def test_a_lease_that_another_holds_is_left_alone(seen):
    assert plan("me", seen, 15, 100, NOW) is None


def test_the_time_of_a_lease_begins_when_it_is_first_seen_whatever_is_written_in_it():
    first = look(None, make_lease("other"), 10)
    assert look(first, {**make_lease("other"), "metadata": {"resourceVersion": "9"}}, 20).at == 10
    assert look(first, make_lease("other", renewed=WRITTEN), 20).at == 20


@pytest.mark.parametrize("timing", [Timing(10, 10, 2), Timing(15, 2.4, 2), Timing(15, 10, 0)])
def test_timings_that_cannot_be_kept_are_refused(timing):
    with pytest.raises(ValueError, match="must be greater than"):
        timing.check()


class Net:
    """A contender's way to the server, which can be cut, and its clock on the wall, which may be wrong."""

    def __init__(self, server: ApiServer, skew: float) -> None:
        self._transport = LocalTransport(server.handle, ADMIN)
        self._skew = skew
        self.is_cut = self.hangs = False

    async def send(self, request: Request) -> Response:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.is_cut:
            raise ServiceUnavailable("cut")
        return await self._transport.send(request)

    async def close(self) -> None:
        await self._transport.close()

    def now(self) -> float:
        return NOW + asyncio.get_running_loop().time() + self._skew


class Contest:
    """Contenders for one lease on one server; `leading` is who works now, `told` their events."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.server = ApiServer(self.store, DEFINITIONS)
        self.client: Client = ApiClient(LocalTransport(self.server.handle, ADMIN))
        self.leading: set[str] = set()
        self.told: list[str] = []
        self.nets: dict[str, Net] = {}
        self.electors: dict[str, LeaderElector] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def event(self, obj: Object, type: str, reason: str, message: str, field_path: str = "") -> None:
        assert (obj["kind"], type, reason) == ("Lease", "Normal", "LeaderElection")
        self.told.append(message)

    def enter(self, name: str, skew: float = 0.0) -> None:
        net = self.nets[name] = Net(self.server, skew)
        elector = LeaderElector(ApiClient(net), self, Lock("work", name), now=net.now, random=lambda: 0.5)
        self.electors[name] = elector
        self.tasks[name] = asyncio.create_task(elector.run(lambda: self.lead(name)))

    async def lead(self, name: str) -> None:
        assert not self.leading, f"{name} leads beside {self.leading}"
        self.leading.add(name)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.5)  # what ends takes a moment
            self.leading.discard(name)

    async def leave(self, name: str) -> None:
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)

    async def until(self, condition: Callable[[], object]) -> float:
        """Return how many seconds it took."""
        start = asyncio.get_running_loop().time()
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.1)
        return asyncio.get_running_loop().time() - start

    async def lease(self) -> Object:
        spec: Object = (await self.client.get(LEASES, "work", "kube-system"))["spec"]
        return spec


@asynccontextmanager
async def contest():
    made = Contest()
    await made.client.create(NAMESPACES, {"metadata": {"name": "kube-system"}})
    try:
        yield made
    finally:
        for name in made.tasks:
            made.nets[name].hangs = made.nets[name].is_cut = False
            await made.leave(name)
        await made.store.close()


def with_contest(scenario: Callable[[Contest], Awaitable[None]]) -> None:
    async def main() -> None:
        async with contest() as made:
            await scenario(made)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_in_virtual_time(main())


def test_one_leads_and_renews_and_the_other_waits():
    async def scenario(made: Contest) -> None:
        made.enter("a")
        made.enter("b", skew=-86400.0)  # a day behind
        await made.until(lambda: made.leading)
        first = await made.lease()
        await asyncio.sleep(600)
        last = await made.lease()
        assert (made.leading, made.told) == ({"a"}, ["a became leader"])
        assert (last["acquireTime"], last["leaseTransitions"]) == (first["acquireTime"], 0)
        assert last["renewTime"] > "2023-11-14T22:23:1"
        assert made.electors["b"].holder == "a"
        assert not made.electors["b"].leads

    with_contest(scenario)


def test_who_leaves_has_stopped_before_it_lets_go_and_the_next_one_follows_within_moments():
    async def scenario(made: Contest) -> None:
        made.enter("a")
        await made.until(lambda: made.leading)
        made.enter("b")
        await asyncio.sleep(30)
        await made.leave("a")
        assert (await made.lease())["holderIdentity"] == ""
        assert await made.until(lambda: made.leading == {"b"}) < 5
        assert (await made.lease())["leaseTransitions"] == 1
        assert made.told == ["a became leader", "a stopped leading", "b became leader"]

    with_contest(scenario)


@pytest.mark.parametrize("how", ["is_cut", "hangs"])
def test_who_cannot_renew_gives_up_before_another_takes_over(how):
    async def scenario(made: Contest) -> None:
        made.enter("a")
        await made.until(lambda: made.leading)
        made.enter("b", skew=3600.0)
        await asyncio.sleep(30)
        setattr(made.nets["a"], how, True)
        took = await made.until(lambda: not made.leading)
        assert 10 <= took <= 15
        assert took + await made.until(lambda: made.leading == {"b"}) < 15 + 5
        made.nets["a"].hangs = made.nets["a"].is_cut = False
        await asyncio.gather(made.tasks["a"], return_exceptions=True)
        assert "could not be renewed within 10 s" in str(made.tasks["a"].exception())
        assert isinstance(made.tasks["a"].exception(), LeadershipLost)

    with_contest(scenario)


def test_who_sees_another_lead_stops_at_once():
    async def scenario(made: Contest) -> None:
        made.enter("a")
        await made.until(lambda: made.leading)
        lease = await made.client.get(LEASES, "work", "kube-system")
        await made.client.update(LEASES, {**lease, "spec": make_lease("thief")["spec"]})
        assert await made.until(lambda: not made.leading) < 4
        assert "thief leads now" in str((await asyncio.gather(made.tasks["a"], return_exceptions=True))[0])
        assert (await made.lease())["holderIdentity"] == "thief"

    with_contest(scenario)


def test_what_fails_while_it_leads_is_raised_and_the_lease_is_let_go():
    async def scenario(made: Contest) -> None:
        async def fail() -> None:
            raise ZeroDivisionError

        made.enter("a")
        await made.leave("a")
        with pytest.raises(ZeroDivisionError):
            await made.electors["a"].run(fail)
        assert (await made.lease())["holderIdentity"] == ""

    with_contest(scenario)


def test_a_process_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_goes_on():
    async def scenario(made: Contest) -> None:
        made.enter("a")
        fenced = ApiClient(FencedTransport(LocalTransport(made.server.handle, ADMIN), made.electors["a"]))
        with pytest.raises(ApiError, match="does not lead"):
            await fenced.create(CONFIG_MAPS, {"metadata": {"name": "early"}}, "kube-system")
        await made.until(lambda: made.leading)
        await fenced.create(CONFIG_MAPS, {"metadata": {"name": "led"}}, "kube-system")
        loop = asyncio.get_running_loop()
        loop._clock.skipped += 16  # type: ignore[attr-defined]  # as by SIGSTOP and SIGCONT
        with pytest.raises(ApiError, match="does not lead"):
            await fenced.create(CONFIG_MAPS, {"metadata": {"name": "late"}}, "kube-system")
        found = await fenced.list(CONFIG_MAPS, "kube-system")
        assert [obj["metadata"]["name"] for obj in found.items] == ["led"]

    with_contest(scenario)


def test_contenders_that_come_go_and_are_cut_off_at_random_never_lead_together():
    async def scenario(made: Contest) -> None:

        chance = random.Random(7)
        for name in "abc":
            made.enter(name, skew=chance.uniform(-500, 500))
        for _ in range(60):
            await asyncio.sleep(chance.uniform(1, 40))
            name = chance.choice("abc")
            if made.tasks[name].done():
                await asyncio.gather(made.tasks[name], return_exceptions=True)
                made.enter(name, skew=chance.uniform(-500, 500))
            elif chance.random() < 0.5:
                made.nets[name].is_cut = not made.nets[name].is_cut
            else:
                made.nets[name].is_cut = False
                await made.leave(name)
        assert (await made.lease())["leaseTransitions"] > 5

    with_contest(scenario)
