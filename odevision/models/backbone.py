"""The convolutional part of networks of torchvision and timm, by name.

Both libraries are imported where a backbone is built: no other network needs them.
"""

import difflib
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

# What leads to the last feature map in torchvision's families of networks; the first that fits.
_TORCHVISION_PARTS = (
    ("features",),
    ("layers",),
    ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    ("stem", "trunk_output"),
    ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"),
)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BackboneDownloadError(FileNotFoundError):
    """Pretrained weights that cannot be had."""


def check_backbone_name(backbone: str) -> None:
    """Refuse a name that is not of the form LIBRARY/NAME.

    Raises:
        ValueError: the library is neither torchvision nor timm, or no network is named.
    """
    library, _, name = backbone.partition("/")
    if library not in ("torchvision", "timm") or not name:
        raise ValueError(
            f"`backbone` must be torchvision/NAME or timm/NAME, got {backbone!r}. "
            "Try torchvision/resnet18."
        )


def build_backbone(backbone: str, *, pretrained: bool = False) -> nn.Module:
    """Build the layers of a network up to its last feature map; they take three channels.

    Args:
        backbone: torchvision/NAME or timm/NAME.
        pretrained: download its default weights; else they are fresh ones.

    Returns:
        A module from images to feature maps.

    Raises:
        ValueError: there is no such network, it has no feature map, or timm is not installed.
        BackboneDownloadError: its weights cannot be downloaded.
    """
    check_backbone_name(backbone)
    library, _, name = backbone.partition("/")
    build = _from_torchvision if library == "torchvision" else _from_timm
    if not pretrained:
        return build(name, False)
    try:
        return build(name, True)
    except ValueError:
        raise
    except Exception as error:  # the two libraries raise all kinds, and so do what they download by
        raise BackboneDownloadError(
            f"The pretrained weights of {backbone} cannot be had: {type(error).__name__}: {error} "
            "Try again with a connection to the network, put the file into the library's cache "
            "($TORCH_HOME for torchvision, $HF_HOME for timm), or start from fresh weights with "
            "--model.no-pretrained."
        ) from error


def pretrained_statistics(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation, of white, that default weights were trained under.

    Args:
        backbone: torchvision/NAME or timm/NAME.

    Returns:
        Of each of the three channels; nothing is downloaded.

    Raises:
        ValueError: there is no such network, or timm is not installed.
    """
    check_backbone_name(backbone)
    library, _, name = backbone.partition("/")
    stated: Any
    if library == "torchvision":
        stated = _torchvision_with(name).get_model_weights(name)["DEFAULT"].transforms()
    else:
        try:
            stated = _timm_with(name).get_pretrained_cfg(name)
        except RuntimeError as error:  # another tag than its weights have
            raise ValueError(f"`backbone` {backbone}: {error}") from error
    if stated is None:  # old names of timm's
        return IMAGENET_MEAN, IMAGENET_STD
    return tuple(map(float, stated.mean)), tuple(map(float, stated.std))


def feature_channels(features: nn.Module) -> int:
    """Count the channels of a backbone's feature maps, by one small image.

    Args:
        features: from `build_backbone`; comes back in the mode it was in.

    Raises:
        ValueError: what it returns is no feature map.
    """
    was_training = features.training
    try:
        with torch.no_grad():
            maps = features.eval()(torch.zeros(1, 3, 64, 64))
    except Exception as error:  # transformers of one image size assert theirs
        raise ValueError(
            f"`backbone` must take images of any size, got one that does not: {error} "
            "Try a convolutional network, such as torchvision/resnet18."
        ) from error
    features.train(was_training)
    if maps.ndim != 4 or maps.shape[1] < maps.shape[3]:  # tokens, or the channels last
        raise ValueError(
            f"`backbone` must return feature maps, got an output of shape {tuple(maps.shape)}. "
            "Try a convolutional network, such as torchvision/resnet18."
        )
    return maps.shape[1]


def _torchvision_with(name: str) -> Any:
    """Import torchvision's models, and refuse a name that is none of them."""
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(_unknown("torchvision", name, names))
    return models


def _from_torchvision(name: str, pretrained: bool) -> nn.Module:
    models = _torchvision_with(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of initializations that are slow
        network = models.get_model(name, weights="DEFAULT" if pretrained else None)
    for parts in _TORCHVISION_PARTS:
        if all(hasattr(network, part) for part in parts):
            return nn.Sequential(OrderedDict((part, getattr(network, part)) for part in parts))
    raise ValueError(
        f"`backbone` torchvision/{name} has no feature map that is known here. Try "
        "torchvision/resnet18, or the same network from timm."
    )


def _timm_with(name: str) -> Any:
    """Import timm, and refuse a name that is none of its models."""
    try:
        import timm
    except ImportError:
        raise ValueError(
            f"`backbone` timm/{name} needs timm, which is not installed. Try "
            "pip install timm, or torchvision/resnet18."
        ) from None
    architecture, _, _ = name.partition(".")
    if not timm.is_model(architecture):
        raise ValueError(_unknown("timm", name, timm.list_models()))
    return timm


def _from_timm(name: str, pretrained: bool) -> nn.Module:
    timm = _timm_with(name)
    try:
        network = timm.create_model(name, pretrained=False, features_only=True, out_indices=(-1,))
    except (RuntimeError, AttributeError) as error:
        raise ValueError(
            f"`backbone` timm/{name} cannot be used for its feature maps: {error} "
            "Try timm/resnet18."
        ) from error
    if pretrained:
        network = timm.create_model(name, pretrained=True, features_only=True, out_indices=(-1,))
    return _Last(network)


class _Last(nn.Module):
    """The last of the feature maps that a module returns as a list."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images)[-1]


def _unknown(library: str, name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), list(names), n=3)
    hint = f"Did you mean {' or '.join(f'{library}/{near}' for near in close)}?"
    return (
        f"`backbone` must name a network of {library}, got {library}/{name}. "
        f"{hint if close else 'Try ' + library + '/resnet18.'}"
    )
