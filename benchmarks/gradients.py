"""Gradients: exactness, memory and time, against torchdiffeq, torchode and torch.utils.checkpoint.

    python -m benchmarks.gradients [--device cpu] [--repeats 7] [--only exact flat cost gpu]
        [--no-compile] [--json FILE] [--save]

All compute the same function: ours with `ConvField`, the others with the textbook's module that
concatenates the time. The contestants of a table take turns in one process; a ratio is the median
of the paired ratios. Bytes are those that autograd keeps, forward and backward, and the states that
a gradient keeps beside it; on CUDA those of the allocator.

torchode is optional: `pip install --no-deps torchode torchtyping`.
"""

import argparse
import datetime
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from benchmarks import gradient_cost, gradient_exact, gradient_flat, gradient_gpu
from benchmarks.measure import commit, machine

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "gradient_memory.png"
WILD = 1e-9
"""Relative change of a gradient by rounding alone, above which differences say nothing."""
PARTS = ("exact", "flat", "cost", "gpu")


def exact() -> tuple[dict[str, Any], str]:
    """Differences from backpropagation through the same steps."""
    small, trained = gradient_exact.checkpointed_table(), gradient_exact.reversible_table()
    names = [key for key in small[0] if key not in ("solver", "num_steps", "rounding")]
    lines = [
        "## Exact: checkpointed",
        "",
        "Largest relative difference from `direct` of the gradients of y0, t0, t1, an argument and "
        f"the parameters, over {len(gradient_exact.explicit_methods())} explicit methods, float64.",
        "",
        "| steps | methods | " + " | ".join(names) + " |",
        "| --- | --- |" + " --- |" * len(names),
    ]
    wild = [r["solver"] for r in small if r["rounding"] > WILD]
    for num_steps in gradient_exact.STEPS:
        rows = [
            r
            for r in small
            if r["num_steps"] == num_steps and r["solver"] not in wild and names[0] in r
        ]
        worst = [max(r[name] for r in rows if name in r) for name in names]
        cells = " | ".join(f"{x:.1e}" for x in worst)
        lines.append(f"| {num_steps} | {len(rows)} | {cells} |")
    for r in small:
        if r["rounding"] > WILD:
            cells = " | ".join(f"{r[name]:.1e}" if name in r else "-" for name in names)
            lines.append(f"| {r['num_steps']} | {r['solver']} | {cells} |")
    lines += [
        "",
        "Methods with a line of their own amplify rounding: a change of y0 in its last place "
        "changes the gradient of `direct` by "
        + " and ".join(f"{r['rounding']:.1e}" for r in small if r["rounding"] > WILD)
        + " there.",
    ] * any(r["rounding"] > WILD for r in small)
    lines += [
        "",
        "## Exact: reversible",
        "",
        "100 steps of the trained fields of two shipped networks: relative difference from "
        "`direct` with the same solver, of all gradients together and of the worst. The field with "
        "ReLU has kinks: where a state is undone to the other side of one, its derivative differs.",
        "",
        "| field | solver | dtype | anchor every | all | worst |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in trained:
        anchors = r["anchor_every"] or "-"
        lines.append(
            f"| {r['field']} | {r['solver']} | {r['dtype']} | {anchors} | {r['difference']:.1e} | "
            f"{r['worst']:.1e} |"
        )
    return {"checkpointed": small, "reversible": trained}, "\n".join(lines)


def flat(device: torch.device) -> tuple[Any, str]:
    """Bytes against steps, as a table and a picture."""
    rows = gradient_flat.table(device)
    lines = [
        "## Flat: MiB that wait for the backward pass",
        "",
        "Held between the passes, and in brackets the most at any time of both. One evaluation of "
        "f a step; RK4 and midpoint, coupled, take a fourth of the steps. The budget is for the "
        "kept states; what `prepare` makes of the weights comes on top. torch.utils.checkpoint "
        "hides the graph of the step that it makes again from the count.",
        "",
    ]
    for block in gradient_flat.SHAPES:
        mine = [r for r in rows if r["block"] == block]
        state = mine[0]["state"] / 2**20
        shape = " x ".join(map(str, gradient_flat.SHAPES[block]))
        lines += [
            f"{block}, {shape}: one state is {state:.2f} MiB.",
            "",
            "| | " + " | ".join(f"{n} steps" for n in gradient_flat.STEPS) + " |",
            "| --- |" + " --- |" * len(gradient_flat.STEPS),
        ]
        for name in dict.fromkeys(r["name"] for r in mine):
            cells = [
                f"{r['held'] / 2**20:.1f} ({r['peak'] / 2**20:.1f})"
                for r in mine
                if r["name"] == name
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return rows, "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Peak bytes against steps, one panel a block."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    for axis, (block, shape) in zip(axes, gradient_flat.SHAPES.items(), strict=True):
        mine = [r for r in rows if r["block"] == block]
        for name in dict.fromkeys(r["name"] for r in mine):
            points = [(r["steps"], r["peak"] / 2**20) for r in mine if r["name"] == name]
            style = "--" if name.startswith("torch") else "-"
            axis.loglog(*zip(*points, strict=True), style, marker="o", label=name)
        axis.set_title(f"{block}, {' x '.join(map(str, shape))}")
        axis.set_xlabel("evaluations of f")
        axis.set_xticks(gradient_flat.STEPS, [str(n) for n in gradient_flat.STEPS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("peak memory for the backward pass, MiB")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def cost(device: torch.device, repeats: int, *, compiled: bool) -> tuple[Any, str]:
    """Seconds against the peers, and against the arithmetic."""
    all_rows, lines = [], []
    for name, (_, base) in gradient_cost.TABLES.items():
        rows = gradient_cost.measure(name, device, repeats, compiled=compiled)
        all_rows += rows
        lines += [
            f"## Cost: {name}",
            "",
            "| | ms | times faster than " + base + " | NFE | error of y1 | of the gradient |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for r in rows:
            nfe = f"{r['nfe_forward']}"
            if r["nfe_backward"]:
                nfe += f" + {r['nfe_backward']}"
            lines.append(
                f"| {r['name']} | {r['median_ms']:.0f} | {r['ratio']:.2f} | {nfe} | "
                f"{r['error']:.1e} | {r['gradient_error']:.1e} |"
            )
        lines.append("")
    rates = {
        dtype: gradient_cost.matrix_rate(device, dtype, repeats)
        for dtype in (torch.float32, torch.bfloat16)
    }
    floor = gradient_cost.floor_ms(4 * gradient_cost.RK4_STEPS, rates[torch.float32])
    ours = next(r for r in all_rows if r["table"] == "rk4" and r["name"] == "direct")
    lines += [
        "## Cost: the limit",
        "",
        f"Matrix products run at {rates[torch.float32] / 1e9:.0f} GFLOP/s in float32 and "
        f"{rates[torch.bfloat16] / 1e9:.0f} in bf16. The arithmetic of 16 evaluations, forward and "
        f"backward, takes {floor:.0f} ms at that rate; `direct` RK4 takes "
        f"{ours['median_ms']:.0f} ms, {ours['median_ms'] / floor:.2f} times as long.",
        "",
    ]
    numbers = {str(k): v for k, v in rates.items()}
    return {"rows": all_rows, "matrix_rates": numbers, "floor_ms": floor}, "\n".join(lines)


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7, help="measured runs of each, at least 7")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--no-compile", action="store_true", help="leave out what needs a compiler")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--save", action="store_true", help="write results/ and the picture")
    options = parser.parse_args()
    device = torch.device(options.device)

    head = (
        f"`python -m benchmarks.gradients`, commit {commit()}; {machine()}, "
        f"torchdiffeq {version('torchdiffeq')}, n = {options.repeats}"
    )
    if device.type == "cuda":
        head = f"{torch.cuda.get_device_name(device)}, {head}"
    numbers: dict[str, Any] = {"machine": head}
    texts = [f"# gradients, {datetime.date.today()}", "", head, ""]
    for part in options.only:
        if part == "gpu" and device.type != "cuda":
            continue
        if part == "exact":
            numbers[part], text = exact()
        elif part == "flat":
            numbers[part], text = flat(device)
        elif part == "cost":
            numbers[part], text = cost(device, options.repeats, compiled=not options.no_compile)
        else:
            numbers[part], text = gradient_gpu.run(device, options.repeats)
        print(text, flush=True)
        texts += [text, ""]
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1))
    if options.save:
        stem = f"gradients-{device.type}-{datetime.date.today()}"
        (RESULTS / f"{stem}.md").write_text("\n".join(texts))
        if "flat" in numbers:
            draw(numbers["flat"], PICTURE)


if __name__ == "__main__":
    main()
