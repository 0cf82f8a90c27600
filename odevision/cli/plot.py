"""`odevision plot`: pictures of what a model does and how it was trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from odevision.cli.arguments import parse_options, refuse_given
from odevision.cli.evaluate_tables import describe_solver
from odevision.cli.options import (
    CacheDir,
    Data,
    DataRoot,
    Device,
    Limit,
    Model,
    SamplesAtOnce,
    samples_at_once,
)
from odevision.cli.output import notes_console

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from odevision.cli.plot_video import VideoSubject
    from odevision.data.image_set import ImageSet
    from odevision.evaluation.answers import Answers
    from odevision.training.checkpoint import LoadedModel

_DESCRIPTION = """\
Draw a trained model: predictions.png (test images with true and predicted class),
confusion.png, trajectories.png (paths of the features through the ODE blocks), and, where the
run's metrics are kept, training_curves.png and nfe.png. Of a network of videos: predictions.png
(strips of frames), confusion.png, share_watched.png, seen.png (what it is shown of the frames),
training_curves.png and nfe.png.

Example: odevision plot runs/mnist-mini --out pictures
"""

_NUM_TRAJECTORIES = 100
"""Paths in the picture of trajectories: ten a class, in ten classes; more would hide each other."""


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """Options of `odevision plot`."""

    model: Model
    out: Annotated[
        str | None,
        arg(
            metavar="DIR",
            help="Folder for the pictures.",
            help_behavior_hint="(default: RUN/plots; plots/NAME for shipped weights)",
        ),
    ] = None
    data: Data = None
    data_root: DataRoot = None
    cache_dir: CacheDir = None
    limit: Limit = None
    device: Device = "auto"
    batch_size: SamplesAtOnce = None


class _NothingToDrawError(Exception):
    """A picture does not exist for this model: a note is enough, the others are drawn."""


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What the pictures are of."""

    name: str
    loaded: "LoadedModel"
    image_set: "ImageSet"
    answers: "Answers"


def _images(subject: _Subject, indices: Sequence[int]) -> "list":
    """Return some images of the split at the model's size; files are read when they are needed."""
    from odevision.data.image import read_image

    image_set = subject.image_set
    if image_set.images is not None:
        return [image_set.images[index] for index in indices]
    assert image_set.paths is not None
    prepare = subject.loaded.preprocessing.to_uint8
    return [prepare(read_image(image_set.paths[index])) for index in indices]


def _predictions(subject: _Subject) -> "Figure":
    from odevision.evaluation.gallery import make_gallery
    from odevision.visual import plot_gallery

    gallery = make_gallery(
        lambda index: _images(subject, [index])[0],
        subject.answers.probabilities,
        subject.answers.labels,
        subject.image_set.class_names,
        data=f"{subject.name} on {Path(subject.image_set.name).name}",
        split=subject.image_set.split,
    )
    return plot_gallery(gallery)


def _confusion(subject: _Subject) -> "Figure":
    from odevision.evaluation.evaluate import summarize
    from odevision.visual import plot_confusion

    found = summarize(subject.loaded, subject.image_set, subject.answers)
    return plot_confusion(
        found.confusion_matrix,
        found.class_names,
        title=f"{subject.name} on {Path(found.data).name} {found.split}, "
        f"{found.num_samples:,} images: accuracy {found.accuracy:.2%}",
    )


def _trajectories(subject: _Subject) -> "Figure":
    import torch

    from odevision.evaluation.answers import device_of, ode_blocks
    from odevision.evaluation.trajectory import choose_evenly, feature_trajectories
    from odevision.visual import plot_trajectories

    if not ode_blocks(subject.loaded):
        raise _NothingToDrawError(f"a {subject.loaded.card.model_name} has no ODE block")
    chosen = choose_evenly(subject.answers.labels, _NUM_TRAJECTORIES, max_classes=10)
    images = torch.stack(_images(subject, chosen.tolist())).to(device_of(subject.loaded))
    trajectories = feature_trajectories(
        subject.loaded.model,
        ode_blocks(subject.loaded),
        subject.loaded.preprocessing.normalize(images),
        subject.answers.labels[chosen],
        subject.image_set.class_names,
    )
    return plot_trajectories(trajectories, title=subject.name)


