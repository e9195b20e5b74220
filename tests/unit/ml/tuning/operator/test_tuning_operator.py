"""An experiment is brought to its end, and says what became of each trial."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proa.ml.tuning.algorithms.errors import AlgorithmFailed, WorkerLost
from proa.ml.tuning.kinds import EXPERIMENTS, SUGGESTIONS, TRIALS
from proa.ml.tuning.operator.parts import DEADLINE_ANNOTATION, OperatorSettings
from proa.ml.tuning.records import Problem, Study, Suggestions
from proa.objects import meta
from proa.objects.errors import Forbidden, Invalid, RequestEntityTooLarge
from proa.objects.resource import CONFIG_MAPS, JOBS, PODS
from support.tuning_operator import NAMESPACE, Counting, World, in_world, make_experiment

Act = Callable[[World], Awaitable[Any]]


def run(
    folder: Path, act: Act, advisor: Counting | None = None, settings: OperatorSettings | None = None
) -> Any:
    async def operated(world: World) -> Any:
        async with world.operating():
            return await act(world)

    return asyncio.run(in_world(folder, operated, advisor, settings))


def condition(obj: dict[str, Any]) -> tuple[str, str]:
    last = obj["status"]["conditions"][-1]
    return last["type"], last["message"]


def test_an_experiment_ends_with_its_best_trial_and_removes_its_runs(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(maxTrialCount=5)
        ended = await world.until_condition("Succeeded")
        assert ended["reason"] == "ExperimentMaxTrialsReached"
        status = world.status()
        names = [meta.name(trial) for trial in world.trials()]
        assert status["succeededTrialList"] == names
        assert (status["trials"], status["trialsSucceeded"]) == (5, 5)
        assert "trialsRunning" not in status
        assert status["currentOptimalTrial"] == {
            "bestTrialName": names[-1],
            "parameterAssignments": [{"name": "x", "value": "score 0.004"}],
            "observation": {
                "metrics": [{"name": "score", "min": "0.004", "max": "0.004", "latest": "0.004"}]
            },
        }
        assert [c["type"] for c in status["conditions"]] == ["Created", "Running", "Succeeded"]
        assert status["startTime"] <= status["completionTime"]
        assert world.client.all(JOBS) == []
        assert world.node.most_at_once == 2
        assert world.advisor.asked[0] == (0, 2)
        trial = world.trials()[0]
        assert condition(trial) == ("Succeeded", "Trial has succeeded. Job message: it said score")
        assert meta.labels(trial)["katib.kubeflow.org/experiment"] == "e"
        points = await world.observations.read(meta.uid(trial))
        assert [(point.metric, point.value) for point in points] == [("score", "0.000")]
        suggestion = world.suggestion()
        assert suggestion["status"]["suggestionCount"] == suggestion["spec"]["requests"] == 5
        await world.until(lambda: condition(world.suggestion())[0] == "Succeeded")
        assert condition(world.suggestion())[1] == "Suggestion is succeeded, can't be restarted"
        await world.until(lambda: {"JobCreated", "JobSucceeded", "JobDeleted"} <= world.events())

    run(tmp_path, act)


def test_an_experiment_that_is_deleted_takes_all_with_it(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(trialTemplate={"retain": True})
        await world.until_condition("Created")
        await world.until(lambda: world.status().get("trialsSucceeded") == 4)
        assert len(world.client.all(JOBS)) == 4
        await world.client.delete(EXPERIMENTS, "e", NAMESPACE)
        everything = (SUGGESTIONS, TRIALS, JOBS, PODS)
        await world.until(lambda: not any(world.client.all(resource) for resource in everything))
        async with asyncio.timeout(60):
            while await world.observations.experiment_uids():
                await asyncio.sleep(0.01)

    run(tmp_path, act)


@pytest.mark.parametrize(
    ("word", "type", "words"),
    [
        ("early 0.7", "EarlyStopped", "Trial is early stopped"),
        (
            "nothing",
            "MetricsUnavailable",
            "Metrics are not available. Job message: it said nothing. so it is",
        ),
        ("broken", "MetricsUnavailable", "ended without telling what it found"),
        ("fail", "Failed", "Trial has failed. Job message: it said fail. pod "),
    ],
)
def test_each_way_of_ending_is_said(tmp_path: Path, word: str, type: str, words: str):
    async def act(world: World) -> None:
        await world.apply(maxTrialCount=1, parallelTrialCount=1)
        await world.until_condition("Succeeded")
        found, message = condition(world.trials()[0])
        assert found == type
        assert words in message
        if type == "Failed":
            assert "container main ended with exit code 1 - out of luck" in message

    run(tmp_path, act, Counting([word]))


def test_too_many_failures_end_the_experiment(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(maxTrialCount=9, maxFailedTrialCount=2)
        ended = await world.until_condition("Failed")
        words = "Experiment has failed because max failed count has reached. Trial e-"
        assert ended["message"].startswith(words)
        assert "Trial has failed. Job message: it said fail" in ended["message"]
        assert 2 <= len(world.status()["failedTrialList"]) <= 3

    run(tmp_path, act, Counting(["fail"] * 9))


def test_a_goal_that_is_reached_ends_the_experiment(tmp_path: Path):
    objective = {"type": "minimize", "goal": 0.05, "objectiveMetricName": "score"}

    async def act(world: World) -> None:
        await world.apply(objective=objective, parallelTrialCount=1, maxTrialCount=None)
        ended = await world.until_condition("Succeeded")
        assert ended["reason"] == "ExperimentGoalReached"
        assert world.status()["trials"] == 3

    run(tmp_path, act, Counting(["score 0.9", "score 0.5", "score 0.01"]))


def test_a_grid_that_is_exhausted_ends_the_experiment(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(maxTrialCount=9)
        ended = await world.until_condition("Succeeded")
        assert ended["reason"] == "ExperimentSuggestionEndReached"
        assert world.status()["trialsSucceeded"] == 3

    run(tmp_path, act, Counting(end=3))


@pytest.mark.parametrize(
    ("advisor", "words"),
    [
        ({"error": AlgorithmFailed("no such luck")}, "Suggestion has failed: no such luck"),
        ({"error": WorkerLost("it died")}, "Suggestion has failed: random: it died"),
        ({"problems": [Problem("a", "must be b")]}, "Suggestion has failed: Validation failed: a: must be b"),
    ],
)
def test_an_algorithm_that_fails_ends_the_experiment_in_its_words(
    tmp_path: Path, advisor: dict[str, Any], words: str
):
    async def act(world: World) -> None:
        vars(world.advisor).update(advisor)
        await world.apply()
        ended = await world.until_condition("Failed")
        assert ended["message"] == words
        assert world.client.all(TRIALS) == []

    run(tmp_path, act)


@pytest.mark.parametrize("policy", ["LongRunning", "FromVolume", "Never"])
def test_more_trials_restart_an_experiment_where_its_policy_lets_it(tmp_path: Path, policy: str):
    async def act(world: World) -> None:
        await world.apply(maxTrialCount=2, resumePolicy=policy)
        await world.until_condition("Succeeded")
        if policy != "LongRunning":
            await world.until(lambda: meta.has_condition(world.suggestion(), "Succeeded"))
        await world.client.patch(EXPERIMENTS, "e", {"spec": {"maxTrialCount": 4}}, NAMESPACE)
        if policy == "Never":
            await asyncio.sleep(0.05)
            assert world.status()["trials"] == 2
            return
        await world.until(lambda: world.status().get("trialsSucceeded") == 4)
        await world.until_condition("Succeeded")
        assert meta.has_condition(world.experiment(), "Restarting")
        assert len({meta.name(trial) for trial in world.trials()}) == 4

    run(tmp_path, act)


def test_parallel_trials_may_be_changed_while_an_experiment_runs(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(maxTrialCount=6, parallelTrialCount=3)
        await world.until(lambda: world.status().get("trialsRunning") == 3)
        first = [meta.name(trial) for trial in world.trials()]
        await world.client.patch(EXPERIMENTS, "e", {"spec": {"parallelTrialCount": 1}}, NAMESPACE)
        await world.until(lambda: world.status().get("trialsRunning") == 1)
        await world.until(lambda: len(world.client.all(JOBS)) == 1)
        await world.client.patch(EXPERIMENTS, "e", {"spec": {"parallelTrialCount": 2}}, NAMESPACE)
        await world.until(lambda: world.status().get("trialsRunning") == 2)
        assert {meta.name(trial) for trial in world.trials()} <= set(first)

    run(tmp_path, act, Counting(["wait"] * 6))


def test_a_trial_that_is_deleted_is_made_again(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(parallelTrialCount=1, maxTrialCount=1)
        await world.until(lambda: world.status().get("trialsRunning") == 1)
        [trial] = world.trials()
        await world.client.delete(TRIALS, meta.name(trial), NAMESPACE)
        await world.until(lambda: bool(world.trials()) and meta.uid(world.trials()[0]) != meta.uid(trial))
        assert meta.name(world.trials()[0]) == meta.name(trial)
        await world.until(lambda: world.status().get("trialsRunning") == 1)

    run(tmp_path, act, Counting(["wait"]))


def test_a_run_that_is_deleted_kills_its_trial(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(parallelTrialCount=1, maxTrialCount=2)
        await world.until(lambda: world.status().get("trialsRunning") == 1)
        name = meta.name(world.trials()[0])
        await world.client.delete(JOBS, name, NAMESPACE)
        await world.until_condition("Succeeded")
        assert world.status()["killedTrialList"] == [name]
        assert condition(world.trials()[0]) == ("Killed", f"Job {name} was deleted before it had ended")

    run(tmp_path, act, Counting(["wait"]))


def test_what_keeps_a_pod_from_starting_is_said_at_once_and_fails_the_trial_in_time(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(
            maxTrialCount=1,
            parallelTrialCount=1,
            maxFailedTrialCount=1,
            metadata={"annotations": {DEADLINE_ANNOTATION: "0"}},
        )
        ended = await world.until_condition("Failed")
        assert ended["reason"] == "ExperimentFailed"
        type, message = condition(world.trials()[0])
        assert type == "Failed"
        assert "container main" in message
        assert "ImagePullBackOff: no such image; correct the image's name" in message
        kinds = ("Trial", "Experiment")
        await world.until(lambda: {(kind, "ImagePullBackOff") for kind in kinds} <= world.told())

    run(tmp_path, act, Counting(["pull"]))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Invalid("spec.template: Required value"), "is refused: spec.template: Required value"),
        (
            Forbidden("jobs.batch is forbidden"),
            'ClusterRole with the label rbac.authorization.k8s.io/aggregate-to-tuning-operator: "true"',
        ),
    ],
)
def test_a_run_that_cannot_be_made_fails_its_trial(tmp_path: Path, error: Exception, words: str):
    async def act(world: World) -> None:
        world.client.fail_next(error, "create", JOBS)  # type: ignore[arg-type]
        await world.apply(maxTrialCount=1, parallelTrialCount=1, maxFailedTrialCount=1)
        await world.until_condition("Failed")
        type, message = condition(world.trials()[0])
        assert type == "Failed"
        assert words in message

    run(tmp_path, act)


def test_a_kind_that_nobody_serves_fails_its_trial(tmp_path: Path):
    async def act(world: World) -> None:
        spec = {"apiVersion": "example.com/v1", "kind": "Sail", "spec": {"to": "${trialParameters.x}"}}
        template = {"trialSpec": spec, "successCondition": "status.done", "failureCondition": "status.failed"}
        await world.apply(
            maxTrialCount=1,
            parallelTrialCount=1,
            maxFailedTrialCount=1,
            trialTemplate=template,
            metricsCollectorSpec={"collector": {"kind": "Push"}},
        )
        await world.until_condition("Failed")
        type, message = condition(world.trials()[0])
        assert type == "Failed"
        assert message.startswith('no matches for kind "Sail" in version "example.com/v1": install')

    run(tmp_path, act)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            {"primaryContainerName": "mian"},
            "spec.trialTemplate.primaryContainerName: 'mian': Job has no pod template",
        ),
        ({"primaryPodLabels": {"role": "chief"}}, ""),
        (
            {"trialSpec": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "${trialParameters.x}"}}},
            "report metrics from the training itself",
        ),
    ],
)
def test_a_template_whose_trials_could_tell_no_metrics_ends_the_experiment_before_any(
    tmp_path: Path, template: Any, words: str
):
    ends = {
        "successCondition": 'status.conditions.#(type=="Complete")#',
        "failureCondition": 'status.conditions.#(type=="Failed")#',
    }

    async def act(world: World) -> None:
        await world.apply(trialTemplate={**ends, **template})
        if not words:
            await world.until(lambda: bool(world.client.all(TRIALS)))
            return
        ended = await world.until_condition("Failed")
        assert words in ended["message"]
        assert world.client.all(TRIALS) == world.client.all(SUGGESTIONS) == []

    run(tmp_path, act)


def test_a_template_may_be_in_a_config_map(tmp_path: Path):
    template = make_experiment()["spec"]["trialTemplate"]["trialSpec"]
    said = {
        "trialSpec": None,
        "configMap": {"configMapName": "t", "configMapNamespace": NAMESPACE, "templatePath": "job"},
        "successCondition": 'status.conditions.#(type=="Complete")#',
        "failureCondition": 'status.conditions.#(type=="Failed")#',
    }

    async def act(world: World) -> None:
        await world.client.create(
            CONFIG_MAPS, {"metadata": {"name": "t"}, "data": {"job": json.dumps(template)}}, NAMESPACE
        )
        await world.apply(trialTemplate=said)
        await world.until_condition("Succeeded")
        assert world.status()["trialsSucceeded"] == 4

    run(tmp_path, act)


def test_a_config_map_that_is_not_there_ends_the_experiment(tmp_path: Path):
    said = {
        "trialSpec": None,
        "configMap": {"configMapName": "t", "configMapNamespace": NAMESPACE, "templatePath": "job"},
        "successCondition": 'status.conditions.#(type=="Complete")#',
        "failureCondition": 'status.conditions.#(type=="Failed")#',
    }

    async def act(world: World) -> None:
        await world.apply(trialTemplate=said)
        ended = await world.until_condition("Failed")
        assert "spec.trialTemplate.configMap: ConfigMap default/t is not there" in ended["message"]

    run(tmp_path, act)


def test_rules_of_early_stopping_are_put_into_trials(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(
            parallelTrialCount=1, maxTrialCount=2, earlyStopping={"algorithmName": "medianstop"}
        )
        await world.until_condition("Succeeded")
        rules = [trial["spec"]["earlyStoppingRules"] for trial in world.trials()]
        assert rules == [
            [{"name": "score", "value": "0", "comparison": "less", "startStep": 2}],
            [{"name": "score", "value": "1", "comparison": "less", "startStep": 2}],
        ]

    run(tmp_path, act)


def test_what_is_pushed_is_the_observation_and_nothing_pushed_is_said(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(
            maxTrialCount=1, parallelTrialCount=1, metricsCollectorSpec={"collector": {"kind": "Push"}}
        )
        await world.until_condition("Succeeded")
        type, message = condition(world.trials()[0])
        assert type == "MetricsUnavailable"
        assert "nothing was reported to katib-db-manager.kubeflow:6789" in message

    run(tmp_path, act, Counting(["nothing"]))


def test_an_experiment_that_is_made_again_waits_until_what_was_before_is_gone(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(maxTrialCount=2)
        await world.until_condition("Succeeded")
        first = meta.uid(world.suggestion())
        world.node.is_paused = True  # its garbage collector too
        await world.client.delete(EXPERIMENTS, "e", NAMESPACE)
        await world.apply(maxTrialCount=3)
        await world.until(lambda: meta.name(world.experiment()) == "e")
        await asyncio.sleep(0)
        assert meta.find_condition(world.experiment(), "Failed") is None
        world.node.is_paused = False
        await world.until_condition("Succeeded")
        assert meta.uid(world.suggestion()) != first
        assert world.status()["trialsSucceeded"] == 3

    run(tmp_path, act)


def test_an_algorithm_without_an_answer_ends_the_experiment(tmp_path: Path):
    class Silent(Counting):
        async def suggest(self, algorithm: str, study: Study, count: int) -> Suggestions:
            made = await super().suggest(algorithm, study, count)
            return Suggestions(()) if study.trials else made

    async def act(world: World) -> None:
        await world.apply(maxTrialCount=6)
        ended = await world.until_condition("Failed")
        assert "random suggested nothing, though no trial is under way" in ended["message"]
        assert world.status()["trialsSucceeded"] == 2

    run(tmp_path, act, Silent())


def test_an_algorithm_is_asked_for_so_many_at_once_however_many_are_wanted(tmp_path: Path):
    async def act(world: World) -> None:
        await world.apply(maxTrialCount=None, parallelTrialCount=1000)
        await world.until_condition("Failed")
        assert world.advisor.asked == [(0, 500)]

    class Endless(Counting):
        async def suggest(self, algorithm: str, study: Study, count: int) -> Suggestions:
            self.asked.append((len(study.trials), count))
            raise AlgorithmFailed("that is enough")

    run(tmp_path, act, Endless())


def test_a_suggestion_that_no_object_can_hold_ends_the_experiment(tmp_path: Path):
    async def act(world: World) -> None:
        world.client.fail_next(
            RequestEntityTooLarge("etcdserver: request is too large"), "update", SUGGESTIONS
        )
        await world.apply()
        ended = await world.until_condition("Failed")
        assert "set spec.maxTrialCount of the experiment to at most 0" in ended["message"]

    run(tmp_path, act)


@pytest.mark.parametrize("labels", [{}, {"katib.kubeflow.org/component": "trial-templates"}])
def test_a_config_map_of_another_namespace_is_read_where_it_is_meant_to_be(tmp_path: Path, labels: Any):
    template = make_experiment()["spec"]["trialTemplate"]["trialSpec"]
    said = {
        "trialSpec": None,
        "configMap": {"configMapName": "t", "configMapNamespace": "kubeflow", "templatePath": "job"},
        "successCondition": 'status.conditions.#(type=="Complete")#',
        "failureCondition": 'status.conditions.#(type=="Failed")#',
    }

    async def act(world: World) -> None:
        made = {"metadata": {"name": "t", "labels": labels}, "data": {"job": json.dumps(template)}}
        await world.client.create(CONFIG_MAPS, made, "kubeflow")
        await world.apply(trialTemplate=said)
        if labels:
            await world.until_condition("Succeeded")
            return
        ended = await world.until_condition("Failed")
        assert (
            "is not there, or has not the label katib.kubeflow.org/component=trial-templates"
            in ended["message"]
        )

    run(tmp_path, act)
