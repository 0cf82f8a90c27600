"""One forward and backward pass of the paper's ODE block, against torchdiffeq.

    python -m benchmarks.odeblock [--repeats 7] [--json FILE]

The block of Chen et al. 2018 on MNIST: batch 128, 64 x 6 x 6, dopri5 at 1e-3, float32, gradients by
backpropagation through the solver. torchdiffeq gets the textbook module that concatenates the time;
ours computes the same function (checked). Both are run in turn in one process.
"""

import argparse
import json
import math
import statistics
from importlib.metadata import version
from pathlib import Path

import torch
import torchdiffeq
from torch import Tensor, nn

from benchmarks.measure import interleaved_seconds, machine, median_ratio, peak_bytes
from odevision.nn import ConvField, ODEBlock


class TextbookField(nn.Module):
    """The paper's vector field as written there: the time is concatenated as a channel."""

    def __init__(self, like: ConvField) -> None:
        """Copy the weights of our field."""
        super().__init__()
        self.norms = nn.ModuleList([like.norm1, like.norm2, like.norm3])
        self.convs = nn.ModuleList()
        for ours in (like.conv1, like.conv2):
            conv = nn.Conv2d(ours.weight.shape[1] + 1, ours.weight.shape[0], 3, padding=1)
            with torch.no_grad():
                conv.weight.copy_(torch.cat([ours.time_weight, ours.weight], 1))
                assert conv.bias is not None
                conv.bias.copy_(ours.bias)
            self.convs.append(conv)
        self.nfe = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt."""
        self.nfe += 1
        x = y
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = torch.relu(norm(x))
            x = conv(torch.cat([torch.ones_like(x[:, :1]) * t, x], 1))
        return self.norms[2](x)


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="measured runs of each, at least 5")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()

    torch.manual_seed(0)
    field = ConvField(64)
    theirs = TextbookField(field)
    blocks = {
        gradient: ODEBlock(field, solver="dopri5", rtol=1e-3, atol=1e-3, gradient=gradient)
        for gradient in ("direct", "checkpointed")
    }
    y0 = torch.randn(128, 64, 6, 6)
    t = torch.tensor([0.0, 1.0])

    def ours(gradient: str) -> Tensor:
        y = y0.clone().requires_grad_()
        y1 = blocks[gradient](y)
        y1.sum().backward()
        return y1.detach()

    def textbook(solve: object) -> Tensor:
        y = y0.clone().requires_grad_()
        y1 = solve(theirs, y, t, rtol=1e-3, atol=1e-3, method="dopri5")[-1]  # type: ignore[operator]
        y1.sum().backward()
        return y1.detach()

    calls = {
        "odevision direct": lambda: ours("direct"),
        "odevision checkpointed": lambda: ours("checkpointed"),
        "torchdiffeq odeint": lambda: textbook(torchdiffeq.odeint),
        "torchdiffeq odeint_adjoint": lambda: textbook(torchdiffeq.odeint_adjoint),
    }
    with torch.no_grad():
        ours_f = field(t[1], y0, *field.prepare(y0))
        error = ((theirs(t[1], y0) - ours_f).norm() / ours_f.norm()).item()
    seconds = interleaved_seconds(calls, repeats=options.repeats)
    nfe = {}
    for name, call in calls.items():
        theirs.nfe = 0
        call()
        stats = blocks[name.split()[1]].last_stats if name.startswith("odevision") else None
        nfe[name] = stats.nfe_forward + stats.nfe_backward if stats else theirs.nfe
    rows = {
        name: {
            "median_ms": 1e3 * statistics.median(seconds[name]),
            "odeint_over_this": median_ratio(seconds[name], seconds["torchdiffeq odeint"]),
            "nfe": nfe[name],
            "peak_mib": (peak_bytes(call) or math.nan) / 2**20,
        }
        for name, call in calls.items()
    }
    print(f"{machine()}, torchdiffeq {version('torchdiffeq')}, n = {options.repeats}")
    print(f"batch 128, 64 x 6 x 6, dopri5 at 1e-3, float32; relative difference of f {error:.1e}")
    print(f"{'':28}{'median ms':>10}{'odeint / this':>15}{'NFE':>6}{'peak MiB':>10}")
    for name, row in rows.items():
        print(
            f"{name:28}{row['median_ms']:10.0f}{row['odeint_over_this']:15.2f}{row['nfe']:6.0f}"
            f"{row['peak_mib']:10.0f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
