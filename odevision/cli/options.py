"""Options that several verbs share, with their help."""

from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from odevision.training.card import LoadedModel

Model = Annotated[
    Positional[str],
    arg(
        metavar="MODEL",
        help="Run directory, checkpoint directory, or name of shipped weights.",
    ),
]
Data = Annotated[
    str | None,
    arg(
        metavar="NAME|DIR",
        help="Data set, folder of images or videos, or list of videos. Classes are matched by "
        "name, and the model's own preprocessing is used.",
        help_behavior_hint="(default: what the model was trained on)",
    ),
]
DataRoot = Annotated[
    str | None,
    arg(
        metavar="DIR",
        help="Folder where data sets lie.",
        help_behavior_hint="(default: $ODEVISION_DATA, the user's cache, a download)",
    ),
]
Limit = Annotated[
    int | None,
    arg(
        metavar="N",
        help="Only the first N test images in the order of the files; of an image folder or of "
        "videos, N evenly spaced ones.",
        help_behavior_hint="(default: all)",
    ),
]
CacheDir = Annotated[
    str | None,
    arg(
        metavar="DIR",
        help="Videos: where decoded frames are kept.",
        help_behavior_hint="(default: the user's cache)",
    ),
]
Solver = Annotated[
    str | None,
    arg(
        metavar="NAME",
        help="Another solver for the ODE blocks; see `odevision solvers`.",
        help_behavior_hint="(default: the model's)",
    ),
]
NumSteps = Annotated[
    int | None,
    arg(
        metavar="N",
        help="Constant steps in each ODE block.",
        help_behavior_hint="(default: the model's)",
    ),
]
Evaluations = Annotated[
    int | None,
    arg(
        metavar="N",
        help="Evaluations of the vector field in each ODE block: as many constant steps as take "
        "so many.",
        help_behavior_hint="(default: as the model's steps take)",
    ),
]
Tolerance = Annotated[
    float | None,
    arg(
        metavar="X",
        help="Tolerance of adaptive steps.",
        help_behavior_hint="(default: the model's)",
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    arg(help="Where to compute; auto takes a GPU if there is one."),
]
BatchSize = Annotated[int, arg(metavar="N", help="Images at once.")]
SamplesAtOnce = Annotated[
    int | None,
    arg(
        metavar="N",
        help="Images or videos at once.",
        help_behavior_hint="(default: 256 images, 8 videos)",
    ),
]
Json = Annotated[
    bool,
    arg(help="Write one JSON document to stdout instead.", help_behavior_hint=""),
]


def samples_at_once(given: int | None, loaded: "LoadedModel") -> int:
    """How many images or videos to answer at once: what the user gave, else what suits them."""
    if given is not None:
        return given
    return 8 if loaded.takes_videos else 256
