"""What an algorithm is: a file with `NAME`, `check` and `suggest`, that says nothing of where or how often it runs.

`suggest` depends on its study alone: the same study gives the same suggestions, in this process or the next, so that a
crash loses nothing and a seeded experiment can be repeated. `memory` is for speed: a dict of the study's `key`, empty
after a restart, kept between calls otherwise (what has been told to a sampler already).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from proa.ml.tuning.records import MetricPoint, Problem, Rule, Study, Suggestions


class Algorithm(Protocol):
    """One search algorithm."""

    @property
    def NAME(self) -> str: ...

    def check(self, study: Study) -> Sequence[Problem]:
        """Return what is wrong with the settings or the search space for this algorithm; nothing for a good one."""

    def suggest(self, study: Study, count: int, memory: dict[str, Any]) -> Suggestions:
        """Return up to `count` suggestions, none of which collides with a running trial where that can be helped."""


class EarlyStopping(Protocol):
    """One early-stopping algorithm: rules for a trial that is about to start."""

    @property
    def NAME(self) -> str: ...

    def check(self, settings: Mapping[str, str]) -> Sequence[Problem]:
        """Return what is wrong with the settings."""

    def rules(
        self,
        study: Study,
        settings: Mapping[str, str],
        points: Mapping[str, Sequence[MetricPoint]],
    ) -> Sequence[Rule]:
        """Return the rules, from the points of each finished trial's objective metric (by trial name)."""
