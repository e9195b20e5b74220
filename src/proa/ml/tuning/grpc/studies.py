"""A study in Katib's messages and back, and what an algorithm answered. Pure.

Source: pkg/controller.v1beta1/suggestion/suggestionclient/suggestionclient.go of kubeflow/katib.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from proa.ml.grpc.codec import Message
from proa.ml.grpc.status import CallFailed, Code
from proa.ml.tuning.records import (
    Comparison,
    Distribution,
    Objective,
    Parameter,
    ParameterType,
    Problem,
    Rule,
    Study,
    Suggested,
    Suggestions,
    TrialRecord,
    TrialState,
)

MAX_PARAMETERS = 1000
_TYPES = {"double": "DOUBLE", "int": "INT", "discrete": "DISCRETE", "categorical": "CATEGORICAL"}
_DISTRIBUTIONS = {
    "uniform": "UNIFORM",
    "logUniform": "LOG_UNIFORM",
    "normal": "NORMAL",
    "logNormal": "LOG_NORMAL",
}
_COMPARISONS = {"equal": "EQUAL", "less": "LESS", "greater": "GREATER"}
_STATES: dict[TrialState, str] = {
    "running": "RUNNING",
    "succeeded": "SUCCEEDED",
    "early-stopped": "EARLYSTOPPED",
    "failed": "FAILED",
    "killed": "KILLED",
    "metrics-unavailable": "METRICSUNAVAILABLE",
}


def make_experiment(
    name: str,
    study: Study,
    algorithm: str,
    early: Mapping[str, Any] | None = None,
    nas: Mapping[str, Any] | None = None,
) -> Message:
    """Return the Experiment of a study; `early` and `nas` are spec.earlyStopping and spec.nasConfig."""
    spec: Message = {
        "parameter_specs": {"parameters": [_make_parameter(parameter) for parameter in study.parameters]},
        "objective": _make_objective(study.objective),
        "algorithm": {"algorithm_name": algorithm, "algorithm_settings": make_settings(study.settings)},
        "parallel_trial_count": study.parallel,
        "max_trial_count": study.max_trials or 0,
    }
    if early:
        spec["early_stopping"] = make_early_stopping(early)
    if nas:
        spec["nas_config"] = _make_network(nas)
    return {"name": name, "spec": spec}


def make_early_stopping(early: Mapping[str, Any]) -> Message:
    """Return the EarlyStoppingSpec of spec.earlyStopping."""
    settings = [
        {"name": entry["name"], "value": str(entry.get("value", ""))}
        for entry in early.get("algorithmSettings") or ()
    ]
    return {"algorithm_name": early["algorithmName"], "algorithm_settings": settings}


def make_trials(study: Study, times: Mapping[str, tuple[str, str]]) -> list[Message]:
    """Return the trials that algorithms are told of: upstream leaves out those that told nothing.

    `times` has of trials, by name, when they started and ended, in RFC 3339 or "".
    """
    silent = ("metrics-unavailable",)
    return [
        _make_trial(study.objective, trial, *times.get(trial.name, ("", "")))
        for trial in study.trials
        if trial.state not in silent and not (trial.state == "early-stopped" and trial.value is None)
    ]


def make_settings(settings: Mapping[str, str]) -> list[Message]:
    """Return settings, assignments or metrics as messages of a name and a value."""
    return [{"name": name, "value": value} for name, value in settings.items()]


def read_settings(messages: Iterable[Message]) -> dict[str, str]:
    """Return such messages as a mapping."""
    return {message["name"]: message["value"] for message in messages}


def read_suggestions(reply: Message, study: Study, count: int) -> Suggestions:
    """Return what a GetSuggestionsReply says; raise CallFailed where it does not fit the study."""
    found = reply["parameter_assignments"]
    if len(found) > count:
        raise CallFailed(
            Code.INTERNAL, f"{count} suggestions were asked for, and it answered with {len(found)}"
        )
    names = {parameter.name for parameter in study.parameters}
    suggested = []
    for number, one in enumerate(found):
        assignments = read_settings(one["assignments"])
        if names and assignments.keys() != names:
            said, wanted = ", ".join(sorted(assignments)) or "nothing", ", ".join(sorted(names))
            raise CallFailed(Code.INTERNAL, f"suggestion {number} is for {said}, not for {wanted}")
        suggested.append(Suggested(assignments, one["labels"], one["trial_name"]))
    return Suggestions(
        tuple(suggested), settings=read_settings((reply["algorithm"] or {}).get("algorithm_settings", ()))
    )


def make_suggestions(answer: Suggestions, algorithm: str) -> Message:
    """Return a GetSuggestionsReply."""
    reply: Message = {
        "parameter_assignments": [
            {
                "assignments": make_settings(one.assignments),
                "trial_name": one.name,
                "labels": dict(one.labels),
            }
            for one in answer.suggested
        ]
    }
    if answer.settings:
        reply["algorithm"] = {
            "algorithm_name": algorithm,
            "algorithm_settings": make_settings(answer.settings),
        }
    return reply


def read_rules(reply: Message) -> list[Rule]:
    """Return the rules of a GetEarlyStoppingRulesReply."""
    words = {said: word for word, said in _COMPARISONS.items()}
    return [
        Rule(
            rule["name"],
            rule["value"],
            cast(Comparison, words.get(rule["comparison"], "equal")),
            rule["start_step"],
        )
        for rule in reply["early_stopping_rules"]
    ]


def make_rules(rules: Sequence[Rule]) -> Message:
    """Return a GetEarlyStoppingRulesReply."""
    return {
        "early_stopping_rules": [
            {
                "name": rule.metric,
                "value": rule.value,
                "comparison": _COMPARISONS[rule.comparison],
                "start_step": rule.start_step,
            }
            for rule in rules
        ]
    }


def read_study(experiment: Message | None, trials: Sequence[Message] = ()) -> tuple[str, Study]:
    """Return the algorithm's name and the study of an Experiment; raise CallFailed for what is none."""
    spec = (experiment or {}).get("spec") or {}
    algorithm, objective = spec.get("algorithm"), spec.get("objective")
    if experiment is None or not algorithm or not objective:
        raise CallFailed(Code.INVALID_ARGUMENT, "experiment.spec has no algorithm or no objective")
    said = (spec["parameter_specs"] or {}).get("parameters", [])
    if len(said) > MAX_PARAMETERS:
        raise CallFailed(
            Code.INVALID_ARGUMENT, f"an experiment has up to {MAX_PARAMETERS} parameters, not {len(said)}"
        )
    found = Objective(
        metric=objective["objective_metric_name"],
        is_maximized=objective["type"] == "MAXIMIZE",
        goal=objective["goal"] or None,
        additional=tuple(objective["additional_metric_names"]),
    )
    name = experiment["name"]
    return algorithm["algorithm_name"], Study(
        key=name,
        seed=int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) & 0x7FFFFFFF,
        parameters=tuple(_read_parameter(number, parameter) for number, parameter in enumerate(said)),
        objective=found,
        settings=read_settings(algorithm["algorithm_settings"]),
        trials=tuple(_read_trial(found, trial) for trial in trials),
        parallel=spec["parallel_trial_count"] or 1,
        max_trials=spec["max_trial_count"] or None,
    )


