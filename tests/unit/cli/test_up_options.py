"""`proa up` refuses what cannot be, and keeps what it was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.cli import UsageError
from proa.cli.up import check_database, check_without
from proa.cluster_settings import FILE, Settings, Wanted, keep_settings, read_settings
from proa.home import Home

URL = "postgresql://proa@db/tuning"


@pytest.mark.parametrize("asked", [None, "", FILE, URL, "postgres://db/x"])
def test_a_database_is_the_home_s_file_or_a_postgresql(asked: str | None) -> None:
    check_database("--tuning-database", asked)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("mysql://db/x", "`file`, or a PostgreSQL"),
        ("/tmp/x.db", "`file`, or a PostgreSQL"),
        ("postgresql://proa:secret@db/x", "the password is for"),
        ("postgresql://db/x?password=secret", "the password is for"),
    ],
)
def test_another_database_is_refused_and_so_is_a_password(asked: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        check_database("--tuning-database", asked)
    assert "secret" not in str(refused.value)


def test_components_that_run_elsewhere_have_one_order() -> None:
    assert check_without("training, tuning,scheduler") == "scheduler,tuning,training"
    with pytest.raises(UsageError, match="--without katib: only controllers, "):
        check_without("tuning,katib")


def test_where_metrics_are_is_kept_and_told_apart(tmp_path: Path) -> None:
    home = Home(tmp_path)
    kept = Settings("id", 1, tuning_database=URL)
    keep_settings(home, kept, None)
    assert read_settings(home) == kept
    assert kept.unmet(Wanted(tuning_database=URL)) == Wanted()
    assert kept.unmet(Wanted(tuning_database=FILE)) == Wanted(tuning_database=FILE)
    assert Settings("id", 1).unmet(Wanted(tuning_database=FILE)) == Wanted()
