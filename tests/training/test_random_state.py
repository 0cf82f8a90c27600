import io
import random

import numpy as np
import torch

from odevision.training.random_state import generator_states, restore_generators, seed_generators


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()] + (
        torch.rand(2).tolist()
    )


def test_same_seed_draws_the_same_numbers_from_every_generator() -> None:
    seed_generators(3)
    first = draw()
    seed_generators(3)
    assert draw() == first
    seed_generators(4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_restored_generators_go_on_where_they_were_after_a_trip_through_a_file() -> None:
    seed_generators(0)
    draw()  # leaves half a pair of normal numbers in python's and numpy's generators
    buffer = io.BytesIO()
    torch.save(generator_states(), buffer)
    expected = draw()
    seed_generators(99)
    buffer.seek(0)
    restore_generators(torch.load(buffer, weights_only=True))
    assert draw() == expected
