"""Bytes that wait for the backward pass, against the number of steps."""

import gc
import warnings
from typing import Any

import torch
from torch import Tensor

from benchmarks.gradient_contestants import Contestant, Fields
from odevision.evaluation.backward_bytes import meter_for
from odevision.gradient import Checkpointed, Direct, Reversible
from odevision.gradient.backsolve import ConvergentGradientWarning

STEPS = (8, 64, 512)
SHAPES = {"paper's block": (128, 64, 6, 6), "64 x 32 x 32": (4, 64, 32, 32)}
BUDGET = 16 * 2**20


def contestants(fields: Fields, num_steps: int) -> dict[str, Contestant]:
    """One evaluation of f a step for all, so that their graphs are as long."""
    leapfrog = {"solver": "leapfrog", "num_steps": num_steps}
    euler = {"method": "euler", "options": {"step_size": 1 / num_steps}}
    return {
        "direct": fields.block(gradient=Direct(), **leapfrog),
        "checkpointed": fields.block(gradient=Checkpointed(), **leapfrog),
        "checkpointed, sqrt(N)": fields.block(gradient=Checkpointed(max_states="sqrt"), **leapfrog),
        "checkpointed, 16 MiB": fields.block(gradient=Checkpointed(max_bytes=BUDGET), **leapfrog),
        "reversible": fields.block(gradient=Reversible(), **leapfrog),
        "reversible, coupled midpoint": fields.block(
            gradient=Reversible(), solver="midpoint", num_steps=num_steps // 4
        ),
        "torchdiffeq odeint": fields.torchdiffeq(**euler),
        "torchdiffeq odeint_adjoint": fields.torchdiffeq("odeint_adjoint", **euler),
        "torch checkpoint around rk4": fields.hand_written_rk4(num_steps // 4, around="checkpoint"),
    }


def table(device: torch.device) -> list[dict[str, Any]]:
    """Peak bytes of both passes, for each shape, contestant and number of steps."""
    rows = []
    for label, shape in SHAPES.items():
        fields = Fields(shape[1], device)
        y0 = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        for num_steps in STEPS:
            for name, contestant in contestants(fields, num_steps).items():
                held, peak = measured(contestant, y0)
                rows.append(
                    {
                        "block": label,
                        "name": name,
                        "steps": num_steps,
                        "held": held,
                        "peak": peak,
                        "state": y0.nbytes,
                    }
                )
                print(f"{label:15}{name:30}{num_steps:5}{held:15,}{peak:15,}", flush=True)
                gc.collect()
    return rows


def measured(contestant: Contestant, y0: Tensor) -> tuple[int, int]:
    """Bytes held between the passes, and the most at any time of both."""
    y = y0.detach().requires_grad_()
    lam = torch.ones_like(y)
    meter = meter_for([y, lam, *contestant.parameters])
    states = 0
    with warnings.catch_warnings(), meter:
        warnings.simplefilter("ignore", ConvergentGradientWarning)
        y1 = contestant.solve(y)
        stats = contestant.stats()
        if stats is not None and not contestant.recorded:
            states = stats.bytes_held
        meter.between(y1, states)
        torch.autograd.grad(y1, [y, *contestant.parameters], lam)
    return meter.result(y1, states)
