"""What a solve returns: Solution, its Stats, and SolveError with a remedy for each way to fail."""

import dataclasses
import enum

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from odevision.types import State


@dataclasses.dataclass
class Stats:
    """What a solve cost. The backward count fills in when gradients are computed.

    Attributes:
        nfe_forward: evaluations of the vector field on the way forward, rejected steps included.
        nfe_backward: evaluations that the gradient repeated on the way back.
        num_steps: attempted steps.
        num_accepted_steps: steps that advanced the state.
        num_rejected_steps: steps thrown away because their error was above the tolerance.
    """

    nfe_forward: int = 0
    nfe_backward: int = 0
    num_steps: int = 0
    num_accepted_steps: int = 0
    num_rejected_steps: int = 0


class Result(enum.Enum):
    """How a solve ended. The value of a failure is its remedy."""

    SUCCESSFUL = "The solve reached t1."
    NON_FINITE = (
        "Check the input and the parameters for NaN and infinity, bound the vector field's output "
        "(normalize it, or end it with tanh), or lower the learning rate that led here."
    )
    DT_UNDERFLOW = (
        "The vector field jumps, is noisy, or grows without bound here. Loosen `rtol` and `atol`, "
        "compute in float64, smooth the vector field, or fix the steps with `num_steps`."
    )
    MAX_STEPS = (
        "Raise `max_steps`, loosen `rtol` and `atol`, or fix the steps with `num_steps`. A vector "
        "field that needs this many is stiff: regularize it or scale its output down."
    )


class SolveError(RuntimeError):
    """A solve could not reach t1.

    Attributes:
        result: the kind of failure; `result.value` is the remedy.
        t: where the solve stood, in ODE time.
        dt: the step it tried there; None before the first step.
        sample: index of the worst sample; None where the state holds a single one.
    """

    def __init__(
        self, result: Result, cause: str, *, t: float, dt: float | None, sample: int | None
    ) -> None:
        """Compose the message from the cause, the place and the remedy."""
        self.result, self.t, self.dt, self.sample = result, t, dt, sample
        place = f"at t = {t:.6g}"
        if dt is not None:
            place += f" with dt = {dt:.3g}"
        if sample is not None:
            place += f", worst in sample {sample}"
        super().__init__(f"{cause} ({place}). {result.value}")


@dataclasses.dataclass(frozen=True)
class Solution:
    """The solved initial value problem.

    Attributes:
        ts: the saved times, shape (times,); only t1 where none were asked for.
        ys: the states at ts, shape (times, *y0.shape).
        y1: the state at t1, of y0's shape.
        stats: what it cost.
        result: how it ended; failures raise SolveError.
    """

    ts: Float[Tensor, " times"]
    ys: Inexact[Tensor, "times ..."]
    y1: State
    stats: Stats
    result: Result = Result.SUCCESSFUL


def worst_sample(x: State) -> int | None:
    """Index of the sample with the largest or a non-finite entry; None for a single sample."""
    if x.ndim < 2 or x.shape[0] == 1:
        return None
    size = torch.nan_to_num(x.detach().abs(), nan=torch.inf).flatten(1).amax(1)
    return int(size.argmax())  # a failed solve may read from the device
