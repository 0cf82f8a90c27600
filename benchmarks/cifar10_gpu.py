"""CIFAR-10 by the recipes for a GPU, with their baselines: trained, tested, checked.

    python -m benchmarks.cifar10_gpu --data-root DIR --part cifar10|best|small|baselines
        [--seeds N] [--minutes 9.5] [--compile] [--out DIR] [--debug]

cifar10    the recipe `cifar10`, 5 seeds: 95 % on average, three minutes each
best       the recipe `cifar10-best`, 3 seeds: 96 % on average, ten minutes each
small      the recipe `cifar10-small`, 3 seeds: 93 % with at most 0.3 million parameters
baselines  what stands beside `cifar10`, trained as it is: the plain ResNet and an airbench-style
           plain network (conv, pool, BN, GELU, conv, BN, GELU), each with as many parameters (one
           block a stage) and with as many multiply-adds of a forward pass (as many blocks a stage
           as the ODE has evaluations)

The data root holds the official files, such as `cifar-10-batches-bin`. A call stops in time, after
`--minutes`, with exit status 3; started again with the same --out it goes on where it stopped, in
the middle of an epoch if need be. Of each seed the test images are read once, after its last epoch,
and all that is reported of it is written at once to PART.json in --out: accuracy, with and without
the mirror image; of the first seed also consistency (dopri5 at 1e-5, two and four times the steps)
and the accuracy at 2 and 16 evaluations a block. The table is PART.md, and is printed last. Where
the variable OUT names a folder, both files are copied there too. Minutes are those of the whole
training, with data, validation and checkpoints. With --debug all parts take seconds on a CPU.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_report import GOALS, Run, consistency_table, judge, table
from benchmarks.measure import commit
from benchmarks.plain_network import baseline_of
from benchmarks.training_runs import (
    NUM_COUNTED,
    Contestant,
    machine_line,
    multiply_adds,
    open_results,
    register_networks,
    write_files,
)
from odevision.data.image_set import ImageSet
from odevision.evaluation.answers import answer_split, device_of, ode_blocks
from odevision.evaluation.consistency import check_consistency
from odevision.evaluation.evaluate import evaluate_mirrored, summarize
from odevision.evaluation.split import load_test_images
from odevision.models.budget import evaluations
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.recipes.cifar10 import cifar10, cifar10_best, cifar10_small
from odevision.training.checkpoint import LoadedModel, load_checkpoint
from odevision.training.config import TrainConfig
from odevision.training.loop import TrainResult, train
from odevision.training.run_dir import CONFIG_FILE

PARTS = ("cifar10", "best", "small", "baselines")
BUDGETS = (2, 16)
BATCH_SIZE = 1000
DEBUG_IMAGES = 64
TIME_IS_UP = 3
# Minutes kept back for what follows a training: much more is evaluated of the first seed.
FIRST_RESERVE, RESERVE = 1.0, 0.3


def contestants(part: str) -> list[Contestant]:
    """Who is trained in a part."""
    recipes = {"cifar10": cifar10, "best": cifar10_best, "small": cifar10_small}
    if part in recipes:
        config = recipes[part]()
        return [Contestant(name=config.recipe, group=part, config=config)]
    base = cifar10()
    network = base.model
    assert isinstance(network, ODENetStackedConfig) and network.num_steps is not None
    counts = {
        "equal parameters": 1,
        "equal multiply-adds": evaluations(network.solver, network.num_steps),
    }
    found = []
    for residual, kind in ((True, "ResNet"), (False, "plain network")):
        for equal, blocks in counts.items():
            model = baseline_of(network, residual=residual, blocks_per_stage=blocks)
            config = dataclasses.replace(
                base, model=model, step_counts=(), step_error_weight=0.0, recipe="baseline"
            )
            found.append(Contestant(name=f"{kind}, {equal}", group=part, config=config))
    return found


def shrunk(config: TrainConfig) -> TrainConfig:
    """The same training at a size for a trial: narrow, one epoch of a few steps."""
    model: Any = dataclasses.replace(config.model, widths=(16, 16, 16))  # pyright: ignore
    data = dataclasses.replace(config.data, limit=DEBUG_IMAGES, batch_size=16)
    return dataclasses.replace(config, model=model, data=data, epochs=1, evaluate_every_epochs=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """What one call has to go by.

    Args:
        out: folder of runs and results.
        data_root: folder with the data sets.
        device: `auto` takes a GPU if there is one.
        limit: most test images; None takes all.
        ends: when the call must be over, on the clock of time.monotonic, in seconds.
    """

    out: Path
    data_root: str
    device: str
    limit: int | None
    ends: float

    def minutes_left(self, *, first: bool) -> float:
        """Time that a training may take, if its evaluation is to fit in too."""
        return (self.ends - time.monotonic()) / 60 - (FIRST_RESERVE if first else RESERVE)

    def train(self, contestant: Contestant, seed: int, *, first: bool) -> TrainResult | None:
        """Train, or go on with it; None where no time is left for it."""
        minutes = self.minutes_left(first=first)
        if minutes <= 0:
            return None
        place = self.out / "runs" / f"{contestant.name.replace(', ', '-').replace(' ', '-')}-{seed}"
        device: Any = self.device
        config = dataclasses.replace(
            contestant.config,
            seed=seed,
            out=str(place),
            data_root=self.data_root,
            device=device,
            max_minutes=minutes,
        )
        return train(config, resume=(place / CONFIG_FILE).exists())

    def test(self, result: TrainResult, *, first: bool) -> Run:
        """Read the test images; of the first seed also under other solvers."""
        has_gpu = torch.cuda.is_available() and self.device != "cpu"
        loaded = load_checkpoint(result.checkpoint_dir, device="cuda" if has_gpu else "cpu")
        images = load_test_images(loaded, data_root=self.data_root, limit=self.limit)
        answers = answer_split(loaded, images, batch_size=BATCH_SIZE)
        found = summarize(loaded, images, answers)
        mirrored = evaluate_mirrored(loaded, images, answers, batch_size=BATCH_SIZE)
        assert images.images is not None
        some = loaded.preprocessing.normalize(images.images[:NUM_COUNTED].to(device_of(loaded)))
        run: Run = {
            "test_accuracy": found.accuracy,
            "mirrored_accuracy": mirrored.accuracy,
            "test_images": found.num_samples,
            "validation_accuracy": result.metrics["validation_accuracy"],
            "seconds": result.seconds,
            "epochs": result.epochs,
            "num_parameters": found.num_parameters,
            "multiply_adds": multiply_adds(loaded.model, some),
            "nfe": found.nfe,
            "solver": found.solver,
            "machine": machine_line(self.device),
            "commit": commit(),
        }
        if first and ode_blocks(loaded):
            variants = check_consistency(loaded, images, answers, batch_size=BATCH_SIZE)
            run["variants"] = {one.name: dataclasses.asdict(one) for one in variants}
            run["accuracy_at"] = {str(nfe): _accuracy_at(loaded, images, nfe) for nfe in BUDGETS}
        return run


def _accuracy_at(loaded: LoadedModel, images: ImageSet, nfe: int) -> float:
    variant = load_checkpoint(loaded.path, device=device_of(loaded), nfe=nfe)
    return answer_split(variant, images, batch_size=BATCH_SIZE).accuracy


def report(part: str, contents: dict[str, Any]) -> str:
    """The table, the consistency, the goals, and what it was measured with."""
    runs: list[Run] = contents["runs"]
    if not runs:
        return f"{part}: no run is finished"
    machines = "; ".join(dict.fromkeys(run["machine"] for run in runs))
    commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
    head = f"{part}: {machines}; odevision {contents['version']}, commit {commits}"
    # Lines of a trial say nothing about the goals.
    goals = [] if contents["settings"]["debug"] else judge(part, runs)
    blocks = [head, table(runs), consistency_table(runs), "\n".join(f"- {one}" for one in goals)]
    return "\n\n".join(block for block in blocks if block)


def run_part(
    part: str, session: Session, *, seeds: int, debug: bool, compile_layers: bool
) -> tuple[dict[str, Any], bool]:
    """Make the runs of a part that are missing, as far as the time goes.

    Args:
        part: its name.
        session: places and the end of the time.
        seeds: 0, 1, ...; so many.
        debug: whether all is shrunk.
        compile_layers: whether to compile the networks.

    Returns:
        The results so far, and whether all runs are among them.
    """
    settings = {"part": part, "debug": debug, "compile": compile_layers}
    file = session.out / f"{part}.json"
    contents = open_results(file, settings)
    runs: list[Run] = contents["runs"]
    names = contestants(part)
    for seed in range(seeds):
        for contestant in names:
            if any((run["name"], run["seed"]) == (contestant.name, seed) for run in runs):
                continue
            config = dataclasses.replace(contestant.config, compile=compile_layers)
            config = shrunk(config) if debug else config
            one = dataclasses.replace(contestant, config=config)
            result = session.train(one, seed, first=seed == 0)
            if result is None or result.stopped != "done":
                return contents, False
            found = session.test(result, first=seed == 0)
            runs.append({"name": contestant.name, "seed": seed, **found})
            runs.sort(key=lambda run: [one.name for one in names].index(run["name"]))
            write_files(
                {
                    file: json.dumps(contents, indent=2),
                    file.with_suffix(".md"): report(part, contents) + "\n",
                }
            )
            accuracy = f"test {100 * found['test_accuracy']:.2f} %"
            print(
                f"{contestant.name}, seed {seed}: {accuracy}, {found['seconds']:.0f} s", flush=True
            )
    return contents, True


def _copy_results(part: str, out: Path) -> None:
    """To the folder that the variable OUT names, if there is one."""
    target = os.environ.get("OUT")
    if not target:
        return
    Path(target).mkdir(parents=True, exist_ok=True)
    for file in (out / f"{part}.json", out / f"{part}.md"):
        if file.exists() and file.parent.resolve() != Path(target).resolve():
            shutil.copy(file, target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs that are missing, print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", required=True, help="folder with the data sets")
    parser.add_argument("--part", required=True, choices=PARTS)
    parser.add_argument("--seeds", type=int, help="seeds 0, 1, ...; so many")
    parser.add_argument("--minutes", type=float, default=9.5, help="of this call, at most")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="compile the layers")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10_gpu"))
    parser.add_argument("--debug", action="store_true", help="a trial: narrow, 64 images, one seed")
    options = parser.parse_args(arguments)
    register_networks()
    goal = GOALS.get(options.part)
    seeds = options.seeds or (1 if options.debug else goal.seeds if goal else 3)
    session = Session(
        out=options.out,
        data_root=options.data_root,
        device=options.device,
        limit=DEBUG_IMAGES if options.debug else None,
        ends=time.monotonic() + 60 * options.minutes,
    )
    contents, is_complete = run_part(
        options.part,
        session,
        seeds=seeds,
        debug=options.debug,
        compile_layers=options.compile,
    )
    _copy_results(options.part, options.out)
    if not is_complete:
        print("Not all runs are finished. Go on with the same command.")
    print(report(options.part, contents))
    return 0 if is_complete else TIME_IS_UP


if __name__ == "__main__":
    sys.exit(main())
