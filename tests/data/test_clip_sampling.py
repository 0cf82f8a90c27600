"""Which frames of a video make a clip."""

from typing import Any

import pytest
import torch

from odevision.data.clip_sampling import ClipSampling, at_rate, sample_clip, thin_to_rate
from odevision.data.video_frame import Frame


def times(num: int = 100, rate: float = 25.0) -> torch.Tensor:
    return torch.arange(num, dtype=torch.float64) / rate


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chosen(seed: int | None = None, num: int = 100, **fields: Any) -> list[int]:
    drawn = None if seed is None else generator(seed)
    return sample_clip(times(num), ClipSampling(**fields), drawn).tolist()


@pytest.mark.parametrize("rate", [1.0, 5.0, 8.0, 12.5, 25.0, 60.0])
def test_a_rate_is_kept_whatever_the_videos_own(rate: float) -> None:
    seconds = times()
    found = seconds[at_rate(seconds, rate)]
    assert len(found) == pytest.approx(min(rate, 25.0) * 4, abs=1)
    late = found - torch.arange(len(found)).double() / min(rate, 25.0)
    assert -1e-6 <= late.min() and late.max() < 0.04 + 1e-6


def test_frames_come_as_they_are_when_the_video_is_slower_than_the_rate() -> None:
    assert at_rate(times(7, rate=2.0), 8.0).tolist() == list(range(7))


def test_irregular_times_are_thinned_by_their_seconds_and_not_by_their_number() -> None:
    seconds = torch.tensor([0.0, 0.01, 0.02, 0.5, 0.51, 1.4, 1.49, 1.5], dtype=torch.float64)
    assert at_rate(seconds, 2.0).tolist() == [0, 3, 5, 7]


def test_without_a_generator_a_clip_lies_in_the_middle() -> None:
    assert chosen(kind="dense", num_frames=10) == list(range(45, 55))
    assert chosen(kind="rate", num_frames=4, rate=25.0) == [48, 49, 50, 51]


def test_with_a_generator_clips_begin_everywhere_and_repeat_with_the_seed() -> None:
    starts = {chosen(seed, kind="dense", num_frames=90)[0] for seed in range(200)}
    assert starts == set(range(11))
    assert chosen(3, kind="rate", num_frames=8) == chosen(3, kind="rate", num_frames=8)


def test_uniform_frames_spread_over_the_whole_video() -> None:
    assert chosen(kind="uniform", num_frames=4) == [12, 37, 62, 87]
    for seed in range(20):
        found = chosen(seed, kind="uniform", num_frames=4)
        assert all(25 * i <= index < 25 * (i + 1) for i, index in enumerate(found))


@pytest.mark.parametrize("kind", ["uniform", "dense", "rate", "whole"])
@pytest.mark.parametrize("seed", [None, 0])
def test_a_short_video_gives_fewer_frames_and_none_twice(kind: str, seed: int | None) -> None:
    assert chosen(seed, num=3, kind=kind, num_frames=16, rate=25.0) == [0, 1, 2]
    assert chosen(seed, num=1, kind=kind, num_frames=16) == [0]


def test_uniform_frames_are_never_the_same_one() -> None:
    for num in range(16, 40):
        for seed in (None, *range(20)):
            found = chosen(seed, num=num, kind="uniform", num_frames=16)
            assert len(found) == 16 and found == sorted(set(found)) and found[-1] < num


def test_whole_takes_every_frame() -> None:
    assert chosen(kind="whole", num_frames=None) == list(range(100))
    assert chosen(kind="whole") == list(range(100))


def test_irregular_gaps_keep_a_mean_rate_whatever_the_rate_of_the_video() -> None:
    for rate in (12.0, 25.0, 64.0):
        seconds = torch.arange(2000, dtype=torch.float64) / rate
        sampling = ClipSampling(kind="irregular", num_frames=None, rate=32.0, kept_rate=8.0)
        kept = seconds[sample_clip(seconds, sampling)]
        assert (len(kept) - 1) / float(kept[-1] - kept[0]) == pytest.approx(8, rel=0.08)
        assert len(kept.diff().round(decimals=6).unique()) > 2
    slow = torch.arange(20, dtype=torch.float64) / 6
    assert len(sample_clip(slow, sampling)) == 20
    with pytest.raises(ValueError, match="`kept_rate` must be None but for 'irregular'"):
        ClipSampling(kind="irregular", drop=0.5, kept_rate=8.0)
    with pytest.raises(ValueError, match="`kept_rate` must be above 0"):
        ClipSampling(kind="irregular", kept_rate=0.0)


def test_dropped_frames_are_drawn_and_one_always_stays() -> None:
    fields = {"kind": "irregular", "rate": 25.0, "num_frames": None}
    counts = [len(chosen(seed, drop=0.5, **fields)) for seed in range(50)]
    assert 45 < sum(counts) / 50 < 55
    assert min(len(chosen(seed, num=2, drop=0.99, **fields)) for seed in range(50)) == 1


def test_a_clip_with_dropped_frames_lasts_as_long_as_one_without() -> None:
    fields = {"rate": 25.0, "num_frames": 20}
    for seed in range(20):
        whole = chosen(seed, kind="rate", **fields)
        assert set(chosen(seed, kind="irregular", drop=0.5, **fields)) < set(whole)


def test_without_a_generator_the_same_frames_are_dropped_each_time() -> None:
    fields = {"kind": "irregular", "rate": 25.0, "num_frames": 64, "drop": 0.5}
    found = chosen(**fields)
    assert 16 < len(found) < 48 and found == chosen(**fields)


def test_the_rate_is_drawn_around_the_middle() -> None:
    fields = {"kind": "rate", "rate": 5.0, "num_frames": None, "rate_jitter": 1.0}
    counts = [len(chosen(seed, num=1000, **fields)) for seed in range(60)]
    assert 95 < min(counts) < 130 and 330 < max(counts) < 410


def test_a_stream_lets_through_what_the_rate_chooses() -> None:
    seconds = torch.tensor([3.0, 3.01, 3.2, 3.26, 3.5, 3.9, 4.0], dtype=torch.float64)
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    frames = [Frame(image=image, seconds=float(s)) for s in seconds]
    passed = [frames.index(frame) for frame in thin_to_rate(frames, 4.0)]
    assert passed == at_rate(seconds, 4.0).tolist() == [0, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"kind": "dense", "num_frames": None}, "num_frames"),
        ({"rate": 0.0}, "rate"),
        ({"rate_jitter": -1.0}, "rate_jitter"),
        ({"kind": "dense", "rate_jitter": 0.2}, "rate_jitter"),
        ({"rate": float("nan")}, "rate"),
        ({"kind": "irregular", "drop": 1.0}, "drop"),
        ({"drop": 0.5}, "irregular"),
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipSampling(**fields)


def test_no_frames_and_a_rate_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        sample_clip(times(0), ClipSampling())
    with pytest.raises(ValueError, match="rate"):
        thin_to_rate([], 0.0)