def describe(problems: Sequence[Problem]) -> str:
    """Return what is wrong in one line."""
    return "; ".join(f"{problem.field}: {problem.message}" for problem in problems)


def _make_parameter(parameter: Parameter) -> Message:
    if parameter.type in ("discrete", "categorical"):
        space: Message = {"list": list(parameter.values)}
    else:
        space = {
            "min": _number(parameter, parameter.minimum),
            "max": _number(parameter, parameter.maximum),
            "step": _number(parameter, parameter.step) if parameter.step else "",
            "distribution": _DISTRIBUTIONS[parameter.distribution],
        }
    return {"name": parameter.name, "parameter_type": _TYPES[parameter.type], "feasible_space": space}


def _number(parameter: Parameter, value: float) -> str:
    return str(int(value)) if parameter.type == "int" and float(value).is_integer() else repr(float(value))


def _make_objective(objective: Objective) -> Message:
    return {
        "type": "MAXIMIZE" if objective.is_maximized else "MINIMIZE",
        "goal": objective.goal or 0.0,
        "objective_metric_name": objective.metric,
        "additional_metric_names": list(objective.additional),
    }


def _make_trial(objective: Objective, trial: TrialRecord, started: str, ended: str) -> Message:
    metrics = [] if trial.value is None else [{"name": objective.metric, "value": repr(trial.value)}]
    return {
        "name": trial.name,
        "spec": {
            "objective": _make_objective(objective),
            "parameter_assignments": {"assignments": make_settings(trial.assignments)},
            "labels": dict(trial.labels),
        },
        "status": {
            "start_time": started,
            "completion_time": ended,
            "condition": _STATES[trial.state],
            "observation": {"metrics": metrics},
        },
    }


