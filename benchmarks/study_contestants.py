"""Who takes part in the studies of `benchmarks.cifar10_studies`."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.deep_field import DeepFieldConfig
from benchmarks.plain_network import baseline_of
from benchmarks.second_order_field import SecondOrderConfig
from benchmarks.training_runs import Contestant, multiply_adds, num_parameters
from odevision.models.budget import evaluations, most_steps
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.models.registry import ModelConfig, build_model
from odevision.ode.solvers import SOLVERS
from odevision.training.config import OptimizerConfig, ScheduleConfig, TrainConfig

STUDIED_SOLVERS = ("euler", "midpoint", "heun", "rk4", "dopri5", "tsit5", "leapfrog")
ADAPTIVE_SOLVERS = ("heun", "bosh3", "dopri5", "tsit5")
TOLERANCES = (1e-1, 1e-2, 1e-3)
LARGEST_WIDTH = 1024
IMAGE_SIDE = 32


def with_model(config: TrainConfig, **fields: object) -> TrainConfig:
    """The same training of a network with other fields."""
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **fields),  # pyright: ignore[reportArgumentType]
    )


def plain_training(config: TrainConfig) -> TrainConfig:
    """The same training without random step counts and without the term for the step error.

    Euler, leapfrog, adaptive steps and networks without an ODE have no such term.
    """
    return dataclasses.replace(config, step_counts=(), step_error_weight=0.0)


def solver_study(base: TrainConfig, nfe: int) -> Iterator[Contestant]:
    """Every solver at equal evaluations a block, then those with an error estimate by tolerance.

    Args:
        base: training of the network whose solver is exchanged.
        nfe: evaluations a block. A solver whose steps do not come to as many takes the most steps
            below, and one step where there is none: its name then states its evaluations.
    """
    base = plain_training(base)
    for solver in STUDIED_SOLVERS:
        steps = max(1, most_steps(solver, nfe))
        found = evaluations(solver, steps)
        plural = "s" if steps > 1 else ""
        unequal = f" ({found} evaluations)" if found != nfe else ""
        yield Contestant(
            name=f"{solver}, {steps} step{plural}{unequal}",
            group=f"{nfe} evaluations a block",
            config=with_model(base, solver=solver, num_steps=steps),
        )
    for tolerance in TOLERANCES:
        for solver in ADAPTIVE_SOLVERS:
            assert SOLVERS[solver].adaptive
            yield Contestant(
                name=f"{solver}, {tolerance:g}",
                group=f"rtol = atol = {tolerance:g}",
                config=with_model(
                    base, solver=solver, num_steps=None, rtol=tolerance, atol=tolerance
                ),
            )


def _fields(config: ModelConfig) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def _stacked(base: ODENetStackedConfig) -> dict[str, Callable[[int], ModelConfig]]:
    """Networks by depth, each as a function of its last width, a multiple of 16."""
    first = base.widths[0] / base.widths[-1]

    def narrow(width: int) -> int:
        return max(16, 16 * round(first * width / 16))

    def three(width: int) -> tuple[int, ...]:
        return (narrow(width), width, width)

    def deep(width: int) -> ModelConfig:
        return DeepFieldConfig(**{**_fields(base), "widths": three(width)}, field_layers=2)

    def resnet(width: int) -> ModelConfig:
        config = dataclasses.replace(base, widths=three(width))
        return baseline_of(config, residual=True, blocks_per_stage=1)

    def ode(widths: Callable[[int], tuple[int, ...]]) -> Callable[[int], ModelConfig]:
        return lambda width: dataclasses.replace(base, widths=widths(width))

    return {
        "1 block": ode(lambda width: (width,)),
        "2 blocks": ode(lambda width: (narrow(width), width)),
        "3 blocks": ode(three),
        "3 blocks, 2 layers in f": deep,
        "ResNet, 1 block a stage": resnet,
    }


def cost(config: ModelConfig) -> dict[str, float]:
    """Parameters of a network, and multiply-adds of an image's forward pass."""
    model = build_model(config).eval()
    images = torch.zeros(1, config.in_channels, IMAGE_SIDE, IMAGE_SIDE)
    return {"parameters": num_parameters(model), "multiply-adds": multiply_adds(model, images)}


def matched_width(
    network: Callable[[int], ModelConfig], quantity: str, target: float
) -> ModelConfig:
    """The network of a family whose cost is nearest to a target, as a ratio.

    Args:
        network: makes a network from a width, a multiple of 16; its cost grows with it.
        quantity: `parameters` or `multiply-adds`.
        target: the cost.
    """
    low, high = 1, LARGEST_WIDTH // 16
    while low < high:  # to the first width that reaches the target
        middle = (low + high) // 2
        if cost(network(16 * middle))[quantity] < target:
            low = middle + 1
        else:
            high = middle
    near = [network(16 * factor) for factor in (low - 1, low) if factor > 0]
    return min(near, key=lambda config: abs(math.log(cost(config)[quantity] / target)))


