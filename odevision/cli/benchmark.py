"""`odevision benchmark`: what each gradient costs on a network's ODE blocks, and which to take."""

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.table import Table
from tyro.conf import Positional, arg

from odevision.cli.arguments import parse_options
from odevision.cli.benchmark_input import Subject, read_bytes, read_subject
from odevision.cli.evaluate_tables import describe_solver
from odevision.cli.options import (
    BatchSize,
    Data,
    DataRoot,
    Device,
    Json,
    NumSteps,
    Solver,
    Tolerance,
)
from odevision.cli.output import only_results_on_stdout, results_console, write_json

if TYPE_CHECKING:
    from odevision.evaluation.benchmark import Benchmark, Recommendation
    from odevision.evaluation.compare_gradients import Row

logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Measure what each gradient costs on the ODE blocks of a network, on this machine, and recommend one.

Example: odevision benchmark odenet --solver rk4 --num-steps 4
"""

_ROUNDING = 1e-5
"""What float32 rounding alone stays below as a relative error of a gradient."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """Options of `odevision benchmark`."""

    model: Annotated[
        Positional[str],
        arg(
            metavar="MODEL",
            help="Run directory, checkpoint directory, or name of shipped weights; or a network "
            "of `odevision models`, which gets fresh weights.",
        ),
    ]
    data: Data = None
    data_root: DataRoot = None
    input_size: Annotated[
        str | None,
        arg(
            metavar="N|CxHxW",
            help="Random images of this size.",
            help_behavior_hint="(default: test images; random ones for fresh weights, or where "
            "the data are not there)",
        ),
    ] = None
    batch_size: BatchSize = 128
    json: Json = False
    solver: Solver = None
    num_steps: NumSteps = None
    rtol: Tolerance = None
    atol: Tolerance = None
    precision: Annotated[
        Literal["fp32", "bf16"],
        arg(help="What the vector field computes in; bf16 is autocast, and the state is float32."),
    ] = "fp32"
    repeats: Annotated[int, arg(metavar="N", help="Timed runs of each gradient, in turn.")] = 7
    max_memory: Annotated[
        str | None,
        arg(
            metavar="SIZE",
            help="Memory that the recommended gradient fits into, such as 500MB or 2GiB.",
            help_behavior_hint="(default: a quarter of the device's)",
        ),
    ] = None
    device: Device = "auto"


def describe_bytes(number: int | float) -> str:
    """Put a number of bytes into words."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1000:  # three digits at most
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} GiB" if number < 1000 else f"{number:,.0f} GiB"


def describe_recommendation(benchmark: "Benchmark") -> str:
    """Say in one sentence which gradient to take, and why."""
    advice = benchmark.recommendation
    costs = {row.gradient: row.cost for row in benchmark.rows}
    chosen, room = costs[advice.gradient], describe_bytes(advice.max_bytes)
    assert chosen is not None
    takes = describe_bytes(chosen.bytes_peak)
    if not advice.fits:
        reason = f"no exact gradient fits into {room}, and it takes the least, {takes}"
    elif advice.faster is None:
        reason = f"it is the fastest exact one, and its {takes} fit into {room}"
    else:
        faster = costs[advice.faster]
        assert faster is not None
        reason = (
            f"it is the fastest exact one that fits into {room}; {advice.faster} is "
            f"{chosen.seconds / faster.seconds:.2f} times as fast but takes "
            f"{describe_bytes(faster.bytes_peak)}"
        )
    if chosen.output_change and _own_solver(benchmark, advice):
        reason += f"; its solver is {_own_solver(benchmark, advice)}"
    return f"Recommended: gradient={advice.setting}: {reason}."


def _own_solver(benchmark: "Benchmark", advice: "Recommendation") -> str | None:
    """The solver that the recommended gradient takes in place of the block's, if it does."""
    solvers = {row.gradient: row.solver for row in benchmark.rows}
    other = solvers[advice.gradient]
    return None if other == solvers["direct"] else other


def _milliseconds(seconds: float) -> str:
    milliseconds = 1000 * seconds
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _cells(row: "Row") -> list[str]:
    if row.cost is None:
        return [row.gradient, row.accuracy, *5 * ["-"]]
    cost = row.cost
    error = "" if cost.error is None else f"{cost.error:.1e}" if cost.error else "0"
    return [
        row.gradient,
        row.accuracy,
        _milliseconds(cost.seconds_forward),
        _milliseconds(cost.seconds),
        f"{cost.nfe_forward} + {cost.nfe_backward}",
        describe_bytes(cost.bytes_peak),
        error,
    ]


