"""What the solver itself costs beside its vector field: tensor operations and host reads a step."""

from collections import Counter

import pytest
import torch
from problems import DOUBLE
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from odevision import Event, PIDController, odesolve
from odevision.ode.solvers import SOLVERS

SHAPES = [(64, 2), (8, 3, 4, 4)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
# A fixed step of an implicit solver has to look whether its iteration has converged.
EXPLICIT = [
    name for name, solver in SOLVERS.items() if not type(solver).__name__.startswith("Implicit")
]


class _Lists(TorchFunctionMode):
    """Counts reads of whole tensors, which the dispatcher does not see on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.reads += func in (Tensor.tolist, Tensor.numpy, Tensor.cpu)
        return func(*args, **(kwargs or {}))


class Count(TorchDispatchMode):
    """Counts the operations that reach the device; views of a tensor do no work there."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self._items, self._lists = 0, _Lists()

    @property
    def reads(self) -> int:
        return self._items + self._lists.reads

    def __enter__(self):
        self._lists.__enter__()
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self._lists.__exit__(*exception)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        returns = func._schema.returns
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        if name in ("aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero"):
            self._items += 1
        elif not view:
            self.operations[name] += 1
        return func(*args, **(kwargs or {}))


def one_operation(t: Tensor, y: Tensor) -> Tensor:
    return torch.neg(y)


def per_step(shape: tuple[int, ...], *, requires_grad: bool = False, **options) -> tuple:
    """Operations and host reads a step: what a longer solve takes more, over its further steps."""
    seen = []
    y0 = torch.rand(shape, dtype=DOUBLE).requires_grad_(requires_grad)
    for length in (1, 3):
        if "num_steps" in options:
            options["num_steps"] = 10 * length
        odesolve(one_operation, y0, 0.0, float(length), **options)  # fills caches
        with Count() as count:
            stats = odesolve(one_operation, y0, 0.0, float(length), **options).stats
        seen.append((sum(count.operations.values()), count.reads, stats.num_steps))
    (less, few, short), (more, many, long) = seen
    return (more - less) / (long - short), (many - few) / (long - short)


@each_shape
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_an_adaptive_dopri5_step_takes_30_operations_and_one_host_read(shape, gradient) -> None:
    controller = PIDController(rtol=1e-6, atol=1e-6, dt_max=0.1)
    operations, reads = per_step(shape, solver="dopri5", controller=controller, gradient=gradient)
    assert operations <= 30
    assert reads <= 1


@each_shape
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_a_step_with_gradients_takes_no_more_under_checkpointed(shape, gradient) -> None:
    controller = PIDController(rtol=1e-6, atol=1e-6, dt_max=0.1)
    operations, reads = per_step(
        shape, solver="dopri5", controller=controller, gradient=gradient, requires_grad=True
    )
    assert operations <= (30 if gradient == "checkpointed" else 45)
    assert reads <= 1


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("solver", EXPLICIT)
def test_fixed_steps_of_an_explicit_solver_read_nothing_on_the_host(solver, requires_grad) -> None:
    _, reads = per_step((8, 3, 4, 4), solver=solver, num_steps=1, requires_grad=requires_grad)
    assert reads == 0


def test_a_whole_solve_with_fixed_steps_reads_nothing_on_the_host() -> None:
    y0 = torch.rand(64, 2, dtype=DOUBLE, requires_grad=True)
    for solver in EXPLICIT:
        for gradient in ("direct", "checkpointed"):
            options = {"solver": solver, "num_steps": 4, "gradient": gradient}
            with Count() as count:
                solution = odesolve(one_operation, y0, 0, 1, save_at=[0.1, 1.0], **options)
                solution.ys.sum().backward()
            assert count.reads == 0, solver


@pytest.mark.parametrize("solver, most", [("euler", 3), ("midpoint", 7), ("rk4", 15)])
def test_fixed_steps_take_one_sum_a_stage(solver: str, most: int) -> None:
    operations, _ = per_step((64, 2), solver=solver, num_steps=1)
    assert operations <= most


def test_watching_an_event_costs_one_more_host_read_a_step() -> None:
    controller = PIDController(rtol=1e-6, atol=1e-6, dt_max=0.1)
    event = [Event(lambda t, y: y.sum() + 1), Event(lambda t, y: y.sum() + 2)]
    _, reads = per_step((64, 2), solver="dopri5", controller=controller, event=event)
    assert reads <= 2


def test_the_count_sees_reads_and_operations() -> None:
    with Count() as count:
        x = torch.ones(3) + 1
        float(x.view(3, 1)[0])
        bool(x.sum() > 0)
        x.tolist()
    assert count.reads == 3
    assert count.operations["aten::add"] == 1 and "aten::view" not in count.operations
