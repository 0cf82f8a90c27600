"""Calibrate a trained network on validation images: probabilities, and when to say `unknown`."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from odevision.data.image_set import ImageSet
from odevision.data.sources import load_split
from odevision.evaluation.calibration import (
    Calibration,
    calibrated_probabilities,
    choose_probabilities,
    cross_entropy,
    expected_calibration_error,
    first_half,
    fit_probabilities,
)
from odevision.evaluation.split import explain_missing, has_one_size
from odevision.evaluation.unknown import (
    CENTERS_FILE,
    MAX_CENTERS_BYTES,
    UNKNOWN_SCORES,
    Outputs,
    auroc,
    centers_to_bytes,
    class_centers,
    outputs_of_set,
    unknown_scores,
)
from odevision.training.annotate import annotate_checkpoint
from odevision.training.checkpoint import LoadedModel, read_card
from odevision.training.run_dir import CONFIG_FILE, read_run_config

logger = logging.getLogger(__name__)

KEPT_SHARE = 0.95
"""Share of the validation images that get an answer."""

ENOUGH_ACCURACY = 0.98
"""The probability that an answer needs is not raised beyond this accuracy of the answers, ..."""

LEAST_PROBABILITY = 0.5
"""... but to one half if it can: a class should be more probable than all others together."""

ELSEWHERE_SHARE = 0.5
"""Pictures from elsewhere need the probability that reaches `ENOUGH_ACCURACY` whatever it costs,
but at most the one that this share of the validation images has."""

MIN_IMAGES = 100
"""With fewer validation images, 5 % of them are too few to put a threshold at."""

OTHER_LIMIT = 1_000
"""Pictures of each other set that choose the score."""


@dataclass(frozen=True, kw_only=True)
class CalibratedModel:
    """A calibration, and what belongs to it.

    Args:
        calibration: for the card.
        centers: of the classes, in feature space; None if the score does not need them.
        logits: of the validation images.
        labels: their true class indices.
    """

    calibration: Calibration
    centers: Float[Tensor, "classes features"] | None
    logits: Float[Tensor, "num classes"]
    labels: Int64[Tensor, " num"]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When an image is `unknown`, and what that costs on validation images.

    Args:
        min_probability: of the best class.
        elsewhere_min_probability: the same for pictures from elsewhere.
        score: least score.
        kept_share: share of the images that pass both.
        kept_accuracy: accuracy on those.
    """

    min_probability: float
    elsewhere_min_probability: float
    score: float
    kept_share: float
    kept_accuracy: float


def validation_fraction_of(loaded: LoadedModel) -> float | None:
    """Return the part of the training images that was held out: by the card, else the run.

    Args:
        loaded: the model.

    Returns:
        The fraction, or None if neither says.
    """
    if loaded.card.validation_fraction is not None:
        return loaded.card.validation_fraction
    run = loaded.path.parent.parent
    if loaded.path.parent.name == "checkpoints" and (run / CONFIG_FILE).is_file():
        return read_run_config(run).data.validation_fraction
    return None


def load_validation_images(
    loaded: LoadedModel,
    *,
    data_root: str | Path | None = None,
    validation_fraction: float | None = None,
    limit: int | None = None,
) -> ImageSet:
    """Load the images that were held out when a model was trained; the test images stay unread.

    Args:
        loaded: the model.
        data_root: where data sets lie; None searches the usual places.
        validation_fraction: the part that was held out; None looks it up.
        limit: only the first so many.

    Raises:
        ValueError: if nothing says how large the part was: another part would hold images the model
            was trained on.
        DataNotFoundError: if the data set is not there.
    """
    known = validation_fraction_of(loaded)
    if known is not None and validation_fraction not in (None, known):
        raise ValueError(
            f"`validation_fraction` must be what the model was trained with, {known}, got "
            f"{validation_fraction}. Leave it out."
        )
    fraction = known if known is not None else validation_fraction
    if fraction is None:
        raise ValueError(
            f"`validation_fraction` must be given: neither the card in {loaded.path} nor a "
            f"{CONFIG_FILE} says which images were held out. Try that of the recipe "
            f"{loaded.card.recipe}."
        )
    with explain_missing(loaded, None, data_root):
        return load_split(
            loaded.card.dataset,
            "validation",
            data_root=data_root,
            validation_fraction=fraction,
            limit=limit,
            preprocessing=loaded.preprocessing,
        )


