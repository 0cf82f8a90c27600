"""Solvers, depth and the choices of the recipe, each trained on CIFAR-10 and validated.

    python -m benchmarks.cifar10_studies --study NAME --data-root DIR
        [--images N] [--epochs E] [--widths W W W] [--batch-size B] [--seeds S]
        [--evaluations N] [--device D] [--out DIR] [--only TEXT]

solver    every solver at equal evaluations a block (with 4, dopri5 and tsit5 take 6; with 12 all
          are equal), and those with an error estimate at tolerances 1e-1, 1e-2, 1e-3
depth     one block, two, three, more layers in f, and the ResNet, at equal parameters and at equal
          multiply-adds of a forward pass
ablation  field, filters that move with the time, augmented channels, step counts, the term for the
          step error, two steps, those of second order, and the optimizer, one at a time
corruptions  the base and the ResNets of `depth` under the usual corruptions of the images, and the
          base with the term for the step error once more

The base is the recipe `cifar10-fast` (64 256 256) with one convolution between two ODEs and on full
images that are shifted by three pixels at most; all but ablation leave out its term for the step
error, which not every solver has, unless a row names it. All is measured on validation images taken
from the training images; the test images are not read. Each run is a process of its own.
DIR/STUDY.json is written after every run; started again, the runs in it are not repeated. Beside it
are the table, STUDY.md, and the solvers' figure, solver.png.

The columns, as mean and standard deviation over the seeds:

validation  right answers in percent
1e-5        change of the percentage, and share of the answers changed, when the same weights are
            solved by dopri5 (by tsit5, where dopri5 chose its steps already) at a tolerance of
            1e-5, on up to 1,000 of the images
seconds     of the training steps; CPU seconds are the time of the process, which other work
            disturbs less
peak        most memory during the training steps, and what of it they added: on a GPU of its
            allocator, elsewhere of the process
NFE         evaluations of the vector fields a batch, all blocks together, forward and backward
mult-adds   of an image's forward pass in evaluation
corrupted   study corruptions: wrong answers, mean over fifteen corruptions at five severities, on
            up to 1,000 of the images; clean, wrong answers to the same images as they are
"""

import argparse
import dataclasses
import functools
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import commit
from benchmarks.study_contestants import (
    ablation_study,
    corruption_study,
    depth_study,
    solver_study,
    with_model,
)
from benchmarks.training_runs import (
    MIB,
    Contestant,
    markdown,
    mean_std,
    open_results,
    register_networks,
    run_in_fresh_process,
    train_once,
    write_files,
)
from odevision.data.augmentation import Augmentation
from odevision.recipes.cifar10 import cifar10_fast
from odevision.training.config import TrainConfig
from odevision.visual import SolverTraining, plot_solver_study, save_figure

