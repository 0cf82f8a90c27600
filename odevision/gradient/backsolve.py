"""The continuous adjoint of Chen et al. 2018: a second ODE, solved backward in time.

    d/dt (y, lam, dL/dtheta) = (f, -(df/dy)^T lam, -(df/dtheta)^T lam)    from t1 to t0

Memory does not grow with the steps, but the gradient is right up to the tolerance only: the way
back meets other states than the forward pass, and takes steps of its own. On a small convolutional
field at tolerance 1e-3 the gradient of the parameters was 8.6 % off, and the backward pass
evaluated f ten times as often as the forward pass. `Checkpointed` and `Reversible` have neither
fault.
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from odevision.gradient.bytes_held import tensor_bytes
from odevision.gradient.method import AbstractGradient, StepRecord, solve_apart
from odevision.gradient.problem import Problem
from odevision.gradient.sweep import Sweep
from odevision.ode.compiled import plain
from odevision.ode.controller import Controller, GridController, PIDController
from odevision.ode.interpolation import DenseOutput, Interpolant
from odevision.ode.loop import AcceptedStep, Trajectory, integrate
from odevision.ode.norm import rms_norm
from odevision.ode.solution import Stats
from odevision.ode.solver import Memory
from odevision.ode.state import StateLayout
from odevision.ode.term import ODETerm
from odevision.types import Scalar, State


class ConvergentGradientWarning(UserWarning):
    """The gradient is not that of the numbers that were computed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backsolve(AbstractGradient):
    """Solves the adjoint ODE backward in time.

    Args:
        norm: of the backward solve's error. "full" takes all parts of its state, "seminorm" leaves
            dL/dtheta out: it is an integral that the rest does not depend on, and its error costs
            steps (Kidger et al. 2021, "Hey, that's not an ODE").
        path: "resolved" solves for y again, backward in time. "interpolated" keeps the forward
            pass's interpolant, three or four states a step, and solves for the rest only: stable
            where y can't be solved backward.
        rtol: relative tolerance of the backward solve; None takes that of the forward solve.
        atol: absolute tolerance of the backward solve; likewise.
    """

    norm: Literal["full", "seminorm"] = "full"
    path: Literal["resolved", "interpolated"] = "resolved"
    rtol: float | None = None
    atol: float | None = None
    name: ClassVar[str] = "backsolve"
    kind: ClassVar[str] = "keeps the end, and solves the adjoint ODE backward"
    accuracy: ClassVar[Literal["exact", "convergent"]] = "convergent"

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        for name, words in (("norm", ("full", "seminorm")), ("path", ("resolved", "interpolated"))):
            if getattr(self, name) not in words:
                raise ValueError(
                    f"`{name}` must be {words[0]!r} or {words[1]!r}, got {getattr(self, name)!r}."
                )
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"`{name}` must be at least 0, got {value}. Try 1e-4.")

    def solve(self, problem: Problem) -> Trajectory:
        """Solve without a graph, and attach the backward solve.

        Raises:
            ValueError: events, dense output or an implicit method are asked for.
        """
        wanted = problem.wanted
        if wanted.dense or wanted.watch is not None or problem.solver.iterates:
            what = "`dense` must be False" if wanted.dense else "`event` must be left out"
            if problem.solver.iterates:
                what = "`solver` must be an explicit method"
            raise ValueError(
                f"{what} with gradient='backsolve', which knows ends and saved times of explicit "
                "methods only. Try gradient='checkpointed'."
            )
        return solve_apart(problem, _Path(self, problem), self.name)