def _make_network(nas: Mapping[str, Any]) -> Message:
    """Return the NasConfig of spec.nasConfig."""
    graph = nas.get("graphConfig") or {}
    operations = [
        {
            "operation_type": str(operation.get("operationType", "")),
            "parameter_specs": {
                "parameters": [_say_parameter(one) for one in operation.get("parameters") or ()]
            },
        }
        for operation in nas.get("operations") or ()
    ]
    return {
        "graph_config": {
            "num_layers": int(graph.get("numLayers") or 0),
            "input_sizes": list(graph.get("inputSizes") or ()),
            "output_sizes": list(graph.get("outputSizes") or ()),
        },
        "operations": {"operation": operations},
    }


def _say_parameter(said: Mapping[str, Any]) -> Message:
    """Return a parameter of a network's operation, which no record stands for."""
    space = said.get("feasibleSpace") or {}
    return {
        "name": str(said.get("name", "")),
        "parameter_type": _TYPES.get(said.get("parameterType", ""), "UNKNOWN_TYPE"),
        "feasible_space": {
            **{name: str(space.get(name) or "") for name in ("min", "max", "step")},
            "list": [str(value) for value in space.get("list") or ()],
            "distribution": _DISTRIBUTIONS.get(space.get("distribution", ""), "DISTRIBUTION_UNSPECIFIED"),
        },
    }


def _read_parameter(number: int, said: Message) -> Parameter:
    space = said["feasible_space"] or {"list": [], "min": "", "max": "", "step": "", "distribution": ""}
    kinds = {word: kind for kind, word in _TYPES.items()}
    kind = cast(ParameterType, kinds.get(said["parameter_type"], "categorical"))
    if kind in ("discrete", "categorical"):
        return Parameter(said["name"], kind, values=tuple(space["list"]))
    shapes = {word: shape for shape, word in _DISTRIBUTIONS.items()}
    try:
        least, most, step = (float(space[name] or 0) for name in ("min", "max", "step"))
    except ValueError as error:
        path = f"experiment.spec.parameter_specs.parameters[{number}].feasible_space"
        raise CallFailed(Code.INVALID_ARGUMENT, f"{path}: {error}") from None
    shape = cast(Distribution, shapes.get(space["distribution"], "uniform"))
    return Parameter(said["name"], kind, minimum=least, maximum=most, step=step, distribution=shape)


def _read_trial(objective: Objective, said: Message) -> TrialRecord:
    spec, status = said["spec"] or {}, said["status"] or {"condition": "CREATED", "observation": None}
    states = {word: state for state, word in _STATES.items()}
    state: TrialState = (
        "running" if status["condition"] == "CREATED" else states.get(status["condition"], "failed")
    )
    metrics = read_settings((status["observation"] or {}).get("metrics", ()))
    return TrialRecord(
        said["name"],
        read_settings((spec.get("parameter_assignments") or {}).get("assignments", ())),
        state,
        _value(metrics.get(objective.metric, "")),
        spec.get("labels") or {},
    )


def _value(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
