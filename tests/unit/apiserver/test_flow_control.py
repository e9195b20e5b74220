"""Priority and fairness: whose requests wait for whose, who is sent away, and what they are told."""

from __future__ import annotations

import asyncio

import pytest

from proa.apiserver.filters import deadline
from proa.apiserver.filters.deadline import read_timeout
from proa.apiserver.flowcontrol import levels as levels_module
from proa.apiserver.flowcontrol.levels import Level
from proa.apiserver.flowcontrol.schemas import LevelSettings, read_levels, read_schemas
from proa.apiserver.request_info import parse_request
from proa.client.protocol import Request, User
from proa.objects.errors import BadRequest

from .conftest import ADMIN

SOMEBODY = User("somebody", ("system:authenticated",))


def make_levels(**settings: LevelSettings) -> dict[str, Level]:
    levels: dict[str, Level] = {}
    for name, found in settings.items():
        levels[name] = Level(found, levels)
    return levels


def settings(name: str = "a", seats: int = 1, **facts) -> LevelSettings:
    queuing = {"queues": 16, "hand_size": 4, "queue_length": 2}
    return LevelSettings(name, "", False, seats, **{**queuing, **facts})


class TestSeats:
    def test_they_are_given_to_who_waits_longest(self):
        async def scenario():
            level = make_levels(a=settings())["a"]
            assert level.take()
            assert not level.take()
            order = []

            async def ask(flow):
                assert await level.wait(flow)
                order.append(flow)

            asking = [asyncio.create_task(ask(flow)) for flow in ("x", "y", "z")]
            await asyncio.sleep(0)
            assert not level.take(), "nobody overtakes those who wait"
            for count in range(1, 4):
                level.release()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert (len(order), level.in_use) == (count, 1)
            await asyncio.gather(*asking)
            level.release()
            assert (level.in_use, level.waiting) == (0, 0)

        asyncio.run(scenario())

    def test_a_busy_flow_does_not_keep_others_waiting(self):
        async def scenario():
            level = make_levels(a=settings(queues=64, hand_size=1, queue_length=50))["a"]
            assert level.take()
            order = []

            async def ask(flow):
                assert await level.wait(flow)
                order.append(flow)
                level.release()

            asking = [asyncio.create_task(ask("busy")) for _ in range(20)]
            await asyncio.sleep(0)
            asking.append(asyncio.create_task(ask("little")))
            await asyncio.sleep(0)
            level.release()
            await asyncio.gather(*asking)
            assert order.index("little") <= 1

        asyncio.run(scenario())

    def test_full_queues_and_levels_without_send_away(self):
        async def scenario():
            levels = make_levels(
                a=settings(queues=1, hand_size=1),
                b=settings("b", queues=0),
                c=settings("c", seats=0, queues=0),
            )
            for name in "ab":
                assert levels[name].take()
            assert not await levels["b"].wait("x")
            assert not await levels["c"].wait("x")
            waiting = [asyncio.create_task(levels["a"].wait("x")) for _ in range(2)]
            await asyncio.sleep(0)
            assert not await levels["a"].wait("x")
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert (levels["a"].waiting, levels["a"].in_use) == (0, 1)

        asyncio.run(scenario())

    def test_who_waits_too_long_is_sent_away(self, monkeypatch):
        monkeypatch.setattr(levels_module, "WAIT_SECONDS", 0.01)

        async def scenario():
            level = make_levels(a=settings())["a"]
            assert level.take()
            assert not await level.wait("x")
            assert level.waiting == 0

        asyncio.run(scenario())

    def test_what_others_do_not_use_is_borrowed_within_limits(self):
        levels = make_levels(
            a=settings(seats=2), b=settings("b", seats=10, lendable=3), c=settings("c", seats=1, borrowed=0)
        )
        assert [levels["a"].take() for _ in range(6)] == [True] * 5 + [False]
        assert [levels["c"].take() for _ in range(2)] == [True, False]
        assert all(levels["b"].take() for _ in range(10)), "its own are always its own"
        levels["a"].release()
        assert not levels["a"].take(), "all that was lent is wanted back"


