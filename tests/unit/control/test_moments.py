"""Times of a question that cannot be counted from are refused, not failed at."""

import pytest

from app.control import summary
from app.control.decision_filter import Filter, moment
from app.control.problems import Invalid


@pytest.mark.parametrize("text", ["0001-01-01", "0001-01-02", "0001-01-02T00:00:00+23:59", "9999-12-31T23:59:59-10:00"])
def test_no_usable_time(text):
    with pytest.raises(Invalid, match="is not a time"):
        moment(text)


@pytest.mark.parametrize("text", ["1970-01-01", "9999-12-31T23:59:59Z", "99999d"])
@pytest.mark.parametrize("bucket", summary.BUCKETS)
def test_a_usable_time_has_one_before_it(text, bucket):
    assert summary.bounded(Filter(until=moment(text)), bucket).since is not None
