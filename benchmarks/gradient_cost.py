"""Seconds of one forward and backward pass of the paper's block."""

import functools
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.gradient_contestants import Contestant, Fields, has_torchode, one_pass
from benchmarks.gradient_exact import difference
from benchmarks.measure import interleaved_seconds, median_ratio
from odevision.gradient import Backsolve, Checkpointed
from odevision.gradient.backsolve import ConvergentGradientWarning

SHAPE = (128, 64, 6, 6)
RK4_STEPS = 4
FLOPS = 2 * 2 * 128 * 36 * 64 * 64 * 9
"""Additions and multiplications of the two convolutions in one evaluation of f."""

Table = dict[str, Contestant]


def dopri5(fields: Fields, *, compiled: bool) -> Table:
    """Adaptive steps at 1e-3, the same function and tolerance for all."""
    ours = functools.partial(fields.block, solver="dopri5")
    adjoint = functools.partial(fields.torchdiffeq, "odeint_adjoint", method="dopri5")
    table = {
        "torchdiffeq odeint": fields.torchdiffeq(method="dopri5"),
        "torchdiffeq odeint_adjoint": adjoint(),
        "torchdiffeq odeint_adjoint, seminorm": adjoint(adjoint_options={"norm": "seminorm"}),
        "direct": ours(gradient="direct"),
        "direct, bf16": ours(gradient="direct", autocast=True),
        "direct, warm start": ours(gradient="direct", warm_start=True),
        "direct, warm start, bf16": ours(gradient="direct", warm_start=True, autocast=True),
        "checkpointed": ours(gradient="checkpointed"),
        "checkpointed, bf16": ours(gradient="checkpointed", autocast=True),
        "checkpointed, warm start, bf16": ours(
            gradient="checkpointed", warm_start=True, autocast=True
        ),
        "checkpointed, by stages": ours(gradient=Checkpointed(graph="stage")),
        "backsolve": ours(gradient="backsolve"),
        "backsolve, seminorm": ours(gradient=Backsolve(norm="seminorm")),
    }
    if has_torchode():
        table["torchode"] = fields.torchode()
    if compiled:
        table["direct, compiled steps"] = ours(gradient="direct", compile=True)
        table["checkpointed, compiled steps"] = ours(gradient="checkpointed", compile=True)
    return table


def rk4(fields: Fields, *, compiled: bool) -> Table:
    """Four steps of RK4."""
    ours = functools.partial(fields.block, solver="rk4", num_steps=RK4_STEPS)
    size = {"step_size": 1 / RK4_STEPS}
    table = {
        "torchdiffeq rk4": fields.torchdiffeq(method="rk4", options=size),
        "loop by hand": fields.hand_written_rk4(RK4_STEPS),
        "loop by hand, torch checkpoint": fields.hand_written_rk4(RK4_STEPS, around="checkpoint"),
        "direct": ours(gradient="direct"),
        "direct, bf16": ours(gradient="direct", autocast=True),
        "checkpointed": ours(gradient="checkpointed"),
        "checkpointed, bf16": ours(gradient="checkpointed", autocast=True),
    }
    if compiled:
        table["loop by hand, compiled"] = fields.hand_written_rk4(RK4_STEPS, around="compile")
        table["direct, one graph"] = ours(gradient="direct", compile=True)
        if fields.device.type == "cuda":
            table["loop by hand, max-autotune"] = fields.hand_written_rk4(
                RK4_STEPS, around="max-autotune"
            )
    return table


def equal_evaluations(fields: Fields, *, compiled: bool) -> Table:
    """One solver, all gradients."""
    del compiled
    leapfrog = functools.partial(fields.block, solver="leapfrog", num_steps=16)
    return {
        f"leapfrog, {name}": leapfrog(gradient=gradient)
        for name, gradient in {
            "direct": "direct",
            "reversible": "reversible",
            "checkpointed": "checkpointed",
            "checkpointed, sqrt(N)": Checkpointed(max_states="sqrt"),
        }.items()
    }


