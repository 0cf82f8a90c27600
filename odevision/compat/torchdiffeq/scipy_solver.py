"""scipy_solver: SciPy's solve_ivp behind torchdiffeq's option; an oracle, without gradients."""

from typing import Any

import torch
from torch import Tensor

from odevision.compat.torchdiffeq.inputs import Inputs
from odevision.ode.solution import Result, SolveError, Stats
from odevision.types import State

_SOLVERS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")


def solve_with_scipy(inputs: Inputs) -> tuple[State, Stats]:
    """States at the times, shape (times, *y0.shape), and what they cost.

    Raises:
        ImportError: SciPy is not installed.
        ValueError: an option is out of its range.
        SolveError: SciPy could not reach the last time.
    """
    try:
        from scipy.integrate import solve_ivp
    except ImportError as error:
        raise ImportError(
            "method 'scipy_solver' needs SciPy. Try pip install scipy, or method='dopri5'.",
            name="scipy",
        ) from error
    y0, times, stats = inputs.y0, inputs.times, Stats()
    solver = _check_solver(inputs)
    dtype = torch.complex128 if y0.is_complex() else torch.float64

    def field(t: float, flat: Any) -> Any:
        y = torch.as_tensor(flat).to(y0.device, y0.dtype).reshape(y0.shape)
        stats.nfe_forward += 1
        with torch.no_grad():
            slope = inputs.field(torch.tensor(t, dtype=y0.dtype.to_real(), device=y0.device), y)
        return slope.detach().to("cpu", dtype).reshape(-1).numpy()

    answer = solve_ivp(
        field,
        (times[0], times[-1]),
        y0.detach().to("cpu", dtype).reshape(-1).numpy(),
        method=solver,
        t_eval=times,
        rtol=_flat_tolerance(inputs.rtol, y0),
        atol=_flat_tolerance(inputs.atol, y0),
        **_step_bounds(inputs, solver),
    )
    if not answer.success:
        cause = f"SciPy's {solver} stopped: {answer.message}"
        at = float(answer.t[-1]) if len(answer.t) else times[0]
        raise SolveError(Result.DT_UNDERFLOW, cause, t=at, dt=None, sample=None)
    ys = torch.as_tensor(answer.y).T.reshape(len(times), *y0.shape)
    return ys.to(y0.device, y0.dtype), stats


def _check_solver(inputs: Inputs) -> str:
    solver = inputs.options.get("solver", "LSODA")
    if solver not in _SOLVERS:
        raise ValueError(f"option `solver` must be one of {', '.join(_SOLVERS)}, got {solver!r}.")
    if inputs.y0.is_complex() and solver in ("LSODA", "Radau"):
        raise ValueError(
            f"option `solver` must not be {solver!r} where `y0` is complex. Try 'DOP853' or 'BDF'."
        )
    return solver


def _step_bounds(inputs: Inputs, solver: str) -> dict[str, Any]:
    """SciPy's names for them; only LSODA has a shortest step."""
    options = inputs.options
    bounds = {"max_step": float(options.get("max_step", float("inf")))}
    shortest = float(options.get("min_step", 0.0))
    if solver == "LSODA":
        return {**bounds, "min_step": shortest}
    if shortest != 0:
        raise ValueError(f"option `min_step` must be left out for {solver}: only LSODA has it.")
    return bounds


def _flat_tolerance(tolerance: float | Tensor, y0: State) -> Any:
    if not isinstance(tolerance, Tensor):
        return tolerance
    return tolerance.expand(y0.shape).reshape(-1).to("cpu", torch.float64).numpy()
