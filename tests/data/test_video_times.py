"""Times of frames, made rising."""

import math

import pytest

from odevision.data.video_times import RisingTimes


@pytest.mark.parametrize(
    ("stated", "wanted", "num_repaired"),
    [
        ([0.0, 0.1, 0.2], [0.0, 0.1, 0.2], 0),
        ([0.0, 0.04, 0.5, 0.51], [0.0, 0.04, 0.5, 0.51], 0),
        ([None, None, None], [0.0, 0.1, 0.2], 3),
        ([0.0, None, 0.2], [0.0, 0.1, 0.2], 1),
        ([0.0, math.nan, 0.2], [0.0, 0.1, 0.2], 1),
        ([0.0, 0.1, 0.1, 0.3], [0.0, 0.1, 0.2, 0.3], 1),
        ([0.0, 0.1, 0.05, 0.4], [0.0, 0.1, 0.2, 0.4], 1),
        ([5.0, 5.1, 0.0, 0.1], [5.0, 5.1, 5.2, 5.3], 1),
        ([0.0, 9.0, 0.0, 9.0, 0.0, 0.5], [0.0, 9.0, 9.1, 18.1, 18.2, 18.7], 2),
        ([7.9, 8.0, 0.0, 8.2, 8.3], [7.9, 8.0, 8.1, 8.2, 8.3], 1),
        ([7.96, 8.0, 0.0, 8.08, 8.5], [7.96, 8.0, 8.1, 8.2, 8.5], 2),
        ([6.0, 8.0, 0.0, 9.1, 9.2], [6.0, 8.0, 8.1, 9.1, 9.2], 1),
        ([5.0, 0.0, 0.1, 5.1, 5.2], [5.0, 5.1, 5.2, 10.2, 10.3], 1),
        ([0.0, 2.0, 2.0, 2.01, 2.02, 3.0], [0.0, 2.0, 2.1, 2.11, 2.12, 3.0], 3),
    ],
    ids=[
        "good",
        "variable",
        "missing",
        "one-missing",
        "not-a-number",
        "repeated",
        "backwards",
        "begins-anew",
        "begins-anew-twice",
        "one-wrong",
        "one-wrong-in-a-burst",
        "one-wrong-in-a-pause",
        "begins-anew-and-jumps",
        "repeated-before-a-burst",
    ],
)
def test_broken_times_become_rising_ones(
    stated: list[float | None], wanted: list[float], num_repaired: int
) -> None:
    times = RisingTimes(10)
    assert [times.repair(time) for time in stated] == pytest.approx(wanted)
    assert times.num_repaired == num_repaired


def test_a_clock_that_stands_still_long_is_no_clock_that_began_anew() -> None:
    times = RisingTimes(10)
    repaired = [times.repair(time) for time in [0.0] * 50 + [0.1, 7.0]]
    assert repaired == pytest.approx([i / 10 for i in range(51)] + [7.0])
