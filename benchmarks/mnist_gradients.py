"""The paper's network on MNIST under four gradients: accuracy, time, memory and evaluations.

    python -m benchmarks.mnist_gradients --data-root DIR --out FILE [--seeds 3] [--epochs 1]
        [--num-steps 2] [--threads N] [--limit-train N]

The recipe `mnist` with its ODE block solved by leapfrog, which is reversible as it is: so all
gradients share one forward pass (checked), and a seed gives all of them the same first weights,
images and augmentation. What is left is the gradient itself. Each run is a process of its own, on
the CPU. FILE (JSON) is written after every run; started again, the runs in it are not repeated.
Beside it the table is written as FILE with the ending .md.

The columns, as mean and standard deviation over the seeds:

test, validation  right answers in percent; the test images are read once a run, at its end
CPU seconds       of the training steps, in CPU time of the process, which other work disturbs less
peak, added       most resident memory during the training steps, and what of it the steps added
held              what the ODE block keeps of a batch for its backward pass; of `direct` the graph
NFE               evaluations of the vector field a batch, forward and backward
gradient off      the block's gradient on a validation batch at the final weights against that of
                  `direct`, relative in the 2-norm, both in float32; of exact ones it is rounding
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measure import commit, machine
from benchmarks.training_runs import (
    MIB,
    Meter,
    markdown,
    mean_std,
    open_results,
    run_in_fresh_process,
    write_files,
)
from odevision.data.sources import load_split
from odevision.evaluation.evaluate import evaluate
from odevision.gradient.backsolve import ConvergentGradientWarning
from odevision.gradient.bytes_held import graph_bytes
from odevision.models.odenet import ODENet, ODENetConfig
from odevision.recipes.mnist import mnist
from odevision.training.checkpoint import LoadedModel, load_checkpoint
from odevision.training.config import DataConfig, TrainConfig
from odevision.training.loop import train

GradientName = Literal["direct", "checkpointed", "reversible", "backsolve"]
GRADIENT_NAMES: tuple[GradientName, ...] = ("direct", "checkpointed", "reversible", "backsolve")
SOLVER = "leapfrog"
SAME_FORWARD = 1e-5  # relative; float32 sums in another order are below it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs of a table share.

    Args:
        data_root: folder with the data sets.
        epochs: passes over the training images.
        num_steps: leapfrog steps of the ODE block.
        threads: of torch.
        limit: most training, validation and test images, each; None takes all.
    """

    data_root: str
    epochs: int
    num_steps: int
    threads: int
    limit: int | None

    def config(self, gradient: GradientName, seed: int, out: str) -> TrainConfig:
        """The recipe with this gradient; `out` is the run directory."""
        recipe = mnist()
        return dataclasses.replace(
            recipe,
            model=ODENetConfig(solver=SOLVER, num_steps=self.num_steps, gradient=gradient),
            data=dataclasses.replace(recipe.data, limit=self.limit),
            epochs=self.epochs,
            seed=seed,
            device="cpu",
            data_root=self.data_root,
            out=out,
            evaluate_every_epochs=self.epochs,
            checkpoint_every_minutes=1e6,  # an interrupted run starts anew
        )


def run_once(settings: Settings, gradient: GradientName, seed: int) -> dict[str, Any]:
    """Train and test one network; to be called in a fresh process.

    Args:
        settings: what the runs share.
        gradient: of the ODE block.
        seed: of the run.

    Returns:
        Plain numbers; accuracies are fractions.
    """
    torch.set_num_threads(settings.threads)
    warnings.filterwarnings("ignore", category=ConvergentGradientWarning)  # the table says it
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        config = settings.config(gradient, seed, str(Path(folder) / "run"))
        data = config.data
        assert isinstance(data, DataConfig)
        result = train(config, progress=meter)
        loaded = load_checkpoint(result.checkpoint_dir)
    last, report = meter.last_epoch, meter.report
    assert last is not None and report is not None
    tested = evaluate(loaded, data_root=settings.data_root, limit=settings.limit)
    return {
        "gradient": gradient,
        "seed": seed,
        "precision": report.precision,
        "test_accuracy": tested.accuracy,
        "validation_accuracy": last.validation_accuracy,
        "train_loss": last.train_loss,
        "cpu_seconds": meter.cpu_seconds,
        "peak_bytes": meter.peak_bytes,
        "added_bytes": meter.peak_bytes - meter.bytes_before,
        "nfe_forward": last.nfe_forward,
        "nfe_backward": last.nfe_backward,
        **_probe(loaded, settings, data, bf16=report.precision == "bf16"),
    }


