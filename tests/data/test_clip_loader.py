"""Batches of clips: padded, masked, in an order that resumes exactly."""

import pytest
import torch

from odevision.data.clip_augmentation import ClipAugmentation
from odevision.data.clip_loader import ClipLoader
from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_sampling import ClipSampling
from odevision.data.motion import MotionSet
from odevision.types import Clips

PREPARE = ClipPreprocessing(height=32, width=32, rate=8.0)
IRREGULAR = ClipSampling(kind="irregular", num_frames=None, rate=8.0, rate_jitter=0.5, drop=0.4)


def loader(num: int = 20, **changes) -> ClipLoader:
    settings = {
        "sampling": IRREGULAR,
        "batch_size": 6,
        "device": "cpu",
        "augmentation": ClipAugmentation(crop_padding=2, flip="random"),
        "shuffle": True,
        "seed": 0,
    }
    return ClipLoader(MotionSet("train", torch.arange(num)), PREPARE, **{**settings, **changes})


def test_padding_stands_at_the_end_and_repeats_the_last_frame_and_its_time() -> None:
    clips, labels = next(iter(loader().epoch(0)))
    counts = clips.mask.sum(dim=1)
    assert clips.frames.shape[:2] == clips.seconds.shape == clips.mask.shape
    assert len(labels) == 6 and len(set(counts.tolist())) > 1
    assert torch.equal(clips.mask, torch.arange(clips.mask.shape[1]) < counts[:, None])
    for row, count in enumerate(counts.tolist()):
        assert (clips.seconds[row, :count].diff() > 0).all() and clips.seconds[row, 0] == 0
        assert (clips.seconds[row, count:] == clips.seconds[row, count - 1]).all()
        padding = clips.frames[row, count:]
        assert torch.equal(padding, clips.frames[row, count - 1].expand_as(padding))


def test_an_epoch_serves_every_video_once_in_an_order_of_its_own() -> None:
    loaded = loader()
    assert sorted(loaded.order(0).tolist()) == list(range(20))
    assert loaded.order(0).tolist() != loaded.order(1).tolist()
    assert [len(labels) for _, labels in loaded.epoch(0)] == [6, 6, 6, 2]
    assert [len(labels) for _, labels in loader(drop_last=True).epoch(0)] == [6, 6, 6]


def test_an_epoch_goes_on_in_its_middle_exactly() -> None:
    whole = list(loader().epoch(3))
    rest = list(loader().epoch(3, start_batch=2))
    assert len(rest) == 2
    for (clips, labels), (again, same) in zip(whole[2:], rest, strict=True):
        assert torch.equal(labels, same)
        assert all(torch.equal(a, b) for a, b in zip(clips, again, strict=True))


def test_seeds_and_epochs_choose_other_frames() -> None:
    def times(seed: int, epoch: int) -> list[float]:
        batches = loader(seed=seed).epoch(epoch)
        return [time for clips, _ in batches for time in clips.seconds.flatten().tolist()]

    assert times(0, 0) == times(0, 0)
    assert times(0, 0) != times(1, 0)
    assert times(0, 0) != times(0, 1)


def test_some_clips_run_backwards_with_rising_times() -> None:
    def clip_of(reverse: float) -> Clips:
        augmentation = ClipAugmentation(reverse=reverse)
        clips, _ = next(iter(loader(augmentation=augmentation, batch_size=1).epoch(0)))
        return clips

    forwards, backwards = clip_of(0.0), clip_of(1.0)
    assert torch.equal(backwards.frames, forwards.frames.flip(1))
    torch.testing.assert_close(backwards.seconds.diff(), forwards.seconds.diff().flip(1))
    assert backwards.seconds[0, 0] == 0


def test_without_shuffling_clips_are_the_same_in_every_epoch() -> None:
    settings = {"shuffle": False, "augmentation": None}
    first, labels = next(iter(loader(**settings).epoch(0)))
    again, _ = next(iter(loader(**settings, seed=5).epoch(7)))
    assert labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"num": 0}, "`source` must have videos"),
        ({"num": 3, "drop_last": True}, r"`batch_size` must be at most .*\(3\), got 6"),
        ({"augmentation": ClipAugmentation(cutout=40)}, "`cutout` must be at most"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loader(**changes)


def test_an_epoch_or_batch_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="`epoch` must be 0 or more"):
        loader().epoch(-1)
    with pytest.raises(ValueError, match="`start_batch` must be 0 to 4, got 5"):
        loader().epoch(0, 5)


def test_epochs_may_have_clips_of_their_own() -> None:
    def of_epoch(epoch: int) -> MotionSet:
        return MotionSet("train", torch.arange(20 * epoch + epoch, 20 * epoch + epoch + 8))

    settings = {"sampling": ClipSampling(kind="rate", num_frames=4, rate=8.0), "batch_size": 8,
                "device": "cpu", "shuffle": False, "seed": 0}  # fmt: skip
    loaded = ClipLoader(of_epoch, PREPARE, **settings)
    assert loaded.num_samples == 8
    for epoch in (0, 3):
        alone = ClipLoader(of_epoch(epoch), PREPARE, **settings)
        ((clips, labels),), ((same, their_labels),) = loaded.epoch(epoch), alone.epoch(epoch)
        assert torch.equal(clips.frames, same.frames) and torch.equal(labels, their_labels)
    assert labels.tolist() == [3, 4, 5, 6, 7, 8, 9, 0]
