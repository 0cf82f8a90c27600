"""CompiledRungeKutta: one attempted step, vector field and error norm included, as one graph.

An eager step of a small field spends its time on launching some forty operations. torch.compile
makes a few kernels of them; the accept/reject loop, and all that it can do, stays as it is.
`compiled_loop` makes several steps at once where nothing has to be known in between.
"""

import dataclasses
import types
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from odevision.ode.controller import Controller, PIDController, without_start
from odevision.ode.runge_kutta import ExplicitRungeKutta, rk_step
from odevision.ode.solver import AbstractSolver, Field, Memory, Step
from odevision.ode.state import StateLayout
from odevision.ode.term import ODETerm, bind_args, check
from odevision.types import Scalar, State, VectorField

# By vector field, then by what else a graph depends on. It goes when the field goes.
_GRAPHS: weakref.WeakKeyDictionary[Any, dict[Any, Callable[..., Any]]] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class CompiledRungeKutta(AbstractSolver):
    """An explicit Runge-Kutta solver whose steps torch.compile has made one graph of.

    The graph is made at the first step, which takes tens of seconds and a C++ compiler (Triton on a
    GPU), and again for every other shape, dtype or vector field; it is kept as long as the
    vector field object lives.

    Args:
        base: the solver.
        vector_field: the user's callable; one and the same object from solve to solve.
        layout: how a nested state is packed.
        controller: judges the steps.
        keeps_stages: hand the stages out, for interpolants.
    """

    base: ExplicitRungeKutta
    vector_field: VectorField
    layout: StateLayout | None
    controller: Controller
    keeps_stages: bool
    name: str = dataclasses.field(init=False)
    kind: str = dataclasses.field(init=False)
    order: int = dataclasses.field(init=False)
    embedded_order: int | None = dataclasses.field(init=False)
    lands_on_saves: bool = dataclasses.field(init=False)
    has_bump: bool = dataclasses.field(init=False)
    noise_gain: float = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Say of the solver what is said of the plain one."""
        facts = ("name", "kind", "order", "embedded_order", "lands_on_saves", "has_bump")
        for name in (*facts, "noise_gain"):
            object.__setattr__(self, name, getattr(self.base, name))

    def step(
        self,
        f: Field,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
        memory: Memory,
        *,
        all_stages: bool,
    ) -> Step:
        """Attempt one step; see `rk_step` for the arguments."""
        assert isinstance(f, ODETerm)
        tableau = self.base.tableau
        stages = tableau.num_stages if all_stages else tableau.num_solution_stages
        f.count(stages - (f0 is not None))
        ends = torch.tensor([t0, t1], dtype=torch.float64)
        judge = without_start(self.controller) if all_stages else None
        attempt = self.graph(("step", judge, self.keeps_stages, all_stages), _attempt)
        y1, slopes, ratio = attempt(self.vector_field, f.args, ends, y0, f0)
        f1 = slopes[-1] if tableau.fsal and all_stages else None
        return Step(t0, t1, y0, y1, slopes, slopes[0], f1, memory, error_ratio=ratio)

    def error(self, step: Step) -> State:
        """Local error estimate of a step made with all stages, of the state's shape."""
        return self.base.error(step)

    def bump(self, step: Step) -> State | None:
        """The method's term of the quartic interpolant."""
        return self.base.bump(step)

    def stage_time(self, step: Step, stage: int) -> float:
        """Time at which a stage of the step was evaluated."""
        return self.base.stage_time(step, stage)

    def graph(
        self,
        key: tuple[Any, ...],
        make: Callable[..., types.FunctionType],
        options: dict[str, Any] | None = None,
    ) -> Callable[..., Any]:
        """A compiled function of this field.

        Args:
            key: what it depends on beside field, method and layout; its first part names it.
            make: called as make(base, layout, *key[1:]) for the function to compile. That one takes
                the vector field as an argument, so that nothing keeps the field alive.
            options: for the compiler.
        """
        kind = (self.base.tableau.name, self.layout, options is None, *key)
        make_plain = lambda: make(self.base, self.layout, *key[1:])
        return graph_of(self.vector_field, kind, make_plain, options=options)


