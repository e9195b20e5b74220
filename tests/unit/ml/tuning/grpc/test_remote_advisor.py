"""Algorithms asked by gRPC: ours served by ours, and services that answer something else."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proa.ml.grpc.server import GrpcServer
from proa.ml.grpc.status import CallFailed, Code
from proa.ml.tuning.algorithms.errors import AlgorithmFailed, WorkerLost
from proa.ml.tuning.algorithms.suggestion_worker import SuggestionWorker
from proa.ml.tuning.grpc.messages import CODEC, DB_MANAGER, KATIB, SUGGESTION
from proa.ml.tuning.grpc.remote_advisor import RemoteAdvisor, RemoteExperiment
from proa.ml.tuning.grpc.studies import make_experiment, make_trials, read_study
from proa.ml.tuning.grpc.suggestion_server import Services
from proa.ml.tuning.records import Objective, Parameter, Study, TrialRecord

EARLY = {
    "algorithmName": "medianstop",
    "algorithmSettings": [
        {"name": "min_trials_required", "value": "2"},
        {"name": "start_step", "value": "2"},
    ],
}
STUDY = Study(
    key="e-1",
    seed=1,
    parameters=(
        Parameter("x", "double", minimum=-1.5, maximum=2.0, step=0.5, distribution="logNormal"),
        Parameter("n", "int", minimum=1, maximum=64, distribution="logUniform"),
        Parameter("d", "discrete", values=("0.1", "2")),
        Parameter("c", "categorical", values=("a", "b c")),
    ),
    objective=Objective("loss", is_maximized=False, goal=0.25, additional=("accuracy",)),
    settings={"random_state": "7"},
    trials=(
        TrialRecord("t-1", {"x": "0.5", "n": "2", "d": "2", "c": "a"}, "succeeded", 0.5, {"k": "v"}),
        TrialRecord("t-2", {"x": "1", "n": "3", "d": "0.1", "c": "b c"}, "running"),
        TrialRecord("t-3", {"x": "1", "n": "4", "d": "0.1", "c": "a"}, "metrics-unavailable"),
        TrialRecord("t-4", {"x": "1", "n": "5", "d": "0.1", "c": "a"}, "early-stopped"),
        TrialRecord("t-5", {"x": "1", "n": "6", "d": "0.1", "c": "a"}, "failed"),
    ),
    parallel=2,
    max_trials=9,
)
SMALL = replace(
    STUDY, parameters=(Parameter("x", "double", minimum=0.0, maximum=1.0),), trials=(), settings={"random_state": "7"}
)  # fmt: skip


def through_the_wire(name: str, message: dict) -> dict:
    return CODEC.decode(name, CODEC.encode(name, message))


def serve(methods, body: Callable[[RemoteAdvisor], Awaitable[None]], early=EARLY) -> None:
    """Run a test's body with an advisor that asks a server of these methods."""

    async def go() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        address = sock.getsockname()
        server = GrpcServer(KATIB, methods)
        await server.serve(sock)
        experiment = RemoteExperiment("e", early)
        try:
            await body(RemoteAdvisor(asyncio.open_connection, experiment, address, address))
        finally:
            await server.close()

    asyncio.run(go())


