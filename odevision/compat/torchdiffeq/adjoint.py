"""odeint_adjoint: gradients by a second solve backward in time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from odevision.compat.torchdiffeq.adjoint_norm import adjoint_norm
from odevision.compat.torchdiffeq.callbacks import adjoint_callbacks
from odevision.compat.torchdiffeq.continuous_adjoint import Backward, ContinuousAdjoint
from odevision.compat.torchdiffeq.inputs import Inputs, read_inputs, read_tolerance
from odevision.compat.torchdiffeq.roots import combine_events


def odeint_adjoint(
    func: Callable[..., Any],
    y0: Tensor | Sequence[Tensor],
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[..., Tensor] | None = None,
    adjoint_rtol: Any = None,
    adjoint_atol: Any = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Any = None,
) -> Any:
    """Solve like `odeint`, with gradients by a second solve backward in time.

    Memory does not grow with the steps. Gradients flow to y0, t and `adjoint_params`, and cannot
    be differentiated again: an attempt says so.

    Args:
        func: as in `odeint`.
        y0: as in `odeint`.
        t: as in `odeint`.
        rtol: as in `odeint`.
        atol: as in `odeint`.
        method: as in `odeint`.
        options: as in `odeint`.
        event_fn: as in `odeint`.
        adjoint_rtol: rtol of the backward solve; that of the forward solve where None.
        adjoint_atol: likewise.
        adjoint_method: likewise.
        adjoint_options: options of the backward solve; those of the forward solve but its norm
            where None. `norm` may be "seminorm", which leaves the parameters' part out of the error
            control, or a function of the tuple (t, y, lam, *params).
        adjoint_params: tensors that gradients flow to; the parameters of func where None.

    Returns:
        As `odeint`. `ys.grad_fn.adjoint_options["norm"]` may be exchanged before the backward pass.

    Raises:
        ValueError: an argument is out of its range, or func is no module and adjoint_params None.
        TypeError: an argument is of another kind.
        SolveError: a solve could not reach its last time.
    """
    backward_method = method if adjoint_method is None else adjoint_method
    if backward_method != method and options is not None and adjoint_options is None:
        raise ValueError(
            "`adjoint_options` must be given where `options` are and `adjoint_method` differs from "
            "`method`: options of one method say nothing to another. Try adjoint_options={}."
        )
    if adjoint_options is None:
        adjoint_options = {k: v for k, v in (options or {}).items() if k != "norm"}
    found = _parameters(func) if adjoint_params is None else tuple(adjoint_params)
    params = tuple(x for x in found if x.requires_grad)
    inputs = read_inputs(func, y0, t, rtol=rtol, atol=atol, method=method, options=options)
    norm = adjoint_norm(adjoint_options.get("norm"), inputs, left_out=len(found) - len(params))
    settings = {
        "rtol": _augmented("rtol", adjoint_rtol, inputs.rtol, inputs, len(params)),
        "atol": _augmented("atol", adjoint_atol, inputs.atol, inputs, len(params)),
        "method": backward_method,
        "options": {**adjoint_options, "norm": norm},
    }
    backward = Backward(inputs.field, settings, adjoint_callbacks(func))
    event = None if event_fn is None else combine_events(event_fn, inputs)
    answers = ContinuousAdjoint.apply(inputs, event, backward, inputs.y0, inputs.t, *params)
    if event is None:
        return inputs.unpack(answers)
    event_t, ys = answers
    return event_t, inputs.unpack(ys)


def _parameters(func: Callable[..., Any]) -> tuple[Tensor, ...]:
    """What torchdiffeq takes as parameters of f."""
    if not isinstance(func, nn.Module):
        raise ValueError(
            "`func` must be a torch.nn.Module where `adjoint_params` is not given, got "
            f"{type(func).__name__}. Try adjoint_params=(...) with what gradients should flow to."
        )
    if not getattr(func, "_is_replica", False):
        return tuple(func.parameters())
    # DataParallel's replicas hold their parameters as plain attributes.
    held = (x for module in func.modules() for x in vars(module).values())
    return tuple(x for x in held if isinstance(x, Tensor) and x.requires_grad)


def _augmented(
    name: str, given: Any, forward: float | Tensor, inputs: Inputs, num_params: int
) -> Any:
    """A tolerance of the augmented state (t, y, lam, *params).

    One that was given for all parts of that state is taken as it is. One that tells the entries of
    y apart holds for those of lam too, and its least value for the rest.
    """
    parts = 3 + num_params
    if given is not None:
        if isinstance(given, list | tuple | Tensor) and _length(given) == parts:
            return given
        forward = read_tolerance(name, given, inputs.y0, inputs.flat)
    if not isinstance(forward, Tensor):
        return forward
    of_y = forward.expand(inputs.y0.shape)
    return (of_y.min(), of_y, of_y, *[of_y.min()] * num_params)


def _length(tolerance: Any) -> int:
    return 1 if isinstance(tolerance, Tensor) and tolerance.ndim == 0 else len(tolerance)
