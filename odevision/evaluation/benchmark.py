"""Which gradient suits a network on this machine: the costs of all, and a recommendation."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from odevision.evaluation.compare_gradients import (
    CONTESTANTS,
    BlockBenchmark,
    Cost,
    Row,
    benchmark_block,
)
from odevision.evaluation.trajectory import block_inputs
from odevision.gradient.auto import device_memory
from odevision.models.registry import ImageModel
from odevision.training.config import Precision
from odevision.types import Images

NOISE = 0.03
"""Medians of a quiet machine repeat within about this, relative."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The gradient to take.

    Args:
        gradient: its name in the rows; it is an exact one.
        setting: what to write for `gradient=`.
        max_bytes: the memory that it had to fit into.
        fits: whether it does; else none does, and it takes the least.
        faster: an exact gradient that is faster but does not fit, if there is one.
    """

    gradient: str
    setting: str
    max_bytes: int
    fits: bool
    faster: str | None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The comparison on all ODE blocks of a network.

    Args:
        rows: one a gradient, of all blocks together: times and evaluations are summed, the memory
            is what a pass through the whole network takes, errors are those of the worst block.
        blocks: the same for each block alone, in the order of the forward pass.
        recommendation: which to take.
        precision: in which the vector fields computed.
        repeats: timed runs of each gradient.
        device: where it ran, with the name of the GPU or the number of threads.
        torch_version: of PyTorch.
    """

    rows: tuple[Row, ...]
    blocks: tuple[BlockBenchmark, ...]
    recommendation: Recommendation
    precision: Precision
    repeats: int
    device: str
    torch_version: str


def whole_pass(blocks: Sequence[BlockBenchmark]) -> tuple[Row, ...]:
    """The cost of all blocks of a network together.

    What the blocks before one hold waits while that one is passed, forward and backward.

    Args:
        blocks: in the order of the forward pass.
    """
    return tuple(_joined(rows) for rows in zip(*(block.rows for block in blocks), strict=True))


def _joined(rows: Sequence[Row]) -> Row:
    costs = [row.cost for row in rows if row.cost is not None]
    if len(costs) < len(rows):
        return next(row for row in rows if row.cost is None)
    held = [sum(cost.bytes_held for cost in costs[:i]) for i in range(len(costs))]
    worst = lambda errors: None if None in errors else max(errors)
    cost = Cost(
        seconds_forward=sum(cost.seconds_forward for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
        nfe_forward=sum(cost.nfe_forward for cost in costs),
        nfe_backward=sum(cost.nfe_backward for cost in costs),
        bytes_held=sum(cost.bytes_held for cost in costs),
        bytes_peak=max(before + cost.bytes_peak for before, cost in zip(held, costs, strict=True)),
        parameter_error=worst([cost.parameter_error for cost in costs]),
        input_error=worst([cost.input_error for cost in costs]),
        output_change=worst([cost.output_change for cost in costs]),
    )
    return dataclasses.replace(rows[0], cost=cost)


def recommend(rows: Sequence[Row], max_bytes: int) -> Recommendation:
    """Choose the fastest exact gradient that fits into the memory, never a convergent one.

    Medians closer than `NOISE` count as equal, and the first in the rows wins: the simplest.

    Args:
        rows: the comparison.
        max_bytes: the memory. Where none fits, the one that takes the least is chosen.

    Raises:
        ValueError: no exact gradient could be used.
    """
    exact = [(row, row.cost) for row in rows if row.cost is not None and row.accuracy == "exact"]
    if not exact:
        raise ValueError(
            "`images` must be fewer or smaller: every exact gradient takes more memory than the "
            "device has."
        )
    fitting = [(row, cost) for row, cost in exact if cost.bytes_peak <= max_bytes]
    fastest = _fastest(exact)
    chosen = _fastest(fitting) if fitting else min(exact, key=lambda one: one[1].bytes_peak)[0]
    return Recommendation(
        gradient=chosen.gradient,
        setting=chosen.setting,
        max_bytes=max_bytes,
        fits=bool(fitting),
        faster=None if fastest is chosen else fastest.gradient,
    )


def _fastest(candidates: Sequence[tuple[Row, Cost]]) -> Row:
    least = min(cost.seconds for _, cost in candidates)
    return next(row for row, cost in candidates if cost.seconds <= least * (1 + NOISE))


def benchmark_model(
    model: ImageModel,
    images: Images,
    *,
    repeats: int = 7,
    precision: Precision = "fp32",
    max_bytes: int | None = None,
    on_run: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Compare the gradients on every ODE block of a network.

    Args:
        model: the network, in the mode and with the solver settings to be measured.
        images: normalized, on the model's device; each block receives what it makes of them.
        repeats: timed runs of each gradient, at least 1.
        precision: bf16 puts the network under autocast.
        max_bytes: memory that the recommended gradient fits into; None takes a quarter of the
            device's: the rest of the network, the optimizer and working memory need theirs.
        on_run: called after each run of a gradient with (runs done, runs in all).

    Raises:
        ValueError: there is no ODE block, the settings do not fit together, or `repeats` or
            `max_bytes` is below 1.
        SolveError: a block cannot be solved.
    """
    if max_bytes is not None and max_bytes < 1:
        raise ValueError(f"`max_bytes` must be at least 1, got {max_bytes}. Try 2**30.")
    blocks = model.ode_blocks()
    if not blocks:
        raise ValueError("`model` must have ODE blocks, got one without. Try an ODE network.")
    with (
        torch.no_grad(),
        torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        states = block_inputs(model, blocks, images)
    done, total = 0, len(blocks) * len(CONTESTANTS) * (1 + repeats)

    def count() -> None:
        nonlocal done
        done += 1
        if on_run is not None:
            on_run(done, total)

    found = []
    for i, (block, state) in enumerate(zip(blocks, states, strict=True), start=1):
        name = "ODE block" if len(blocks) == 1 else f"ODE block {i} of {len(blocks)}"
        found.append(
            benchmark_block(
                block, state, name=name, repeats=repeats, precision=precision, on_run=count
            )
        )
    rows = whole_pass(found)
    return Benchmark(
        rows=rows,
        blocks=tuple(found),
        recommendation=recommend(rows, max_bytes or device_memory(images.device) // 4),
        precision=precision,
        repeats=repeats,
        device=_describe(images.device),
        torch_version=str(torch.__version__),
    )


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.get_num_threads()} threads)"
