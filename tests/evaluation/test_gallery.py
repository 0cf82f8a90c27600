import torch

from odevision.evaluation.gallery import Gallery, make_gallery

NAMES = ("a", "b", "c")


def _gallery(num: int, **options: int) -> Gallery:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(num, 3, generator=generator).softmax(dim=1)
    labels = torch.randint(0, 3, (num,), generator=generator)
    images = torch.zeros(num, 1, 4, 4, dtype=torch.uint8)
    return make_gallery(images.__getitem__, probabilities, labels, NAMES, **options)


def test_mistakes_are_wrong_and_the_most_confident_come_first() -> None:
    gallery = _gallery(60)
    assert all(not item.is_correct for item in gallery.mistakes)
    confidences = [item.probability for item in gallery.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert gallery.num_mistakes >= len(gallery.mistakes) == 16


def test_a_small_split_is_shown_whole() -> None:
    assert len(_gallery(5).sample) == 5


def test_the_sample_is_the_same_each_time() -> None:
    first, second = (_gallery(60, num_sample=4) for _ in range(2))
    assert [item.true_label for item in first.sample] == [item.true_label for item in second.sample]
