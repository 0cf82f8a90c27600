"""Which videos a run is trained on, and which frames of them make a clip."""

from dataclasses import dataclass, field

from odevision.data.clip_augmentation import ClipAugmentation
from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_sampling import ClipSampling
from odevision.training.strict import check_range


@dataclass(frozen=True, kw_only=True)
class VideoDataConfig:
    """Which clips, in which batches.

    Args:
        name: a video data set (`odevision datasets` lists them), a folder `DIR/CLASS/*.mp4` or a
            CSV file.
        batch_size: clips a step.
        validation_fraction: part of the training videos held out for validation, by whole groups,
            in (0, 1). The split does not depend on the training seed; the test videos are never
            used in training.
        split_index: which official split of UCF101 and HMDB51, 1 to 3.
        height: of the network's frames, in pixels.
        width: likewise.
        sampling: which frames of a video make a training clip. Its `rate` is also the one at which
            the trained network looks at videos.
        validation_frames: frames of a validation clip at most, from the middle of the video; None
            takes the whole video, as `odevision evaluate` does.
        augmentation: random changes of the training clips.
        exercises: so many clips of drawn people (`odevision.data.exercises`) are trained on beside
            the videos, others in each epoch; for data sets with the classes of ucf5.
        limit: use so many training, drawn and validation clips at most (for a quick trial).
        cache_dir: where decoded frames are kept; None takes the user's cache folder.
    """

    name: str = "motion"
    batch_size: int = 16
    validation_fraction: float = 0.15
    split_index: int = 1
    height: int = 48
    width: int = 64
    sampling: ClipSampling = field(default_factory=ClipSampling)
    validation_frames: int | None = None
    augmentation: ClipAugmentation = field(default_factory=ClipAugmentation)
    exercises: int = 0
    limit: int | None = None
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("data.batch_size", self.batch_size, least=1)
        check_range("data.validation_fraction", self.validation_fraction, above=0, below=1)
        check_range("data.split_index", self.split_index, least=1, most=3)
        check_range("data.height", self.height, least=1)
        check_range("data.width", self.width, least=1)
        check_range("data.validation_frames", self.validation_frames, least=1)
        check_range("data.exercises", self.exercises, least=0)
        check_range("data.limit", self.limit, least=1)
        self.augmentation.check_frames(self.height, self.width)

    @property
    def preprocessing(self) -> ClipPreprocessing:
        """What goes into the checkpoint's card."""
        return ClipPreprocessing(height=self.height, width=self.width, rate=self.sampling.rate)

    @property
    def validation_sampling(self) -> ClipSampling:
        """Which frames of a validation video are looked at."""
        return ClipSampling(kind="rate", num_frames=self.validation_frames, rate=self.sampling.rate)
