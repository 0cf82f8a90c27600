"""A trained network under other solver settings than its own."""

from collections.abc import Mapping
from typing import Any

from odevision.models.budget import steps_for
from odevision.ode.solvers import SOLVERS


def overridden_solver(
    model_name: str,
    solver: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    warm_start: bool = False,
) -> dict[str, Any]:
    """Turn what a user asks for into solver fields of a model config.

    Args:
        model_name: for messages.
        solver: the model's own settings; empty without ODE blocks.
        given: solver, num_steps, nfe, rtol, atol, as far as they were given. `nfe` is the number of
            evaluations of the vector field a block, and becomes the steps that take so many.
        warm_start: whether the model's adaptive steps start warm.

    Returns:
        Fields to replace; `num_steps` is None where a tolerance was given.

    Raises:
        ValueError: for an option that the model does not have, or that does not fit the others.
    """
    unknown = [name for name in given if name not in (*solver, "nfe" if solver else "")]
    if unknown:
        has = ", ".join(solver) or "no ODE solver at all"
        raise ValueError(
            f"`{unknown[0]}` cannot be set: the model {model_name} has {has}. Leave it out."
        )
    steps = [name for name in ("num_steps", "nfe") if name in given]
    if steps and ("rtol" in given or "atol" in given):
        raise ValueError(
            f"`{steps[0]}` must not be given together with `rtol` or `atol`: constant steps have "
            "no tolerance. Leave one of them out."
        )
    name = str(given.get("solver", solver.get("solver", "")))
    tolerances = [one for one in ("rtol", "atol") if one in given]
    if tolerances and name in SOLVERS and not SOLVERS[name].adaptive:
        raise ValueError(
            f"`{tolerances[0]}` must be given with a solver that adapts its steps, got {name!r}, "
            "which has no error estimate. Try solver dopri5."
        )
    if len(steps) > 1:
        raise ValueError(
            "`nfe` must not be given together with `num_steps`: either of them states the steps. "
            "Leave one of them out."
        )
    changed = {name: value for name, value in given.items() if name != "nfe"}
    if "rtol" in given or "atol" in given:
        changed["num_steps"] = None  # a tolerance means nothing to constant steps
    if "nfe" in given:
        gradient = str(solver.get("gradient", "checkpointed"))
        changed["num_steps"] = steps_for(name, int(given["nfe"]), gradient=gradient)
    if changed.get("num_steps") is not None and warm_start:
        changed["warm_start"] = False  # it is a length for adaptive steps
    return changed
