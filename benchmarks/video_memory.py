"""Training memory of a video network at 16, 64 and 256 frames: plain and in chunks.

    python -m benchmarks.video_memory [--model video-odernn] [--repeats 5] [--save]

Plain backpropagation keeps the feature maps of every frame. In chunks (`model.chunk`) only those of
eight frames live at once, and the gradients are the same. Counted are the bytes of all tensors that
live at once beside weights and frames (exact, the same on each machine), and the resident memory
that a step adds (of the whole process). Times are medians, the calls take turns.
"""

import argparse
import datetime
import functools
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.live_bytes import LiveBytes
from benchmarks.measure import commit, interleaved_seconds, machine, median_ratio, peak_bytes
from odevision.models.video import RecurrentVideoNet
from odevision.models.video_registry import VIDEO_MODELS, VideoModel
from odevision.types import Clips

RESULTS = Path(__file__).parent / "results"
FRAMES = (16, 64, 256)
CHUNK = 8
SIZE = (48, 64)
METHODS: dict[str, dict[str, Any]] = {
    "plain": {"chunk": None},
    "in chunks": {"chunk": CHUNK},
    "in chunks, reversible gaps": {"chunk": CHUNK, "gradient": "reversible"},
}


def network(name: str, method: str) -> RecurrentVideoNet:
    """The network of the recipes at one way of backpropagation; the same weights each time."""
    torch.manual_seed(0)
    config: Any = VIDEO_MODELS[name].config
    return RecurrentVideoNet(config(**METHODS[method]))


def clip(num_frames: int, size: tuple[int, int], rate: float = 8.0, batch: int = 1) -> Clips:
    """Clips, one by default, of random frames of this height and width, so many a second."""
    generator = torch.Generator().manual_seed(0)
    return Clips(
        frames=torch.randn(batch, num_frames, 3, *size, generator=generator),
        seconds=torch.arange(num_frames).expand(batch, -1) / rate,
        mask=torch.ones(batch, num_frames, dtype=torch.bool),
    )


def step(model: VideoModel, clips: Clips) -> None:
    """Forward and backward."""
    model.zero_grad()
    model(clips).logsumexp(dim=1).sum().backward()


def live_bytes(model: VideoModel, clips: Clips) -> int:
    """Most bytes of all tensors at once in a step, beside weights and frames."""
    with LiveBytes([*clips, *model.parameters()]) as live:
        step(model, clips)
    return live.most


def gradient(model: RecurrentVideoNet, clips: Clips) -> torch.Tensor:
    """All gradients in one vector."""
    step(model, clips)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def measure(name: str, repeats: int) -> list[dict[str, Any]]:
    """One row a method and number of frames."""
    rows = []
    for num_frames in FRAMES:
        clips = clip(num_frames, SIZE)
        models = {method: network(name, method) for method in METHODS}
        calls = {method: functools.partial(step, m, clips) for method, m in models.items()}
        seconds = interleaved_seconds(calls, repeats=repeats)
        exact = gradient(models["plain"], clips)
        for method, model in models.items():
            rows.append(
                {
                    "frames": num_frames,
                    "method": method,
                    "live_bytes": live_bytes(model, clips),
                    "resident_bytes": peak_bytes(calls[method]),
                    "gradient_difference": float(
                        (gradient(model, clips) - exact).norm() / exact.norm()
                    ),
                    "seconds": statistics.median(seconds[method]),
                    "time_ratio": median_ratio(seconds["plain"], seconds[method]),
                }
            )
            print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    resident = row["resident_bytes"]
    return (
        f"| {row['frames']} | {row['method']} | {row['live_bytes'] / 2**20:.1f} | "
        f"{'-' if resident is None else f'{resident / 2**20:.0f}'} | "
        f"{row['gradient_difference']:.1e} | {row['seconds']:.3f} | {row['time_ratio']:.2f} |"
    )


def report(name: str, repeats: int, rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    spreads = []
    for method in METHODS:
        peaks = [row["live_bytes"] for row in rows if row["method"] == method]
        spreads.append(f"{method} {max(peaks) / min(peaks):.3f}")
    return "\n".join(
        [
            f"# Training memory of {name} against frames, {datetime.date.today()}",
            "",
            f"`python -m benchmarks.video_memory --model {name} --repeats {repeats} --save`; one "
            f"clip of {SIZE[0]} x {SIZE[1]} pixels; {machine()}; commit {commit()}; n = {repeats}.",
            "",
            "| frames | backpropagation | peak live MiB | peak resident MiB | gradient off from "
            "plain | seconds | times plain's |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *map(line, rows),
            "",
            f"Most over least live bytes at {FRAMES[0]} to {FRAMES[-1]} frames: "
            f"{'; '.join(spreads)}.",
            "",
        ]
    )


def main() -> None:
    """Measure, print, and write the results if asked to."""
    parser = argparse.ArgumentParser(description="Training memory against frames.")
    parser.add_argument("--model", default="video-odernn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    rows = measure(options.model, options.repeats)
    text = report(options.model, options.repeats, rows)
    print(text)
    if not options.save:
        return
    from odevision.visual import plot_frame_memory, save_figure

    stem = RESULTS / f"video-memory-{options.model}-{datetime.date.today()}"
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    stem.with_suffix(".json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    peaks = {
        method: [(row["frames"], row["live_bytes"]) for row in rows if row["method"] == method]
        for method in METHODS
    }
    figure = plot_frame_memory(peaks, title=f"{options.model}, one clip of 48 x 64 pixels")
    save_figure(figure, stem.with_suffix(".png"))


if __name__ == "__main__":
    main()