def _probe(
    loaded: LoadedModel, settings: Settings, data: DataConfig, *, bf16: bool
) -> dict[str, float]:
    """One validation batch through the trained block, forward and backward.

    Returns:
        held_bytes: kept for the backward pass; of `direct` by the graph, without the block's input.
        forward_off, gradient_off: relative differences from `direct` in the 2-norm and float32, of
            y1 and of dL/d(y0, theta).

    Raises:
        RuntimeError: the forward passes are not the same function.
    """
    model = cast(ODENet, loaded.model)
    image_set = load_split(
        data.name,
        "validation",
        data_root=settings.data_root,
        validation_fraction=data.validation_fraction,
        limit=settings.limit,
    )
    assert image_set.images is not None
    images = loaded.preprocessing.normalize(image_set.images[: data.batch_size])
    labels = image_set.labels[: data.batch_size]
    block = model.block
    with torch.no_grad():
        features = model.stem(images)

    def pull_back(*, bf16: bool = False) -> tuple[Tensor, Tensor, int]:
        """y1, the gradient as a vector, and the bytes held."""
        y0 = features.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            y1 = block(y0)
            logits = model.head(y1)
        held = graph_bytes([y1], [y0]) if block.gradient == "direct" else 0
        loss = F.cross_entropy(logits.float(), labels)
        parts = torch.autograd.grad(loss, [y0, *block.parameters()])
        assert block.last_stats is not None
        held = held or block.last_stats.bytes_held or 0
        return y1.detach(), torch.cat([x.flatten() for x in parts]), held

    *_, held = pull_back(bf16=bf16)  # as in training
    y1, gradient, _ = pull_back()
    block.gradient = "direct"
    exact_y1, exact, _ = pull_back()
    forward_off = _relative(y1, exact_y1)
    if not forward_off <= SAME_FORWARD:
        raise RuntimeError(f"the forward pass differs from that of `direct` by {forward_off:.1e}")
    return {
        "held_bytes": held,
        "forward_off": forward_off,
        "gradient_off": _relative(gradient, exact),
    }


def _relative(x: Tensor, exact: Tensor) -> float:
    return ((x - exact).norm() / exact.norm()).item()


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Mean and standard deviation over the seeds as a Markdown table; a row a gradient."""
    columns = {  # head: key, factor, digits
        "test %": ("test_accuracy", 100, 2),
        "validation %": ("validation_accuracy", 100, 2),
        "CPU seconds": ("cpu_seconds", 1, 1),
        "peak MiB": ("peak_bytes", 1 / MIB, 0),
        "added MiB": ("added_bytes", 1 / MIB, 0),
        "held MiB": ("held_bytes", 1 / MIB, 2),
        "NFE forward": ("nfe_forward", 1, 0),
        "backward": ("nfe_backward", 1, 0),
    }
    rows: list[list[str]] = []
    for gradient in GRADIENT_NAMES:
        of_it = [run for run in runs if run["gradient"] == gradient]
        if not of_it:
            continue
        cells = [gradient, str(len(of_it))]
        for key, factor, digits in columns.values():
            cells.append(mean_std([factor * run[key] for run in of_it], digits))
        cells.append(f"{statistics.mean(run['gradient_off'] for run in of_it):.1e}")
        rows.append(cells)
    return markdown(["gradient", "n", *columns, "gradient off"], rows)


def main() -> None:
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", required=True, help="folder with the data sets")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...; so many")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--num-steps", type=int, default=2, help="leapfrog steps of the block")
    parser.add_argument("--threads", type=int, help="of torch; its own choice without this")
    parser.add_argument(
        "--limit-train", type=int, help="so many training, validation, test images: for a trial"
    )
    options = parser.parse_args()
    if options.out.suffix == ".md":
        parser.error("--out must not end in .md, where the table goes. Try results.json")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    settings = Settings(
        data_root=options.data_root,
        epochs=options.epochs,
        num_steps=options.num_steps,
        threads=torch.get_num_threads(),
        limit=options.limit_train,
    )
    # The place of the data is no property of the results.
    shared = dataclasses.asdict(settings) | {"solver": SOLVER, "machine": machine()}
    del shared["data_root"]
    about = ", ".join(f"{key} {value}" for key, value in shared.items())
    contents = open_results(options.out, shared)
    finished = {(run["gradient"], run["seed"]) for run in contents["runs"]}
    for seed in range(options.seeds):
        for gradient in GRADIENT_NAMES:
            if (gradient, seed) in finished:
                continue
            run = run_in_fresh_process(run_once, settings, gradient, seed) | {"commit": commit()}
            contents["runs"].append(run)
            text = f"odevision {contents['version']}, {about}\n\n{table(contents['runs'])}\n"
            numbers = json.dumps(contents, indent=2)
            write_files({options.out.with_suffix(".md"): text, options.out: numbers})
            print(
                f"{gradient}, seed {seed}: test {100 * run['test_accuracy']:.2f} %, "
                f"{run['cpu_seconds']:.0f} CPU seconds",
                flush=True,
            )
    print(table(contents["runs"]))


if __name__ == "__main__":
    main()
