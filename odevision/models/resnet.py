"""resnet: the baseline, an ODE network's twin at matched parameters, with residual blocks."""

import dataclasses
from typing import Literal, get_args

from torch import nn

from odevision.models.odenet_stacked import FieldName
from odevision.nn.head import AverageHead, MaxHead
from odevision.nn.ode_block import ODEBlock
from odevision.nn.residual import ConvResidual, GatedConvResidual, WeightNormResidual
from odevision.nn.stem import DownsamplingStem, WhiteningStem
from odevision.nn.transition import Transition
from odevision.solve import unknown_name
from odevision.types import Images, Logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Configuration of ResNet.

    Attributes:
        in_channels: channels of the images.
        num_classes: number of classes.
        like: the network whose stem, transitions and head it shares.
        widths: channels of each stage; None takes those of the twin.
        field: what the residual branches of a twin of odenet-stacked normalize, as in its fields;
            that of `leaky` fields adds its features, as residual networks do.
        transition_convs: of a twin of odenet-stacked, convolutions between two stages' blocks.
        final_norm: whether the head of a twin of odenet-stacked begins with BatchNorm and GELU.
        stem_stride: of a twin of odenet-stacked, pixels from one patch of the stem to the next.
        blocks_per_stage: residual blocks where the twin has one ODE; 1 matches the parameters of a
            twin without time-dependent filters within 2 %.
    """

    in_channels: int = 1
    num_classes: int = 10
    like: Literal["odenet", "odenet-stacked"] = "odenet"
    widths: tuple[int, ...] | None = None
    field: FieldName = "group-norm"
    transition_convs: int = 1
    final_norm: bool = False
    stem_stride: int = 1
    blocks_per_stage: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes that no network has."""
        for name in (
            "in_channels",
            "num_classes",
            "transition_convs",
            "stem_stride",
            "blocks_per_stage",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.like not in ("odenet", "odenet-stacked"):
            raise ValueError(f"`like` must be 'odenet' or 'odenet-stacked', got {self.like!r}.")
        if self.field not in get_args(FieldName):
            raise ValueError(unknown_name("field", self.field, get_args(FieldName)))
        stacked_only = {
            "field": "group-norm",
            "transition_convs": 1,
            "final_norm": False,
            "stem_stride": 1,
        }
        for name, default in stacked_only.items():
            if self.like == "odenet" and getattr(self, name) != default:
                raise ValueError(
                    f"`{name}` must be {default!r} with like='odenet', got "
                    f"{getattr(self, name)!r}. Try like='odenet-stacked'."
                )
        if self.widths is not None and not (self.widths and all(map(self._can_have, self.widths))):
            raise ValueError(
                "`widths` must be channels that the norm of the residual branches can divide into "
                f"groups, one stage at least, got {self.widths}. Try multiples of 32, or leave it "
                "out for those of the twin."
            )
        if self.like == "odenet" and self.widths is not None and len(self.widths) != 1:
            raise ValueError(
                f"`widths` must hold one number with like='odenet', got {self.widths}. Try 64, or "
                "like='odenet-stacked'."
            )

    def _can_have(self, width: int) -> bool:
        """Whether the residual branches of a stage can have so many channels."""
        if self.like == "odenet":
            return width >= 1 and width % min(32, width) == 0
        return width >= 1 and (self.field != "group-norm" or width % 16 == 0)


class ResNet(nn.Module):
    """Stem, residual blocks, head; the number of layers is fixed, there is no ODE in it.

    Args:
        config: its configuration.
    """

    def __init__(self, config: ResNetConfig) -> None:
        """Build the twin of `config.like`."""
        super().__init__()
        self.config = config
        stages: list[nn.Module] = []
        if config.like == "odenet":
            (width,) = (64,) if config.widths is None else config.widths
            self.stem: nn.Module = DownsamplingStem(config.in_channels, width)
            stages += [ConvResidual(width) for _ in range(config.blocks_per_stage)]
            self.head: nn.Module = AverageHead(width, config.num_classes)
        else:
            self.stem = stem = WhiteningStem(config.in_channels, stride=config.stem_stride)
            is_grouped = config.field == "group-norm"
            residual = GatedConvResidual if is_grouped else WeightNormResidual
            width = stem.out_channels
            for channels in (64, 256, 256) if config.widths is None else config.widths:
                stages.append(Transition(width, channels, num_convs=config.transition_convs))
                stages += [residual(channels) for _ in range(config.blocks_per_stage)]
                width = channels
            self.head = MaxHead(width, config.num_classes, normalize=config.final_norm)
        self.stages = nn.Sequential(*stages)

    def initialize_from(self, images: Images) -> None:
        """Set the whitening filters, where there are any, from normalized training images."""
        if isinstance(self.stem, WhiteningStem):
            self.stem.initialize_from(images)

    def forward(self, images: Images) -> Logits:
        """Class scores of normalized images."""
        return self.head(self.stages(self.stem(images)))

    def ode_blocks(self) -> list[ODEBlock]:
        """None: the residual network solves no ODE."""
        return []
