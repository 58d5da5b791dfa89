"""The table of differences itself: what is told again is a difference, what a second look does not find is none."""
import pytest

from differences import Listed, looked_at


def looks(*found):
    left = list(found)
    return [lambda: left.pop(0) for _ in found], left


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr("differences.DIFFERENCES", {"s": [("a case", "step[0].*", "a reason of some length")]})
    return Listed("s", ["a case", "another"])


WRONG, LISTED = {"step[1].code": ([200], [503])}, {"step[0].code": ([200], [503])}


def test_one_look_is_enough_where_all_is_as_it_must_be(table):
    take, left = looks(LISTED, WRONG, WRONG)
    looked_at("a case", take, lambda found: table.check("a case", found))
    assert left == [WRONG, WRONG]


@pytest.mark.parametrize("first", [WRONG, {}], ids=["a difference that does not come again", "a listed one that comes late"])
def test_another_look_is_told(table, first):
    take, left = looks(first, LISTED, WRONG)
    with pytest.warns(UserWarning, match="a case: as it must be only at look 2"):
        looked_at("a case", take, lambda found: table.check("a case", found))
    assert left == [WRONG]


def test_a_difference_that_comes_each_time_fails(table):
    take, _ = looks(WRONG, WRONG, WRONG)
    with pytest.raises(AssertionError, match=r"step\[1\].code: Envoy \[200\], we \[503\]"):
        looked_at("another", take, lambda found: table.check("another", found))
