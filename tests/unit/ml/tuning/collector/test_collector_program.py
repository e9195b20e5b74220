from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proa.ml.tuning.collector import reading, wire

Start = Callable[..., Any]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def values(report: reading.Report, metric: str = "accuracy") -> list[str]:
    return [point.value for point in report.points if point.metric == metric]


def test_lines_are_printed_as_they_come_and_values_told_at_the_end(start: Start) -> None:
    program = start()
    with program.log.open("w") as log:
        print("epoch 1 accuracy=0.5 loss = 1e-3", file=log, flush=True)
        until(lambda: b"epoch 1" in program.printed())
        print("2026-01-02T03:04:05.5Z accuracy=0.7", file=log, flush=True)
        log.write("last accuracy=.9")
    report = program.end()
    assert report.outcome == "succeeded"
    assert values(report) == ["0.7", "0.5", ".9"], "by time, which the second line says itself"
    assert values(report, "loss") == ["1e-3"]
    assert 1767323045.5 in [point.time for point in report.points]
    assert b"last accuracy=.9\n" in program.printed()


def test_a_training_that_is_over_before_the_collector_is_up_is_read_all_the_same(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "metrics.log").write_text("accuracy=0.5\n")
    assert values(start().end()) == ["0.5"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "the training's output is empty. Print lines like accuracy=0.9."),
        ("Accuracy=0.9 step=3\ndone\n", "There is Accuracy, step. It ends with: Accuracy=0.9 step=3 / done"),
        ("accuracy: 0.9\n", "Print lines like accuracy=0.9. It ends with: accuracy: 0.9"),
    ],
    ids=["nothing", "another name", "another form"],
)
def test_a_training_without_metrics_is_told_what_was_looked_for_and_what_was_there(
    start: Start, tmp_path: Path, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / "metrics.log").write_text(text)
    report = start().end()
    assert report.outcome == "no-metrics"
    assert words in report.message


def test_filters_find_what_their_groups_say(start: Start, tmp_path: Path) -> None:
    (tmp_path / "metrics.log").write_text('{"metric": "accuracy", "value": 0.4}\n{metric: loss, value: 3}\n')
    filters = [r'"metric": "(\w+)", "value": ([\d.]+)', r"\{metric: ([\w|-]+), value: ((-?\d+)(\.\d+)?)\}"]
    report = start(filter=filters).end()
    assert (values(report), values(report, "loss")) == (["0.4"], ["3"])


def test_json_lines_may_have_numbers_or_strings_and_times_in_either_form(
    start: Start, tmp_path: Path
) -> None:
    lines = [
        '{"accuracy": "0.1", "timestamp": 1700000000.5}',
        '{"accuracy": 0.20, "loss": 3, "timestamp": "2023-11-14T22:13:21Z"}',
        "accuracy is no JSON",
        '{"accuracy": null}',
        '["accuracy"]',
    ]
    (tmp_path / "metrics.log").write_text("\n".join(lines))
    report = start(kind="File", format="JSON").end()
    assert [(p.time, p.value) for p in report.points if p.metric == "accuracy"] == [
        (1700000000.5, "0.1"),
        (1700000001.0, "0.20"),
    ]
    assert values(report, "loss") == ["3"]


def test_a_restarted_training_begins_anew(start: Start) -> None:
    program = start()
    program.log.write_text("accuracy=0.1\naccuracy=0.99\n")
    until(lambda: b"0.99" in program.printed())
    program.log.unlink()
    program.log.write_text("accuracy=0.2\n")
    until(lambda: b"0.2" in program.printed())
    assert values(program.end()) == ["0.2"]


def test_garbage_and_endless_lines_do_no_harm(start: Start, tmp_path: Path) -> None:
    with (tmp_path / "metrics.log").open("wb") as log:
        log.write(os.urandom(300_000) + b"\n")
        log.write(b"accuracy" * 100_000 + b"=" * 1000 + b"\n")
        log.write(b"\xff\xfe accuracy=0.5 \x00\n")
    report = start().end()
    assert values(report)[-1] == "0.5"


