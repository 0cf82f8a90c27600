"""ODETerm: the vector field f(t, y, args) as the solver calls it: checked and counted."""

import inspect
import types
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from odevision.ode.clock import Clock, RowClock, SpanClock
from odevision.ode.solution import Stats
from odevision.types import Scalar, State, VectorField


class ODETerm:
    """The right-hand side of dy/dt = f(t, y, args).

    Args:
        vector_field: called as f(t, y); t is a zero-dimensional tensor on y's device.
        stats: where evaluations are counted, never on the user's module.
        phase: which of the two counters an evaluation goes to.
        clock: where gradients to t0 or t1 are asked for, or each row has its own time.
        args: what the vector field was bound to, for solvers that bind it themselves.
    """

    def __init__(
        self,
        vector_field: VectorField,
        stats: Stats,
        phase: Literal["forward", "backward"] = "forward",
        clock: Clock | RowClock | SpanClock | None = None,
        args: Any = (),
    ) -> None:
        """Nothing is evaluated yet."""
        self.vector_field, self.stats, self.phase, self.clock = vector_field, stats, phase, clock
        self.args = args

    def count(self, evaluations: int) -> None:
        """Count evaluations of f that were made elsewhere, or are about to be made."""
        if self.phase == "forward":
            self.stats.nfe_forward += evaluations
        else:
            self.stats.nfe_backward += evaluations

    def __call__(self, t: float | Scalar, y: State) -> State:
        """Evaluate f at time t and state y.

        Raises:
            ValueError: f returned something else than a tensor of y's shape and dtype.
        """
        self.count(1)
        if self.clock is not None:
            k = check(self.vector_field(self.clock.time(t, y), y), y)
            return k * self.clock.rate(t, y)
        if not isinstance(t, Tensor):
            # full() and not tensor(): no copy from the host, so no wait on a GPU.
            t = torch.full((), t, dtype=y.real.dtype, device=y.device)
        k = self.vector_field(t, y)
        if isinstance(k, Tensor) and k.shape == y.shape and k.dtype == y.dtype:
            return k
        return check(k, y)


def check(k: object, y: State) -> State:
    """What f returned, if it is a slope of y.

    Raises:
        ValueError: it is not a tensor of y's shape and dtype.
    """
    if not isinstance(k, Tensor) or k.shape != y.shape:
        raise ValueError(
            f"`vector_field` must return dy/dt, a tensor of the state's shape "
            f"{tuple(y.shape)}, got {_describe(k)}. Try to keep the number of channels and the "
            "resolution inside f, and change them between solves."
        )
    if k.dtype != y.dtype:
        if not torch.is_autocast_enabled(y.device.type):
            raise ValueError(
                f"`vector_field` must return the state's dtype {y.dtype}, got {k.dtype}. Try "
                f"to convert the module with .to({y.dtype}), or y0 to {k.dtype}."
            )
        k = k.to(y.dtype)
    return k


def bind_args(vector_field: VectorField, args: Any) -> Callable[..., Any]:
    """Fix the arguments of f, so that the solver can call it as f(t, y).

    A tuple is spread, f(t, y, *args), as SciPy does; anything else, and a tuple given to an f whose
    third parameter is the last and is called `args`, is handed over whole, f(t, y, args).

    Args:
        vector_field: the user's callable.
        args: the user's arguments; an empty tuple for none.

    Returns:
        A function of t and y alone.
    """
    if not callable(vector_field):
        raise ValueError(
            f"`vector_field` must be callable as f(t, y), got {type(vector_field).__name__}."
        )
    if not isinstance(args, tuple) or takes_args_whole(vector_field):
        return lambda t, y: vector_field(t, y, args)
    if not args:
        return vector_field
    return lambda t, y: vector_field(t, y, *args)


def takes_args_whole(vector_field: VectorField) -> bool:
    """Whether a tuple of arguments is handed over as one: f's third, last parameter is `args`."""
    function: Any = vector_field
    while (inner := _wrapped(function)) is not None:
        function = inner
    if isinstance(function, torch.nn.Module):
        function = function.forward
    bound = isinstance(function, types.MethodType)
    plain = function.__func__ if bound else function
    if isinstance(plain, types.FunctionType) and not hasattr(plain, "__wrapped__"):
        code, own = plain.__code__, 3 + bound  # a signature takes long, and stops torch.compile
        return code.co_argcount == own and code.co_varnames[own - 1] == "args"
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # builtins have no signature
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) == 3 and positional[2].name == "args"


def _wrapped(function: Any) -> Any:
    """What a wrapper of PyTorch's calls, whose own signature says nothing; None for others."""
    if type(function).__name__ == "OptimizedModule":  # by torch.compile
        return function._orig_mod
    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    return function.module if isinstance(function, parallel) else None


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
