"""What people see of a run: its tree, live and in a pipe, its end, its steps, artifacts and curves."""

from __future__ import annotations

import io
from typing import Any

import pytest

from proa.cli import Failure
from proa.cli.pipelines.drawing import draw_artifact, draw_confusion_matrix, draw_roc, text_of_html
from proa.cli.pipelines.results import clean, find_step, find_step_with_log, why_unscheduled
from proa.cli.pipelines.steps import failed_leaves, format_seconds, headline, parse_time, steps_of
from proa.cli.pipelines.tree import changes, draw_run
from proa.cli.runs.showing import describe_run, describe_step, file_name, find_artifact
from proa.cli.terminal import Terminal

NOW = parse_time("2026-01-01T00:00:09Z")


def at(second: float | None) -> str:
    return "1970-01-01T00:00:00Z" if second is None else f"2026-01-01T00:00:{second:02}Z"


def node(
    path: str, state: str, start: int | None = None, end: int | None = None, **ours: Any
) -> dict[str, Any]:
    """Return a task as Proa's API shows it; its id is its path."""
    parent, _, name = path.rpartition("/")
    if not parent and "[" in path:
        parent = path.partition("[")[0]
    error = ours.pop("error", "")
    return {
        "task_id": path,
        "parent_task_id": parent or "root-id",
        "display_name": name,
        "state": {"CACHED": "SUCCEEDED"}.get(state, state),
        "start_time": at(start),
        "end_time": at(end),
        "proa": {"path": path, "kind": "container", "state": state} | ours,
    } | ({"error": {"code": 2, "message": error}} if error else {})


MODEL = {
    "artifact_id": "m1",
    "name": "model",
    "type": "system.Model",
    "uri": "minio://bucket/run/train/x/model",
    "metadata": {"framework": "sklearn"},
}
METRICS = {
    "artifact_id": "m2",
    "type": "system.Metrics",
    "uri": "minio://b/metrics",
    "metadata": {"accuracy": 0.98765432},
}
RUN = {
    "run_id": "run-1",
    "display_name": "digits",
    "state": "RUNNING",
    "created_at": at(0),
    "runtime_config": {"parameters": {"epochs": 3}},
    "run_details": {
        "task_details": [
            {
                "task_id": "root-id",
                "display_name": "root",
                "state": "RUNNING",
                "proa": {"kind": "dag", "path": ""},
            },
            {
                "task_id": "d",
                "parent_task_id": "root-id",
                "display_name": "load-driver",
                "state": "SUCCEEDED",
            },
            node("load", "SUCCEEDED", 0, 2, cache={"outcome": "miss", "reason": "nothing like it has run"}),
            node("split", "CACHED", 2, 3, cache={"outcome": "hit", "reason": "the same as in run old"}),
            node("loop-1", "RUNNING", 3, kind="loop"),
            node("loop-1[0]", "SUCCEEDED", 3, 5, kind="iteration"),
            node(
                "loop-1[0]/train",
                "SUCCEEDED",
                3,
                5,
                outputs={"artifacts": {"model": [MODEL], "metrics": [METRICS]}},
            ),
            node("loop-1[1]", "RUNNING", 3, kind="iteration"),
            node("loop-1[1]/train", "RUNNING", 3, attempt=1),
            node("loop-1[2]", "FAILED", 3, 6, kind="iteration", error="a task failed"),
            node("loop-1[2]/train", "FAILED", 3, 6, error="no output\nwas written", exit_code=1),
            node("notify", "PENDING"),
        ]
    },
}


def plain(text: str, colour: str) -> str:
    return text


def test_the_tree_has_a_line_a_step() -> None:
    assert draw_run(RUN, NOW, plain) == [
        "digits  RUNNING  9.0s",
        "├─ ✓ load  2.0s",
        "├─ ✓ split  1.0s  cached",
        "├─ ● loop-1  6.0s",
        "│  ├─ ✓ loop-1[0]  2.0s",
        "│  │  └─ ✓ train  2.0s",
        "│  ├─ ● loop-1[1]  6.0s",
        "│  │  └─ ● train  6.0s  attempt 2",
        "│  └─ ✗ loop-1[2]  3.0s",
        "│     └─ ✗ train  3.0s  no output was written",
        "└─ ○ notify",
    ]


def test_a_tree_that_is_too_tall_folds_what_is_over_and_then_is_cut() -> None:
    folded = draw_run(RUN, NOW, plain, 10)
    assert len(folded) == 10
    assert "│  ├─ ✓ loop-1[0]  2.0s  (1 steps)" in folded
    cut = draw_run(RUN, NOW, plain, 4)
    assert cut[-1].startswith("   … 7 more lines: 3 succeeded")


def test_a_pipe_is_told_of_each_change_once() -> None:
    lines, states = changes({}, steps_of(RUN), NOW)
    assert "loop-1[0]/train: SUCCEEDED  2.0s" in lines
    assert "loop-1[2]/train: FAILED  3.0s  no output was written" in lines
    assert not any(line.startswith("notify") for line in lines)
    assert changes(states, steps_of(RUN), NOW)[0] == []


def test_upstreams_nodes_become_steps_too() -> None:
    details = [
        {"task_id": "r", "display_name": "root", "state": "RUNNING"},
        {"task_id": "rd", "display_name": "root-driver", "state": "SUCCEEDED"},
        {"task_id": "a", "parent_task_id": "r", "display_name": "load", "state": "FAILED"},
        {"task_id": "ad", "parent_task_id": "r", "display_name": "load-driver", "state": "SUCCEEDED"},
        {
            "task_id": "ae",
            "parent_task_id": "a",
            "display_name": "executor",
            "pod_name": "p",
            "error": {"message": "no"},
        },
    ]
    (step,) = steps_of({"run_details": {"task_details": details}})
    assert (step.path, step.pod_name, step.error, step.state) == ("load", "p", "no", "FAILED")


