"""One forward and backward pass of the paper's ODE block, against torchdiffeq: time and memory.

    python -m benchmarks.odeblock [--repeats 7] [--json FILE]

The short form of `benchmarks.gradients`: batch 128, 64 x 6 x 6, dopri5 at 1e-3, float32, not
compiled, on a CPU. The contestants take turns in one process.
"""

import argparse
import functools
import json
import math
import statistics
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.gradient_contestants import Fields, one_pass
from benchmarks.gradient_cost import SHAPE
from benchmarks.measure import interleaved_seconds, machine, median_ratio, peak_bytes

THEIRS = "torchdiffeq odeint"


def measure(shape: tuple[int, ...], repeats: int) -> dict[str, dict[str, float]]:
    """Median time, its ratio, evaluations of f, and peak memory of each contestant.

    Args:
        shape: of the state.
        repeats: measured passes of each.
    """
    fields = Fields(shape[1], torch.device("cpu"))
    contestants = {
        "odevision direct": fields.block(solver="dopri5", gradient="direct"),
        "odevision checkpointed": fields.block(solver="dopri5", gradient="checkpointed"),
        THEIRS: fields.torchdiffeq(method="dopri5"),
        "torchdiffeq odeint_adjoint": fields.torchdiffeq("odeint_adjoint", method="dopri5"),
    }
    y0 = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    calls = {name: functools.partial(one_pass, one, y0) for name, one in contestants.items()}
    seconds = interleaved_seconds(calls, repeats=repeats)
    rows = {}
    for name, contestant in contestants.items():
        peak = peak_bytes(calls[name])
        forward, backward = contestant.nfe()
        rows[name] = {
            "median_ms": 1e3 * statistics.median(seconds[name]),
            "odeint_over_this": median_ratio(seconds[name], seconds[THEIRS]),
            "nfe": forward + (backward or 0),
            "peak_mib": math.nan if peak is None else peak / 2**20,
        }
    return rows


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="measured runs of each, at least 5")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    rows = measure(SHAPE, options.repeats)
    print(f"{machine()}, torchdiffeq {version('torchdiffeq')}, n = {options.repeats}")
    print(f"batch and state {' x '.join(map(str, SHAPE))}, dopri5 at 1e-3, float32")
    print(f"{'':28}{'median ms':>10}{'odeint / this':>15}{'NFE':>6}{'peak MiB':>10}")
    for name, row in rows.items():
        print(
            f"{name:28}{row['median_ms']:10.0f}{row['odeint_over_this']:15.2f}{row['nfe']:6.0f}"
            f"{row['peak_mib']:10.0f}"
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
