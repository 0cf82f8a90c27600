"""Everything a training run depends on, as one frozen value, and its YAML form."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import yaml

from odevision.data.augmentation import Augmentation
from odevision.data.sources import IN_MEMORY_BYTES
from odevision.models.registry import MODELS, ModelConfig, model_name, takes_videos
from odevision.models.solve_settings import SolveSettings
from odevision.nn.step_error import refuse_step_error
from odevision.ode.solvers import SOLVERS
from odevision.training.strict import (
    check_choice,
    check_range,
    dataclass_from_mapping,
    did_you_mean,
)
from odevision.training.video_data import VideoDataConfig

OptimizerName = Literal["sgd", "adamw", "muon"]
ScheduleName = Literal["cosine", "triangular", "constant"]
Precision = Literal["fp32", "bf16"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
WeightsDtype = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer and its parameter groups.

    Args:
        name: `sgd` (Nesterov; weight decay coupled, as in the ResNet recipes), `adamw`
            (decoupled) or `muon` (orthogonal updates for the filters of convolutions, without
            decay; `sgd` for everything else).
        learning_rate: peak learning rate, for the mean loss over a batch.
        weight_decay: applied to parameters with two or more dimensions only: decaying biases and
            norm gains costs accuracy and regularizes nothing. Gains a channel that are stored as
            (1, C, 1, 1) have four dimensions, and so are decayed like weights.
        momentum: Nesterov momentum of `sgd`, the first beta of `adamw`; in [0, 1).
        filter_learning_rate: peak of `muon`'s: relative change a step of a bank of filters.
        filter_momentum: Nesterov momentum of `muon`'s filters, in [0, 1).
        norm_bias_learning_rate_scale: factor on the learning rate of parameters with at most one
            dimension, which are biases and norm gains.
    """

    name: OptimizerName = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    filter_learning_rate: float = 0.17
    filter_momentum: float = 0.6
    norm_bias_learning_rate_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_choice("optimizer.name", self.name, get_args(OptimizerName))
        check_range("optimizer.learning_rate", self.learning_rate, above=0)
        check_range("optimizer.weight_decay", self.weight_decay, least=0)
        check_range("optimizer.momentum", self.momentum, least=0, below=1)
        check_range("optimizer.filter_learning_rate", self.filter_learning_rate, above=0)
        check_range("optimizer.filter_momentum", self.filter_momentum, least=0, below=1)
        check_range(
            "optimizer.norm_bias_learning_rate_scale", self.norm_bias_learning_rate_scale, above=0
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the planned steps, as a fraction of its peak.

    Args:
        name: shape after the warm-up: half a `cosine`, a straight line (`triangular`) or
            `constant`.
        warmup_fraction: part of all steps spent rising linearly from `start_fraction` to 1.
        start_fraction: learning rate at the first step of the warm-up.
        final_fraction: learning rate after the last step; has no meaning for `constant`.
    """

    name: ScheduleName = "cosine"
    warmup_fraction: float = 0.1
    start_fraction: float = 0.1
    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_choice("schedule.name", self.name, get_args(ScheduleName))
        check_range("schedule.warmup_fraction", self.warmup_fraction, least=0, most=1)
        check_range("schedule.start_fraction", self.start_fraction, least=0, most=1)
        check_range("schedule.final_fraction", self.final_fraction, least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, in which batches.

    Args:
        name: a data set (`odevision datasets` lists them) or a folder `DIR/train/CLASS/*.jpg`.
        batch_size: images a step.
        validation_fraction: part of the training images held out for validation, in (0, 1). The
            split does not depend on the training seed; the test images are never used in training.
        augmentation: random changes of the training images.
        num_workers: processes that decode images; used by folders too large for memory only.
        limit: use so many training and validation images at most (for a quick trial).
        image_size: resize to this many pixels; None keeps the data set's own size.
        progressive_size: side of the training images in the first epochs, in pixels; it then grows
            by eighths of the full one. Small images cost less. None trains on full ones.
        progressive_fraction: part of the epochs that have smaller images, in (0, 1).
        in_memory_bytes: folders whose images, resized, need less are decoded once and held in
            memory. 0 reads the files in every epoch, as larger ones are: slower, but a random
            resized crop is then cut out of each file's own resolution.
    """

    name: str = "mnist-mini"
    batch_size: int = 128
    validation_fraction: float = 0.1
    augmentation: Augmentation = field(default_factory=Augmentation)
    num_workers: int = 0
    limit: int | None = None
    image_size: int | None = None
    progressive_size: int | None = None
    progressive_fraction: float = 0.7
    in_memory_bytes: int = IN_MEMORY_BYTES

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("data.batch_size", self.batch_size, least=1)
        check_range("data.validation_fraction", self.validation_fraction, above=0, below=1)
        check_range("data.num_workers", self.num_workers, least=0)
        check_range("data.limit", self.limit, least=1)
        check_range("data.image_size", self.image_size, least=1)
        check_range("data.progressive_size", self.progressive_size, least=1)
        check_range("data.progressive_fraction", self.progressive_fraction, above=0, below=1)
        check_range("data.in_memory_bytes", self.in_memory_bytes, least=0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run, complete: the same config and seed give the same weights.

    Args:
        recipe: name of the recipe this came from, for the records.
        model: config of one of the registered models.
        data: images and batches, or videos, clips and batches where the network takes those.
        optimizer: optimizer and parameter groups.
        schedule: learning rate over the run.
        epochs: passes over the training images.
        label_smoothing: part of the target spread over all classes, in [0, 1).
        mixup_alpha: of Beta(alpha, alpha), from which mixup draws how much of an image to keep when
            it is added to another one; 0 turns it off, 0.2 is usual.
        cutmix_alpha: likewise for CutMix, which pastes a piece of the other one; 0 turns it off, 1
            is usual. With both on, a coin chooses for each image. The training accuracy then
            counts the class with the larger share.
        step_counts: numbers of steps a block, one of which is drawn for each batch; repeat one to
            draw it more often. The same weights then answer at any of them. Empty trains with the
            model's own `num_steps`, which validation always takes.
        step_error_weight: factor of a term in the loss: the mean square difference between a step
            and the Euler step inside it, relative to the input's and summed over the blocks. It
            needs no evaluation of its own and straightens the paths, so that few steps suffice.
        gradient_clip: largest global gradient norm; None leaves gradients as they are.
        ema_decay: decay a step of the running average of the weights, which is then what is
            validated and stored; 0 turns it off. The first update copies the weights; after n
            updates the decay is (1 + n) / (10 + n) until it reaches this value (2/11, 3/12, ...),
            so that a short run is not an average over its first steps.
        precision: `bf16` runs the layers under autocast; the ODE state, the loss and the
            weights stay float32. Where bf16 is slow or refused (a CPU without instructions for it),
            a warning says so and all is float32.
        channels_last: keep feature maps in channels_last memory format. On a GPU, and for networks
            with BatchNorm, it is the faster one; on a CPU GroupNorm is several times slower in it.
        compile: compile the vector fields and the layers around them, where torch.compile works.
        device: `auto` takes a GPU if there is one.
        seed: of the initial weights, the order of the images and their augmentation.
        max_minutes: stop after so many minutes of this call (saved, to be resumed); the schedule
            is not shortened by it.
        data_root: folder with the data sets; None searches the usual places.
        out: run directory; None chooses runs/RECIPE, runs/RECIPE-2, ...
        checkpoint_every_minutes: wall time between checkpoints inside an epoch; one is written at
            the end of each epoch anyway.
        evaluate_every_epochs: validate after every so many epochs, and after the last.
        log_every_steps: steps between two lines of metrics.jsonl. The numbers stay on the device
            in between, so a small value costs GPU time.
        weights_dtype: number format of weights.safetensors. `float16` halves the file; what is
            validated is the rounded network.
    """

    recipe: str = "custom"
    model: ModelConfig
    data: DataConfig | VideoDataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    epochs: int = 10
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    step_counts: tuple[int, ...] = ()
    step_error_weight: float = 0.0
    gradient_clip: float | None = None
    ema_decay: float = 0.0
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    device: DeviceName = "auto"
    seed: int = 0
    max_minutes: float | None = None
    data_root: str | None = None
    out: str | None = None
    checkpoint_every_minutes: float = 1.0
    evaluate_every_epochs: int = 1
    log_every_steps: int = 20
    weights_dtype: WeightsDtype = "float32"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("device", self.device, get_args(DeviceName))
        check_choice("weights_dtype", self.weights_dtype, get_args(WeightsDtype))
        check_range("epochs", self.epochs, least=1)
        check_range("label_smoothing", self.label_smoothing, least=0, below=1)
        check_range("mixup_alpha", self.mixup_alpha, least=0)
        check_range("cutmix_alpha", self.cutmix_alpha, least=0)
        check_range("step_error_weight", self.step_error_weight, least=0)
        for count in self.step_counts:
            check_range("step_counts", count, least=1)
        self._check_steps()
        self._check_videos()
        check_range("gradient_clip", self.gradient_clip, above=0)
        check_range("ema_decay", self.ema_decay, least=0, below=1)
        check_range("seed", self.seed, least=0, below=2**32)  # numpy takes no larger one
        check_range("max_minutes", self.max_minutes, above=0)
        check_range("checkpoint_every_minutes", self.checkpoint_every_minutes, least=0)
        check_range("evaluate_every_epochs", self.evaluate_every_epochs, least=1)
        check_range("log_every_steps", self.log_every_steps, least=1)

    def _check_steps(self) -> None:
        """Refuse what needs equal steps where the model has none."""
        if not self.step_counts and not self.step_error_weight:
            return
        name = "step_counts" if self.step_counts else "step_error_weight"
        if not fits_equal_steps(self.model):
            raise ValueError(
                f"`{name}` must be left out where the model does not take a fixed number of "
                f"steps, got {getattr(self, name)}. Try --model.num-steps 1 with an ODE network."
            )
        if self.step_error_weight:
            assert isinstance(self.model, SolveSettings)
            solver = SOLVERS[self.model.solver]
            refuse_step_error(solver, self.model.num_steps, self.model.gradient)

    def _check_videos(self) -> None:
        """Refuse data that the network cannot take, and what is made for images only."""
        if takes_videos(self.model) != isinstance(self.data, VideoDataConfig):
            wanted = "videos" if takes_videos(self.model) else "images"
            raise ValueError(
                f"`data` must be of {wanted} for the network {model_name(self.model)}, got "
                f"{type(self.data).__name__}. Try another --model.name, or another recipe."
            )
        if not takes_videos(self.model):
            return
        for name in ("mixup_alpha", "cutmix_alpha", "step_error_weight", "channels_last"):
            if getattr(self, name):
                raise ValueError(
                    f"`{name}` must be left out for networks of videos, got {getattr(self, name)}."
                )


def fits_equal_steps(model: ModelConfig) -> bool:
    """Whether a network solves ODEs with a fixed number of steps."""
    return getattr(model, "num_steps", None) is not None


def model_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Turn a model config into plain values, its registry name first.

    Args:
        config: config of a registered model.

    Returns:
        `{"name": ..., field: value, ...}` with lists for tuples.
    """
    return {"name": model_name(config), **_plain(dataclasses.asdict(config))}


def model_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Build a model config from `model_to_dict`'s form.

    Args:
        values: `{"name": ..., field: value, ...}`.

    Returns:
        The config.

    Raises:
        ValueError: for an unknown model, an unknown field or a wrong value.
    """
    if not isinstance(values, dict) or "name" not in values:
        raise ValueError(f"`model` must be a mapping with the key `name`, got {values!r}.")
    check_choice("model.name", values["name"], MODELS)
    fields = {key: value for key, value in values.items() if key != "name"}
    return dataclass_from_mapping(MODELS[values["name"]].config, fields, "model")


def to_yaml(config: TrainConfig) -> str:
    """Write a config as YAML that `from_yaml` reads back exactly.

    Args:
        config: a whole training config.

    Returns:
        YAML text with every field, defaults included.
    """
    values = _plain({f.name: getattr(config, f.name) for f in dataclasses.fields(config)})
    values["model"] = model_to_dict(config.model)
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=False)


def from_yaml(text: str) -> TrainConfig:
    """Read a training config, strictly.

    Args:
        text: YAML as written by `to_yaml`; fields with a default may be left out.

    Returns:
        The validated config.

    Raises:
        ValueError: for broken YAML, an unknown key (with the nearest right one), a missing key or
            a wrong value.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"The configuration is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"The configuration must be a YAML mapping, got {values!r}.")
    if "model" not in values:
        fields = [f.name for f in dataclasses.fields(TrainConfig)]
        for key in values:
            if key not in fields:
                raise ValueError(f"Unknown key `{key}`. {did_you_mean(str(key), fields)}")
        raise ValueError("Missing key `model`. Add it, with the key `name` inside.")
    # A config object passes the conversion as it is: which class it needs, only its name tells.
    model = model_from_dict(values["model"])
    kind = VideoDataConfig if takes_videos(model) else DataConfig
    data = dataclass_from_mapping(kind, values.get("data", {}), "data")
    return dataclass_from_mapping(TrainConfig, {**values, "model": model, "data": data})


def _plain(value: Any) -> Any:
    """Only what YAML and JSON know: no dataclasses, no tuples."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
