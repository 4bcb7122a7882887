"""Reading what tasks have witnessed."""

import json
from pathlib import Path

import pytest
from tests.hammer.witness import attempts, read

#: The wall clock shows this much more than the monotonic one.
APART = 1_700_000_000_000_000_000


def begin(number: int, epoch: int, at: int, *, pid: int = 7, late: int = 0) -> list:
    """Claimed 500 us earlier. ``late``: between its two looks at the clocks the process had to wait."""
    claimed_us = (APART + at) // 1000 - 500
    return ["begin", number, epoch, epoch, pid, claimed_us, at, APART + at + late, ["lock:l1"]]


def test_an_attempt_is_a_pair_of_lines_whatever_files_they_are_in(tmp_path: Path) -> None:
    (tmp_path / "witness.7.1").write_text(json.dumps(begin(1, 1, 5_000_000)) + "\n")
    (tmp_path / "witness.8.1").write_text(json.dumps(["end", 1, 1, 6_000_000, "returned"]) + "\n")
    (attempt,) = read(tmp_path / "witness", {})
    assert (attempt.begin, attempt.end, attempt.outcome, attempt.keys) == (
        5_000_000, 6_000_000, "returned", ("lock:l1",),
    )  # fmt: skip


def test_the_claim_is_put_on_the_monotonic_clock_by_the_quickest_look_at_both() -> None:
    lines = [begin(1, 1, 5_000_000, late=3_000_000), begin(2, 1, 9_000_000)]
    first, second = attempts(lines, {})
    assert (first.claimed, second.claimed) == (4_500_000, 8_500_000)


def test_an_attempt_without_an_end_ends_when_its_process_was_seen_to_be_dead() -> None:
    lines = [begin(1, 1, 5_000_000), begin(1, 2, 9_000_000, pid=8)]
    killed, unknown = attempts(lines, {7: [1_000_000, 7_000_000]})
    assert (killed.end, killed.outcome) == (7_000_000, "killed")
    assert unknown.end == unknown.begin


def test_one_claim_that_was_executed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="epoch 1 of run 1 has two lines that say begin"):
        list(attempts([begin(1, 1, 5_000_000), begin(1, 1, 6_000_000)], {}))