def depth_study(base: TrainConfig) -> Iterator[Contestant]:
    """Depth by blocks, by layers in f and by residual blocks; the base has three blocks.

    At equal computation one network more takes part: the ResNet of the base's own widths, with as
    many blocks a stage as the ODE has evaluations.
    """
    return _depths(base, lambda name: True)


def corruption_study(base: TrainConfig) -> Iterator[Contestant]:
    """The base of `depth_study` and its ResNets, whose clean accuracy is about as high.

    The base takes part once more with the recipe's term for the step error, which asks for a field
    that changes slowly along its solutions.
    """
    configs: list[TrainConfig] = []
    for one in _depths(base, lambda name: name.startswith("ResNet")):
        if one.config not in configs:
            configs.append(one.config)
            yield one
    yield Contestant(
        name=f"3 blocks and the term for the step error, widths {_widths_of(base.model)}",
        group="equal parameters",
        config=dataclasses.replace(base, step_counts=()),
    )


def _depths(base: TrainConfig, wanted: Callable[[str], bool]) -> Iterator[Contestant]:
    """The base, and of the others those with a wanted name, at equal cost of both kinds."""
    base = plain_training(base)
    network = base.model
    assert isinstance(network, ODENetStackedConfig) and network.num_steps is not None
    target = cost(network)
    unrolled = evaluations(network.solver, network.num_steps)
    for quantity in ("parameters", "multiply-adds"):
        for name, family in _stacked(network).items():
            own = name == f"{len(network.widths)} blocks"
            if not (own or wanted(name)):
                continue
            model = network if own else matched_width(family, quantity, target[quantity])
            yield _of_depth(base, name, quantity, model)
    deep = baseline_of(network, residual=True, blocks_per_stage=unrolled)
    yield _of_depth(base, f"ResNet, {unrolled} blocks a stage", "multiply-adds", deep)


def _of_depth(base: TrainConfig, name: str, quantity: str, model: ModelConfig) -> Contestant:
    return Contestant(
        name=f"{name}, widths {_widths_of(model)}, equal {quantity}",
        group=f"equal {quantity}",
        config=dataclasses.replace(base, model=model),
    )


def _widths_of(model: ModelConfig) -> str:
    return "-".join(map(str, getattr(model, "widths", ()) or ()))


def ablation_study(base: TrainConfig) -> Iterator[Contestant]:
    """One choice of the recipe changed at a time; the base holds each of them at one value."""
    base = dataclasses.replace(
        with_model(base, time_weights=False, augment_channels=0), step_counts=()
    )
    changed: dict[str, TrainConfig] = {
        "base": base,
        "fields with GroupNorm": with_model(base, field="group-norm"),
        "filters that move with the time": with_model(base, time_weights=True),
        "16 augmented channels": with_model(base, augment_channels=16),
        "step counts 1 1 1 2 4": dataclasses.replace(base, step_counts=(1, 1, 1, 2, 4)),
        "no term for the step error": dataclasses.replace(base, step_error_weight=0.0),
        "ten times the term for the step error": dataclasses.replace(
            base, step_error_weight=10 * base.step_error_weight
        ),
        "2 steps": with_model(base, num_steps=2),
        "2 steps, second order": _second_order(with_model(base, num_steps=2)),
    }
    for name, config in (*changed.items(), *_optimizers(base)):
        yield Contestant(name=name, group="ablation", config=config)


def _second_order(base: TrainConfig) -> TrainConfig:
    """The same training of blocks of second order, whose velocity one step would not use."""
    return dataclasses.replace(base, model=SecondOrderConfig(**_fields(base.model)))


def _optimizers(base: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    """SGD and AdamW at two rates each, with the warm-up that they need and Muon does not."""
    warm = ScheduleConfig(
        name="triangular", warmup_fraction=0.23, start_fraction=0.2, final_fraction=0.03
    )
    for rate in (0.75, 1.5):
        sgd = OptimizerConfig(
            name="sgd",
            learning_rate=rate,
            weight_decay=1.33e-3,
            momentum=0.85,
            norm_bias_learning_rate_scale=64.0,
        )
        yield f"SGD, {rate:g}", dataclasses.replace(base, optimizer=sgd, schedule=warm)
    for rate in (2e-3, 6e-3):
        adamw = OptimizerConfig(name="adamw", learning_rate=rate, weight_decay=0.01)
        yield f"AdamW, {rate:g}", dataclasses.replace(base, optimizer=adamw, schedule=warm)
