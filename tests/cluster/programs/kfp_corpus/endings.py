"""How runs and tasks end: exit handlers with the status of what they follow, retries, failures that are looked past."""

from kfp import dsl
from kfp.dsl import PipelineTaskFinalStatus
from steps import IMAGE, expect, say


@dsl.component(base_image=IMAGE)
def fail(text: str = "on purpose") -> str:
    raise SystemExit(text)


@dsl.component(base_image=IMAGE)
def closing(status: PipelineTaskFinalStatus, want: str, task: str):
    print(status)
    assert status.state == want, status
    assert status.pipeline_task_name == task, status
    assert status.pipeline_job_resource_name


@dsl.component(base_image=IMAGE)
def after_failure(text: str = "default") -> str:
    return text


@dsl.component(base_image=IMAGE)
def unsteady(good_from: int, attempt: str) -> str:
    if int(attempt or 0) < good_from:
        raise SystemExit(f"attempt {attempt}")
    return attempt


@dsl.pipeline(name="good-ending")
def good_ending():
    end = closing(want="COMPLETE", task="exit-handler-1")
    with dsl.ExitHandler(end, name="all is well"):
        say(text="fine")


@dsl.pipeline(name="bad-ending")
def bad_ending():
    end = closing(want="FAILED", task="exit-handler-1")
    with dsl.ExitHandler(end):
        bad = fail()
        say(text="never").after(bad)


@dsl.pipeline(name="looked-past")
def looked_past():
    bad = fail().set_retry(num_retries=1, backoff_duration="0s")
    kept = after_failure(text=bad.output).ignore_upstream_failure()
    expect(got=kept.output, want="default")


PIPELINES = {
    "good-ending": (good_ending, {}),
    "bad-ending": (bad_ending, {}),
    "looked-past": (looked_past, {}),
}
