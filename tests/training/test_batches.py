import dataclasses

import pytest
import torch

from odevision.models.odenet import ODENetConfig
from odevision.training.batches import initial_images, load_training_data

CPU = torch.device("cpu")


def test_training_and_validation_share_no_image(small_config) -> None:
    data = load_training_data(small_config(), CPU)
    training, validation = (
        {image.numpy().tobytes() for image in loader.image_set.images}
        for loader in (data.training, data.validation)
    )
    assert training and validation
    assert not training & validation


def test_test_images_are_never_read(small_config, monkeypatch: pytest.MonkeyPatch) -> None:
    from odevision.training import batches

    splits = []
    load_split = batches.load_split

    def record(name, split, **options):
        splits.append(split)
        return load_split(name, split, **options)

    monkeypatch.setattr(batches, "load_split", record)
    load_training_data(small_config(), CPU)
    assert splits == ["train", "validation"]


def test_network_with_another_number_of_classes_is_refused(small_config) -> None:
    config = small_config(model=ODENetConfig(num_classes=7))
    with pytest.raises(
        ValueError, match=r"`model.num_classes` must be 10 .*--model.num-classes 10"
    ):
        load_training_data(config, CPU)


def test_network_with_another_number_of_channels_is_refused(small_config) -> None:
    config = small_config(model=ODENetConfig(in_channels=3))
    with pytest.raises(ValueError, match="`model.in_channels` must be 1 for mnist-mini, got 3"):
        load_training_data(config, CPU)


def test_batch_larger_than_the_set_is_still_one_batch(small_config) -> None:
    config = small_config()
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=500))
    assert len(load_training_data(config, CPU).training) == 1


def test_initial_images_are_training_images_normalized(small_config) -> None:
    data = load_training_data(small_config(), CPU)
    images = initial_images(data, seed=0)
    assert images.shape == (80, 1, 28, 28)
    expected = data.preprocessing.normalize(data.training.image_set.images)
    assert torch.allclose(images.sum(), expected.sum(), rtol=1e-4)
