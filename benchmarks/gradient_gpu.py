"""What only a GPU can show: no waits, flat allocator memory, and the share of the matrix rate."""

import functools
import statistics
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.gradient_contestants import Fields, one_pass
from benchmarks.gradient_cost import SHAPE, matrix_rate

WIDE = (512, 256, 16, 16)


def run(device: torch.device, repeats: int) -> tuple[dict[str, Any], str]:
    """Measure all three."""
    numbers = {
        "waits": {name: waits(device, name) for name in ("direct", "checkpointed", "reversible")},
        "peak_mib": {steps: peak_mib(device, steps) for steps in (8, 64, 512)},
        "wide": wide(device, repeats),
    }
    lines = [
        "## GPU",
        "",
        f"Fixed steps wait for the device in: {numbers['waits']}.",
        f"Peak MiB of `reversible` by steps: {numbers['peak_mib']}.",
        f"{' x '.join(map(str, WIDE))}, bf16, RK4: {numbers['wide']}.",
    ]
    return numbers, "\n".join(lines)


def waits(device: torch.device, gradient: str) -> str:
    """Whether a pass with fixed steps reads anything from the device."""
    fields = Fields(SHAPE[1], device)
    solver = "leapfrog" if gradient == "reversible" else "rk4"
    block = fields.block(gradient=gradient, solver=solver, num_steps=4)
    y0 = torch.randn(SHAPE, device=device)
    one_pass(block, y0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        one_pass(block, y0)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "nothing"


def peak_mib(device: torch.device, num_steps: int) -> float:
    """Most memory that a pass allocates."""
    fields = Fields(SHAPE[1], device)
    block = fields.block(gradient="reversible", solver="leapfrog", num_steps=num_steps)
    y0 = torch.randn(SHAPE, device=device)
    one_pass(block, y0)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    one_pass(block, y0)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def wide(device: torch.device, repeats: int) -> dict[str, float]:
    """Share of the measured bf16 matrix rate that the convolutions of wide feature maps reach."""
    fields = Fields(WIDE[1], device)
    fields.ours.to(memory_format=torch.channels_last)
    y0 = torch.randn(WIDE, device=device).to(memory_format=torch.channels_last)
    rate = matrix_rate(device, torch.bfloat16, repeats)
    batch, channels, height, width = WIDE
    flops = 3 * 16 * 2 * 2 * batch * height * width * channels**2 * 9
    shares = {"matrix TFLOP/s": rate / 1e12}
    for name, compile in (("eager", False), ("one graph", True)):
        block = fields.block(
            gradient="direct", solver="rk4", num_steps=4, autocast=True, compile=compile
        )
        seconds = _seconds(functools.partial(one_pass, block, y0), repeats)
        shares[name] = flops / seconds / rate
    return shares


def _seconds(call: functools.partial[tuple[Tensor, list[Tensor]]], repeats: int) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
