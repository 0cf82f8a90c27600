"""The binomial schedule repeats the fewest steps that are possible."""

import functools
import weakref

import pytest
import torch
from cases import drawn

from odevision import odesolve
from odevision.gradient import Checkpointed
from odevision.gradient.schedule import next_stop, stops


@functools.cache
def fewest(length: int, places: int) -> int:
    """Steps to make, by trying every place for the next state."""
    if length == 1:
        return 0
    if places == 0:
        return length * (length - 1) // 2
    return min(k + fewest(length - k, places - 1) + fewest(k, places) for k in range(1, length))


@functools.cache
def scheduled(length: int, places: int) -> int:
    """Steps to make where `next_stop` chooses."""
    if length == 1 or places == 0:
        return length * (length - 1) // 2
    k = next_stop(length, places)
    assert 1 <= k < length
    return k + scheduled(length - k, places - 1) + scheduled(k, places)


@pytest.mark.parametrize("places", [1, 2, 3, 4, 7, 20, 59])
def test_the_next_stop_repeats_the_fewest_steps(places: int) -> None:
    for length in range(2, 60):
        assert scheduled(length, places) == fewest(length, places)


@pytest.mark.parametrize("states", [1, 2, 3, 4, 8, 20, 59])
def test_the_stops_of_a_known_number_of_steps_repeat_the_fewest(states: int) -> None:
    for length in range(1, 60):
        kept = stops(length, states)
        assert kept[0] == 0 and kept == sorted(set(kept)) and len(kept) <= states
        ends = [*kept[1:], length]
        # The forward pass came by them all: the steps to the last one are not repeated.
        repeated = sum(
            scheduled(end - start, states - 1 - i)
            for i, (start, end) in enumerate(zip(kept, ends, strict=True))
        )
        assert repeated == fewest(length, states - 1) - kept[-1]


class Counted:
    """An Euler solve, its repeated steps, and how many of its states live at once on its way back.

    An Euler step evaluates f at the very state it starts from.
    """

    def __init__(self, gradient, num_steps: int) -> None:
        self.seen: list[weakref.ref] = []
        self.most = 0
        y0 = drawn(2, 3)
        solution = odesolve(
            self.f, y0, 0, 1, solver="euler", num_steps=num_steps, gradient=gradient
        )
        solution.y1.sum().backward()
        self.repeated = solution.stats.nfe_backward - num_steps
        self.held = solution.stats.bytes_held // y0.nbytes

    def f(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.seen = [ref for ref in self.seen if ref() is not None]
        self.most = max(self.most, len({id(ref()) for ref in self.seen}))
        self.seen.append(weakref.ref(y))
        return torch.sin(y)


def test_all_states_repeat_nothing() -> None:
    assert Counted(Checkpointed(), 20).repeated == 0
    assert Counted(Checkpointed(max_states=20), 20).repeated == 0


def test_one_state_repeats_every_step_from_the_start() -> None:
    assert Counted(Checkpointed(max_states=1), 20).repeated == 20 * 19 // 2


@pytest.mark.parametrize("num_steps", [64, 100, 512])
def test_eight_states_repeat_little_more_than_if_the_steps_had_been_known(num_steps: int) -> None:
    counted = Counted(Checkpointed(max_states=8), num_steps)
    known = scheduled(num_steps, 7) - stops(num_steps, 8)[-1]
    assert counted.most <= 8 + 1  # and the one at hand
    assert known <= counted.repeated <= 1.1 * known


@pytest.mark.parametrize("num_steps", [64, 100, 512])
def test_two_sqrt_states_repeat_each_step_about_once(num_steps: int) -> None:
    counted = Counted(Checkpointed(max_states="sqrt"), num_steps)
    assert counted.repeated <= 1.1 * num_steps
    # The number of steps is not known ahead, so that up to twice as many may be kept.
    assert counted.held <= 4 * num_steps**0.5
    assert counted.most <= counted.held + 1


@pytest.mark.parametrize("num_steps", [16, 64, 256])
def test_two_sqrt_states_are_enough_where_the_steps_are_a_power_of_four(num_steps: int) -> None:
    assert Counted(Checkpointed(max_states="sqrt"), num_steps).held <= 2 * num_steps**0.5
