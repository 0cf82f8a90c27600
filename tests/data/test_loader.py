"""Order, resumption and equality of the two ways to batches."""

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data.augmentation import Augmentation
from odevision.data.image import ImageReadError
from odevision.data.image_set import ImageSet
from odevision.data.loader import BatchLoader
from odevision.data.preprocessing import Preprocessing
from odevision.data.sources import dataset_info, load_split, preprocessing_for

PREPROCESSING = Preprocessing(image_size=8, num_channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
AUGMENTATION = Augmentation(
    crop_padding=2, flip="random", cutout=3, rotation_degrees=10.0, scale=0.1
)


def random_set(num: int = 23) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num, 3, 8, 8), generator=generator, dtype=torch.uint8)
    names = tuple(str(i) for i in range(num))
    return ImageSet(
        images=images, labels=torch.arange(num), class_names=names, name="n", split="train"
    )


def loader(image_set: ImageSet | None = None, **options) -> BatchLoader:
    defaults = {"batch_size": 5, "device": "cpu", "shuffle": True, "seed": 0}
    return BatchLoader(image_set or random_set(), PREPROCESSING, **(defaults | options))


def assert_same(one, two) -> None:
    one, two = list(one), list(two)
    assert len(one) == len(two)
    for (images_1, labels_1), (images_2, labels_2) in zip(one, two, strict=True):
        assert torch.equal(images_1, images_2) and torch.equal(labels_1, labels_2)


def labels_of(batches) -> list[int]:
    return torch.cat([labels for _, labels in batches]).tolist()


def test_without_shuffling_the_order_is_the_sets() -> None:
    batches = list(loader(shuffle=False).epoch(3))
    assert labels_of(batches) == list(range(23))
    images = torch.cat([images for images, _ in batches])
    assert torch.equal(images, PREPROCESSING.normalize(random_set().images))


