"""What every test may use, and two rules for all: no process of ours is left behind, and on CI no silent skip."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.processes import find_processes

settings.register_profile(
    "proa",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=(
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ),
)
settings.load_profile("proa")
"""A property holds or does not, on a busy machine as on an idle one, and every run tries the same examples."""

signal.signal(signal.SIGINT, signal.default_int_handler)
"""Who starts the tests in the background of a script has them ignore it, and so would all that they start."""

ALLOWED_SKIP = "not on this machine:"
"""A skip whose reason begins so is one that CI's own machine cannot mend."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the skips that make a strict run fail."""
    for report in _forbidden_skips(terminalreporter):
        terminalreporter.write_line(f"STRICT: skipped, and should run here: {report.nodeid}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a strict run that skipped what should run here."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _forbidden_skips(reporter) and session.exitstatus == 0:
        session.exitstatus = 1


def _forbidden_skips(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    if os.environ.get("PROA_TEST_STRICT") != "1":
        return []
    return [r for r in reporter.stats.get("skipped", []) if ALLOWED_SKIP not in str(r.longrepr)]


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session if a node supervisor that works below its temporary folder still runs at its end."""
    folder = str(tmp_path_factory.getbasetemp())
    yield
    left = {pid for pid in find_processes(folder) if pid != os.getpid()}
    assert not left, f"left running: {sorted(left)}"
