"""Answer requests for suggestions, one a line, until there are no more: `python -m proa.ml.tuning.algorithms.worker`.

The process beside the operator (suggestion_worker.py) in which algorithms run, so that neither their work nor the
packages they need are the operator's. It keeps what it was told of studies (bounded) and what algorithms remember.
What it prints otherwise goes to its log (stderr). It ends with its input.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson

from proa.ml.tuning.algorithms import wire
from proa.ml.tuning.algorithms.errors import AlgorithmFailed, StudyForgotten, SuggestionError
from proa.ml.tuning.algorithms.registry import find_algorithm, find_early_stopping, package_missing
from proa.ml.tuning.records import MetricPoint, Study, TrialRecord

MAX_STUDIES = 64
MAX_TRIALS = 400_000


class _Known:
    """One study as it was told, and what algorithms keep of it."""

    def __init__(self) -> None:
        self.revision = 0
        self.trials: list[TrialRecord] = []
        self.points: dict[str, tuple[MetricPoint, ...]] = {}
        self.memory: dict[str, Any] = {}


class Worker:
    """Answers requests; keeps the studies that were asked for last."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._handlers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "check": self._check,
            "suggest": self._suggest,
            "check-early-stopping": self._check_early_stopping,
            "rules": self._rules,
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; whatever an algorithm raises is an answer too."""
        try:
            return {"result": self._handlers[request["do"]](request)}
        except SuggestionError as error:
            return {"error": {"kind": error.kind, "message": str(error)}}
        except ImportError as error:
            missing = package_missing(request["algorithm"], error)
            return {"error": {"kind": missing.kind, "message": str(missing)}}
        except Exception as error:
            traceback.print_exc()
            words = f"algorithm {request.get('algorithm')!r} failed: {type(error).__name__}: {error}"
            return {"error": {"kind": AlgorithmFailed.kind, "message": words}}

    def _check(self, request: dict[str, Any]) -> Any:
        algorithm = find_algorithm(request["algorithm"])
        study, _ = self._read_study(request["study"])
        return wire.problems_body(algorithm.check(study))

    def _suggest(self, request: dict[str, Any]) -> Any:
        algorithm = find_algorithm(request["algorithm"])
        study, known = self._read_study(request["study"])
        return wire.suggestions_body(algorithm.suggest(study, request["count"], known.memory))

    def _check_early_stopping(self, request: dict[str, Any]) -> Any:
        return wire.problems_body(find_early_stopping(request["algorithm"]).check(request["settings"]))

    def _rules(self, request: dict[str, Any]) -> Any:
        algorithm = find_early_stopping(request["algorithm"])
        study, known = self._read_study(request["study"])
        return wire.rules_body(algorithm.rules(study, request["settings"], known.points))

    def _read_study(self, said: dict[str, Any]) -> tuple[Study, _Known]:
        key, base = said["key"], said["base"]
        known = self._known.get(key)
        if base == 0:
            known = self._known[key] = _Known()
        elif known is None or known.revision != base:
            raise StudyForgotten(f"study {key!r} is not known at revision {base}")
        known.revision = base + 1
        self._known.move_to_end(key)
        del known.trials[said["size"] :]
        for index, *line in said["trials"]:
            known.trials[index : index + 1] = [wire.read_trial(line)]
        known.points.update(wire.read_points(said.get("points", {})))
        self._evict()
        return wire.read_study(key, said["head"], known.trials), known

    def _evict(self) -> None:
        """Forget what was not asked for lately; who asks for it again is told so, and says all of it."""
        while len(self._known) > 1 and (
            len(self._known) > MAX_STUDIES
            or sum(len(known.trials) for known in self._known.values()) > MAX_TRIALS
        ):
            self._known.popitem(last=False)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each line until the last."""
    worker = Worker()
    for line in requests:
        answers.write(orjson.dumps(worker.answer(orjson.loads(line)), option=orjson.OPT_NON_STR_KEYS) + b"\n")
        answers.flush()


def main() -> None:
    """Serve standard input and output; whatever a library prints is not an answer."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