def choose_thresholds(
    probabilities: Float[Tensor, "num classes"],
    labels: Int64[Tensor, " num"],
    scores: Float[Tensor, " num"],
    *,
    kept_share: float = KEPT_SHARE,
) -> Thresholds:
    """Choose two thresholds that together keep a share of the images.

    The probability may give up half of what may be given up, and only until it is 0.5 and the
    answers that are left are right in 98 % of the cases. The score gives up the rest. For pictures
    from elsewhere, on which the network is worse by an unknown amount, the probability is raised
    until then without regard to the share, up to the median.

    Args:
        probabilities: calibrated, of validation images.
        labels: their true class indices.
        scores: how much they look like training images.
        kept_share: share to keep, in (0, 1].

    Returns:
        The thresholds; an image on a threshold passes.
    """
    if not 0 < kept_share <= 1:
        raise ValueError(f"`kept_share` must be above 0 and at most 1, got {kept_share}. Try 0.95.")
    num = len(labels)
    confidence, answer = probabilities.max(dim=1)
    is_right = answer == labels
    given_up = num - round(kept_share * num)
    ordered, order = confidence.sort()
    # Accuracy of those that are left when the n least probable answers are given up.
    right_left = is_right[order].double().flip(0).cumsum(0).flip(0)
    accuracy_left = right_left / torch.arange(num, 0, -1)
    enough = (accuracy_left >= ENOUGH_ACCURACY).nonzero().flatten()
    first = int(enough[0]) if len(enough) else num - 1
    wanted = float(ordered[first]) if first else 0.0  # 0: all are right enough as they are.
    most = float(ordered[given_up // 2])
    wanted = max(wanted, LEAST_PROBABILITY)
    min_probability = min(most, wanted)
    passing = confidence >= min_probability
    left = scores[passing].sort().values
    score = float(left[max(0, given_up - (num - len(left)))])
    kept = passing & (scores >= score)
    return Thresholds(
        min_probability=min_probability,
        elsewhere_min_probability=min(float(ordered[int(ELSEWHERE_SHARE * num)]), wanted),
        score=score,
        kept_share=float(kept.double().mean()),
        kept_accuracy=float(is_right[kept].double().mean()),
    )


def _scores(
    inside: Outputs,
    labels: Int64[Tensor, " num"],
    others: Mapping[str, Outputs],
    *,
    temperature: float,
    floor: float,
) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """All scores that are offered, of the validation images and of the others.

    A validation image is scored by the centers of the half it is not in: it would be nearer to a
    center that it was averaged into.
    """
    num_classes = inside.logits.shape[1]
    centers = class_centers(inside.features, labels, num_classes)
    first = first_half(labels)
    is_small = len(centers_to_bytes(centers)) <= MAX_CENTERS_BYTES
    found: dict[str, tuple[Tensor, dict[str, Tensor]]] = {}
    for name in UNKNOWN_SCORES:
        if name == "feature" and not is_small:
            continue

        def score(outputs: Outputs, own: Tensor, name: str = name) -> Tensor:
            probabilities = calibrated_probabilities(
                outputs.logits, temperature=temperature, floor=floor
            )
            return unknown_scores(
                outputs, probabilities, score=name, temperature=temperature, centers=own
            )

        mine = torch.empty(len(labels))
        for half in (first, ~first):
            own = class_centers(inside.features[~half], labels[~half], num_classes)
            part = Outputs(logits=inside.logits[half], features=inside.features[half])
            mine[half] = score(part, own)
        found[name] = (mine, {other: score(outputs, centers) for other, outputs in others.items()})
    return found


def fit_calibration(
    inside: Outputs,
    labels: Int64[Tensor, " num"],
    others: Mapping[str, Outputs],
    *,
    solver: Mapping[str, object],
    is_one_size: bool = True,
) -> tuple[Calibration, Float[Tensor, "classes features"] | None]:
    """Fit probabilities and thresholds from what a network said.

    Args:
        inside: outputs for validation images.
        labels: their true class indices.
        others: name -> outputs for pictures without the classes; the score that tells the hardest
            of these sets best is taken. May be empty: then the energy.
        solver: settings the outputs were computed with.
        is_one_size: whether the training images all had the network's size as they came, so that
            pictures of another size are from elsewhere.

    Returns:
        The calibration, and the class centers if its score needs them.

    Raises:
        ValueError: if there are fewer than `MIN_IMAGES` validation images.
    """
    if len(labels) < MIN_IMAGES:
        raise ValueError(
            f"`image_set` must have {MIN_IMAGES} validation images or more, got {len(labels)}. "
            "Train with a larger data.validation_fraction."
        )
    plain_temperature, _ = fit_probabilities(inside.logits, labels)
    temperature, floor = choose_probabilities(inside.logits, labels)
    scores = _scores(inside, labels, others, temperature=temperature, floor=floor)
    areas = {
        name: {other: auroc(mine, values) for other, values in found.items()}
        for name, (mine, found) in scores.items()
    }
    best = max(areas, key=lambda name: min(areas[name].values())) if others else "energy"
    before = inside.logits.softmax(dim=1)
    scaled = calibrated_probabilities(inside.logits, temperature=plain_temperature)
    after = calibrated_probabilities(inside.logits, temperature=temperature, floor=floor)
    thresholds = choose_thresholds(after, labels, scores[best][0])
    calibration = Calibration(
        temperature=temperature,
        floor=floor,
        ece_before=expected_calibration_error(before, labels),
        ece_temperature=expected_calibration_error(scaled, labels),
        ece_after=expected_calibration_error(after, labels),
        loss_before=cross_entropy(before, labels),
        loss_after=cross_entropy(after, labels),
        unknown_score=best,
        unknown_threshold=thresholds.score,
        min_probability=thresholds.min_probability,
        elsewhere_min_probability=(
            thresholds.elsewhere_min_probability if is_one_size else thresholds.min_probability
        ),
        kept_share=thresholds.kept_share,
        kept_accuracy=thresholds.kept_accuracy,
        num_images=len(labels),
        solver=dict(solver),
        auroc=areas,
    )
    centers = class_centers(inside.features, labels, inside.logits.shape[1])
    return calibration, centers if best == "feature" else None


def calibrate(
    loaded: LoadedModel,
    image_set: ImageSet,
    other_sets: Sequence[ImageSet] = (),
    *,
    batch_size: int = 256,
    on_batch: Callable[[int, int], None] | None = None,
) -> CalibratedModel:
    """Fit the probabilities of a model, its score for `unknown`, and the thresholds.

    Args:
        loaded: the model.
        image_set: validation images, from `load_validation_images`.
        other_sets: pictures without the model's classes that choose the score; none of them may be
            what the score is later tested on.
        batch_size: images at once.
        on_batch: called after each batch with (images done, images in all of the set).

    Returns:
        The calibration; write it with `write_calibration`.

    Raises:
        ValueError: if there are fewer than 100 validation images.
    """
    if len(image_set) < MIN_IMAGES:
        raise ValueError(
            f"`image_set` must have {MIN_IMAGES} validation images or more, got {len(image_set)}. "
            "Train with a larger data.validation_fraction."
        )
    inside, *outside = (
        outputs_of_set(loaded, one, batch_size=batch_size, on_batch=on_batch)
        for one in (image_set, *other_sets)
    )
    names = [Path(one.name).name for one in other_sets]
    if len(set(names)) < len(names):  # two folders that end alike
        names = [one.name for one in other_sets]
    others = dict(zip(names, outside, strict=True))
    calibration, centers = fit_calibration(
        inside,
        image_set.labels,
        others,
        solver=loaded.card.solver,
        is_one_size=has_one_size(loaded),
    )
    return CalibratedModel(
        calibration=calibration, centers=centers, logits=inside.logits, labels=image_set.labels
    )


def write_calibration(loaded: LoadedModel, found: CalibratedModel) -> LoadedModel:
    """Write a calibration into the model's checkpoint, in one go.

    Args:
        loaded: the model; its card on disk is kept but for the calibration, so solver settings
            given on loading are not written.
        found: from `calibrate`.

    Returns:
        The model with its new card.

    Raises:
        CheckpointWriteError: if the checkpoint cannot be written; it is unchanged then.
    """
    values = found.calibration.to_dict()
    card = dataclasses.replace(read_card(loaded.path), calibration=values)
    centers = None if found.centers is None else centers_to_bytes(found.centers)
    annotate_checkpoint(loaded.path, card, {CENTERS_FILE: centers})
    return dataclasses.replace(loaded, card=dataclasses.replace(loaded.card, calibration=values))
