"""The judge itself: what breaks a promise is found, what only comes close is not."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hammer.checks import Hold, Limits, beyond_rate, crowded, most


def holds(*spans: tuple[int, int], allowed: int = 1) -> list[Hold]:
    return [Hold(start, end, allowed, f"{start}-{end}") for start, end in spans]


def test_overlapping_intervals_are_found_with_all_who_take_part() -> None:
    (found,) = crowded("lock", "l1", holds((0, 10), (20, 30), (9, 12)))
    assert (found.key, found.intervals) == ("l1", ("0-10", "9-12"))


def test_intervals_that_touch_do_not_overlap() -> None:
    assert not list(crowded("lock", "l1", holds((10, 20), (0, 10), (20, 21))))
    assert most(holds((10, 20), (0, 10), (20, 21))) == 1


def test_one_too_many_is_found_where_several_are_allowed() -> None:
    assert not list(crowded("limit", "c1", holds((0, 10), (1, 10), (10, 12), allowed=2)))
    (found,) = crowded("limit", "c1", holds((0, 10), (1, 10), (9, 12), allowed=2))
    assert found.detail == "3 at once, 2 allowed"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=12), st.integers(1, 3))
def test_crowds_are_found_exactly_when_counting_finds_them(
    spans: list[tuple[int, int]], allowed: int
) -> None:
    given_holds = holds(*[(start, start + length) for start, length in spans], allowed=allowed)
    at_once = max(
        (sum(one.start <= moment < one.end for one in given_holds) for moment in range(51)), default=0
    )
    assert bool(list(crowded("limit", "c1", given_holds))) == (at_once > allowed)
    assert most(given_holds) == at_once


def test_a_limit_that_changes_allows_the_larger_one_for_a_while() -> None:
    limits = Limits(slack=10)
    limits.state(0, 1, 4)
    limits.state(100, 105, 2)
    limits.state(110, 111, 2)
    limits.state(300, 301, 5)
    assert limits.allowed(50, 60) == 4
    assert limits.allowed(115, 116) == 4
    assert limits.allowed(116, 289) == 2
    assert limits.allowed(116, 290) == 5


@pytest.mark.parametrize(
    ("starts", "broken"), [([0, 0, 10, 20], False), ([0, 0, 10, 19], True), ([0, 0, 0], True)]
)
def test_a_window_with_too_many_starts_is_found(starts: list[int], broken: bool) -> None:
    """One start in ten units, two at once."""
    found = list(beyond_rate("rate", "r1", [(at, at) for at in starts], Fraction(1, 10), 2, 0))
    assert bool(found) == broken


def test_slack_widens_every_window() -> None:
    starts = [(at, at) for at in (0, 0, 10, 19)]
    assert not list(beyond_rate("rate", "r1", starts, Fraction(1, 10), 2, 1))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(1, 3), st.integers(0, 3))
def test_windows_are_found_exactly_when_trying_all_finds_them(
    starts: list[int], burst: int, slack: int
) -> None:
    rate = Fraction(1, 7)
    starts.sort()
    broken = any(
        last - first + 1 > burst + rate * (starts[last] - starts[first] + slack)
        for first in range(len(starts))
        for last in range(first, len(starts))
    )
    assert bool(list(beyond_rate("rate", "r1", [(at, at) for at in starts], rate, burst, slack))) == broken