class TestClassification:
    SCHEMAS = (
        {
            "metadata": {"name": "late"},
            "spec": {
                "matchingPrecedence": 900,
                "priorityLevelConfiguration": {"name": "exempt"},
                "rules": [{"subjects": [{"kind": "User", "user": {"name": "*"}}],
                           "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                                              "clusterScope": True, "namespaces": ["*"]}]}],
            },
        },
        {
            "metadata": {"name": "pods"},
            "spec": {
                "matchingPrecedence": 500,
                "priorityLevelConfiguration": {"name": "exempt"},
                "rules": [
                    {
                        "subjects": [
                            {"kind": "ServiceAccount", "serviceAccount": {"namespace": "ns", "name": "*"}},
                            {"kind": "Group", "group": {"name": "g"}},
                        ],
                        "resourceRules": [
                            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/status"],
                             "namespaces": ["ns"]},
                        ],
                        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/debug/*"]}],
                    }
                ],
            },
        },
        {"metadata": {"name": "lost"}, "spec": {"matchingPrecedence": 1,
                                               "priorityLevelConfiguration": {"name": "none"}}},
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("user", "method", "path", "expected"),
        [
            (User("system:serviceaccount:ns:a"), "GET", "/api/v1/namespaces/ns/pods/x", "pods"),
            (User("system:serviceaccount:ns:a"), "GET", "/api/v1/namespaces/ns/pods/x/status", "pods"),
            (User("system:serviceaccount:ns:a"), "PUT", "/api/v1/namespaces/ns/pods/x", "late"),
            (User("system:serviceaccount:ns2:a"), "GET", "/api/v1/namespaces/ns/pods/x", "late"),
            (User("u", ("g",)), "GET", "/api/v1/namespaces/ns/pods", "pods"),
            (User("u", ("g",)), "GET", "/api/v1/pods", "late"),
            (User("u", ("g",)), "GET", "/metrics", "pods"),
            (User("u", ("g",)), "GET", "/debug/x", "pods"),
            (User("u", ("g",)), "GET", "/metricses", "catch-all"),
            (User("u", ("system:masters",)), "GET", "/metricses", "exempt"),
        ],
    )
    def test_the_first_schema_that_matches_counts(self, user, method, path, expected):
        info = parse_request(Request(method, path))
        schemas = read_schemas(self.SCHEMAS, read_levels((), 600))
        assert next(schema.name for schema in schemas if schema.matches(user, info)) == expected

    def test_seats_are_shared_as_asked_for(self):
        limited = {
            "nominalConcurrencyShares": 15, "lendablePercent": 50, "borrowingLimitPercent": 10,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 5}},
        }  # fmt: skip
        objects = [
            {"metadata": {"name": "mine", "uid": "u"}, "spec": {"type": "Limited", "limited": limited}}
        ]
        found = {level.name: level for level in read_levels(objects, 600)}
        assert found["mine"] == LevelSettings("mine", "u", False, 450, 225, 45, 8, 2, 5)
        assert found["catch-all"].seats == 150
        assert found["exempt"].is_exempt


def test_refused_requests_are_told_when_to_try_again(api, monkeypatch):
    monkeypatch.setattr(levels_module, "WAIT_SECONDS", 0.01)
    for level in api.server.flow_control.levels.values():
        while level.take():
            pass
    answer = asyncio.run(api.ask("GET", "/api/v1/nodes", user=SOMEBODY))
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert answer.raw == b"Too many requests, please try again later.\n"
    assert api.get("/api/v1/nodes").status == 200, "administrators are exempt"


def test_seats_are_given_back_whatever_comes_of_a_request(api):
    for path in ("/api/v1/nodes", "/nope", "/api/v1/namespaces/default/pods/none"):
        asyncio.run(api.ask("GET", path, user=SOMEBODY))
    assert [level.in_use for level in api.server.flow_control.levels.values()] == [0, 0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("1m30s", 90.0), ("1.5h", 5400.0), ("250ms", 0.25), ("-1s", -1.0), ("0", 0.0)],
)
def test_durations_are_gos(text, seconds):
    assert read_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["1", "s", "1x", "", "1s1"])
def test_other_durations_are_refused(text):
    with pytest.raises(BadRequest, match="invalid timeout specified in the request URL - time: "):
        read_timeout(text)


@pytest.mark.parametrize("timeout", ["", "?timeout=10ms"])
def test_a_request_that_takes_too_long_is_ended(api, monkeypatch, timeout):
    monkeypatch.setattr(deadline, "REQUEST_SECONDS", 0.02)
    monkeypatch.setattr(deadline, "SWEEP_SECONDS", 0.01)

    async def never(*_):
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(type(api.server.router), "_serve_version", never)

    async def scenario():
        async with asyncio.timeout(60):
            answer = await api.ask("GET", f"/version{timeout}", user=ADMIN)
            assert asyncio.current_task().cancelling() == 0
            return answer

    answer = asyncio.run(scenario())
    assert (answer.status, answer.json["reason"]) == (504, "Timeout")
    assert answer.message == "Timeout: request did not complete within the allotted timeout"
