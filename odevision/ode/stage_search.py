"""StageSearch: solves a step's stage systems, and finds out which way of doing it holds."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from odevision.ode.jacobian import DIFFERENCES, Jacobian
from odevision.ode.newton_krylov import (
    Factors,
    NewtonSettings,
    Stages,
    gmres,
    linearize,
    newton,
)
from odevision.ode.solver import Field
from odevision.ode.stage_system import Slopes, StageSystem
from odevision.types import State


def first_knowledge(f: Field, t0: float, y0: State, num_samples: int) -> tuple[float, float, float]:
    """What is known at the start of a solve: a probe tells whether samples are coupled."""
    jacobian = Jacobian(f)
    coupled = num_samples > 1 and _leaks(jacobian, t0, y0, num_samples)
    return float(coupled), 0.0, float(jacobian.way)


def _leaks(jacobian: Jacobian, t: float, y: State, num_samples: int) -> bool:
    """Whether a change of some samples changes slopes of others, for every pair of them."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y.device)
    product, leaks = jacobian.at(t, y), []
    shape = num_samples, *[1] * (y.ndim - 1)
    for moved in _divisions(num_samples).to(y.device):
        change = product(torch.where(moved.view(shape), v, 0))
        leaks.append((change[~moved] != 0).any())
    return bool(torch.stack(leaks).any())  # a host read, once a solve


@functools.lru_cache(maxsize=16)
def _divisions(num_samples: int) -> Bool[Tensor, "divisions samples"]:
    """Few parts of the samples, such that of any two, in either order, one has the first alone.

    Each sample is in half of the parts, in another half than every other sample.
    """
    count = 2
    while math.comb(count, count // 2) < num_samples:
        count += 1
    words = itertools.islice(itertools.combinations(range(count), count // 2), num_samples)
    parts = torch.zeros(count, num_samples, dtype=torch.bool)
    for sample, word in enumerate(words):
        parts[list(word), sample] = True
    return parts


class StageSearch:
    """The solves of one step's stage systems, which share what they learn.

    Args:
        f: the vector field, on real states.
        settings: of Newton's iteration.
        known: what earlier steps learned, as `known` gives it.

    Attributes:
        coupled: samples influence one another, so that their linear systems are one.
        blind: backward passes through f leave something out, as those of a field that switches
            gradients off do, so that matrices made by them are wrong.
        converged: whether all systems so far were solved.
    """

    def __init__(self, f: Field, settings: NewtonSettings, known: Sequence[float]) -> None:
        """Start with what is known."""
        self.f, self.settings = f, settings
        self.coupled, self.blind = (bool(x) for x in known[:2])
        self.converged = True
        self._jacobian = Jacobian(f, int(known[2]))
        self._factors: Factors | None = None

    @property
    def known(self) -> tuple[float, float, float]:
        """What was learned, for the next step."""
        return float(self.coupled), float(self.blind), float(self._jacobian.way)

    def find(self, system: StageSystem, guess: Slopes | None, y0: State, dt: float) -> Slopes:
        """The slopes that solve a system, without a graph; the last iterate where that fails.

        Args:
            system: the equations.
            guess: slopes to start from; None to start with all stage states at y0. That is tried
                next too: where a stiff state is off its slow path, slopes lead far away from it.
            y0: state at the start of the step.
            dt: length of the step.
        """
        system = dataclasses.replace(system, base=system.base.detach())
        rest = system.slopes_at_rest(y0.detach())
        if not self.converged:
            return rest
        with torch.no_grad():
            found = self._newton(system, rest if guess is None else guess, y0, dt)
            while not found.converged:
                if guess is not None:
                    guess = None
                elif not self._learns(system, rest):
                    break
                found = self._newton(system, rest, y0, dt)
        self.converged, self._factors = found.converged, found.factors
        return found.k

    def filter(self, system: StageSystem, k: Slopes, y_error: State) -> State:
        """An error through (I - dt a_ss df/dy)^-1 at the last stage."""
        system = self._split(dataclasses.replace(system, base=system.base.detach()))
        rows = system.rows(y_error[None])
        if self._factors is not None:
            lu, pivots = self._factors.lu, self._factors.pivots
            rows = torch.linalg.lu_solve(lu, pivots, rows[:, :, None])[..., 0]
        elif self.converged:
            product = system.product(self._jacobian, system.states(k))
            settings = self.settings
            rows, _ = gmres(
                product,
                rows,
                rtol=0.01,
                krylov_size=settings.krylov_size,
                max_cycles=settings.max_krylov_cycles,
            )
        return system.unrows(rows)[0]

    def _split(self, system: StageSystem) -> StageSystem:
        return dataclasses.replace(system, num_samples=1) if self.coupled else system

    def _newton(self, system: StageSystem, guess: Slopes, y0: State, dt: float) -> Stages:
        system, size = self._split(system), y0.detach().abs()
        if self._builds(system):
            try:
                return newton(system, guess, size, dt, self.settings, None, self._factors)
            except RuntimeError:  # no backward pass; the field's own error comes again below
                self.blind, self._factors = True, None
        return newton(system, guess, size, dt, self.settings, self._jacobian)

    def _builds(self, system: StageSystem) -> bool:
        return not self.blind and system.is_small(self.settings.dense_size)

    def _learns(self, system: StageSystem, k: Slopes) -> bool:
        """Whether the linear systems of a failed iteration were not those of the vector field.

        If they were, the field is too nonlinear for the step, and another try would not help.
        Differences tell: they see all that f does.
        """
        system = self._split(system)
        states = system.states(k)
        exact = Jacobian(self.f, DIFFERENCES)
        if system.num_samples > 1 and any(
            _leaks(exact, t, y, system.num_samples)
            for t, y in zip(system.times, states, strict=True)
        ):
            self.coupled = True
        elif self._holds(system, states, exact):
            return False
        elif self._builds(system):
            self.blind = True
        elif self._jacobian.way < DIFFERENCES:
            self._jacobian = Jacobian(self.f, self._jacobian.way + 1)
        else:
            return False
        self._factors = None
        return True

    def _holds(self, system: StageSystem, states: list[State], exact: Jacobian) -> bool:
        """Whether a product in the linear systems is what it should be, up to rounding."""
        generator = torch.Generator().manual_seed(0)
        shape = system.num_samples, system.entries
        v = torch.randn(shape, generator=generator, dtype=system.base.dtype).to(system.base.device)
        if self._builds(system):
            ours = (linearize(system, states)[0] @ v[:, :, None])[..., 0]
        else:
            ours = system.product(self._jacobian, states)(v)
        difference = ours - system.product(exact, states)(v)
        norm = torch.linalg.vector_norm
        # What is not finite is no evidence: the step is too long.
        return not bool(norm(difference) > 1e-2 * norm(ours))
