"""What each gradient costs on an ODE block: time, memory, evaluations, error.

All gradients see the same weights, the same input and the same dL/dy1, in turn in one process. The
memory is that for the backward pass, as `backward_bytes` measures it.
"""

import copy
import dataclasses
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from odevision.evaluation.backward_bytes import Meter, meter_for
from odevision.gradient import AbstractGradient, Backsolve, Checkpointed, Direct, Reversible
from odevision.gradient.backsolve import ConvergentGradientWarning
from odevision.nn.ode_block import ODEBlock
from odevision.ode.compiled import plain
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solution import SolveError, Stats
from odevision.ode.solver import AbstractSolver
from odevision.solve import resolve_solver
from odevision.training.config import Precision
from odevision.types import State

CONTESTANTS: dict[str, AbstractGradient] = {
    "direct": Direct(),
    "checkpointed": Checkpointed(),
    "checkpointed sqrt": Checkpointed(max_states="sqrt"),
    "checkpointed by stages": Checkpointed(graph="stage"),
    "reversible": Reversible(),
    "backsolve": Backsolve(),
    "backsolve seminorm": Backsolve(norm="seminorm"),
}
"""The gradients that are compared; `direct` comes first, the others are compared with it."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one forward and backward pass with a gradient costs.

    Args:
        seconds_forward: wall time of the forward pass, median.
        seconds: wall time of the forward and backward pass, median.
        nfe_forward: evaluations of the vector field on the way forward.
        nfe_backward: evaluations that the backward pass repeats or adds.
        bytes_held: states and graph that wait between the forward and the backward pass.
        bytes_peak: the most of them at any time of both passes; see `backward_bytes`.
        parameter_error: norm of the difference between the gradient of all parameters and that of
            `direct` with the same solver, relative to the latter; None where `direct` did not run.
        input_error: the same for the gradient of the block's input.
        output_change: norm of the difference between the output and that of `direct` with the
            block's own solver, relative to the latter; not 0 where the gradient takes a solver of
            its own. None where `direct` did not run.
    """

    seconds_forward: float
    seconds: float
    nfe_forward: int
    nfe_backward: int
    bytes_held: int
    bytes_peak: int
    parameter_error: float | None
    input_error: float | None
    output_change: float | None

    @property
    def error(self) -> float | None:
        """The larger of both errors of the gradient."""
        errors = [e for e in (self.parameter_error, self.input_error) if e is not None]
        return max(errors, default=None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One gradient of the comparison.

    Args:
        gradient: what it is called here.
        setting: what to write for `gradient=` to have it.
        accuracy: exact, or convergent: right up to the tolerance only.
        solver: name of the solver of the forward pass.
        cost: what it costs; None where it cannot be used.
        reason: why it cannot be used; None where it can.
    """

    gradient: str
    setting: str
    accuracy: Literal["exact", "convergent"]
    solver: str
    cost: Cost | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class BlockBenchmark:
    """The comparison on one ODE block.

    Args:
        name: what to call the block.
        shape: of its state, the batch first.
        rows: one a gradient.
    """

    name: str
    shape: tuple[int, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _Pass:
    """A forward and a backward pass.

    Attributes:
        gradients: of the input and the parameters.
        states: bytes of the states that the gradient keeps beside a graph.
    """

    y1: State
    gradients: Sequence[Tensor | None]
    seconds_forward: float
    seconds: float
    stats: Stats
    states: int


@dataclass(frozen=True)
class _Case:
    """A block with a gradient and a solver, its input and dL/dy1."""

    block: ODEBlock
    y0: State
    lam: State
    precision: Precision

    def using(self, gradient: AbstractGradient, solver: AbstractSolver | None = None) -> "_Case":
        """The same weights with another gradient, and perhaps another solver."""
        block = copy.copy(self.block)
        # A warm start would let each pass begin with other steps, and write into the user's block.
        settings: dict[str, Any] = {"gradient": gradient, "warm_start": False}
        settings |= {} if solver is None else {"solver": solver}
        for name, value in settings.items():
            setattr(block, name, value)
        return dataclasses.replace(self, block=block)

    def run(self, meter: Meter | None = None) -> _Pass:
        """Run both passes."""
        kind, y0 = self.y0.device.type, self.y0.detach().requires_grad_()
        wanted = [y0, *_trained(self.block)]
        start = _seconds(kind)
        with torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"):
            y1 = self.block(y0)
        middle = _seconds(kind)
        stats = self.block.last_stats
        assert stats is not None
        if meter is not None:
            meter.between(y1, self._states(stats))
        gradients = torch.autograd.grad(y1, wanted, self.lam, allow_unused=True)
        end = _seconds(kind)
        times = (middle - start, end - start)
        return _Pass(y1.detach(), gradients, *times, stats, self._states(stats))

    def memory(self) -> tuple[int, int]:
        """Bytes held between both passes, and the most at any time."""
        meter = meter_for([self.y0, self.lam, *self.block.parameters(), *self.block.buffers()])
        with meter:
            done = self.run(meter)
        return meter.result(done.y1, done.states)

    def _states(self, stats: Stats) -> int:
        """Bytes of kept states; what `direct` holds is a graph."""
        return 0 if isinstance(self.block.gradient, Direct) else stats.bytes_held or 0


def _trained(block: ODEBlock) -> list[Tensor]:
    return [p for p in block.parameters() if p.requires_grad]


def _seconds(kind: str) -> float:
    """The clock, once the device has done what it was told."""
    if kind in ("cuda", "mps"):
        getattr(torch, kind).synchronize()
    return time.perf_counter()


def _relative(found: Sequence[Tensor | None], true: Sequence[Tensor | None]) -> float:
    """Norm of the difference relative to that of the truth; None stands for zeros."""
    difference = size = 0.0
    for x, y in zip(found, true, strict=True):
        # On the host: not every device has float64, in which squares are summed without a loss.
        a, b = (torch.zeros(()) if z is None else z.cpu().double() for z in (x, y))
        difference += float((a - b).square().sum())
        size += float(b.square().sum())
    if difference == 0:
        return 0.0
    return (difference / size) ** 0.5 if size else float("inf")


def setting_of(gradient: AbstractGradient) -> str:
    """What to write for a gradient: its name, or the object where options are set."""
    fields = dataclasses.fields(gradient)  # pyright: ignore[reportArgumentType]
    values = {f.name: getattr(gradient, f.name) for f in fields if f.init}
    given = [f"{f.name}={values[f.name]!r}" for f in fields if values[f.name] != f.default]
    return f"{type(gradient).__name__}({', '.join(given)})" if given else repr(gradient.name)


def benchmark_block(
    block: ODEBlock,
    y0: State,
    *,
    name: str = "ODE block",
    repeats: int = 7,
    precision: Precision = "fp32",
    on_run: Callable[[], None] = lambda: None,
) -> BlockBenchmark:
    """Compare the gradients on one ODE block.

    Args:
        block: the block; its own settings but the gradient are used, and it stays as it is.
        y0: its input, of any shape, on its device.
        name: what to call it.
        repeats: timed runs of each gradient, at least 1.
        precision: bf16 puts the vector field under autocast.
        on_run: called after each run.

    Returns:
        One row a gradient.

    Raises:
        ValueError: the block's settings do not fit together, or `repeats` is below 1.
        SolveError: the block cannot be solved.
    """
    if repeats < 1:
        raise ValueError(f"`repeats` must be at least 1, got {repeats}.")
    if y0.dtype in (torch.bfloat16, torch.float16):
        y0 = y0.float()  # as the block would: its state is float32
    lam = torch.randn(y0.shape, generator=torch.Generator().manual_seed(0)).to(y0)
    comparison = _Comparison(_Case(block, y0.detach(), lam, precision), on_run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergentGradientWarning)  # the row says so
        for gradient in CONTESTANTS:
            comparison.admit(gradient)
        for _ in range(repeats):
            comparison.time_each()
    rows = tuple(comparison.row(gradient) for gradient in CONTESTANTS)
    return BlockBenchmark(name=name, shape=tuple(y0.shape), rows=rows)


class _Comparison:
    """The gradients on one block: admitted one by one, then timed in turn."""

    def __init__(self, case: _Case, on_run: Callable[[], None]) -> None:
        self.case, self.on_run = case, on_run
        self.solver = resolve_solver(case.block.solver)
        self.direct: _Pass | None = None  # with the block's own solver
        self.costs: dict[str, Cost] = {}  # of the first run
        self.reasons: dict[str, str] = {}
        self.times: dict[str, list[tuple[float, float]]] = {}

    def admit(self, name: str) -> None:
        """Run a gradient for the first time, or find out why it cannot be."""
        gradient = CONTESTANTS[name]
        case = self.case.using(gradient)
        by_stages = isinstance(gradient, Checkpointed) and gradient.graph == "stage"
        if by_stages and not isinstance(plain(self.solver), ExplicitRungeKutta):
            self.reasons[name] = (
                "It needs an explicit Runge-Kutta method; with "
                f"{self.solver.name} it is the same as checkpointed."
            )
            return
        try:
            first = case.run()
            held, peak = case.memory()
        except torch.OutOfMemoryError:
            self.reasons[name] = "It takes more memory than the device has."
            return
        except (ValueError, SolveError) as error:
            if isinstance(gradient, Direct):
                raise  # the block itself is at fault
            self.reasons[name] = str(error)
            return
        if isinstance(gradient, Direct):
            self.direct = first
        true, direct = self._reference(gradient), self.direct
        self.times[name] = []
        self.costs[name] = Cost(
            seconds_forward=first.seconds_forward,
            seconds=first.seconds,
            nfe_forward=first.stats.nfe_forward,
            nfe_backward=first.stats.nfe_backward,
            bytes_held=held,
            bytes_peak=peak,
            input_error=true and _relative(first.gradients[:1], true.gradients[:1]),
            parameter_error=true and _relative(first.gradients[1:], true.gradients[1:]),
            output_change=direct and _relative([first.y1], [direct.y1]),
        )
        self.on_run()

    def _reference(self, gradient: AbstractGradient) -> _Pass | None:
        """`direct` with the solver of a gradient; None where that takes too much memory."""
        solver = gradient.solver_for(self.solver)
        if solver is self.solver:
            return self.direct
        try:
            return self.case.using(Direct(), solver).run()
        except torch.OutOfMemoryError:
            return None

    def time_each(self) -> None:
        """Run each gradient once more."""
        for name, times in self.times.items():
            done = self.case.using(CONTESTANTS[name]).run()
            times.append((done.seconds_forward, done.seconds))
            self.on_run()

    def row(self, name: str) -> Row:
        """What was found."""
        gradient, cost, solver = CONTESTANTS[name], self.costs.get(name), self.solver
        if cost is not None:
            solver = gradient.solver_for(solver)
            forward, both = map(statistics.median, zip(*self.times[name], strict=True))
            cost = dataclasses.replace(cost, seconds_forward=forward, seconds=both)
        return Row(
            gradient=name,
            setting=setting_of(gradient),
            accuracy=gradient.accuracy,
            solver=solver.name,
            cost=cost,
            reason=self.reasons.get(name),
        )