def _history(loaded: "LoadedModel"):
    from odevision.cli.model import run_directory
    from odevision.evaluation.history import read_history
    from odevision.training.metrics_log import METRICS_FILE

    folder = run_directory(loaded) or loaded.path
    path = folder / METRICS_FILE
    if not path.is_file():
        raise _NothingToDrawError(f"there is no {path}")
    return read_history(path)


def _training_curves(subject: "_Subject | VideoSubject") -> "Figure":
    from odevision.visual import plot_training_curves

    epochs = _history(subject.loaded).epochs
    if not epochs:
        raise _NothingToDrawError("no epoch of the run has ended yet")
    return plot_training_curves(epochs, title=f"{subject.name}: training")


def _nfe(subject: "_Subject | VideoSubject") -> "Figure":
    from odevision.visual import plot_nfe

    if not subject.loaded.card.solver:
        raise _NothingToDrawError(f"a {subject.loaded.card.model_name} has no ODE block")
    history = _history(subject.loaded)
    steps = history.steps or history.epochs  # a run may be shorter than a line of its log
    if all(record.get("nfe_forward") is None for record in steps):
        raise _NothingToDrawError("the run's metrics.jsonl has no NFE")
    solver = describe_solver(subject.loaded.card.solver)
    return plot_nfe(
        steps,
        title=f"{subject.name}: cost of a training step ({solver}, all ODE blocks)",
    )


_PICTURES: dict[str, Callable[[_Subject], "Figure"]] = {
    "predictions.png": _predictions,
    "confusion.png": _confusion,
    "trajectories.png": _trajectories,
    "training_curves.png": _training_curves,
    "nfe.png": _nfe,
}


def _answer(loaded: "LoadedModel", options: PlotOptions) -> _Subject:
    from odevision.cli.model import short_name
    from odevision.cli.progress import batch_progress
    from odevision.evaluation.answers import answer_split
    from odevision.evaluation.split import load_test_images

    image_set = load_test_images(
        loaded, data=options.data, data_root=options.data_root, limit=options.limit
    )
    with batch_progress("answering test images") as on_batch:
        answers = answer_split(
            loaded,
            image_set,
            batch_size=samples_at_once(options.batch_size, loaded),
            on_batch=on_batch,
        )
    return _Subject(name=short_name(loaded), loaded=loaded, image_set=image_set, answers=answers)


def run(words: Sequence[str], *, verb: str = "plot") -> int:
    """Draw a model's pictures; say which were written and which not, and why.

    Args:
        words: the words after the verb.
        verb: its name.

    Returns:
        The exit code.
    """
    options = parse_options(PlotOptions, words, verb=verb, description=_DESCRIPTION)
    from odevision.cli.evaluate_measure import picture_folder
    from odevision.cli.model import load_model
    from odevision.cli.plot_video import VIDEO_PICTURES, answer_subject
    from odevision.visual import save_figure

    loaded = load_model(options.model, device=options.device)
    folder = picture_folder(loaded, options.out)
    pictures: dict[str, Callable[[], Figure]]
    if loaded.takes_videos:
        videos = answer_subject(
            loaded,
            data=options.data,
            data_root=options.data_root,
            cache_dir=options.cache_dir,
            limit=options.limit,
            batch_size=samples_at_once(options.batch_size, loaded),
        )
        shared = {"training_curves.png": _training_curves, "nfe.png": _nfe}
        pictures = {name: partial(draw, videos) for name, draw in (VIDEO_PICTURES | shared).items()}
    else:
        refuse_given(options, ("cache_dir",), "videos")
        subject = _answer(loaded, options)
        pictures = {name: partial(draw, subject) for name, draw in _PICTURES.items()}
    notes = notes_console()
    for name, draw in pictures.items():
        try:
            figure = draw()
        except _NothingToDrawError as reason:
            notes.print(f"{name} was not written: {reason}", markup=False, soft_wrap=True)
            continue
        print(save_figure(figure, folder / name))
    return 0
