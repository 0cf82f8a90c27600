"""observer: told about every step before it is made and once it is judged."""

import pytest
import torch
from problems import DOUBLE, PROBLEMS

from odevision import PIDController, odesolve

LOGISTIC = PROBLEMS[0]


def watch(**options):
    seen = []
    solution = odesolve(
        LOGISTIC.vector_field,
        LOGISTIC.y0,
        0,
        2,
        observer=lambda what, t, y, dt: seen.append((what, t, y.clone(), dt)),
        **options,
    )
    return solution, seen


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_every_attempt_is_told_and_then_judged(gradient) -> None:
    controller = PIDController(dt0=1.9, rtol=1e-6, atol=1e-7)
    solution, seen = watch(controller=controller, gradient=gradient)
    stats = solution.stats
    words = [what for what, *_ in seen]
    assert words[::2] == ["attempt"] * stats.num_steps
    assert set(words[1::2]) == {"accept", "reject"}
    assert words.count("accept") == stats.num_accepted_steps
    assert words.count("reject") == stats.num_rejected_steps > 0
    for attempt, verdict in zip(seen[::2], seen[1::2], strict=True):
        assert attempt[1] == verdict[1] and attempt[3] == verdict[3]
        assert torch.equal(attempt[2], verdict[2])


def test_the_steps_that_count_join_from_t0_to_t1() -> None:
    solution, seen = watch(rtol=1e-6, atol=1e-7, save_at="steps")
    steps = [(t, y, dt) for what, t, y, dt in seen if what == "accept"]
    assert [t for t, *_ in steps] == solution.ts[:-1].tolist()
    assert steps[-1][0] + steps[-1][2] == pytest.approx(2.0)
    for (_, y, _), saved in zip(steps, solution.ys, strict=False):
        assert torch.equal(y, saved)


def test_fixed_steps_are_told_too_and_backward_ones_with_a_negative_dt() -> None:
    _, seen = watch(num_steps=4)
    assert [(what, t, dt) for what, t, _, dt in seen[:2]] == [
        ("attempt", 0.0, 0.5),
        ("accept", 0.0, 0.5),
    ]
    back = []
    odesolve(
        LOGISTIC.vector_field,
        LOGISTIC.y1,
        2,
        0,
        observer=lambda what, t, y, dt: back.append(dt),
    )
    assert max(back) < 0


def test_a_rejected_step_starts_where_the_next_one_does() -> None:
    _, seen = watch(controller=PIDController(dt0=1.9, rtol=1e-6, atol=1e-7))
    for i, (what, t, _, dt) in enumerate(seen[:-1]):
        if what == "reject":
            _, t_next, _, dt_next = seen[i + 1]
            assert t_next == t and abs(dt_next) < abs(dt)


def test_watching_changes_nothing() -> None:
    plain = odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 0, 2)
    watched, _ = watch()
    assert torch.equal(plain.y1, watched.y1) and plain.stats == watched.stats


def test_the_state_is_the_users() -> None:
    seen = []
    y0 = (torch.ones(2, 3, dtype=DOUBLE), torch.ones(2, dtype=DOUBLE))
    odesolve(
        lambda t, y: (-y[0], -y[1]),
        y0,
        0,
        1,
        observer=lambda what, t, y, dt: seen.append([part.shape for part in y]),
    )
    assert all(shapes == [(2, 3), (2,)] for shapes in seen)


def test_the_observers_own_exception_passes() -> None:
    class Stop(Exception):
        pass

    def observer(what, t, y, dt):
        raise Stop

    with pytest.raises(Stop):
        odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 0, 2, observer=observer)