def test_each_epoch_serves_every_image_once_in_its_own_order() -> None:
    orders = [labels_of(loader().epoch(epoch)) for epoch in range(3)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_length_is_the_number_of_batches() -> None:
    for drop_last, expected in ((False, 5), (True, 4)):
        batches = loader(drop_last=drop_last)
        assert len(batches) == len(list(batches.epoch(0))) == expected


def test_dropped_last_batch_leaves_whole_batches_only() -> None:
    assert {len(labels) for _, labels in loader(drop_last=True).epoch(0)} == {5}


@pytest.mark.parametrize("start_batch", [0, 1, 4, 5])
@pytest.mark.parametrize("epoch", [0, 7])
def test_resumed_epoch_equals_the_tail_of_the_whole_one(epoch, start_batch) -> None:
    whole = list(loader(augmentation=AUGMENTATION).epoch(epoch))
    resumed = loader(augmentation=AUGMENTATION).epoch(epoch, start_batch)
    assert_same(resumed, whole[start_batch:])


def test_epochs_before_do_not_matter() -> None:
    used = loader(augmentation=AUGMENTATION)
    list(used.epoch(0))
    assert_same(used.epoch(1), loader(augmentation=AUGMENTATION).epoch(1))


def test_two_epochs_may_run_side_by_side() -> None:
    batches = loader(augmentation=AUGMENTATION)
    pairs = list(zip(batches.epoch(0), batches.epoch(1), strict=True))
    assert_same([pair[0] for pair in pairs], batches.epoch(0))


def test_seed_changes_order_and_augmentation() -> None:
    one, two = (labels_of(loader(seed=seed).epoch(0)) for seed in (0, 1))
    assert one != two
    options = {"augmentation": AUGMENTATION, "shuffle": False}
    image_1, image_2 = (next(loader(seed=s, **options).epoch(0))[0] for s in (0, 1))
    assert not torch.equal(image_1, image_2)


def test_batches_of_one_epoch_are_augmented_differently() -> None:
    image_set = random_set(10)
    image_set.images[5:] = image_set.images[:5]
    one, two = loader(image_set, augmentation=AUGMENTATION, shuffle=False).epoch(0)
    assert not torch.equal(one[0], two[0])


def test_global_random_state_is_not_touched(image_folder) -> None:
    before = torch.get_rng_state()
    list(loader(augmentation=AUGMENTATION).epoch(0))
    list(folder_loader(image_folder, in_memory_bytes=0).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_are_float32_and_contiguous() -> None:
    images, labels = next(loader(augmentation=AUGMENTATION).epoch(0))
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert images.stride() == (192, 64, 8, 1)


def test_cutout_is_blank_after_normalization() -> None:
    image_set = random_set()
    image_set.images.fill_(255)
    images, _ = next(loader(image_set, augmentation=Augmentation(cutout=3)).epoch(0))
    is_blank = images.abs() < 0.02
    assert (is_blank.sum(dim=(2, 3)) == 9).all()


def test_images_on_the_device_stay_bytes() -> None:
    assert loader()._images.dtype == torch.uint8


def folder_loader(folder, *, in_memory_bytes: int, **options) -> BatchLoader:
    preprocessing = preprocessing_for(dataset_info(folder, image_size=24))
    image_set = load_split(folder, "train", image_size=24, in_memory_bytes=in_memory_bytes)
    defaults = {"batch_size": 4, "device": "cpu", "shuffle": True, "seed": 0}
    return BatchLoader(image_set, preprocessing, **(defaults | options))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("start_batch", [0, 2])
def test_files_read_by_workers_equal_images_in_memory(
    image_folder, num_workers, start_batch
) -> None:
    options = {"augmentation": AUGMENTATION, "num_workers": num_workers}
    files = folder_loader(image_folder, in_memory_bytes=0, **options)
    memory = folder_loader(image_folder, in_memory_bytes=2**30, **options)
    assert files.image_set.images is None and memory.image_set.images is not None
    assert_same(files.epoch(1, start_batch), memory.epoch(1, start_batch))


CROP = Augmentation(crop_scale=(0.3, 0.6), flip="random")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_crops_of_files_resume_exactly_whoever_reads(image_folder, num_workers) -> None:
    options = {"augmentation": CROP, "in_memory_bytes": 0}
    whole = list(folder_loader(image_folder, **options).epoch(1))
    resumed = folder_loader(image_folder, num_workers=num_workers, **options).epoch(1, 2)
    assert_same(resumed, whole[2:])


def test_crops_of_files_differ_from_epoch_to_epoch(image_folder) -> None:
    batches = folder_loader(
        image_folder,
        in_memory_bytes=0,
        augmentation=Augmentation(crop_scale=(0.3, 0.6)),
        shuffle=False,
    )
    one, two = (next(batches.epoch(epoch))[0] for epoch in (0, 1))
    assert not torch.equal(one, two)


def test_crops_of_files_have_the_files_own_resolution(tmp_path) -> None:
    # A pattern of single pixels that vanishes where a picture is made small before it is cropped.
    rows, columns = np.indices((192, 192))
    checks = (255 * ((rows + columns) % 2)).astype(np.uint8)
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(3):
            PIL.Image.fromarray(checks).convert("RGB").save(tmp_path / "train" / name / f"{i}.png")
    crop = Augmentation(crop_scale=(0.016, 0.016), crop_ratio=(1.0, 1.0))  # about 24 x 24 pixels
    files, memory = (
        folder_loader(tmp_path, in_memory_bytes=size, augmentation=crop) for size in (0, 2**30)
    )
    fine, coarse = (next(batches.epoch(0))[0].std() for batches in (files, memory))
    assert fine > 5 * coarse


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 1])
def test_file_damaged_during_training_is_reported_by_name(image_folder, num_workers) -> None:
    batches = folder_loader(image_folder, in_memory_bytes=0, num_workers=num_workers)
    path = batches.image_set.paths[3]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ImageReadError) as caught:
        list(batches.epoch(0))
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 24, "drop_last": True}, "batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"augmentation": Augmentation(cutout=9)}, "cutout"),
        ({"augmentation": Augmentation(crop_padding=8)}, "crop_padding"),
    ],
)
def test_impossible_arguments_are_refused(options, name) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must"):
        loader(**options)


def test_images_of_another_shape_are_refused() -> None:
    image_set = random_set()
    other = Preprocessing(image_size=9, num_channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    with pytest.raises(ValueError, match=r"`image_set` must have images of shape \(3, 9, 9\)"):
        BatchLoader(image_set, other, batch_size=5, device="cpu", shuffle=False, seed=0)


@pytest.mark.parametrize(("epoch", "start_batch"), [(-1, 0), (0, -1), (0, 6)])
def test_places_outside_the_training_are_refused_at_once(epoch, start_batch) -> None:
    with pytest.raises(ValueError, match="must be"):
        loader().epoch(epoch, start_batch)
