"""Times on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.ml.tuning.grpc.times import read_time, write_time


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("2006-01-02T15:04:05Z", 1136214245.0, "2006-01-02T15:04:05Z"),
        ("2006-01-02T16:04:05.5+01:00", 1136214245.5, "2006-01-02T15:04:05.5Z"),
        ("2006-01-02T15:04:05.123456789Z", 1136214245.123456, "2006-01-02T15:04:05.123456Z"),
        ("0001-01-01T00:00:00Z", -62135596800.0, "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", 253402300799.0, "9999-12-31T23:59:59Z"),
    ],
)
def test_a_time_is_read_and_written(text, seconds, written):
    assert read_time(text) == pytest.approx(seconds, abs=1e-6)
    assert write_time(read_time(text)) == written


@pytest.mark.parametrize("text", ["", "now", "2006-01-02T15:04:05", "2006-13-02T15:04:05Z", "1136214245"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is no time such as"):
        read_time(text)


@given(st.integers(0, 4 * 10**15))
def test_no_microsecond_is_lost_on_the_way_out_and_back(microseconds):
    assert round(read_time(write_time(microseconds / 1e6)) * 1e6) == microseconds
