"""What the two gradients keep for the way back."""

import pytest
import torch
from cases import drawn, module
from problems import DOUBLE
from torch import Tensor

from odevision import odesolve
from odevision.ode.controller import PIDController


class SavedBytes:
    """Counts the bytes that autograd saves while it is active: now and at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept.tensor)

    def _pack(self, tensor: Tensor) -> "_Kept":
        return _Kept(tensor, self)

    def __enter__(self) -> "SavedBytes":
        self.hooks.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self.hooks.__exit__(*exception)


class _Kept:
    def __init__(self, tensor: Tensor, count: SavedBytes) -> None:
        self.tensor, self.count = tensor.detach(), count
        count.now += tensor.nbytes
        count.most = max(count.most, count.now)

    def __del__(self) -> None:
        self.count.now -= self.tensor.nbytes


def graph_nodes(y: Tensor) -> list[str]:
    names, pending, seen = [], [y.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.append(node.name())
        pending.extend(parent for parent, _ in node.next_functions)
    return names


@pytest.mark.parametrize("num_steps", [1, 5, 20])
def test_checkpointed_keeps_one_state_a_step(num_steps: int) -> None:
    case = module()
    parameters = sum(p.nbytes for p in case.vector_field.parameters())
    with SavedBytes() as saved:
        y1 = odesolve(case.vector_field, case.y0, 0, 1, solver="dopri5", num_steps=num_steps).y1
        assert saved.now == parameters + num_steps * case.y0.nbytes
    assert graph_nodes(y1).count("torch::autograd::AccumulateGrad") == len(case.wanted)


def test_checkpointed_never_holds_the_graph_of_more_than_one_step() -> None:
    most = []
    for num_steps in (1, 4, 40):
        case = module()
        y1 = odesolve(case.vector_field, case.y0, 0, 1, solver="rk4", num_steps=num_steps).y1
        with SavedBytes() as saved:
            y1.sum().backward()
        most.append(saved.most)
        assert saved.now == 0
    assert most[0] == most[1] == most[2] > 0


def test_direct_keeps_the_graph_of_every_step() -> None:
    most = []
    for num_steps in (4, 40):
        case = module()
        with SavedBytes() as saved:
            y1 = odesolve(
                case.vector_field,
                case.y0,
                0,
                1,
                solver="rk4",
                num_steps=num_steps,
                gradient="direct",
            ).y1
            most.append(saved.now)
            del y1
    assert most[1] > 9 * most[0]


def test_a_rejected_step_leaves_nothing_in_the_graph() -> None:
    y0 = drawn(2, 3)
    controller = PIDController(dt0=1.0, rtol=1e-6, atol=1e-7)
    solution = odesolve(
        lambda t, y: torch.sin(3 * y),
        y0,
        0,
        1,
        solver="dopri5",
        controller=controller,
        gradient="direct",
    )
    assert solution.stats.num_rejected_steps > 0
    # Six evaluations make an accepted step; a last one, f(t1, y1), serves the error estimate only.
    evaluations = graph_nodes(solution.y1).count("SinBackward0")
    assert evaluations == 6 * solution.stats.num_accepted_steps


def test_checkpointed_keeps_no_state_of_a_rejected_step() -> None:
    y0 = drawn(2, 3)
    controller = PIDController(dt0=1.0, rtol=1e-6, atol=1e-7)
    with SavedBytes() as saved:
        solution = odesolve(lambda t, y: torch.sin(3 * y), y0, 0, 1, controller=controller)
        assert saved.now == solution.stats.num_accepted_steps * y0.nbytes
    assert solution.stats.num_rejected_steps > 0


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_nothing_is_recorded_under_no_grad(gradient) -> None:
    case = module()
    with SavedBytes() as saved, torch.no_grad():
        y1 = odesolve(case.vector_field, case.y0, 0, 1, num_steps=3, gradient=gradient).y1
    assert saved.most == 0 and not y1.requires_grad


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_nothing_is_recorded_where_nothing_requires_a_gradient(gradient) -> None:
    y0 = torch.ones(2, 3, dtype=DOUBLE)
    with SavedBytes() as saved:
        y1 = odesolve(lambda t, y: -y, y0, 0, 1, gradient=gradient).y1
    assert saved.most == 0 and not y1.requires_grad


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_saved_states_are_views_of_nothing_that_the_caller_may_break(gradient) -> None:
    y0 = drawn(2, 3)
    solution = odesolve(torch_sin, y0, 0, 1, num_steps=3, save_at=[0, 0.5, 1], gradient=gradient)
    with torch.no_grad():
        solution.ys.zero_()
    solution.y1.sum().backward()
    assert y0.grad is not None and bool((y0.detach() != 0).all())


def torch_sin(t: Tensor, y: Tensor) -> Tensor:
    return torch.sin(y)
