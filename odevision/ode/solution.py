"""What a solve returns: Solution, its Stats, and SolveError with a remedy for each way to fail."""

import dataclasses
import enum
import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.types import State


@dataclasses.dataclass
class Stats:
    """What a solve cost. The backward count fills in when gradients are computed.

    Under `batch="independent"` each count is a tensor of whole numbers of shape (batch,), one entry
    a sample, and dt_first and dt_last are tensors too.

    Attributes:
        nfe_forward: evaluations of the vector field on the way forward, rejected steps included.
        nfe_backward: evaluations that the gradient repeated.
        num_steps: attempted steps.
        num_accepted_steps: steps that advanced the state.
        num_rejected_steps: steps thrown away because their error was above the tolerance.
        dt_first: length of the first accepted step, in ODE time.
        dt_last: length that the controller proposed last, or that of the last step where lengths
            are fixed: a start for going on from here.
        dt_warm: the first accepted step made as long as the tolerance allows: a start for similar
            solves. None where lengths are fixed, and under `batch="independent"`.
    """

    nfe_forward: Any = 0
    nfe_backward: Any = 0
    num_steps: Any = 0
    num_accepted_steps: Any = 0
    num_rejected_steps: Any = 0
    dt_first: Any = None
    dt_last: Any = None
    dt_warm: float | None = None
    _kept: int = dataclasses.field(default=0, init=False, repr=False, compare=False)
    _count_graph: Callable[[], int | None] | None = dataclasses.field(
        default=None, init=False, repr=False, compare=False
    )

    @property
    def bytes_held(self) -> int | None:
        """Most bytes that were held at once for the backward pass, beside the input and parameters.

        They are the kept states, on the way forward and back; a repeated step adds its own graph
        while it is pulled back. Under gradient="direct" they are the graph, which is counted when
        this is read: None where the solution is gone, or its graph used up.
        """
        return self._kept if self._count_graph is None else self._count_graph()

    def hold(self, kept: int, count_graph: Callable[[], int | None] | None = None) -> None:
        """Note how many bytes are kept, or how to count those of a graph."""
        self._kept, self._count_graph = max(self._kept, kept), count_graph

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles have no graph to count."""
        return {**vars(self), "_kept": self.bytes_held, "_count_graph": None}


class Result(enum.Enum):
    """How a solve ended. The value of a failure is its remedy."""

    SUCCESSFUL = "The solve reached t1."
    EVENT = "A terminal event ended the solve."
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
    NO_EVENT = (
        "Check that the event's function changes its sign on the way, or allow more steps for it."
    )
    NOT_CONVERGED = (
        "Take shorter steps (more `num_steps`, or an adaptive implicit solver such as 'kencarp4'), "
        "compute in float64, or check that the vector field is smooth."
    )


class SolveError(RuntimeError):
    """A solve could not reach t1.

    Attributes:
        result: the kind of failure; `result.value` is the remedy.
        cause: what happened.
        t: where the solve stood, in ODE time.
        dt: the step it tried there; None before the first step.
        sample: index of the worst sample; None where the state holds a single one.
        slope: largest absolute entry of f there; None where it was not evaluated.
    """

    def __init__(
        self,
        result: Result,
        cause: str,
        *,
        t: float,
        dt: float | None,
        sample: int | None,
        slope: float | None = None,
    ) -> None:
        """Compose the message from the cause, the place and the remedy."""
        self.result, self.cause = result, cause
        self.t, self.dt, self.sample, self.slope = t, dt, sample, slope
        place = f"at t = {t:.6g}"
        if dt is not None:
            place += f" with dt = {dt:.3g}"
        if sample is not None:
            place += f", worst in sample {sample}"
        if slope is not None:
            place += f", largest |f| = {slope:.3g}"
        super().__init__(f"{cause} ({place}). {result.value}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes: build them again from their parts."""
        parts = {"t": self.t, "dt": self.dt, "sample": self.sample, "slope": self.slope}
        return functools.partial(SolveError, **parts), (self.result, self.cause)


@dataclasses.dataclass(frozen=True)
class Solution:
    """The solved initial value problem.

    Where y0 is nested, ys, y1 and event_ys are nested like it.

    Attributes:
        ts: the saved times that were reached, shape (times,); only the end where none were asked
            for. Of shape (batch, times) where each sample has its own.
        ys: the states at ts, shape (times, *y0.shape).
        y1: the state at the end, of y0's shape.
        stats: what it cost.
        result: how it ended; other failures than those under throw=False raise SolveError. A tuple
            with one result a sample under batch="independent".
        t1: the time reached, shape () or (batch,): t1, or that of a terminal event or a failure.
        error: the failure where throw=False kept it from being raised, else None.
        interpolant: under dense=True a function of a time between t0 and the time reached, which
            gives the state there.
        event_ts: for each event its times, shape (roots,); (roots, batch), padded with NaN, under
            batch="independent".
        event_ys: for each event the states there, shape (roots, *y0.shape).
    """

    ts: Float[Tensor, "..."]
    ys: Any
    y1: Any
    stats: Stats
    result: Result | tuple[Result, ...] = Result.SUCCESSFUL
    t1: Float[Tensor, "..."] | None = None
    error: SolveError | None = None
    interpolant: Callable[[Any], Any] | None = None
    event_ts: tuple[Float[Tensor, "..."], ...] = ()
    event_ys: tuple[Any, ...] = ()


LATEST = 10
"""Attempted steps before `max_steps` that are kept, to tell what stopped them."""


def passed_by_no_step(t: float, max_steps: int) -> str:
    """The cause of a failure in front of the time t at which f is NaN or infinite."""
    return (
        f"NaN or infinity first came from the vector field at t = {t:.9g}, and no shorter step got "
        f"past it within max_steps = {max_steps}"
    )


def worst_sample(x: State) -> int | None:
    """Index of the sample with the largest or a non-finite entry; None for a single sample."""
    if x.ndim < 2 or x.shape[0] == 1:
        return None
    size = torch.nan_to_num(x.detach().abs(), nan=torch.inf).flatten(1).amax(1)
    return int(size.argmax())  # a failed solve may read from the device
