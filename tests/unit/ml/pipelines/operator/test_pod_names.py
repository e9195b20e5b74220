"""Pods are called the same whenever their attempt is, and as Kubernetes allows."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from proa.ml.pipelines.operator.pod_names import pod_name

HOST_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@given(st.text(max_size=300), st.text(max_size=40), st.text(max_size=300), st.integers(0, 10_000))
def test_any_name_is_a_host_name(pipeline: str, run_id: str, path: str, attempt: int):
    assert HOST_NAME.fullmatch(pod_name(pipeline, run_id, path, attempt))


def test_a_person_can_read_it():
    name = pod_name("My pipeline", "run", "for-loop-1[3]/Train Model", 2)
    assert re.fullmatch(r"my-pipeline-train-model-[0-9a-f]{10}-2", name)


def test_iterations_runs_and_attempts_have_names_of_their_own():
    names = [
        pod_name("p", run, path, attempt)
        for run in ("a", "b")
        for path in ("loop[0]/t", "loop[1]/t")
        for attempt in (0, 1)
    ]
    assert len(set(names)) == 8
    assert names[0] == pod_name("p", "a", "loop[0]/t", 0)
