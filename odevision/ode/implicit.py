"""Implicit Runge-Kutta solvers, for stiff vector fields, by Newton's method without a Jacobian."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from odevision.ode.implicit_tableau import ImplicitTableau
from odevision.ode.methods.gauss_legendre4 import GAUSS_LEGENDRE4
from odevision.ode.methods.gauss_legendre6 import GAUSS_LEGENDRE6
from odevision.ode.methods.implicit_euler import IMPLICIT_EULER
from odevision.ode.methods.implicit_midpoint import IMPLICIT_MIDPOINT
from odevision.ode.methods.kencarp4 import KENCARP4
from odevision.ode.methods.radau_iia3 import RADAU_IIA3
from odevision.ode.methods.radau_iia5 import RADAU_IIA5
from odevision.ode.methods.sdirk2 import SDIRK2
from odevision.ode.methods.trapezoid import TRAPEZOID
from odevision.ode.methods.trbdf2 import TRBDF2
from odevision.ode.newton_krylov import NewtonSettings
from odevision.ode.solver import AbstractSolver, Field, Memory, Step
from odevision.ode.stage_adjoint import attach_gradient
from odevision.ode.stage_search import StageSearch, first_knowledge
from odevision.ode.stage_system import Slopes, StageSystem, weighted_sum
from odevision.types import State


@dataclasses.dataclass(frozen=True)
class ImplicitRungeKutta(AbstractSolver):
    """An implicit Runge-Kutta solver, diagonally or fully implicit as its tableau says.

    The stages are solved for by Newton's iteration to nearly the precision of the state's dtype,
    so that steps are smooth functions of their start, whatever the tolerance of the solve. The
    gradients follow from the implicit function theorem; they are exact, first order only, and
    take one evaluation of f a stage and backward passes through it. Neither stores a matrix of the
    size of a large state.

    A state of two or more dimensions counts samples along its first. Where a probe at the start
    finds that their slopes don't depend on one another's states, every sample's linear systems are
    solved as its own, with products for all of them at a time; else there is one joint system.

    Every evaluation of f counts, those for a product with the Jacobian too. Backward passes through
    an evaluation's graph don't.

    Args:
        tableau: all that distinguishes one method from another.
        newton_rtol: accuracy of the stage states relative to each entry; None for 1e-10, or 1e-5
            where the state is of single precision, or 1e-2 under autocast, where f is that noisy.
        newton_atol: the same in units of y. The default suits states of any unit.
        max_newton_steps: iterations before a step counts as failed.
        krylov_size: products with the Jacobian in a GMRES cycle; it holds that many states.
        max_krylov_cycles: cycles for one linear system.
        dense_size: a sample's Jacobian is built and factored where a stage system has at most this
            many unknowns a sample. 0 never does.
    """

    tableau: ImplicitTableau
    newton_rtol: float | None = None
    newton_atol: float = 0.0
    max_newton_steps: int = 20
    krylov_size: int = 40
    max_krylov_cycles: int = 25
    dense_size: int = 256
    name: str = dataclasses.field(init=False)
    kind: str = dataclasses.field(init=False)
    order: int = dataclasses.field(init=False)
    embedded_order: int | None = dataclasses.field(init=False)
    lands_on_saves: bool = dataclasses.field(init=False)
    iterates: bool = dataclasses.field(init=False, default=True)

    def __post_init__(self) -> None:
        """Refuse settings under which no stage would be found; say what the tableau says."""
        if self.newton_rtol is not None and not self.newton_rtol > 0:
            raise ValueError(f"`newton_rtol` must be positive, got {self.newton_rtol}. Try 1e-10.")
        if not self.newton_atol >= 0:
            raise ValueError(f"`newton_atol` must be at least 0, got {self.newton_atol}.")
        for name in ("max_newton_steps", "krylov_size", "max_krylov_cycles"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        count, embedded = self.tableau.num_stages, self.tableau.embedded_order
        facts = {
            "name": self.tableau.name,
            "kind": "implicit, 1 stage" if count == 1 else f"implicit, {count} stages",
            "order": self.tableau.order,
            # The lower one of the two solutions': the estimate falls like dt^(this + 1).
            "embedded_order": None if embedded is None else min(embedded, self.tableau.order),
            # The interpolant is far less accurate than a step there.
            "lands_on_saves": self.tableau.order > 5,
        }
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    def start(self, f: Field, t0: float, y0: State) -> Memory:
        """What is known about f, such as whether its samples are coupled, by a probe."""
        with _plain():
            y = _real(y0.detach().clone())
            known = first_knowledge(_real_field(f, y0), t0, y, _samples(y0))
        return Memory(times=known)

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
        """Attempt one step; see the base class for the arguments."""
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.no_grad():
                f0 = None if f0 is None else f0.clone()
                return self.step(f, t0, t1, y0.clone(), f0, memory, all_stages=all_stages)
        memory = memory if memory.times else self.start(f, t0, y0)
        if self.tableau.explicit_first and f0 is None:
            f0 = f(t0, y0)
        search = StageSearch(_real_field(f, y0), self._settings(y0), memory.times)
        k_real, y_error = self._stages(
            search, t0, t1, _real(y0), None if f0 is None else _real(f0), _samples(y0), all_stages
        )
        k = [_like(k_i, y0) for k_i in k_real]
        dt = t1 - t0
        y1 = weighted_sum(y0, [dt * b for b in self.tableau.solution_weights], k)
        f1 = k[-1] if self.tableau.stiffly_accurate else None
        f0 = k[0] if self.tableau.explicit_first else f0
        if y_error is not None:
            k.append(_like(y_error, y0))
        known = Memory(times=search.known)
        return Step(t0, t1, y0, y1, k, f0, f1, known, search.converged)

    def error(self, step: Step) -> State:
        """Local error estimate of a step made with all stages, of the state's shape.

        It only steers the step size, so it stays out of the autograd graph.
        """
        if self.tableau.filters_error:
            return step.k[-1]
        with torch.no_grad():
            return self._raw_error(step.k, step.t1 - step.t0)

    def stage_time(self, step: Step, stage: int) -> float:
        """Time at which a stage of the step was evaluated."""
        times = (*self.tableau.stage_times, 1.0)
        return step.t0 + times[stage] * (step.t1 - step.t0)

    def _stages(
        self,
        search: StageSearch,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
        num_samples: int,
        all_stages: bool,
    ) -> tuple[list[State], State | None]:
        """The slopes of all stages, and the filtered error where it is asked for."""
        tableau, dt = self.tableau, t1 - t0
        times = [t1 if c == 1 else t0 + c * dt for c in tableau.stage_times]
        weights = [tuple(dt * x for x in row) for row in tableau.stage_weights]
        guess = None if f0 is None else f0.detach()
        if not tableau.diagonal:
            system = StageSystem(search.f, tuple(times), tuple(weights), y0, num_samples)
            start = None if guess is None else torch.stack([guess] * len(times))
            found = search.find(system, start, y0, dt)
            return _attached(search, system, found), None
        k: list[State] = []
        system = None
        for i, row in enumerate(weights):
            if row[i] == 0:
                assert i == 0 and f0 is not None
                k.append(f0)
                continue
            base = weighted_sum(y0, row[:i], k)
            system = StageSystem(search.f, (times[i],), ((row[i],),), base, num_samples)
            guess = _extrapolate(times[i], times, k) if k else guess
            found = search.find(system, None if guess is None else guess[None], y0, dt)
            k.extend(_attached(search, system, found))
        if not (all_stages and tableau.filters_error):
            return k, None
        assert system is not None
        with torch.no_grad():
            return k, search.filter(system, k[-1][None], self._raw_error(k, dt))

    def _raw_error(self, k: list[State], dt: float) -> State:
        weights = self.tableau.error_weights
        assert weights is not None
        zero = torch.zeros_like(k[0])
        return weighted_sum(zero, [dt * e for e in weights], k[: len(weights)])

    def _settings(self, y0: State) -> NewtonSettings:
        eps = torch.finfo(y0.dtype).eps
        if eps > 1e-4:
            raise ValueError(
                f"`y0` must be of single or double precision with solver {self.name!r}, got "
                f"{y0.dtype}: its linear systems need that. Try y0.float(), with lower precision "
                "inside the vector field only."
            )
        rtol = 1e-10 if eps < 1e-12 else 1e-5
        if torch.is_autocast_enabled(y0.device.type):
            rtol = 1e-2
        return NewtonSettings(
            rtol=self.newton_rtol or rtol,
            atol=self.newton_atol,
            max_steps=self.max_newton_steps,
            krylov_size=self.krylov_size,
            max_krylov_cycles=self.max_krylov_cycles,
            dense_size=self.dense_size,
        )


def _attached(search: StageSearch, system: StageSystem, found: Slopes) -> list[State]:
    return list(attach_gradient(system, found, search.settings) if search.converged else found)


def _extrapolate(t: float, times: Sequence[float], k: Sequence[State]) -> State:
    """The line through the two known slopes nearest in time, at time t.

    Measured on van der Pol's and Robertson's problems: 8 % fewer evaluations than from the last
    slope, and as many as from parabolas and cubics.
    """
    near = sorted(range(len(k)), key=lambda i: abs(times[i] - t))[:2]
    first = k[near[0]].detach()
    if len(near) == 1:
        return first
    share = (t - times[near[0]]) / (times[near[1]] - times[near[0]])
    return torch.lerp(first, k[near[1]].detach(), share)


def _samples(y0: State) -> int:
    """Parts of the state that may be independent of one another."""
    return y0.shape[0] if y0.ndim >= 2 else 1


# A complex state is two real ones to Newton's iteration, so that fields need not be holomorphic.


def _real(y: Tensor) -> Tensor:
    """The state with its real and imaginary parts along a last dimension."""
    return torch.view_as_real(y.resolve_conj()) if y.is_complex() else y


def _like(y: Tensor, y0: State) -> State:
    """Back to y0's kind."""
    return torch.view_as_complex(y.contiguous()) if y0.is_complex() else y


def _real_field(f: Field, y0: State) -> Field:
    """The vector field on real states."""
    if not y0.is_complex():
        return f
    return lambda t, y: _real(f(t, _like(y, y0)))


@contextlib.contextmanager
def _plain() -> Iterator[None]:
    """No graph, and tensors that may have one later."""
    with torch.inference_mode(False), torch.no_grad():
        yield


IMPLICIT_METHODS: dict[str, ImplicitRungeKutta] = {
    tableau.name: ImplicitRungeKutta(tableau)
    for tableau in (
        IMPLICIT_EULER,
        IMPLICIT_MIDPOINT,
        TRAPEZOID,
        SDIRK2,
        TRBDF2,
        RADAU_IIA3,
        RADAU_IIA5,
        GAUSS_LEGENDRE4,
        GAUSS_LEGENDRE6,
        KENCARP4,
    )
}
"""The implicit methods by name, simplest first."""
