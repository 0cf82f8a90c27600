"""What is known of each data set before any of its files is read."""

import dataclasses

from odevision.data.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Facts about a data set.

    Args:
        name: The name by which it is asked for, or the folder of an image folder.
        description: One line.
        class_names: Names of the classes, in the order of the labels.
        image_size: Height and width of its images, in pixels.
        num_channels: 1 for grayscale, 3 for color.
        mean: Mean of each channel over the training images, as a fraction of white.
        std: Standard deviation of each channel, likewise.
        bright_on_dark: Whether the images are bright strokes on black.
        num_train: Official number of training images; None for image folders.
        num_test: Official number of test images; None for image folders.
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    image_size: int
    num_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bright_on_dark: bool = False
    num_train: int | None = None
    num_test: int | None = None


def preprocessing_for(info: DatasetInfo) -> Preprocessing:
    """Return the preprocessing that a network trained on this data set needs.

    Args:
        info: From `dataset_info`.

    Returns:
        The object to store with the network's weights.
    """
    return Preprocessing(
        image_size=info.image_size,
        num_channels=info.num_channels,
        mean=info.mean,
        std=info.std,
        bright_on_dark=info.bright_on_dark,
    )


_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""

_MNIST_MINI = DatasetInfo(
    name="mnist-mini",
    description="5,000 + 1,000 MNIST digits, 28 x 28, grayscale; ships with the package",
    class_names=tuple("0123456789"),
    image_size=28,
    num_channels=1,
    mean=(0.1307,),
    std=(0.3081,),
    bright_on_dark=True,
    num_train=5_000,
    num_test=1_000,
)
_MNIST = dataclasses.replace(
    _MNIST_MINI,
    name="mnist",
    description="60,000 + 10,000 handwritten digits, 28 x 28, grayscale (LeCun et al. 1998)",
    num_train=60_000,
    num_test=10_000,
)
_CIFAR10 = DatasetInfo(
    name="cifar10",
    description="50,000 + 10,000 photos of 10 classes, 32 x 32, color (Krizhevsky 2009)",
    class_names=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
    image_size=32,
    num_channels=3,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    num_train=50_000,
    num_test=10_000,
)
_CIFAR100 = dataclasses.replace(
    _CIFAR10,
    name="cifar100",
    description="50,000 + 10,000 photos of 100 classes, 32 x 32, color (Krizhevsky 2009)",
    class_names=tuple(_CIFAR100_CLASSES.split()),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)

DATASETS: dict[str, DatasetInfo] = {
    info.name: info for info in (_MNIST_MINI, _MNIST, _CIFAR10, _CIFAR100)
}
"""The data sets known by name. Any folder laid out as DIR/train/CLASS/IMAGE is one too."""


def list_datasets() -> list[str]:
    """Return the names of the data sets known by name, smallest first."""
    return list(DATASETS)
