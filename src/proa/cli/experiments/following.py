"""Follow an experiment until it is over: a live drawing for a person, a line a trial for a pipe.

Both follow watches, so that nothing is asked for while nothing changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

from proa.cli import Failure
from proa.cli.experiments.describing import WORDS, counts, describe, make_style, short
from proa.cli.experiments.facts import Experiment, Trial, is_better, read_experiment
from proa.cli.live import LiveLines
from proa.cli.terminal import Terminal
from proa.client.protocol import Client, Object
from proa.ml.tuning.kinds import EXPERIMENT_LABEL, EXPERIMENTS, TRIALS
from proa.reconcile.informer import InformerFactory

REST_SECONDS, TICK_SECONDS = 0.2, 1.0
"""Between two drawings at least, and at most: times go on while nothing changes."""
_FRAME_LINES = 20
"""What a drawing takes beside the trials."""


@asynccontextmanager
async def followed(client: Client, namespace: str, name: str) -> AsyncIterator[Followed]:
    """Follow one experiment and its trials."""
    informers = InformerFactory(client)
    found = Followed(informers, namespace, name)
    informers.start()
    try:
        await informers.wait_synced()
        yield found
    finally:
        await informers.stop()


class Followed:
    """An experiment as it is now; `changed` is set whenever that may have changed."""

    def __init__(self, informers: InformerFactory, namespace: str, name: str) -> None:
        self.changed = asyncio.Event()
        self._name = name
        self._namespace = namespace
        self._experiments = informers.informer(EXPERIMENTS, namespace, field_selector=f"metadata.name={name}")
        self._trials = informers.informer(TRIALS, namespace, label_selector=f"{EXPERIMENT_LABEL}={name}")
        for informer in (self._experiments, self._trials):
            informer.listen(self._note)

    def read(self) -> Experiment:
        """Return it; raise Failure where it is gone."""
        experiment = self._experiments.get(self._name, self._namespace)
        if experiment is None:
            raise Failure(f"there is no experiment {self._name!r} in namespace {self._namespace} any more")
        return read_experiment(experiment, self._trials.list())

    async def wait(self, seconds: float) -> None:
        """Return when something has changed, or after so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.changed.wait(), seconds)
        self.changed.clear()

    def _note(self, old: Object | None, new: Object | None) -> None:
        self.changed.set()


async def follow(client: Client, namespace: str, name: str, terminal: Terminal, trials: int) -> Experiment:
    """Show an experiment until it is over, and return it as it is then."""
    shown = _Drawing(terminal, trials) if terminal.is_person else _Lines(terminal, trials)
    async with followed(client, namespace, name) as found:
        while True:
            experiment = found.read()
            if experiment.is_over:
                shown.end(experiment)
                return experiment
            shown.show(experiment)
            await asyncio.sleep(REST_SECONDS)
            await found.wait(TICK_SECONDS)


async def wait_until_over(client: Client, namespace: str, name: str) -> Experiment:
    """Return an experiment once it is over."""
    async with followed(client, namespace, name) as found:
        while not (experiment := found.read()).is_over:
            await found.changed.wait()
            found.changed.clear()
    return experiment


class _Drawing:
    """For a person: all of it, drawn over itself."""

    def __init__(self, terminal: Terminal, trials: int) -> None:
        self._terminal = terminal
        self._trials = trials
        self._live = LiveLines(terminal)

    def show(self, experiment: Experiment) -> None:
        room = self._live.room
        style = make_style(self._terminal, min(self._trials, max(room - _FRAME_LINES, 3)))
        self._live.draw(describe(experiment, style, time.time())[:room])

    def end(self, experiment: Experiment) -> None:
        self._live.draw(describe(experiment, make_style(self._terminal, self._trials), time.time()))


class _Lines:
    """For a pipe: each trial as it begins and ends."""

    def __init__(self, terminal: Terminal, trials: int) -> None:
        self._terminal = terminal
        self._trials = trials
        self._states: dict[str, tuple[str, str]] = {}
        self._best: Trial | None = None
        self._said = ""

    def show(self, experiment: Experiment) -> None:
        for line in self._changes(experiment):
            self._terminal.step(line)

    def end(self, experiment: Experiment) -> None:
        self.show(experiment)
        for line in describe(experiment, make_style(self._terminal, self._trials), time.time()):
            self._terminal.line(line)

    def _changes(self, experiment: Experiment) -> Iterator[str]:
        if experiment.state != self._said:
            self._said = experiment.state
            yield f"{experiment.name} {experiment.state}"
        order = sorted(experiment.trials, key=lambda trial: (trial.ended or float("inf"), trial.created))
        for trial in order:
            seen = (trial.state, trial.reason)
            if self._states.get(trial.name) == seen:
                continue
            self._states[trial.name] = seen
            yield self._line_of(trial, experiment)

    def _line_of(self, trial: Trial, experiment: Experiment) -> str:
        told = "".join(
            f" {name}={value}" for name, value in (*trial.metrics.items(), *trial.assignments.items())
        )
        word = WORDS.get(trial.state, trial.state)
        if trial.is_over and is_better(trial, self._best, experiment.objective):
            self._best = trial
            told += "  (best so far)"
        why = f"  {trial.reason}: {short(trial.message)}" if trial.message and not trial.metrics else ""
        return f"{trial.name} {word}{told}{why}"


def last_line(experiment: Experiment) -> str:
    """Return what came of it, on one line."""
    best = experiment.best
    found = (
        f"; best {best.name} {experiment.objective.metric}={best.metrics.get(experiment.objective.metric, '')}"
        if best
        else ""
    )
    said = f"; {experiment.reason}: {short(experiment.message)}" if experiment.message else ""
    return f"{experiment.name} {experiment.state}: {counts(experiment)}{found}{said}"
