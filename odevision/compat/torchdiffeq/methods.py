"""torchdiffeq's method names, the solvers behind them, and the options that each kind takes."""

import warnings
from collections.abc import Mapping
from typing import Any

ADAPTIVE = {
    "dopri8": "dopri8",
    "dopri5": "dopri5",
    "tsit5": "tsit5",
    "bosh3": "bosh3",
    "fehlberg2": "fehlberg2",
    "adaptive_heun": "heun",
}
EXPLICIT = {
    "euler": "euler",
    "midpoint": "midpoint",
    "heun2": "heun2",
    "heun3": "heun3",
    "rk4": "rk4-38",  # torchdiffeq's rk4 is the 3/8 rule
}
ADAMS = ("explicit_adams", "implicit_adams", "fixed_adams")
IMPLICIT = {
    "implicit_euler": "implicit-euler",
    "implicit_midpoint": "implicit-midpoint",
    "trapezoid": "trapezoid",
    "radauIIA3": "radau-iia3",
    "gl4": "gauss-legendre4",
    "radauIIA5": "radau-iia5",
    "gl6": "gauss-legendre6",
    "sdirk2": "sdirk2",
    "trbdf2": "trbdf2",
}
SCIPY = "scipy_solver"
METHODS = (*ADAPTIVE, *EXPLICIT, *ADAMS, *IMPLICIT, SCIPY)

_ADAPTIVE_OPTIONS = frozenset(("norm", "first_step", "min_step", "max_step", "max_num_steps")) | {
    "step_t",
    "jump_t",
    "dtype",
    "safety",
    "ifactor",
    "dfactor",
}
_FIXED_OPTIONS = frozenset(("step_size", "grid_constructor", "interp", "perturb", "norm"))
_SCIPY_OPTIONS = frozenset(("solver", "min_step", "max_step", "norm"))


def check_method(method: str | None) -> str:
    """The name of a method; dopri5 where none is given.

    Raises:
        ValueError: there is no method of that name.
    """
    if method is None:
        return "dopri5"
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    return method


def warn_of_unknown_options(method: str, options: Mapping[str, Any]) -> None:
    """Warn where an option has no meaning for the method; programs expect no error."""
    unknown = sorted(set(options) - _known_options(method))
    if unknown:
        known = ", ".join(sorted(_known_options(method)))
        warnings.warn(
            f"method {method!r} takes no options {unknown}: they change nothing. It takes {known}.",
            stacklevel=4,
        )


def valid_callbacks(method: str) -> frozenset[str]:
    """Names of the callbacks that a method calls."""
    if method in ADAPTIVE:
        return frozenset(("callback_step", "callback_accept_step", "callback_reject_step"))
    return frozenset() if method == SCIPY else frozenset(("callback_step",))


def _known_options(method: str) -> frozenset[str]:
    if method in ADAPTIVE:
        return _ADAPTIVE_OPTIONS
    if method == SCIPY:
        return _SCIPY_OPTIONS
    if method in IMPLICIT:
        return _FIXED_OPTIONS | {"max_iters"}
    if method == "explicit_adams":
        return _FIXED_OPTIONS | {"max_iters", "max_order"}
    if method in ADAMS:
        return _FIXED_OPTIONS | {"max_iters", "max_order", "implicit"}
    return _FIXED_OPTIONS
