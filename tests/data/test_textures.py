import pytest
import torch

from odevision.data.preprocessing import Preprocessing
from odevision.data.textures import texture_set

COLOR = Preprocessing(image_size=32, num_channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
GRAY = Preprocessing(image_size=28, num_channels=1, mean=(0.13,), std=(0.3,))


def test_the_same_seed_gives_the_same_pictures_and_another_others() -> None:
    first, again, other = (texture_set(COLOR, num=40, seed=seed).images for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_kinds_occur_about_equally_often() -> None:
    textures = texture_set(COLOR, num=83)
    counts = torch.bincount(textures.labels)
    assert len(counts) == len(textures.class_names) == 8
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("preprocessing", [COLOR, GRAY], ids=["color", "gray"])
def test_pictures_fit_the_network_and_are_not_blank(preprocessing: Preprocessing) -> None:
    images = texture_set(preprocessing, num=80).images
    channels, side = preprocessing.num_channels, preprocessing.image_size
    assert images.shape == (80, channels, side, side)
    spread = images.double().flatten(1).std(dim=1)
    assert (spread > 0).all()
    assert spread.median() > 20


def test_a_number_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="`num` must be at least 1, got 0"):
        texture_set(COLOR, num=0)


@pytest.mark.parametrize("num", range(1, 8))
def test_a_few_textures_are_the_first_kinds(num: int) -> None:
    few = texture_set(COLOR, num=num)
    assert few.labels.tolist() == list(range(num))
