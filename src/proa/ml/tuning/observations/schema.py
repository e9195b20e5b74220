"""The tables of what trials have told, as a list of steps: each brings a database from one version to the next, once.

A row of `tuning_points` holds up to CHUNK points of one metric as JSON, each as microseconds since the one before and
its value: ten million points are 20,000 rows, and 15 bytes each. Never edit a step that was released.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.ml.database.schema import Schema

CHUNK = 500
"""All rows of a metric but its last have as many."""

STEPS: Sequence[Sequence[str]] = (
    (
        """CREATE TABLE tuning_trials (
            uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, experiment_uid TEXT NOT NULL,
            points INTEGER NOT NULL)""",
        "CREATE INDEX tuning_trials_by_experiment ON tuning_trials (experiment_uid)",
        """CREATE TABLE tuning_points (
            trial_uid TEXT NOT NULL, metric TEXT NOT NULL, position INTEGER NOT NULL,
            count INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, body TEXT NOT NULL,
            PRIMARY KEY (trial_uid, metric, position))""",
    ),
)

SCHEMA = Schema("tuning_schema_version", STEPS)
