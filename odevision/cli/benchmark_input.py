"""What `odevision benchmark` measures: a network and the images that go through it."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from odevision.cli.errors import UsageError, unknown

if TYPE_CHECKING:
    from odevision.models.registry import ImageModel
    from odevision.training.checkpoint import LoadedModel
    from odevision.types import Images

logger = logging.getLogger(__name__)

_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network and its images.

    Args:
        name: where the network comes from.
        model: the network, in evaluation mode, on its device.
        images: normalized, on the same device.
        source: where the images come from.
        solver: the settings of its ODE blocks.
    """

    name: str
    model: "ImageModel"
    images: "Images"
    source: str
    solver: dict[str, Any]


def read_bytes(option: str, text: str | None) -> int | None:
    """Read an amount of memory such as 500MB or 2GiB; None passes.

    Args:
        option: its name, for messages.
        text: as typed: a number and a unit, bytes where there is none.

    Raises:
        UsageError: it is not one, or is below one byte.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"`{option}` must be a size such as 500MB or 2GiB, got `{text}`")
    number = int(float(match[1]) * _UNITS[match[2]])
    if number < 1:
        raise UsageError(f"`{option}` must be at least one byte, got `{text}`. Try 2GiB")
    return number


def _read_size(text: str) -> tuple[int | None, int, int]:
    """Read N or CxHxW; channels None are the network's."""
    parts = text.lower().split("x")
    if len(parts) not in (1, 3) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"`--input-size` must be N or CxHxW, such as 32 or 3x32x32, got `{text}`")
    numbers = [int(part) for part in parts]
    return (None, *numbers * 2) if len(numbers) == 1 else tuple(numbers)  # pyright: ignore


def read_subject(
    model: str,
    *,
    device: str,
    solver: dict[str, Any],
    data: str | None,
    data_root: str | None,
    input_size: str | None,
    batch_size: int,
) -> Subject:
    """Find the network that a user named, and images for it.

    Args:
        model: run directory, checkpoint directory, name of shipped weights or of a network.
        device: auto, cpu, cuda or mps.
        solver: solver, num_steps, rtol, atol in place of the network's own; None keeps those.
        data: data set of the images; None takes what the model was trained on.
        data_root: where data sets lie.
        input_size: size of random images, which are then taken in place of the data.
        batch_size: images at once.

    Raises:
        ValueError: there is no such network, it has no ODE blocks, or a setting does not fit it.
        DataNotFoundError: the data that were asked for are not there.
    """
    if batch_size < 1:
        raise ValueError(f"`--batch-size` must be at least 1, got {batch_size}.")
    if input_size is not None and data is not None:
        raise UsageError("`--input-size` asks for random images, `--data` for others: leave one")
    size = None if input_size is None else _read_size(input_size)
    if _is_checkpoint(model):
        found = _trained(model, device, solver, data, data_root, size, batch_size)
    elif data is not None or data_root is not None:
        option = "--data" if data is not None else "--data-root"
        raise UsageError(f"`{option}` must go with a trained model, got the network {model}")
    else:
        found = _fresh(model, device, solver, size, batch_size)
    if size is not None:
        from odevision.models.input_size import check_input_size

        check_input_size(found.model, found.images, name="--input-size", given=input_size)
    return found


def _is_checkpoint(name: str) -> bool:
    """Whether a name is that of a trained model; else it is that of a network.

    Raises:
        ValueError: it is neither.
    """
    from odevision.models.registry import MODELS
    from odevision.training.checkpoint import CheckpointError, find_checkpoint, list_weights

    try:
        find_checkpoint(name)
        return True
    except CheckpointError:
        if name in MODELS:
            return False
        if Path(name).exists() or os.sep in name or name.startswith("."):
            raise  # a path, and the message says what is wrong with it
        raise unknown("model", name, [*list_weights(), *MODELS]) from None


