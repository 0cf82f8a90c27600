"""odeint_dense: the solution as a function of time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from odevision.compat.torchdiffeq.adaptive import controller, max_steps
from odevision.compat.torchdiffeq.inputs import read_inputs
from odevision.compat.torchdiffeq.methods import ADAPTIVE
from odevision.compat.torchdiffeq.statistics import remember
from odevision.compat.torchdiffeq.steppers import stepper
from odevision.solve import odesolve
from odevision.types import Number


def odeint_dense(
    func: Callable[..., Any],
    y0: Tensor | Sequence[Tensor],
    t0: Number | Tensor,
    t1: Number | Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Any], Any]:
    """Solve from t0 to t1 once and return y as a function of time.

    Inside a step it is a polynomial of order 3 or 4, which is coarser than the steps of `dopri8`
    are: `odeint` at the times that are wanted is as exact as these.

    Args:
        func: as in `odeint`.
        y0: the state at t0.
        t0: start time, a number or a tensor of shape ().
        t1: end time.
        rtol: as in `odeint`.
        atol: as in `odeint`.
        method: an adaptive method; dopri5 where None.
        options: as in `odeint`.

    Returns:
        A function of a time between t0 and t1, a number or a tensor of shape (), which returns y
        there; of a tensor of shape (times,) it returns y of shape (times, *y0.shape). Gradients
        flow to the time, y0 and what func uses.

    Raises:
        ValueError: an argument is out of its range.
        SolveError: the solve could not reach t1.
    """
    like = y0 if isinstance(y0, Tensor) else y0[0]
    times = torch.stack([_time(t, like) for t in (t0, t1)])
    inputs = read_inputs(func, y0, times, rtol=rtol, atol=atol, method=method, options=options)
    if inputs.method not in ADAPTIVE:
        raise ValueError(
            f"`method` must be an adaptive one, {', '.join(ADAPTIVE)}, got {inputs.method!r}."
        )
    solution = odesolve(
        inputs.field,
        inputs.y0,
        inputs.t[0],
        inputs.t[1],
        solver=stepper(inputs),
        controller=controller(inputs),
        gradient="direct",
        max_steps=max_steps(inputs.options),
        dense=True,
        observer=inputs.callbacks or None,
    )
    remember(solution.stats)
    interpolant = solution.interpolant
    assert interpolant is not None
    return lambda t: inputs.unpack(interpolant(t))


def _time(t: Number | Tensor, like: Tensor) -> Tensor:
    if isinstance(t, Tensor):
        return t.reshape(()) if t.is_floating_point() else t.reshape(()).to(torch.float64)
    return torch.tensor(float(t), dtype=torch.float64, device=like.device)
