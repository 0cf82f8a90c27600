"""solve_in_one_graph: a solve with fixed steps as one graph, forward and backward.

The steps are known ahead, so there is nothing that the host has to decide: torch.compile unrolls
them, and on a GPU the graph is captured once and replayed (CUDA graphs), without a launch from
Python. Another shape, dtype or vector field is compiled and captured anew.
"""

from typing import Any

from odevision.ode.compiled import bind, graph_of, plain
from odevision.ode.controller import Controller
from odevision.ode.loop import Trajectory, Wanted, integrate
from odevision.ode.solution import Stats
from odevision.ode.solver import AbstractSolver
from odevision.ode.state import StateLayout
from odevision.ode.term import ODETerm
from odevision.ode.tracing import transformed
from odevision.types import State, VectorField

MOST_STEPS = 32
"""Compiling takes about as long for each step; longer solves are compiled a step at a time."""


def fits_one_graph(
    solver: AbstractSolver, controller: Controller, wanted: Wanted, t0: float, t1: float
) -> bool:
    """Whether a solve can be one graph: fixed steps, not too many, and nothing but their end."""
    if controller.adaptive or solver.iterates or transformed():
        return False
    if wanted != Wanted(save_slack=wanted.save_slack):
        return False
    return len(controller.grid(t0, t1)) <= MOST_STEPS  # type: ignore[union-attr]


def solve_in_one_graph(
    vector_field: VectorField,
    args: Any,
    layout: StateLayout | None,
    solver: AbstractSolver,
    controller: Controller,
    y0: State,
    ends: tuple[float, float],
    stats: Stats,
) -> Trajectory:
    """Advance y0 from t0 to t1 as `integrate` does.

    Args:
        vector_field: the user's callable; one and the same object from solve to solve.
        args: its arguments.
        layout: how a nested state is packed.
        solver: makes the steps.
        controller: knows them ahead.
        y0: state at t0, packed.
        ends: t0 and t1.
        stats: where costs are counted.
    """
    solver = plain(solver)
    on_gpu = y0.is_cuda
    graph = graph_of(
        vector_field,
        ("solve", solver, layout, controller, ends),
        lambda: _solve(solver, layout, controller, ends),
        mode="reduce-overhead" if on_gpu else None,
    )
    y1, nfe, count, dt = graph(vector_field, args, y0)
    stats.nfe_forward += nfe
    stats.num_steps = stats.num_accepted_steps = count
    stats.dt_first, stats.dt_last = dt
    # The next replay of a captured graph overwrites what this one returned.
    return Trajectory(ends[1], y1.clone() if on_gpu else y1)


def _solve(
    solver: AbstractSolver,
    layout: StateLayout | None,
    controller: Controller,
    ends: tuple[float, float],
) -> Any:
    def solve(vector_field: VectorField, args: Any, y0: State) -> tuple[Any, ...]:
        stats = Stats()
        term = ODETerm(bind(layout, vector_field, args), stats)
        path = integrate(term, solver, controller, y0, *ends, max_steps=MOST_STEPS)
        return path.y1, stats.nfe_forward, stats.num_steps, (stats.dt_first, stats.dt_last)

    return solve