_STUDIES: dict[str, Callable[[TrainConfig], Iterator[Contestant]]] = {
    "depth": depth_study,
    "ablation": ablation_study,
    "corruptions": corruption_study,
}
STUDIES = ("solver", *_STUDIES)
Run = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs of a study share.

    Args:
        study: its name.
        images: training images, None takes all; of the validation images at most as many.
        epochs: passes over them.
        evaluations: of f in a block, for the solvers with constant steps.
        device: `auto` takes a GPU if there is one.
        threads: of torch.
        widths: of the base network's blocks.
        batch_size: images a training step, None takes the recipe's.
    """

    study: str
    images: int | None
    epochs: int
    evaluations: int
    device: str
    threads: int
    widths: tuple[int, ...]
    batch_size: int | None

    def base(self, data_root: str) -> TrainConfig:
        """The training that the contestants change, but for seed and place."""
        recipe = with_model(cifar10_fast(), widths=self.widths, transition_convs=1)
        data = dataclasses.replace(
            recipe.data,
            limit=self.images,
            validation_fraction=0.1,
            augmentation=Augmentation(crop_padding=3, flip="alternating"),
            progressive_size=None,
        )
        if self.batch_size is not None:
            data = dataclasses.replace(data, batch_size=self.batch_size)
        device: Any = self.device
        return dataclasses.replace(
            recipe,
            data=data,
            epochs=self.epochs,
            device=device,
            data_root=data_root,
            evaluate_every_epochs=self.epochs,
            checkpoint_every_minutes=1e6,  # an interrupted run starts anew
        )

    def contestants(self, data_root: str) -> list[Contestant]:
        """Who takes part, in the order of the table."""
        register_networks()
        base = self.base(data_root)
        if self.study == "solver":
            return list(solver_study(base, self.evaluations))
        return list(_STUDIES[self.study](base))


def table(runs: Sequence[Run]) -> str:
    """Mean and standard deviation over the seeds as a Markdown table; a row a contestant."""
    columns: dict[str, tuple[Callable[[Run], float], int]] = {
        "validation %": (lambda run: 100 * run["validation_accuracy"], 2),
        "1e-5: change": (lambda run: 100 * _reference(run)["accuracy_change"], 2),
        "changed %": (lambda run: 100 * _reference(run)["changed_share"], 2),
        "seconds": (lambda run: run["seconds"], 0),
        "CPU seconds": (lambda run: run["cpu_seconds"], 0),
        "NFE forward": (lambda run: run["nfe_forward"], 1),
        "backward": (lambda run: run["nfe_backward"], 1),
        "peak MiB": (lambda run: run["peak_bytes"] / MIB, 0),
        "added MiB": (lambda run: run["added_bytes"] / MIB, 0),
        "parameters": (lambda run: run["num_parameters"], 0),
        "mult-adds, M": (lambda run: run["multiply_adds"] / 1e6, 1),
    }
    if any("corrupted" in run for run in runs):
        columns["corrupted: wrong %"] = (lambda run: 100 * run["corrupted"]["mean_error"], 2)
        columns["clean %"] = (lambda run: 100 * (1 - run["corrupted"]["clean_accuracy"]), 2)
    rows = []
    for name in dict.fromkeys(run["name"] for run in runs):
        of_it = _finished(runs, name)
        if not of_it:
            rows.append([name, "0", "diverged", *[""] * (len(columns) - 1)])
            continue
        cells = [name, str(len(of_it))]
        for head, (value, digits) in columns.items():
            is_ode = bool(of_it[0]["variants"])
            of_ode = head in ("1e-5: change", "changed %")
            if of_ode and not is_ode:
                cells.append("-")
            else:
                cells.append(mean_std([value(run) for run in of_it], digits))
        rows.append(cells)
    return markdown(["", "n", *columns], rows)


def _reference(run: Run) -> dict[str, float]:
    return next(found for name, found in run["variants"].items() if name.endswith("at 1e-05"))


def _finished(runs: Sequence[Run], name: str) -> list[Run]:
    return [run for run in runs if run["name"] == name and "failed" not in run]


def solver_trainings(runs: Sequence[Run]) -> list[SolverTraining]:
    """What the figure shows: means over the seeds, without trainings that diverged."""
    trainings = []
    for name in dict.fromkeys(run["name"] for run in runs):
        of_it = _finished(runs, name)
        if not of_it:
            continue

        def mean(key: str, of_it: Sequence[Run] = of_it) -> float:
            return statistics.fmean(run[key] for run in of_it)

        accuracies = [run["validation_accuracy"] for run in of_it]
        trainings.append(
            SolverTraining(
                name=name,
                group=of_it[0]["group"],
                accuracy=mean("validation_accuracy"),
                accuracy_std=statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
                seconds=mean("cpu_seconds" if of_it[0]["is_cpu"] else "seconds"),
                nfe_forward=mean("nfe_forward"),
                nfe_backward=mean("nfe_backward"),
                peak_bytes=mean("peak_bytes"),
            )
        )
    return trainings


def _write(out: Path, contents: dict[str, Any]) -> None:
    """Write JSON, table and figure."""
    settings, runs = contents["settings"], contents["runs"]
    about = ", ".join(f"{key} {value}" for key, value in settings.items())
    machines = "; ".join(dict.fromkeys(run["machine"] for run in runs))
    commits = ", ".join(dict.fromkeys(run["commit"] for run in runs))
    head = f"{machines}; odevision {contents['version']}, commit {commits}"
    study = settings["study"]
    write_files(
        {
            out / f"{study}.md": f"{head}\n\n{about}\n\n{table(runs)}\n",
            out / f"{study}.json": json.dumps(contents, indent=2),
        }
    )
    trainings = solver_trainings(runs)
    if study == "solver" and trainings:
        images = settings["images"]
        some = "all" if images is None else f"{images:,}"
        title = f"odenet-stacked, {some} training images of CIFAR-10, {settings['epochs']} epochs"
        save_figure(plot_solver_study(trainings, title=title), out / "solver.png")


def run_study(
    settings: Settings,
    *,
    data_root: str,
    seeds: int,
    out: Path,
    only: str = "",
    run: Callable[[TrainConfig], Run] | None = None,
) -> list[Run]:
    """Make the runs that are missing, and write the results after each.

    Args:
        settings: of the study.
        data_root: folder with the data sets.
        seeds: 0, 1, ...; so many.
        out: folder of the results.
        only: part of a name; others are left out.
        run: trains and measures one network; None does it in a fresh process.

    Returns:
        All runs so far.
    """
    if run is None:
        run = functools.partial(
            run_in_fresh_process,
            train_once,
            threads=settings.threads,
            corruptions=settings.study == "corruptions",
        )
    contents = open_results(out / f"{settings.study}.json", dataclasses.asdict(settings))
    runs: list[Run] = contents["runs"]
    contestants = settings.contestants(data_root)
    order = {contestant.name: index for index, contestant in enumerate(contestants)}
    contestants = [one for one in contestants if only in one.name]
    for seed in range(seeds):
        for contestant in contestants:
            if any((done["name"], done["seed"]) == (contestant.name, seed) for done in runs):
                continue
            found = run(dataclasses.replace(contestant.config, seed=seed))
            named = {"name": contestant.name, "group": contestant.group, "seed": seed}
            is_cpu = settings.device == "cpu" or not torch.cuda.is_available()
            runs.append({**named, **found, "is_cpu": is_cpu, "commit": commit()})
            runs.sort(key=lambda done: order.get(done["name"], len(order)))
            _write(out, contents)
            accuracy = found.get("validation_accuracy")
            said = "diverged" if accuracy is None else f"validation {100 * accuracy:.2f} %"
            print(f"{contestant.name}, seed {seed}: {said}", flush=True)
    return runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--study", required=True, choices=STUDIES)
    parser.add_argument("--data-root", required=True, help="folder with the data sets")
    parser.add_argument("--images", type=int, help="training images; all without this")
    parser.add_argument("--epochs", type=int, help="those of the recipe without this")
    parser.add_argument(
        "--widths", type=int, nargs=3, default=(64, 256, 256), help="64 256 256 without this"
    )
    parser.add_argument("--batch-size", type=int, help="that of the recipe without this")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, ...; so many")
    parser.add_argument("--evaluations", type=int, default=4, help="of f in a block")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--threads", type=int, help="of torch; its own choice without this")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10_studies"))
    parser.add_argument("--only", default="", help="only contestants with this in their name")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    settings = Settings(
        study=options.study,
        images=options.images,
        epochs=options.epochs or cifar10_fast().epochs,
        evaluations=options.evaluations,
        device=options.device,
        threads=torch.get_num_threads(),
        widths=tuple(options.widths),
        batch_size=options.batch_size,
    )
    runs = run_study(
        settings,
        data_root=options.data_root,
        seeds=options.seeds,
        out=options.out,
        only=options.only,
    )
    print(table(runs))


if __name__ == "__main__":
    main()
