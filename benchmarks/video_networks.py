"""Every network of videos on a recipe, at matched parameters, at its frame rate and at others.

    python -m benchmarks.video_networks RECIPE --data-root DIR [--seeds 0 1 2] [--only PATTERN]
        [--threads N] [--out DIR] [any option of `odevision train RECIPE`]

A row a network, a run a seed: trained as `odevision train RECIPE --model.name NETWORK` does, then
asked once about the test videos. OUT/NETWORK-SEED is the run, OUT/NETWORK-SEED.json what it showed;
started again, what is there is not repeated, and processes with other --only may share OUT. The
table has mean and standard deviation over the seeds:

test, half, ...   right answers in percent: at the rate that the network was trained at; at half and
                  twice the rate; with irregular gaps; with half of the frames dropped
minutes           of training, wall time
live MiB          most bytes of all tensors at once in a training step of a full batch in float32,
                  beside weights and frames (exact)
"""

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import video_memory
from benchmarks.measure import commit
from benchmarks.training_runs import (
    MIB,
    machine_line,
    markdown,
    mean_std,
    num_parameters,
    write_files,
)
from odevision.cli.train_config import read_request
from odevision.evaluation.video_answers import answer_videos, check_rates, load_test_videos
from odevision.models.video_registry import VIDEO_MODELS, VideoConfig, build_video_model
from odevision.training.checkpoint import load_checkpoint
from odevision.training.config import TrainConfig
from odevision.training.loop import train
from odevision.training.report import SilentProgress
from odevision.training.video_data import VideoDataConfig

CONDITIONS = ("half", "twice", "irregular", "half dropped")
"""Short names of `rate_conditions`, in order."""

Run = dict[str, Any]


def train_and_test(config: TrainConfig, out: Path) -> Run:
    """Train a network, from where an earlier try was saved, and ask it about the test videos.

    Args:
        config: of the training, complete but for `out`.
        out: folder of the run.

    Returns:
        Plain values; accuracies are fractions.
    """
    data, model = config.data, config.model
    assert isinstance(data, VideoDataConfig) and isinstance(model, VideoConfig)
    sampling = data.sampling
    if sampling.num_frames is None:
        raise SystemExit(
            "`data.sampling.num_frames` must be given: networks are compared on equal "
            "clips. Try 16."
        )
    config = dataclasses.replace(config, out=str(out))
    saved = (out / "checkpoints").is_dir()
    result = train(config, resume=saved, progress=SilentProgress())
    if result.stopped != "done":
        raise SystemExit(f"{out}: the training was stopped; the same command goes on with it.")
    loaded = load_checkpoint(result.run_dir)
    source, labels = load_test_videos(loaded, data_root=config.data_root)
    answers, _ = answer_videos(loaded, source, labels)
    accuracies = [one.accuracy for one in check_rates(loaded, source, answers)]
    clips = video_memory.clip(
        sampling.num_frames, data.preprocessing.size, sampling.rate, data.batch_size
    )
    return {
        "test": answers.accuracy,
        **dict(zip(CONDITIONS, accuracies, strict=True)),
        "num_videos": len(source),
        "minutes": result.seconds / 60,
        "parameters": num_parameters(loaded.model),
        "live_bytes": video_memory.live_bytes(build_video_model(model), clips),
        "machine": machine_line(config.device),
        "commit": commit(),
    }


def table(runs: Sequence[Run]) -> str:
    """Mean and standard deviation over the seeds as a Markdown table; a row a network."""
    rows = []
    for name in VIDEO_MODELS:
        of_it = [run for run in runs if run["network"] == name]
        if not of_it:
            continue
        accuracies = [
            mean_std([100 * run[key] for run in of_it], 1) for key in ("test", *CONDITIONS)
        ]
        rows.append(
            [
                f"`{name}`",
                str(len(of_it)),
                f"{of_it[0]['parameters']:,}",
                *accuracies,
                mean_std([run["minutes"] for run in of_it], 0),
                f"{of_it[0]['live_bytes'] / MIB:.1f}",
            ]
        )
    heads = ["network", "n", "parameters", "test", *CONDITIONS, "minutes", "live MiB"]
    return markdown(heads, rows)


def finished(out: Path) -> list[Run]:
    """The runs that are there."""
    return [json.loads(path.read_text()) for path in sorted(out.glob("video-*-*.json"))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", help="motion, ucf5, ucf101 or hmdb51")
    parser.add_argument("--data-root", help="folder with the data sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="e.g. 0 1 2")
    parser.add_argument("--only", default="", help="only networks whose whole name this matches")
    parser.add_argument("--threads", type=int, help="of torch; its own choice without this")
    parser.add_argument("--out", type=Path, help="folder of the results; runs/RECIPE-networks")
    options, overrides = parser.parse_known_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    out: Path = options.out or Path("runs") / f"{options.recipe}-networks"
    for seed in options.seeds:
        for name in VIDEO_MODELS:
            path = out / f"{name}-{seed}.json"
            if path.exists() or not re.fullmatch(options.only or ".*", name):
                continue
            words = [options.recipe, "--model.name", name, *overrides]
            config = dataclasses.replace(
                read_request(words, description="").config,
                seed=seed,
                data_root=options.data_root,
            )
            run = train_and_test(config, out / f"{name}-{seed}")
            found = {"network": name, "seed": seed, "recipe": options.recipe, **run}
            write_files({path: json.dumps(found, indent=2)})
            print(f"{name}, seed {seed}: {100 * run['test']:.2f} %", flush=True)
    print(table(finished(out)))


if __name__ == "__main__":
    main()