def _notes(benchmark: "Benchmark") -> list[str]:
    """What the columns mean, and what is special about a row."""
    rows = benchmark.rows
    if benchmark.device.startswith("cuda"):
        memory = "most that was allocated beside weights, input and output"
    else:
        memory = "most of saved tensors and states at once, without working memory"
    notes = [
        "both: forward and backward pass; medians.",
        "NFE: evaluations of the vector field, forward + backward.",
        f"memory: for the backward pass, the {memory}.",
        "error: of the gradient, relative to direct; the larger of parameters and input.",
    ]
    direct = rows[0]
    errors = [row.cost.error or 0 for row in rows if row.cost and row.accuracy == "exact"]
    if max(errors, default=0) > _ROUNDING:
        notes.append(
            f"Exact gradients differ from direct by rounding, here of {benchmark.precision}; it "
            "shows more where it crosses a kink of the vector field (ReLU)."
        )
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.reason is not None:
            reasons.setdefault(row.reason, []).append(row.gradient)
        elif row.solver != direct.solver and row.cost is not None:
            notes.append(_coupled(row.gradient, row.solver, row.cost.output_change))
    notes += [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return notes


def _coupled(gradient: str, solver: str, change: float | None) -> str:
    """Say of a gradient with a solver of its own what that does to the forward pass."""
    forward = "whose forward numbers differ"
    if change is not None:
        forward += f", here by {change:.1e} relative"
    if change == 0:
        forward = "whose forward numbers are the same here"
    return f"{gradient}: solves with {solver}, {forward}; its error is against direct with it."


def _show(subject: Subject, benchmark: "Benchmark") -> None:
    console = results_console()
    console.print(subject.name, markup=False, soft_wrap=True)
    facts = [
        f"{subject.images.shape[0]} images, {subject.source}",
        describe_solver(subject.solver),
        benchmark.precision,
        benchmark.device,
        f"torch {benchmark.torch_version}",
        f"median of {benchmark.repeats}",
    ]
    console.print("; ".join(facts), markup=False)
    for block in benchmark.blocks:
        console.print(f"{block.name}: state {' x '.join(map(str, block.shape))}", markup=False)
    if len(benchmark.blocks) > 1:
        console.print("All blocks together (each alone: see --json):")
    gap = 1 if console.width < 90 else 2
    table = Table(padding=(0, gap, 0, 0), box=None, pad_edge=False)
    for name in ("gradient", "accuracy"):
        table.add_column(name, vertical="bottom", no_wrap=True)
    for name in ("forward\nms", "both\nms", "NFE", "memory", "error"):
        table.add_column(name, justify="right", overflow="fold")
    for row in benchmark.rows:
        table.add_row(*_cells(row))
    console.print(table)
    for note in _notes(benchmark):
        console.print(note, markup=False)
    console.print(describe_recommendation(benchmark), markup=False)


def _document(subject: Subject, benchmark: "Benchmark") -> dict[str, Any]:
    document = dataclasses.asdict(benchmark)
    document["recommendation"]["reason"] = describe_recommendation(benchmark)
    facts = {
        "model": subject.name,
        "solver": subject.solver,
        "images": subject.source,
        "input_shape": list(subject.images.shape),
    }
    return facts | document


def _benchmark(options: BenchmarkOptions) -> tuple[Subject, "Benchmark"]:
    max_bytes = read_bytes("--max-memory", options.max_memory)
    subject = read_subject(
        options.model,
        device=options.device,
        solver={
            "solver": options.solver,
            "num_steps": options.num_steps,
            "rtol": options.rtol,
            "atol": options.atol,
        },
        data=options.data,
        data_root=options.data_root,
        input_size=options.input_size,
        batch_size=options.batch_size,
    )
    from odevision.cli.progress import batch_progress
    from odevision.evaluation.benchmark import benchmark_model
    from odevision.training.device import why_not_bf16

    slow = why_not_bf16(options.device) if options.precision == "bf16" else None
    if slow is not None:
        logger.warning("`--precision bf16` is slow here, because %s.", slow)
    with batch_progress("measuring") as on_run:
        benchmark = benchmark_model(
            subject.model,
            subject.images,
            repeats=options.repeats,
            precision=options.precision,
            max_bytes=max_bytes,
            on_run=on_run,
        )
    return subject, benchmark


def run(words: Sequence[str], *, verb: str = "benchmark") -> int:
    """Measure a network's ODE blocks and print the result.

    Args:
        words: the words after the verb.
        verb: its name.

    Returns:
        The exit code.
    """
    options = parse_options(BenchmarkOptions, words, verb=verb, description=_DESCRIPTION)
    with only_results_on_stdout() if options.json else contextlib.nullcontext():
        subject, benchmark = _benchmark(options)
    if options.json:
        write_json(_document(subject, benchmark))
    else:
        _show(subject, benchmark)
    return 0
