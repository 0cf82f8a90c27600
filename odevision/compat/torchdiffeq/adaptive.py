"""Adaptive methods: torchdiffeq's options as a step size controller."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from odevision.compat.torchdiffeq.inputs import Inputs
from odevision.compat.torchdiffeq.steppers import stepper
from odevision.ode.controller import PIDController
from odevision.ode.solution import Result, SolveError, Stats
from odevision.ode.tracing import records
from odevision.solve import odesolve
from odevision.types import State

MOST_STEPS = 2**31 - 1


def solve_adaptive(inputs: Inputs) -> tuple[State, Stats]:
    """States at the times, shape (times, *y0.shape), and what they cost."""
    # Where nothing is recorded the engine need not make the states move with their times.
    t = inputs.t if records(inputs.t) else inputs.t.detach()
    # torchdiffeq counts anew from each time to the next.
    most = max_steps(inputs.options) * (len(t) - 1)
    try:
        solution = odesolve(
            inputs.field,
            inputs.y0,
            t[0],
            t[-1],
            solver=stepper(inputs),
            controller=controller(inputs),
            gradient="direct",
            save_at=t,
            max_steps=min(most, MOST_STEPS),
            observer=inputs.callbacks or None,
        )
    except SolveError as error:
        if error.result is Result.MAX_STEPS:
            error.add_note(
                f"Here `max_steps` is the option `max_num_steps`, {max_steps(inputs.options)}, for "
                f"each of {len(t) - 1} intervals of `t`."
            )
        raise
    return solution.ys, solution.stats


def max_steps(options: Mapping[str, Any]) -> int:
    """The option max_num_steps."""
    return int(min(options.get("max_num_steps", MOST_STEPS), MOST_STEPS))


def controller(inputs: Inputs, first_step: float | None = None) -> PIDController:
    """The controller that the options describe.

    Args:
        inputs: the call.
        first_step: length of the first step where the solve goes on from another; else the option
            of that name, or an estimate.

    Raises:
        ValueError: an option is out of its range.
    """
    options = inputs.options
    safety = _number(options, "safety", 0.9)
    grow, shrink = _number(options, "ifactor", 10.0), _number(options, "dfactor", 0.2)
    if not (0 < shrink < 1 < grow and 0 < safety <= 1):
        raise ValueError(
            "options `safety` must lie in (0, 1], `dfactor` below 1 and `ifactor` above, got "
            f"{safety}, {shrink} and {grow}. Try 0.9, 0.2 and 10."
        )
    if first_step is None and options.get("first_step") is not None:
        first_step = abs(float(options["first_step"]))
        if not 0 < first_step < math.inf:
            raise ValueError(
                f"option `first_step` must be a length of time, got {options['first_step']}. Try "
                "to leave it out, which estimates it."
            )
    steps, jumps = _times(options, "step_t"), _times(options, "jump_t")
    if len({*steps, *jumps}) < len(steps) + len(jumps):
        raise ValueError(
            f"options `step_t` and `jump_t` must not repeat a time, got {steps} and {jumps}."
        )
    return PIDController(
        rtol=inputs.rtol,
        atol=inputs.atol if "norm" not in options else torch.as_tensor(inputs.atol),
        norm=inputs.norm,
        safety=safety,
        min_factor=shrink,
        max_factor=grow,
        dt_min=_number(options, "min_step", 0.0),
        dt_max=_number(options, "max_step", float("inf")),
        dt0=first_step,
        step_points=steps,
        jump_points=jumps,
    )


def _number(options: Mapping[str, Any], name: str, default: float) -> float:
    return float(options.get(name, default))


def _times(options: Mapping[str, Any], name: str) -> list[float]:
    value = options.get(name)
    if value is None:
        return []
    times = value.flatten().tolist() if isinstance(value, Tensor) else value
    return [float(t) for t in times]
