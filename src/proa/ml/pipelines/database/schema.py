"""The tables, as a list of steps: each brings a database from one version to the next, once. Never edit a released one.

Times are seconds since the epoch. What is neither sorted nor filtered by is JSON in `body`. Columns of type TEXT sort
by bytes in both engines. Rows of `runs` are narrow, so that counting 10,000 of them reads little.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.ml.database.schema import Schema

STEPS: Sequence[Sequence[str]] = (
    (
        "CREATE TABLE documents (hash TEXT PRIMARY KEY, pipeline_spec TEXT NOT NULL, platform_spec TEXT NOT NULL)",
        """CREATE TABLE experiments (
            id TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,
            storage_state TEXT NOT NULL, created_at REAL NOT NULL, last_run_created_at REAL NOT NULL,
            UNIQUE (namespace, name))""",
        "CREATE INDEX experiments_by_time ON experiments (created_at, id)",
        """CREATE TABLE pipelines (
            id TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, display_name TEXT NOT NULL,
            description TEXT NOT NULL, created_at REAL NOT NULL,
            UNIQUE (namespace, name))""",
        "CREATE INDEX pipelines_by_time ON pipelines (created_at, id)",
        """CREATE TABLE pipeline_versions (
            id TEXT PRIMARY KEY, pipeline_id TEXT NOT NULL, name TEXT NOT NULL, display_name TEXT NOT NULL,
            description TEXT NOT NULL, code_source_url TEXT NOT NULL, created_at REAL NOT NULL, document TEXT NOT NULL,
            UNIQUE (pipeline_id, name))""",
        "CREATE INDEX pipeline_versions_by_time ON pipeline_versions (pipeline_id, created_at, id)",
        "CREATE INDEX pipeline_versions_by_document ON pipeline_versions (document)",
        """CREATE TABLE tags (
            owner_id TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner_id, name))""",
        "CREATE INDEX tags_by_value ON tags (name, value, owner_id)",
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, namespace TEXT NOT NULL, experiment_id TEXT NOT NULL, name TEXT NOT NULL,
            display_name TEXT NOT NULL, state TEXT NOT NULL, storage_state TEXT NOT NULL,
            created_at REAL NOT NULL, scheduled_at REAL NOT NULL, finished_at REAL NOT NULL,
            recurring_run_id TEXT NOT NULL, pipeline_id TEXT NOT NULL, pipeline_version_id TEXT NOT NULL,
            service_account TEXT NOT NULL, description TEXT NOT NULL, is_final INTEGER NOT NULL)""",
        "CREATE INDEX runs_by_time ON runs (created_at, id)",
        "CREATE INDEX runs_by_namespace ON runs (namespace, created_at, id)",
        "CREATE INDEX runs_by_experiment ON runs (experiment_id, created_at, id)",
        "CREATE INDEX runs_by_name ON runs (namespace, name)",
        "CREATE INDEX runs_by_display_name ON runs (display_name, id)",
        "CREATE INDEX runs_by_recurring_run ON runs (recurring_run_id, created_at, id) WHERE recurring_run_id <> ''",
        "CREATE INDEX runs_unfinished ON runs (created_at, id) WHERE is_final = 0",
        "CREATE TABLE run_bodies (run_id TEXT PRIMARY KEY, document TEXT NOT NULL, body TEXT NOT NULL)",
        "CREATE INDEX run_bodies_by_document ON run_bodies (document)",
        """CREATE TABLE tasks (
            run_id TEXT NOT NULL, path TEXT NOT NULL, id TEXT NOT NULL, parent TEXT, iteration INTEGER NOT NULL,
            namespace TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL,
            finished_at REAL NOT NULL, fingerprint TEXT NOT NULL, is_forgotten INTEGER NOT NULL,
            inputs TEXT NOT NULL, outputs TEXT NOT NULL, body TEXT NOT NULL,
            PRIMARY KEY (run_id, path))""",
        "CREATE UNIQUE INDEX tasks_by_id ON tasks (id)",
        "CREATE INDEX tasks_by_parent ON tasks (run_id, parent, iteration)",
        "CREATE INDEX tasks_by_fingerprint ON tasks (namespace, fingerprint, finished_at) WHERE fingerprint <> ''",
        """CREATE TABLE artifacts (
            id TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, uri TEXT NOT NULL, uri_hash TEXT NOT NULL,
            type TEXT NOT NULL,
            run_id TEXT NOT NULL, task_id TEXT NOT NULL, created_at REAL NOT NULL, body TEXT NOT NULL)""",
        "CREATE INDEX artifacts_by_time ON artifacts (created_at, id)",
        "CREATE INDEX artifacts_by_namespace ON artifacts (namespace, created_at, id)",
        "CREATE INDEX artifacts_by_type ON artifacts (namespace, type, created_at, id)",
        "CREATE INDEX artifacts_by_run ON artifacts (run_id, created_at, id)",
        "CREATE INDEX artifacts_by_task ON artifacts (task_id)",
        "CREATE INDEX artifacts_by_uri ON artifacts (uri_hash)",
        """CREATE TABLE uses (
            task_id TEXT NOT NULL, is_output INTEGER NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL,
            artifact_id TEXT NOT NULL, run_id TEXT NOT NULL, path TEXT NOT NULL,
            PRIMARY KEY (task_id, is_output, name, position))""",
        "CREATE INDEX uses_by_artifact ON uses (artifact_id, is_output)",
        "CREATE INDEX uses_by_run ON uses (run_id)",
        """CREATE TABLE metrics (
            run_id TEXT NOT NULL, name TEXT NOT NULL, task_id TEXT NOT NULL, artifact_id TEXT NOT NULL,
            value REAL NOT NULL,
            PRIMARY KEY (run_id, name, task_id, artifact_id))""",
        "CREATE INDEX metrics_by_task ON metrics (task_id)",
        """CREATE TABLE recurring_runs (
            id TEXT PRIMARY KEY, namespace TEXT NOT NULL, experiment_id TEXT NOT NULL, display_name TEXT NOT NULL,
            description TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL, is_enabled INTEGER NOT NULL,
            due_at REAL, pipeline_id TEXT NOT NULL, document TEXT NOT NULL, body TEXT NOT NULL)""",
        "CREATE INDEX recurring_runs_by_time ON recurring_runs (created_at, id)",
        "CREATE INDEX recurring_runs_by_experiment ON recurring_runs (experiment_id, created_at, id)",
        "CREATE INDEX recurring_runs_by_due ON recurring_runs (due_at, id) WHERE due_at IS NOT NULL",
        "CREATE INDEX recurring_runs_by_document ON recurring_runs (document)",
    ),
)
"""What is done to go from version N to N + 1. A new version is a new entry."""

SCHEMA = Schema("schema_version", STEPS)