def graph_of(
    vector_field: VectorField,
    key: tuple[Any, ...],
    make: Callable[[], types.FunctionType],
    **settings: Any,
) -> Callable[..., Any]:
    """A compiled function of a vector field, kept as long as that object lives.

    Args:
        vector_field: the user's callable.
        key: what else the function depends on.
        make: gives the function to compile, which takes the vector field as an argument, so that
            nothing keeps the field alive.
        settings: for torch.compile.

    Raises:
        ValueError: the vector field cannot be recognized from solve to solve.
    """
    owner = getattr(vector_field, "__self__", vector_field)
    try:
        graphs = _GRAPHS.setdefault(owner, {})
    except TypeError as error:
        raise ValueError(
            "`vector_field` must be a module or a function for compile=True, got a "
            f"{type(owner).__name__}, which cannot be recognized from solve to solve."
        ) from error
    kind = (getattr(vector_field, "__func__", None), *key)
    if kind not in graphs:
        made = make()
        # A code object of its own: torch.compile limits how often one is compiled.
        code = made.__code__.replace()
        made = types.FunctionType(code, made.__globals__, closure=made.__closure__)
        graphs[kind] = torch.compile(made, fullgraph=True, dynamic=False, **settings)
    return graphs[kind]


def plain(solver: AbstractSolver) -> AbstractSolver:
    """The solver behind a compiled one; another passes through."""
    return solver.base if isinstance(solver, CompiledRungeKutta) else solver


def bind(layout: StateLayout | None, vector_field: VectorField, args: Any) -> Callable[..., State]:
    """f(t, y) of packed states, inside of a graph."""
    f = bind_args(vector_field, args)
    return f if layout is None else layout.field(f)


def scaled_step(
    base: ExplicitRungeKutta,
    f: Callable[..., State],
    t0: Tensor,
    t1: Tensor,
    y0: State,
    f0: State | None,
    *,
    all_stages: bool,
) -> tuple[State, list[State], list[State]]:
    """One step between times that are tensors, inside of a graph.

    With dt inside of f every step is one from 0 to 1: its length is no constant of the graph.

    Args:
        base: the method.
        f: called as f(t, y).
        t0: start, a zero-dimensional float64 tensor on y0's device, as is t1.
        t1: end of the step.
        y0: state at t0.
        f0: f(t0, y0) where it is known.
        all_stages: see `rk_step`.

    Returns:
        The state at t1, the slopes f at the stages, and dt times them.
    """
    dt = (t1 - t0).to(y0.real.dtype)
    slopes = [] if f0 is None else [f0]

    def in_units_of_dt(c: float | Scalar, y: State) -> State:
        t = ((1 - c) * t0 + c * t1).to(y.real.dtype)
        slopes.append(check(f(t, y), y))
        return slopes[-1] * dt

    start = None if f0 is None else f0 * dt
    y1, k = rk_step(in_units_of_dt, base.tableau, 0.0, 1.0, y0, start, all_stages=all_stages)
    return y1, slopes, k


def measured(
    base: ExplicitRungeKutta, judge: PIDController, y0: State, y1: State, k: list[State]
) -> Scalar:
    """`PIDController.measure` of a step of `scaled_step`."""
    cut = [x.detach() for x in k]
    step = Step(0.0, 1.0, y0.detach(), y1.detach(), cut, cut[0], None, Memory())
    return judge.measure(base, step)


def _attempt(
    base: ExplicitRungeKutta,
    layout: StateLayout | None,
    judge: Controller | None,
    keeps_stages: bool,
    all_stages: bool,
) -> Any:
    def attempt(
        vector_field: VectorField, args: Any, ends: Tensor, y0: State, f0: State | None
    ) -> tuple[State, list[State], Scalar | None]:
        f = bind(layout, vector_field, args)
        t0, t1 = ends.to(y0.device).unbind()
        y1, slopes, k = scaled_step(base, f, t0, t1, y0, f0, all_stages=all_stages)
        ratio = None
        if isinstance(judge, PIDController):
            ratio = measured(base, judge, y0, y1, k)
        if not keeps_stages:
            # A failure is explained by the stages between, but no gradient flows through them.
            between = [x.detach() for x in slopes[1:-1]] if ratio is not None else []
            slopes = [slopes[0], *between, *slopes[1:][-1:]]
        return y1, slopes, ratio

    return attempt