class _Path(StepRecord):
    """The end and the saved states of a solve, and its interpolant where that is asked for."""

    needs_end = True

    def __init__(self, settings: Backsolve, problem: Problem) -> None:
        self.settings, self.problem = settings, problem
        self.steps: list[AcceptedStep] = []
        self.t1 = problem.t1
        self.saved: list[State] = []
        self.starts: list[State] = []

    def remember(self, step: AcceptedStep, y: State, memory: Memory) -> None:
        """Keep the states that the interpolant goes through."""
        del step, memory
        if self.settings.path == "interpolated":
            self.starts.append(y.detach())  # not a tensor that is handed out: see `attach`

    def finish(self, path: Trajectory, stats: Stats) -> None:
        """Keep the end and the saved states, and warn."""
        warnings.warn(
            "gradient='backsolve' is not exact: its error falls with the tolerance only. Try "
            "gradient='checkpointed', which is exact and evaluates f less often.",
            ConvergentGradientWarning,
            stacklevel=6,  # the caller of odesolve
        )
        self.steps, self.t1 = path.steps, path.t
        self.saved = [y.detach() for y in path.outputs]
        stats.hold(tensor_bytes([path.y1, *self.saved, *self.starts]))

    def pull_back(
        self, sweep: Sweep, y0: State, y1: State | None, lam: State, lam_outputs: list[Tensor]
    ) -> State:
        """Solve backward, from each saved time to the one before."""
        assert y1 is not None
        t, y, problem = self.t1, y1, self.problem
        of_theta = [torch.zeros_like(x) for x in sweep.theta]
        times = [time for step in self.steps for time in step.save_times]
        states = [y.detach() for y in self.saved]
        stops = [(problem.t0, y0.detach(), None), *zip(times, states, lam_outputs, strict=True)]
        inside = self._interpolant(sweep, y0, y1)
        for time, state, lam_output in reversed(stops):
            if time != t:
                solve = _Backward(self.settings, problem, sweep, inside)
                lam, of_theta = solve.run((t, time), y, lam, of_theta, self.steps)
            t, y = time, state
            if lam_output is not None:
                lam = lam + lam_output
        for i, gradient in enumerate(of_theta):
            sweep.gradients[i] = gradient
        return lam

    def _interpolant(self, sweep: Sweep, y0: State, y1: State) -> Callable[[Any], State] | None:
        """The forward pass as a function of time; its slopes are evaluated here."""
        if self.settings.path == "resolved":
            return None
        states, problem, pieces = [*self.starts[1:], y1.detach()], self.problem, []
        with sweep.repeating():
            f0, y = sweep.term(self.steps[0].t0, y0.detach()), y0.detach()
            for step, end in zip(self.steps, states, strict=True):
                if step.fresh and pieces:
                    f0 = sweep.term(step.t0, y)
                f1 = sweep.term(step.t1, end)
                pieces.append(Interpolant(step.t0, step.t1, y, end, f0, f1, None))
                y, f0 = end, f1
        return DenseOutput(pieces, problem.t0, self.t1, y0.detach(), None, None)


@dataclasses.dataclass(frozen=True)
class _Backward:
    """One solve of the adjoint ODE.

    Attributes:
        settings: how.
        problem: the forward solve.
        sweep: evaluates f with a graph.
        inside: y(t) where it is not solved for.
    """

    settings: Backsolve
    problem: Problem
    sweep: Sweep
    inside: Callable[[Any], State] | None

    def run(
        self,
        ends: tuple[float, float],
        y: State,
        lam: State,
        of_theta: Sequence[Tensor],
        steps: Sequence[AcceptedStep],
    ) -> tuple[State, list[Tensor]]:
        """Advance lam and dL/dtheta from the later to the earlier of two times."""
        first = () if self.inside is not None else (y.detach(),)
        state = (*first, lam, *of_theta)
        layout, stats = StateLayout.of(state), Stats()
        with self.sweep.repeating():
            path = integrate(
                ODETerm(layout.field(self._field), stats),
                plain(self.problem.solver),
                self._controller(layout, len(first), steps),
                layout.pack(state),
                *ends,
                max_steps=self.problem.max_steps,
            )
        if path.error is not None:
            raise path.error
        _, *rest = layout.unpack(path.y1) if first else (None, *layout.unpack(path.y1))
        return rest[0], rest[1:]

    def _field(self, t: Scalar, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        sweep, inside = self.sweep, self.inside
        if inside is None:
            y, lam, *_ = state
        else:
            y, lam = inside(float(t)), state[0]  # a host read an evaluation
        with sweep.recording():
            y = y.detach().requires_grad_()
            slope = sweep.term(t, y)
        wanted = [y, *sweep.theta]
        pulled = [
            torch.zeros_like(x) if g is None else g
            for x, g in zip(wanted, sweep.pulled([(slope, -lam)], wanted), strict=True)
        ]
        return tuple(pulled) if inside is not None else (slope.detach(), *pulled)

    def _controller(
        self, layout: StateLayout, lead: int, steps: Sequence[AcceptedStep]
    ) -> Controller:
        """The forward solve's steps where they are fixed, else its controller over all parts."""
        forward = self.problem.controller
        if not isinstance(forward, PIDController):
            return GridController(times=[step.t0 for step in reversed(steps)])
        count = lead + 1  # parts shaped like y

        def norm(error: State) -> Scalar:
            parts = layout.unpack(error)
            sizes = [forward.norm(x) for x in parts[:count]]
            if self.settings.norm == "full":
                sizes += [rms_norm(x.reshape(-1)) for x in parts[count:]]
            return torch.stack([x.reshape(()).to(error.real.dtype) for x in sizes]).amax()

        def over_parts(given: float | None, tolerance: Any) -> Any:
            if given is not None or not isinstance(tolerance, Tensor):
                return tolerance if given is None else given
            of_y = tolerance.expand(self.problem.y0.shape)
            of_theta = [of_y.min().expand(x) for x in layout.shapes[count:]]
            return layout.pack(tuple(x.to(layout.dtype) for x in (*[of_y] * count, *of_theta)))

        rtol = over_parts(self.settings.rtol, forward.rtol)
        atol = over_parts(self.settings.atol, forward.atol)
        return dataclasses.replace(forward, rtol=rtol, atol=atol, norm=norm, dt0=None)