def equal_accuracy(fields: Fields, *, compiled: bool) -> Table:
    """Fewer evaluations for a final error like that of the adaptive solve at 1e-3."""
    del compiled
    ours = functools.partial(fields.block, gradient="direct")
    return {
        "torchdiffeq dopri5 at 1e-3": fields.torchdiffeq(method="dopri5"),
        "dopri5 at 1e-3": ours(solver="dopri5"),
        "dopri5 at 1e-3, warm start": ours(solver="dopri5", warm_start=True),
        "tsit5 at 1e-3, warm start": ours(solver="tsit5", warm_start=True),
        "bosh3 at 1e-3, warm start": ours(solver="bosh3", warm_start=True),
        "heun at 1e-2, warm start": ours(solver="heun", warm_start=True, rtol=1e-2, atol=1e-2),
        "bosh3 at 1e-2, warm start": ours(solver="bosh3", warm_start=True, rtol=1e-2, atol=1e-2),
        "rk4, 2 steps": ours(solver="rk4", num_steps=2),
        "rk4, 1 step": ours(solver="rk4", num_steps=1),
        "heun3, 2 steps": ours(solver="heun3", num_steps=2),
        "midpoint, 3 steps": ours(solver="midpoint", num_steps=3),
        "midpoint, 2 steps": ours(solver="midpoint", num_steps=2),
        "leapfrog, 4 steps": ours(solver="leapfrog", num_steps=4),
    }


TABLES: dict[str, tuple[Callable[..., Table], str]] = {
    "dopri5": (dopri5, "torchdiffeq odeint"),
    "rk4": (rk4, "torchdiffeq rk4"),
    "equal evaluations": (equal_evaluations, "leapfrog, direct"),
    "equal accuracy": (equal_accuracy, "torchdiffeq dopri5 at 1e-3"),
}
"""By name: the contestants, and the one that the others are compared with."""


def measure(
    name: str, device: torch.device, repeats: int, *, compiled: bool
) -> list[dict[str, Any]]:
    """One table: seconds, evaluations, gradient and error of every contestant, run by turns."""
    make, base = TABLES[name]
    fields = Fields(SHAPE[1], device)
    y0 = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(device)
    table = make(fields, compiled=compiled)
    truth = _truth(fields, y0)
    rows = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergentGradientWarning)
        calls = {}
        for label, contestant in table.items():
            started = time.perf_counter()
            for _ in range(5):  # a warm start settles, a compiler compiles
                one_pass(contestant, y0)
            y1, gradients = one_pass(contestant, y0)
            forward, backward = contestant.nfe()
            rows[label] = {
                "table": name,
                "name": label,
                "nfe_forward": forward,
                "nfe_backward": backward,
                "error": difference([y1], truth[:1]),
                "gradient_error": difference(gradients, truth[1:]),
                "warm_up_seconds": time.perf_counter() - started,
            }
            calls[label] = functools.partial(_waited_for, contestant, y0)
        seconds = interleaved_seconds(calls, repeats=repeats)
    for label, row in rows.items():
        row["median_ms"] = 1e3 * statistics.median(seconds[label])
        row["ratio"] = median_ratio(seconds[label], seconds[base])
        row["seconds"] = seconds[label]
    return list(rows.values())


def _waited_for(contestant: Contestant, y0: Tensor) -> None:
    one_pass(contestant, y0)
    if y0.is_cuda:
        torch.cuda.synchronize()


def _truth(fields: Fields, y0: Tensor) -> list[Tensor]:
    """y1 and the gradients of a solve in float64 with far smaller errors."""
    exact = Fields(SHAPE[1], fields.device)
    exact.ours.double()
    block = exact.block(solver="dopri5", rtol=1e-7, atol=1e-7, gradient="checkpointed")
    y1, gradients = one_pass(block, y0.double())
    return [y1, *gradients]


def matrix_rate(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Additions and multiplications a second of a square matrix product, the best of some runs."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 2):
        started = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def floor_ms(evaluations: int, rate: float) -> float:
    """Milliseconds that the arithmetic of so many evaluations takes, forward and backward.

    A convolution is a product forward and two backward.
    """
    return 1e3 * 3 * FLOPS * evaluations / rate