def test_points_are_bounded_and_the_extremes_are_kept(start: Start, tmp_path: Path) -> None:
    with (tmp_path / "metrics.log").open("w") as log:
        for i in range(50_000):
            log.write(f"accuracy={7 if i == 33_333 else 0.5}\n")
        log.write("accuracy=0.25\n")
    report = start().end()
    assert 5_000 <= len(report.points) <= 10_000
    assert {"7", "0.25"} <= set(values(report))
    assert values(report)[-1] == "0.25"
    assert report.is_complete


def test_a_pod_that_is_not_the_primary_one_tells_no_points(start: Start, tmp_path: Path) -> None:
    (tmp_path / "metrics.log").write_text("accuracy=0.5\n")
    program = start(primary="PRIMARY_0=0", env={"PRIMARY_0": "1"})
    report = program.end()
    assert (report.outcome, report.points) == ("not-primary", ())
    assert program.printed().startswith(b"accuracy=0.5\n")


def test_an_unreadable_file_is_said(start: Start, tmp_path: Path) -> None:
    (tmp_path / "metrics.log").mkdir()
    report = start(kind="File").end()
    assert report.outcome == "no-metrics"
    assert "could not be read (Not a regular file). Write it, or name another in spec." in report.message


def test_a_line_that_looks_like_ours_is_the_trainings_own(start: Start, tmp_path: Path) -> None:
    forged = 'proa-metrics-0124 {"metric":"accuracy","times":[1],"values":["9"]}\naccuracy=0.5\n'
    (tmp_path / "metrics.log").write_text(forged)
    assert set(values(start().end())) == {"0.5"}


def test_a_fault_of_ours_is_left_in_the_pods_status(start: Start) -> None:
    program = start(filter=["("])
    assert program.process.wait(60) == 1
    assert program.message.read_text().startswith("error: missing )")


def serve(bodies: list[str]) -> tuple[http.server.HTTPServer, int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (bodies.pop(0) if len(bodies) > 1 else bodies[0]).encode()
            self.send_response(200 if self.path == "/m" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server, server.server_address[1]


def test_prometheus_metrics_are_points_whenever_they_change(start: Start) -> None:
    bodies = [
        "# HELP x y\nother 1\n",
        "accuracy 0.5\n",
        'accuracy{step="2"} 0.5\nloss 3 1700000000\n',
        "accuracy 0.75\n",
    ]
    server, port = serve(bodies)
    try:
        program = start(kind="PrometheusMetric", host="127.0.0.1", port=port, url_path="/m")
        until(lambda: len(bodies) == 1)
        report = program.end()
    finally:
        server.shutdown()
        server.server_close()
    assert values(report) == ["0.5", "0.75"]
    assert values(report, "loss") == ["3"]


def test_a_port_that_nobody_answers_is_said(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        report = start(kind="PrometheusMetric", host="127.0.0.1", port=port, url_path="/m").end()
    assert "was never answered" in report.message


def test_nothing_but_the_standard_library_is_imported(start: Start) -> None:
    script = (
        "import sys, json; before = set(sys.modules)\n"
        f"sys.path.insert(0, {str(Path(wire.__file__).parents[4])!r})\n"
        "import proa.ml.tuning.collector.program, proa.ml.tuning.collector.text_source\n"
        "import proa.ml.tuning.collector.sources, proa.ml.tuning.collector.event_folder\n"
        "import proa.ml.tuning.collector.prometheus, proa.ml.tuning.collector.stopping\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name for name in json.loads(done.stdout) if name.startswith("proa")}
    assert all(
        name.startswith("proa.ml.tuning.collector") or "proa.ml.tuning".startswith(name) for name in loaded
    )
    heavy = {
        "argparse",
        "asyncio",
        "dataclasses",
        "typing",
        "socket",
        "ssl",
        "http",
        "datetime",
        "subprocess",
        "inspect",
        "json",
        "re",
        "enum",
        "contextlib",
    }
    assert heavy & set(json.loads(done.stdout)) == set()


def test_who_sent_a_signal_while_it_started_can_see_that_it_is_heard_now(start: Start) -> None:
    """A node that looks whether a signal would be dropped by a container's first process finds a handler."""
    from proa.node.noded.stop_signals import find_hearing

    program = start()
    program.log.write_text("accuracy=0.5\n")
    until(lambda: b"accuracy=0.5" in program.printed())
    assert {find_hearing(program.process.pid, signal.SIGTERM) for _ in range(100)} == {"sure"}
    assert values(program.end()) == ["0.5"]
