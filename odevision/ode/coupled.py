"""CoupledRungeKutta: any explicit Runge-Kutta method, made reversible."""

import dataclasses

import torch

from odevision.ode.reversible import Evaluate, Pair, ReversibleSolver
from odevision.ode.runge_kutta import ExplicitRungeKutta, rk_step
from odevision.ode.solver import Field, Memory, Step
from odevision.types import State


@dataclasses.dataclass(frozen=True)
class CoupledRungeKutta(ReversibleSolver):
    """Two solutions y and z that advance by turns, each by the other's increment.

        y1 = coupling y0 + (1 - coupling) z0 + (R_dt(z0) - z0)
        z1 = z0 - (R_-dt(y1) - y1)

    R_dt is one step of the base method. From y1 and z1 the last line gives z0, and then the first
    gives y0, for every method. Order and error estimate are those of the base; a step costs two of
    its steps. `coupling` below 1 draws y and z together, which keeps the pair stable; undoing a
    step divides rounding errors by it.

    Reference: McCallum and Foster 2024, "Efficient, accurate and stable gradients for neural ODEs",
    definition 2 and theorem 2.

    Args:
        base: the method.
        coupling: in (0, 1]; their experiments take 0.99 to 0.9999.
    """

    base: ExplicitRungeKutta
    coupling: float = 0.999
    name: str = dataclasses.field(init=False)
    kind: str = dataclasses.field(init=False)
    order: int = dataclasses.field(init=False)
    embedded_order: int | None = dataclasses.field(init=False)
    noise_gain: float = dataclasses.field(init=False)
    lands_on_saves: bool = dataclasses.field(init=False, default=True)

    def __post_init__(self) -> None:
        """Say of the pair what is said of its base."""
        if not 0 < self.coupling <= 1:
            raise ValueError(
                f"`coupling` must lie in (0, 1], got {self.coupling}. Try 0.999, or less where the "
                "solution decays."
            )
        facts = {
            "name": f"coupled-{self.base.name}",
            "kind": f"reversible, two steps of {self.base.name} a step",
            "order": self.base.order,
            "embedded_order": self.base.embedded_order,
            "noise_gain": self.base.noise_gain,
        }
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    def start(self, f: Field, t0: float, y0: State) -> Memory:
        """The second solution starts as the first."""
        del f, t0
        return Memory((y0,))

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
        """Attempt one step; the memory holds z. `f0` serves the first step, where z0 is y0."""
        (z0,) = memory.states
        tableau, f0 = self.base.tableau, f0 if z0 is y0 else None
        end, k = rk_step(f, tableau, t0, t1, z0, f0, all_stages=all_stages)
        y1 = torch.add(end, y0 - z0, alpha=self.coupling)
        back, _ = rk_step(f, tableau, t1, t0, y1, all_stages=False)
        return Step(t0, t1, y0, y1, k, None, None, Memory((z0 + (y1 - back),)))

    def error(self, step: Step) -> State:
        """Local error estimate of the base method's step."""
        return self.base.error(step)

    def inverse_step(
        self, f: Field, t0: float, t1: float, y1: State, memory: Memory
    ) -> tuple[State, Memory]:
        """Undo a step."""
        (z1,) = memory.states
        tableau = self.base.tableau
        z0 = z1 - (y1 - rk_step(f, tableau, t1, t0, y1, all_stages=False)[0])
        end = rk_step(f, tableau, t0, t1, z0, all_stages=False)[0]
        return torch.add(z0, y1 - end, alpha=1 / self.coupling), Memory((z0,))

    def pull(
        self, evaluate: Evaluate, step: tuple[float, float], end: Pair, lam: Pair
    ) -> tuple[Pair, Pair]:
        """Undo a step on the way back; one of the two steps of the base holds a graph at a time."""
        (t0, t1), (y1, memory), (lam_y, lam_memory) = step, end, lam
        (z1,), tableau = memory.states, self.base.tableau
        back, pull_back = evaluate(
            lambda f, y: rk_step(f, tableau, t1, t0, y, all_stages=False)[0], y1
        )
        z0 = z1 - (y1 - back)
        lam_z = None
        if lam_memory.states:
            (lam_z,) = lam_memory.states
            lam_y = lam_y + (lam_z + pull_back(-lam_z))
        del pull_back  # and with it the graph, where nothing was pulled through it
        forth, pull_forth = evaluate(
            lambda f, z: rk_step(f, tableau, t0, t1, z, all_stages=False)[0], z0
        )
        y0 = torch.add(z0, y1 - forth, alpha=1 / self.coupling)
        lam_start = torch.sub(pull_forth(lam_y), lam_y, alpha=self.coupling)
        if lam_z is not None:
            lam_start = lam_start.add_(lam_z)
        return (y0, Memory((z0,))), (lam_y * self.coupling, Memory((lam_start,)))

    def stage_time(self, step: Step, stage: int) -> float:
        """Time at which a stage of the step was evaluated."""
        return self.base.stage_time(step, stage)