def test_a_study_arrives_as_it_was_but_for_what_upstream_leaves_out():
    experiment = through_the_wire("Experiment", make_experiment("e", STUDY, "tpe", EARLY))
    times = {"t-1": ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")}
    trials = [through_the_wire("Trial", trial) for trial in make_trials(STUDY, times)]
    algorithm, read = read_study(experiment, trials)
    assert algorithm == "tpe"
    assert read.trials == (STUDY.trials[0], STUDY.trials[1], STUDY.trials[4])
    assert replace(read, key=STUDY.key, seed=1, trials=STUDY.trials) == STUDY
    assert trials[0]["status"]["completion_time"] == "2026-01-01T00:01:00Z"
    assert experiment["spec"]["parameter_specs"]["parameters"][1]["feasible_space"]["max"] == "64"
    assert experiment["spec"]["early_stopping"]["algorithm_settings"][1] == {
        "name": "start_step",
        "value": "2",
    }


def test_a_network_is_told_of():
    nas = {
        "graphConfig": {"numLayers": 3, "inputSizes": [32, 32, 3], "outputSizes": [10]},
        "operations": [
            {
                "operationType": "convolution",
                "parameters": [
                    {"name": "k", "parameterType": "categorical", "feasibleSpace": {"list": ["3", "5"]}}
                ],
            }
        ],
    }
    told = through_the_wire("Experiment", make_experiment("e", SMALL, "enas", nas=nas))["spec"]["nas_config"]
    assert told["graph_config"] == {"num_layers": 3, "input_sizes": [32, 32, 3], "output_sizes": [10]}
    assert told["operations"]["operation"][0]["parameter_specs"]["parameters"][0]["feasible_space"][
        "list"
    ] == ["3", "5"]


def test_ours_asked_by_grpc_answers_as_it_does_beside_us():
    async def reads(request: dict, caller: object) -> dict:
        number = int(request["trial_name"].removeprefix("t-"))
        logs = [
            {"time_stamp": f"2026-01-01T00:00:0{step}Z", "metric": {"name": "loss", "value": str(number)}}
            for step in range(3)
        ]
        return {"observation_log": {"metric_logs": logs}}

    worker = SuggestionWorker()

    async def dial(host: str, port: int):
        """Bring whoever asks for the DBManager to the test's."""
        return await asyncio.open_connection(*(managers[0] if host.startswith("katib") else (host, port)))

    managers: list[tuple[str, int]] = []

    async def body(advisor: RemoteAdvisor) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        managers.append(sock.getsockname())
        manager = GrpcServer(KATIB, {f"/{DB_MANAGER}/GetObservationLog": reads})
        await manager.serve(sock)
        try:
            assert await advisor.check("random", SMALL) == []
            problems = await advisor.check("random", replace(SMALL, settings={"nonsense": "1"}))
            assert (problems[0].field, "nonsense" in problems[0].message) == ("spec.algorithm", True)
            answer = await advisor.suggest("random", SMALL, 3)
            beside = await worker.suggest("random", replace(SMALL, key="e"), 3)
            assert len(answer.suggested) == 3
            assert {one.assignments["x"] for one in answer.suggested} == {
                one.assignments["x"] for one in beside.suggested
            }
            with pytest.raises(AlgorithmFailed, match="there is no algorithm 'guess'"):
                await advisor.suggest("guess", SMALL, 1)
            assert await advisor.check_early_stopping("medianstop", {}) == []
            done = tuple(TrialRecord(f"t-{n}", {"x": "0"}, "succeeded", float(n)) for n in (1, 2, 3))
            rules = await advisor.rules("medianstop", replace(SMALL, trials=done), {}, {})
            assert [(rule.metric, rule.comparison, rule.start_step) for rule in rules] == [
                ("loss", "greater", 2)
            ]
            assert float(rules[0].value) == 2.0
        finally:
            await manager.close()
            await worker.stop()

    serve(Services(worker, dial).methods, body)


ANSWERS = {
    "too many": ([{"assignments": [{"name": "x", "value": "1"}]}] * 3,
                 "2 suggestions were asked for, and it answered with 3"),
    "another parameter": ([{"assignments": [{"name": "y", "value": "1"}]}], "suggestion 0 is for y, not for x"),
    "none": ([{"assignments": []}], "suggestion 0 is for nothing, not for x"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "message"), ANSWERS.values(), ids=ANSWERS.keys())
def test_what_does_not_fit_the_study_is_refused(answer, message):
    async def suggest(request: dict, caller: object) -> dict:
        assert (request["current_request_number"], request["total_request_number"]) == (2, 2)
        return {"parameter_assignments": answer}

    async def body(advisor: RemoteAdvisor) -> None:
        with pytest.raises(AlgorithmFailed, match=message):
            await advisor.suggest("mine", SMALL, 2)

    serve({f"/{SUGGESTION}/GetSuggestions": suggest}, body)


def test_names_labels_and_settings_of_an_answer_are_kept():
    async def suggest(request: dict, caller: object) -> dict:
        one = {
            "assignments": [{"name": "x", "value": "1"}],
            "trial_name": "t-9",
            "labels": {"generation": "2"},
        }
        algorithm = {"algorithm_name": "mine", "algorithm_settings": [{"name": "rung", "value": "3"}]}
        return {"parameter_assignments": [one], "algorithm": algorithm}

    async def body(advisor: RemoteAdvisor) -> None:
        answer = await advisor.suggest("mine", SMALL, 1)
        assert answer.suggested[0].name == "t-9"
        assert (answer.suggested[0].labels, answer.settings) == ({"generation": "2"}, {"rung": "3"})

    serve({f"/{SUGGESTION}/GetSuggestions": suggest}, body)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (Code.UNIMPLEMENTED, []),
        (Code.INVALID_ARGUMENT, ["no"]),
        (Code.UNKNOWN, ["no"]),
        (Code.UNAVAILABLE, WorkerLost),
        (Code.INTERNAL, AlgorithmFailed),
    ],
)
def test_what_a_service_says_of_settings_counts_as_upstreams_controller_has_it(code, expected):
    async def check(request: dict, caller: object) -> dict:
        raise CallFailed(code, "no")

    async def body(advisor: RemoteAdvisor) -> None:
        if isinstance(expected, list):
            assert [problem.message for problem in await advisor.check("mine", SMALL)] == expected
        else:
            with pytest.raises(expected, match=f"the algorithm's service: {code.name}: no"):
                await advisor.check("mine", SMALL)

    serve({f"/{SUGGESTION}/ValidateAlgorithmSettings": check}, body)


def test_an_experiment_that_is_none_is_refused():
    with pytest.raises(CallFailed, match="has no algorithm or no objective"):
        read_study(None)
    bad = through_the_wire("Experiment", make_experiment("e", SMALL, "tpe"))
    bad["spec"]["parameter_specs"]["parameters"][0]["feasible_space"]["min"] = "low"
    with pytest.raises(CallFailed, match=r"parameters\[0\].feasible_space: could not convert"):
        read_study(bad)
