"""SolveSettings: the fields that every ODE network's configuration has, and the block they make."""

import dataclasses
from typing import Literal

from torch import nn

from odevision.gradient import GRADIENTS
from odevision.nn.ode_block import ODEBlock
from odevision.ode.solvers import SOLVERS
from odevision.solve import unknown_name

GradientName = Literal["direct", "checkpointed", "reversible", "backsolve", "auto"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolveSettings:
    """How the ODE blocks of a network are solved.

    Attributes:
        solver: a name that `odevision solvers` lists; dopri5 is the paper's.
        num_steps: equal steps a block; None adapts them to the tolerance.
        rtol: relative tolerance, for adaptive steps.
        atol: absolute tolerance, for adaptive steps.
        gradient: direct (fastest), checkpointed (small memory), reversible (memory that does not
            grow with the steps), auto (chooses between them), or backsolve (not exact).
        warm_start: in training, start adaptive steps with the length that suited the last batch.
    """

    solver: str = "dopri5"
    num_steps: int | None = None
    rtol: float = 1e-3
    atol: float = 1e-3
    gradient: GradientName = "checkpointed"
    warm_start: bool = False

    def __post_init__(self) -> None:
        """Refuse what the first solve would refuse."""
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"`num_steps` must be at least 1, got {self.num_steps}. Try 4.")
        if self.solver not in SOLVERS:
            raise ValueError(unknown_name("solver", self.solver, SOLVERS))
        if self.num_steps is None and not SOLVERS[self.solver].adaptive:
            raise ValueError(
                f"`num_steps` must be given with solver {self.solver!r}, which has no error "
                "estimate. Try num_steps=4."
            )
        if self.gradient not in GRADIENTS:
            raise ValueError(unknown_name("gradient", self.gradient, GRADIENTS))
        if self.warm_start and self.num_steps is not None:
            raise ValueError(
                "`warm_start` must be false where `num_steps` fixes the steps, got num_steps = "
                f"{self.num_steps}. Try num_steps=null."
            )
        if self.rtol < 0 or self.atol < 0 or self.rtol + self.atol == 0:
            raise ValueError(
                f"`rtol` and `atol` must be at least 0 and not both 0, got {self.rtol} and "
                f"{self.atol}. Try 1e-3."
            )

    def check_sizes(self, **sizes: int) -> None:
        """Refuse sizes below 1, by name."""
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"`{name}` must be at least 1, got {size}.")

    def block(self, vector_field: nn.Module) -> ODEBlock:
        """An ODE block over t in [0, 1] with these settings."""
        return ODEBlock(
            vector_field,
            solver=self.solver,
            num_steps=self.num_steps,
            rtol=self.rtol,
            atol=self.atol,
            gradient=self.gradient,
            warm_start=self.warm_start,
        )
