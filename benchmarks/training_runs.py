"""Train the contestants of a comparison, each in a fresh process, and keep what they showed."""

import dataclasses
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import deep_field, plain_network, second_order_field
from benchmarks.measure import machine, status_bytes
from odevision.data.sources import load_split
from odevision.evaluation.answers import answer_split
from odevision.evaluation.consistency import check_consistency
from odevision.evaluation.corruptions import check_corruptions
from odevision.models.registry import Model
from odevision.training.checkpoint import LoadedModel, load_checkpoint
from odevision.training.config import TrainConfig
from odevision.training.device import peak_memory_bytes
from odevision.training.loop import TrainingDivergedError, train
from odevision.training.report import EpochReport, RunReport, SilentProgress

MIB = 2**20
CONSISTENCY_IMAGES = 1000
NUM_COUNTED = 8  # images whose multiply-adds are counted; adaptive steps depend on the batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contestant:
    """One row of a table.

    Args:
        name: of the row; the results of a run are found again by it.
        group: of rows that are compared with each other.
        config: of the training, but for seed, place and device.
    """

    name: str
    group: str
    config: TrainConfig


def register_networks() -> None:
    """Make the networks that only comparisons need known to the training loop."""
    plain_network.register()
    deep_field.register()
    second_order_field.register()


class Meter(SilentProgress):
    """Reads clocks and memory at the first and the last training step.

    Attributes:
        report: of the run.
        seconds: wall time of this call's training steps.
        cpu_seconds: of the same, in CPU time of the process, which other work disturbs less.
        bytes_before: in use before the first step, data and network included.
        peak_bytes: most of it up to the end of the last step: on a GPU of its allocator, elsewhere
            of the process.
        last_epoch: the report of the last epoch.
    """

    report: RunReport | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_before: int = 0
    peak_bytes: int = 0
    last_epoch: EpochReport | None = None

    def start(self, report: RunReport) -> None:
        """Start the clocks; forget the peak, which was reached while files were unpacked."""
        self.report, self.device = report, torch.device(report.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.bytes_before = _peak_bytes(self.device, forget=True)
        self.started = time.perf_counter(), time.process_time()

    def advance(self, step: int, epoch: int) -> None:
        """Stop clocks and memory at the last step, before the validation."""
        assert self.report is not None
        if step == self.report.num_steps:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds = time.perf_counter() - self.started[0]
            self.cpu_seconds = time.process_time() - self.started[1]
            self.peak_bytes = _peak_bytes(self.device)

    def epoch(self, report: EpochReport) -> None:
        """Keep the report."""
        self.last_epoch = report


def _peak_bytes(device: torch.device, *, forget: bool = False) -> int:
    """Peak of the device's memory; for a CPU that of the process, `forget` lowers it to now."""
    if device.type == "cpu":
        try:
            if forget:
                Path("/proc/self/clear_refs").write_text("5")
            return status_bytes("VmHWM")
        except OSError:  # not Linux: the peak since the process began
            pass
    return peak_memory_bytes(device)


def multiply_adds(model: nn.Module, images: Float[Tensor, "batch channels height width"]) -> float:
    """Count the multiply-adds an image of a forward pass: convolutions and matrix products.

    Args:
        model: in evaluation mode.
        images: normalized, on its device.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops() / 2 / len(images)


def num_parameters(model: nn.Module) -> int:
    """Count the parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


def train_once(
    config: TrainConfig, threads: int | None = None, corruptions: bool = False
) -> dict[str, Any]:
    """Train a network and measure it on the validation images; to be called in a fresh process.

    Args:
        config: of the training, complete but for `out`.
        threads: of torch; None leaves them as they are.
        corruptions: also answer the validation images under the usual corruptions.

    Returns:
        Plain values; accuracies are fractions. Of a training that diverged, `failed` says how.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    register_networks()
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(config, out=str(Path(folder) / "run"))
        try:
            result = train(config, progress=meter)
        except TrainingDivergedError as error:
            return {"failed": str(error), "machine": machine_line(config.device)}
        loaded = load_checkpoint(result.checkpoint_dir, device=torch.device(meter.device))
        last, report = meter.last_epoch, meter.report
        assert last is not None and report is not None
        return {
            "precision": report.precision,
            "validation_accuracy": last.validation_accuracy,
            "validation_loss": last.validation_loss,
            "train_loss": last.train_loss,
            "seconds": meter.seconds,
            "cpu_seconds": meter.cpu_seconds,
            "peak_bytes": meter.peak_bytes,
            "added_bytes": meter.peak_bytes - meter.bytes_before,
            "nfe_forward": last.nfe_forward,
            "nfe_backward": last.nfe_backward,
            "num_parameters": report.num_parameters,
            **_validate(loaded, config, corruptions),
            "machine": machine_line(config.device),
        }


def _validate(loaded: LoadedModel, config: TrainConfig, corruptions: bool) -> dict[str, Any]:
    """Multiply-adds an image; accuracy and answers changed under other solvers and corruptions."""
    image_set = load_split(
        config.data.name,
        "validation",
        data_root=config.data_root,
        validation_fraction=config.data.validation_fraction,
        limit=min(config.data.limit or CONSISTENCY_IMAGES, CONSISTENCY_IMAGES),
    )
    assert image_set.images is not None
    device = next(loaded.model.parameters()).device
    images = loaded.preprocessing.normalize(image_set.images[:NUM_COUNTED].to(device))
    has_blocks = bool(cast(Model, loaded.model).ode_blocks())
    answers = answer_split(loaded, image_set) if has_blocks or corruptions else None
    variants, corrupted = [], {}
    if answers is not None and has_blocks:
        variants = check_consistency(loaded, image_set, answers)
    if answers is not None and corruptions:
        found = check_corruptions(loaded, image_set, answers)
        corrupted = {"corrupted": dataclasses.asdict(found)}
    return {
        **corrupted,
        "multiply_adds": multiply_adds(loaded.model, images),
        "variants": {
            variant.name: {
                "accuracy_change": variant.accuracy_change,
                "changed_share": variant.changed_share,
            }
            for variant in variants
        },
    }


def machine_line(device: str = "cpu") -> str:
    """The hardware in one line: the GPU, where there is one that the device lets be used."""
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return machine()


def open_results(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read the results so far, or begin new ones.

    Args:
        path: JSON file.
        settings: plain values that all runs of the file share.

    Raises:
        SystemExit: the runs in the file had other settings.
    """
    fresh = {"version": version("odevision"), "settings": dict(settings), "runs": []}
    if not path.exists():
        return fresh
    found = json.loads(path.read_text())
    for key in ("version", "settings"):
        if found[key] != json.loads(json.dumps(fresh[key])):
            raise SystemExit(f"{path} has {key} {found[key]}, not {fresh[key]}. Try another --out.")
    return found


def write_files(files: Mapping[Path, str]) -> None:
    """Write text files, each at once: a killed process leaves the earlier ones."""
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(text)
        os.replace(temporary, path)


def run_in_fresh_process(
    function: Callable[..., dict[str, Any]], /, *args: Any, **options: Any
) -> dict[str, Any]:
    """Call a function in a process of its own, so that the peak of its memory is its own.

    Args:
        function: of a module's top level, such as `train_once`.
        args: of it.
        options: of it.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **options).result()


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_std(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation; the mean alone of one value, or of equal ones."""
    mean = f"{statistics.mean(values):,.{digits}f}"
    if len(values) < 2 or max(values) == min(values):
        return mean
    return f"{mean} ± {statistics.stdev(values):,.{digits}f}"