def _refuse_without_ode(name: str, has_ode: bool) -> None:
    if not has_ode:
        raise ValueError(f"`MODEL` must have ODE blocks, got {name}, which has none. Try odenet.")


def _random_images(size: tuple[int, int, int], batch_size: int, device: Any) -> "Images":
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch_size, *size, generator=generator).to(device)


def _trained(
    name: str,
    device: str,
    solver: dict[str, Any],
    data: str | None,
    data_root: str | None,
    size: tuple[int | None, int, int] | None,
    batch_size: int,
) -> Subject:
    """A trained model with test images, or with random ones."""
    from odevision.cli.model import load_model
    from odevision.data.sources import DataNotFoundError
    from odevision.evaluation.answers import device_of

    loaded = load_model(name, device=device, **solver)
    preprocessing = loaded.preprocessing  # refuses a network of videos
    model = cast("ImageModel", loaded.model)
    _refuse_without_ode(name, bool(model.ode_blocks()))
    images, source = None, "random ones"
    if size is None:
        try:
            images, source = _test_images(loaded, data, data_root, batch_size)
        except DataNotFoundError as error:
            if data is not None or data_root is not None:
                raise
            logger.warning("Random images in place of test images. %s", error)
    if images is None:
        channels, height, width = size or (None, *[preprocessing.image_size] * 2)
        if channels not in (None, preprocessing.num_channels):
            raise ValueError(
                f"`--input-size` must have the model's {preprocessing.num_channels} channels, got "
                f"{channels}."
            )
        shape = (preprocessing.num_channels, height, width)
        images = _random_images(shape, batch_size, device_of(loaded))
    return Subject(
        name=str(loaded.path), model=model, images=images, source=source, solver=loaded.card.solver
    )


def _test_images(
    loaded: "LoadedModel", data: str | None, data_root: str | None, batch_size: int
) -> tuple["Images", str]:
    """The first batch of the test images."""
    from odevision.data.loader import BatchLoader
    from odevision.evaluation.answers import device_of
    from odevision.evaluation.split import load_test_images

    image_set = load_test_images(loaded, data=data, data_root=data_root, limit=batch_size)
    loader = BatchLoader(
        image_set,
        loaded.preprocessing,
        batch_size=batch_size,
        device=device_of(loaded),
        shuffle=False,
        seed=0,
    )
    images, _ = next(iter(loader.epoch(0)))
    return images, f"{image_set.name}, {image_set.split}"


def _fresh(
    name: str,
    device: str,
    solver: dict[str, Any],
    size: tuple[int | None, int, int] | None,
    batch_size: int,
) -> Subject:
    """A network of the registry with fresh weights and random images."""
    import torch

    from odevision.cli.model import resolve_device
    from odevision.models.registry import MODELS, create_model, takes_videos
    from odevision.models.solve_settings import SolveSettings
    from odevision.training.checkpoint import SOLVER_FIELDS

    place = resolve_device(device)
    own = MODELS[name].config()
    if takes_videos(own):
        raise ValueError(f"`MODEL` must be a network of images, got {name}. Try odenet-stacked.")
    _refuse_without_ode(name, isinstance(own, SolveSettings))
    given = {key: value for key, value in solver.items() if value is not None}
    if "rtol" in given or "atol" in given:
        if "num_steps" in given:
            raise UsageError("`--num-steps` are constant steps, without `--rtol` or `--atol`")
        given["num_steps"] = None
    channels, height, width = size or (None, *[28 if own.in_channels == 1 else 32] * 2)
    channels = channels or own.in_channels
    with torch.random.fork_rng(devices=[]):  # weights come from the global generator
        torch.manual_seed(0)
        model: Any = create_model(name, in_channels=channels, **given).to(place).eval()
    images = _random_images((channels, height, width), batch_size, place)
    settings = {key: getattr(model.config, key) for key in SOLVER_FIELDS}
    return Subject(
        name=f"{name}, fresh weights",
        model=model,
        images=images,
        source="random ones",
        solver=settings,
    )