def test_an_error_is_told_in_a_line_by_its_beginning_and_the_programs_last_words() -> None:
    error = (
        "task 'a': its container ended with exit code 1. Its log ends:\n  File x\n    raise\nValueError: no"
    )
    assert headline(error) == "task 'a': its container ended with exit code 1. ValueError: no"
    assert headline("no\n") == "no"


def test_the_failed_steps_are_those_that_failed_by_themselves() -> None:
    assert [step.path for step in failed_leaves(steps_of(RUN))] == ["loop-1[2]/train"]


def test_a_step_is_found_by_name_path_or_id() -> None:
    assert find_step(RUN, "split").path == "split"
    assert find_step(RUN, "loop-1[1]/train").state == "RUNNING"
    with pytest.raises(Failure, match="there are 3 steps called train"):
        find_step(RUN, "train")
    with pytest.raises(Failure, match="no step 'lode'; there are: load, split"):
        find_step(RUN, "lode")


@pytest.mark.parametrize(("status", "expected"), [("False", "0/1 nodes are available"), ("True", "")])
def test_what_keeps_a_pod_from_its_node_is_said(status: str, expected: str) -> None:
    condition = {"type": "PodScheduled", "status": status, "message": "0/1 nodes are available"}

    assert why_unscheduled({"status": {"conditions": [condition]}}) == expected
    assert why_unscheduled({"status": {}}) == ""


def test_what_holds_steps_has_no_log_and_names_them() -> None:
    assert find_step_with_log(RUN, "load").path == "load"
    with pytest.raises(Failure, match=r"loop-1\[0\] has no log of its own.*: loop-1\[0\]/train"):
        find_step_with_log(RUN, "loop-1[0]")


def test_a_run_is_shown_with_parameters_caching_metrics_and_artifacts() -> None:
    text = "\n".join(describe_run(RUN, NOW, Terminal(io.StringIO())))
    assert "epochs   3" in text
    assert "split   hit     the same as in run old" in text
    assert "accuracy   0.987654   loop-1[0]/train" in text
    assert "loop-1[0]/train/model     Model     framework=sklearn" in text


def test_a_step_is_shown_with_why_it_failed() -> None:
    lines = describe_step(find_step(RUN, "loop-1[2]/train"), NOW, Terminal(io.StringIO()))
    assert "error       no output was written" in lines
    assert "exit code   1" in lines


def test_an_artifact_is_found_by_output_or_step_and_output() -> None:
    assert find_artifact(RUN, "model") == find_artifact(RUN, "loop-1[0]/train/model") == MODEL
    assert file_name(MODEL) == "model"
    assert file_name({"artifact_id": "x", "uri": "minio://b/../.bashrc"}) == "bashrc"
    with pytest.raises(Failure, match=r"it has: loop-1\[0\]/train/model"):
        find_artifact(RUN, "modell")


def test_a_confusion_matrix_is_drawn_with_its_categories() -> None:
    metadata = {
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": "cat"}, {"displayName": "elephant"}],
            "rows": [{"row": [8, 2]}, {"row": [1, 9.0]}],
        }
    }
    assert draw_confusion_matrix(metadata) == [
        "confusion matrix, 2 categories: 85.0% on the diagonal",
        "true ↓   cat elephant",
        "cat        8        2",
        "elephant   1        9",
    ]
    assert draw_confusion_matrix({"confusionMatrix": {"struct": metadata["confusionMatrix"]}})
    assert draw_confusion_matrix({"confusionMatrix": {"annotationSpecs": [{}], "rows": []}}) == []


def test_a_roc_curve_is_drawn_with_its_area() -> None:
    points = [
        {"falsePositiveRate": x, "recall": y, "confidenceThreshold": 0.5}
        for x, y in ((0, 0.0), (0, 1), (1, 1))
    ]
    lines = draw_roc({"confidenceMetrics": points})
    assert lines[0] == "ROC curve, 3 points: area 1.0000"
    assert lines[1] == "1.0 │" + "•" * 45
    diagonal = draw_roc({"confidenceMetrics": [points[0], points[2]]})
    assert "area 0.5000" in diagonal[0]
    assert draw_roc({"confidenceMetrics": [{"recall": "x"}]}) == []


def test_other_metadata_is_a_line_a_value() -> None:
    assert draw_artifact("system.Metrics", {"display_name": "x", "accuracy": 1 / 3, "ok": True}) == [
        "accuracy   0.333333",
        "ok         true",
    ]


def test_html_is_shown_as_text_and_programs_output_without_what_moves_the_cursor() -> None:
    page = "<html><style>p {}</style><h1>Report</h1><p>all&nbsp;<b>good</b></p><script>x()</script><ul><li>one</ul>"
    assert text_of_html(page) == ["Report", "all good", "- one"]
    assert clean("a\x1b[31mred\x1b[0m\x1b]0;title\x07\rb\x08\n") == "aredb\n"
    assert not {"\x1b", "\x9b"} & set(clean("\x1bc\x9b2J\x1bP\x1b\x1b[1m[2J"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.26, "0.3s"), (59.9, "59s"), (245, "4m 05s"), (7800, "2h 10m")]
)
def test_times_are_for_people(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text
